//! Entry 0 of a run: everything that it starts from, so that it can be resumed and repeated.

use policy::call::Effect;
use policy::manifest::Limits;
use policy::task::{Handed, Timestamp};
use policy::tier::Label;
use serde::{Deserialize, Serialize};

use crate::id;
use crate::runtime::Brief;
use crate::store::StoreError;
use crate::store::journal::{Closing, Opening, Position};
use crate::store::tasks::Task;

/// What a run is told that its task's row does not say.
#[derive(Serialize, Deserialize)]
pub struct Input {
    content: String,
    conversation: Vec<(String, String, Timestamp)>,
    handed: Vec<Handed>,
    colleagues: Vec<[String; 4]>,
    limits: Limits,
    extra: Vec<(String, String)>,
    /// The label at the start.
    pub(crate) label: Label,
    /// Of the randomness.
    seed: String,
    /// The guest's clock at the start.
    pub(crate) now: Timestamp,
}

impl Input {
    /// The input of a run that starts there.
    pub(super) fn of(brief: &Brief, at: &Position, label: Label) -> Self {
        let brief = brief.clone();
        Self {
            content: brief.content,
            conversation: brief.conversation,
            handed: brief.handed,
            colleagues: brief.colleagues,
            limits: brief.limits,
            extra: brief.extra,
            label,
            seed: format!("{}/{}", at.task, at.hop),
            now: brief.now,
        }
    }

    /// What the run was told.
    pub(crate) fn brief(self, task: &Task) -> Brief {
        Brief {
            task: task.id.clone(),
            content: self.content,
            source: task.sent.source.clone(),
            role: task.role,
            intent: task.sent.intent.clone(),
            priority: task.sent.priority,
            destructive: task.sent.destructive,
            tier: self.label.tier,
            conversation: self.conversation,
            received_at: task.created_at,
            handed: self.handed,
            colleagues: self.colleagues,
            limits: self.limits,
            now: self.now,
            extra: self.extra,
        }
    }

    /// The journal entry of it.
    pub(super) fn entry(&self, at: Position, lease: i64) -> Result<(Opening, Closing), StoreError> {
        let request = serde_json_canonicalizer::to_string(self)?;
        let (label, now) = (self.label, self.now);
        let fingerprint = id::digest(request.as_bytes());
        let opening = Opening { at, lease, kind: "run.input", fingerprint, request, label, effect: Effect::None, started_at: now };
        let closing = Closing {
            state: "done",
            answer: "null".into(),
            tries: "[]".into(),
            destination: None,
            label,
            usage: None,
            bill: None,
            wrote: None,
            finished_at: now,
        };
        Ok((opening, closing))
    }
}
