//! A finished run, done again by another component: would it ask the same, and come to the same?
//!
//! It reads the database and changes nothing: no effect, no journal, no lease, no file. The calls are answered from the journal,
//! by `capability::rehearse`.

mod difference;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use policy::call::CallError;
use policy::task::Outcome;
use policy::tier::{Clearance, Label};
use serde::Serialize;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::capability::{Ask, Asker, Beyond, Hop, Start, Tenure, World};
use crate::fleet::Agent;
use crate::runtime;
use crate::store::StoreError;
use crate::store::hops;
use crate::store::journal::{self, Behind, Past, Position};
use crate::store::tasks::Task;
use crate::telemetry::trace::Place;
use crate::worker::Input;

pub use difference::{Difference, first, short};

/// Longer than any run.
const FOREVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// How finished runs are gone over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Every call must be the one in the journal; the first that is not ends the run.
    Compare,
    /// Models are asked anew; everything else is answered from the journal, or refused.
    Ask,
}

/// A component that goes over finished runs.
pub struct Rehearsal {
    /// What it would act on: a database that is only read, and no vault of anybody's.
    pub world: World,
    /// The component.
    pub agent: Arc<Agent>,
    /// How.
    pub manner: Manner,
}

/// What was found of one run.
#[derive(Debug, Serialize)]
pub struct Found {
    /// Its task.
    pub task_id: String,
    /// Its hop.
    pub hop: u32,
    /// The run of that hop.
    pub run: u32,
    /// The component that made it.
    pub digest: Option<String>,
    /// In a word.
    pub result: Word,
    /// Why it failed or was skipped.
    pub why: Option<String>,
    /// The first call that is not the journal's.
    pub diverged: Option<Divergence>,
    /// What the finished run did.
    pub before: Side,
    /// What the component did, if it came to an end of its own.
    pub now: Option<Side>,
}

/// How a rehearsed run compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Word {
    /// The same outcome; without live models, by the same calls.
    Same,
    /// Another outcome.
    Outcome,
    /// Another call.
    Diverged,
    /// It came to no outcome.
    Failed,
    /// It cannot be rehearsed.
    Skipped,
}

/// What a run did.
#[derive(Debug, Default, Serialize)]
pub struct Side {
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// Its calls.
    pub calls: usize,
    /// Those that were not allowed.
    pub refusals: Vec<Refusal>,
    /// Tokens that models read.
    pub input_tokens: u64,
    /// Tokens that models wrote.
    pub output_tokens: u64,
    /// Millionths of a US dollar.
    pub usd_micros: u64,
}

/// A call that was not allowed.
#[derive(Debug, Serialize)]
pub struct Refusal {
    /// Its `ref`.
    #[serde(rename = "ref")]
    pub reference: String,
    /// `interface.function`.
    pub kind: String,
    /// By which rule.
    pub rule: String,
    /// What was asked, where it is known.
    pub request: Option<Value>,
}

/// Where a component leaves the journal.
#[derive(Debug, Serialize)]
pub struct Divergence {
    /// The `ref` of the call.
    #[serde(rename = "ref")]
    pub reference: String,
    /// What the journal has there; nothing if the run ended before.
    pub journal: Option<Asked>,
    /// What the component asks there; nothing if it ended before.
    pub component: Option<Asked>,
    /// Where the two requests differ first.
    pub difference: Option<Difference>,
}

/// What was asked.
#[derive(Debug, Serialize)]
pub struct Asked {
    /// `interface.function`.
    pub kind: String,
    /// Of kind and request.
    pub fingerprint: String,
    /// The request.
    pub request: Value,
}

impl Rehearsal {
    /// Whether models are asked anew.
    #[must_use]
    pub fn asks(&self) -> bool {
        matches!(self.manner, Manner::Ask)
    }

    /// Goes over one finished run of a task.
    ///
    /// # Errors
    /// What the store says.
    pub async fn of(&self, task: &Task, row: &hops::Hop) -> Result<Found, StoreError> {
        let at = Position { task: task.id.clone(), hop: row.seq, run: row.run, seq: 0 };
        let Some(behind) = journal::behind(&self.world.db, &at).await? else {
            return Ok(self.found(&at, row, Word::Skipped, Some("its journal is not there".into())));
        };
        let Behind { input, calls } = behind;
        let input: Input = match serde_json::from_str(&input) {
            Ok(input) => input,
            Err(error) => {
                return Ok(self.found(&at, row, Word::Skipped, Some(format!("another version wrote its input: {error}"))));
            }
        };
        let before = Side { outcome: opened(row), ..Side::told(&at, &calls) };
        let mut found = Found { before, ..self.found(&at, row, Word::Same, None) };
        let reached = calls.values().map(|call| call.label).fold(input.label, Label::join);
        let clearance = self.agent.grant.clearance();
        if reached.tier > clearance {
            let (reached, cleared, set) = (reached.tier.as_str(), clearance.as_str(), self.agent.grant.at());
            (found.result, found.why) = (
                Word::Failed,
                Some(format!("the run reached {reached} and the agent is cleared for {cleared}: set clearance in {set}")),
            );
            return Ok(found);
        }
        let hop = self.instance(task, at.clone(), &input, calls).await;
        let (hop, ended) = runtime::run(&self.agent.ready, hop, input.brief(task)).await;
        self.compare(&at, &mut found, hop, ended).await?;
        Ok(found)
    }

    /// A report without findings yet.
    fn found(&self, at: &Position, row: &hops::Hop, result: Word, why: Option<String>) -> Found {
        Found {
            task_id: at.task.clone(),
            hop: at.hop,
            run: at.run,
            digest: row.digest.clone(),
            result,
            why,
            diverged: None,
            before: Side { outcome: opened(row), ..Side::default() },
            now: None,
        }
    }

    /// What came of it.
    async fn compare(
        &self,
        at: &Position,
        found: &mut Found,
        hop: Hop,
        ended: Result<Outcome, runtime::Ended>,
    ) -> Result<(), StoreError> {
        if let Beyond::Ask(ask) = hop.beyond {
            let now = Side::made(&ask);
            let outcome = ended.map_err(|ended| found.why = Some(said(&ended))).ok();
            found.result = match &outcome {
                None => Word::Failed,
                same if *same == found.before.outcome => Word::Same,
                Some(_) => Word::Outcome,
            };
            found.now = Some(Side { outcome, ..now });
            return Ok(());
        }
        let strayed = match hop.beyond {
            Beyond::Stop(strayed) => strayed,
            Beyond::Live | Beyond::Ask(_) => None,
        };
        let unmade = hop.past.keys().next().copied().filter(|_| ended.is_ok());
        if let Some(seq) = strayed.as_ref().map(|opening| opening.at.seq).or(unmade) {
            let component = strayed.map(|opening| {
                Ok::<_, StoreError>(Asked {
                    kind: opening.kind.into(),
                    request: serde_json::from_str(&opening.request)?,
                    fingerprint: opening.fingerprint,
                })
            });
            let (journal, component) = (self.journaled(at, seq).await?, component.transpose()?);
            let both = journal.as_ref().zip(component.as_ref());
            let difference = both.and_then(|(journal, component)| first(&journal.request, &component.request));
            let reference = Position { seq, ..at.clone() }.reference();
            found.result = Word::Diverged;
            found.diverged = Some(Divergence { reference, journal, component, difference });
            return Ok(());
        }
        match ended {
            Ok(outcome) => {
                found.result = if found.before.outcome.as_ref() == Some(&outcome) { Word::Same } else { Word::Outcome };
                // The same calls, and so the same of everything else.
                let Side { calls, input_tokens, output_tokens, usd_micros, .. } = found.before;
                let refusals = Vec::new();
                found.now = Some(Side { outcome: Some(outcome), calls, refusals, input_tokens, output_tokens, usd_micros });
            }
            Err(ended) => (found.result, found.why) = (Word::Failed, Some(said(&ended))),
        }
        Ok(())
    }

    /// The state of a fresh instance. The clock stands where the finished run's stood, and chance is seeded as it was.
    async fn instance(&self, task: &Task, at: Position, input: &Input, calls: BTreeMap<u32, Past>) -> Hop {
        let (past, beyond) = match self.manner {
            Manner::Compare => (calls, Beyond::Stop(None)),
            Manner::Ask => (BTreeMap::new(), Beyond::Ask(Box::new(Ask::knowing(calls.into_values())))),
        };
        // Nobody can take a run that nobody leased.
        let (_, until) = watch::channel(Instant::now() + FOREVER);
        Hop::new(Start {
            world: self.world.clone(),
            grant: self.agent.grant.clone(),
            digest: self.agent.digest.clone(),
            mode: self.agent.manifest.mode.clone(),
            span: Place::of(&task.trace_id, "rehearsal"),
            trace_id: task.trace_id.clone(),
            tenure: Tenure { lease: 0, until },
            label: input.label,
            now: input.now,
            asker: Asker { requester: task.requester.clone(), role: task.role },
            parked: false,
            at,
            past,
            beyond,
        })
        .await
    }

    /// What the finished run asked there.
    async fn journaled(&self, at: &Position, seq: u32) -> Result<Option<Asked>, StoreError> {
        let entry = journal::asked(&self.world.db, &Position { seq, ..at.clone() }).await?;
        let asked = |(kind, fingerprint, request): (String, String, String)| {
            Ok(Asked { kind, fingerprint, request: serde_json::from_str(&request)? })
        };
        entry.map(asked).transpose()
    }
}

/// Why a run came to no outcome.
fn said(ended: &runtime::Ended) -> String {
    match ended {
        runtime::Ended::Fault(fault) => fault.to_string(),
        runtime::Ended::Ours(stop) => stop.to_string(),
    }
}

/// The outcome of a finished hop: whoever rehearses reads the database itself.
fn opened(row: &hops::Hop) -> Option<Outcome> {
    row.outcome.as_ref()?.open(Clearance::OPERATOR).ok().cloned()
}

impl Side {
    /// What a finished run was told.
    fn told(at: &Position, calls: &BTreeMap<u32, Past>) -> Self {
        let mut side = Self { calls: calls.len(), ..Self::default() };
        for (seq, call) in calls {
            if let Some(usage) = &call.usage {
                side.used(usage);
            }
            let error = call.answer.as_ref().filter(|_| call.state == "denied");
            if let Some(CallError::Denied { rule, .. }) = error.and_then(|answer| serde_json::from_str(answer).ok()) {
                let reference = Position { seq: *seq, ..at.clone() }.reference();
                side.refusals.push(Refusal { reference, kind: call.kind.clone(), rule, request: None });
            }
        }
        side
    }

    /// What a run that asked models did.
    fn made(ask: &Ask) -> Self {
        let mut side = Self { calls: ask.made.len(), ..Self::default() };
        for call in &ask.made {
            if let Some(usage) = &call.usage {
                side.used(usage);
            }
            if let Some(CallError::Denied { rule, .. }) = &call.error {
                let (reference, kind, rule) = (call.reference.clone(), call.kind.to_owned(), rule.clone());
                side.refusals.push(Refusal { reference, kind, rule, request: serde_json::from_str(&call.request).ok() });
            }
        }
        side
    }

    fn used(&mut self, usage: &journal::Usage) {
        self.input_tokens = self.input_tokens.saturating_add(usage.input);
        self.output_tokens = self.output_tokens.saturating_add(usage.output);
        self.usd_micros = self.usd_micros.saturating_add(usage.usd_micros);
    }
}
