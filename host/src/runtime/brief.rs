//! The border of one run: our words in, our words out.

use policy::manifest::{Limits, Manifest, Wants};
use policy::task::{Citation, Handed, Outcome, Priority, Role, Timestamp};

use crate::capability::tier;
use crate::capability::wit::exports::homeaiops::agent::agent as wit;
use crate::capability::wit::homeaiops::agent::types;

/// Everything that a run is told at its start.
#[derive(Clone, Debug)]
pub struct Brief {
    /// The task's id.
    pub task: String,
    /// What was asked.
    pub content: String,
    /// The surface.
    pub source: String,
    /// What the requester is to the house.
    pub role: Role,
    /// What should come of it.
    pub intent: Option<String>,
    /// How urgent.
    pub priority: Priority,
    /// Whether it may destroy something.
    pub destructive: Option<bool>,
    /// The run's label at its start.
    pub tier: policy::tier::Tier,
    /// What was said before: role, text, time.
    pub conversation: Vec<(String, String, Timestamp)>,
    /// When the task came.
    pub received_at: Timestamp,
    /// What former hops hand over, in order.
    pub handed: Vec<Handed>,
    /// Agents that may be handed to: id, name, purpose, mode.
    pub colleagues: Vec<[String; 4]>,
    /// The run's limits.
    pub limits: Limits,
    /// The hop's start.
    pub now: Timestamp,
    /// Keys documented in the WIT.
    pub extra: Vec<(String, String)>,
}

impl Brief {
    pub(super) fn into_wit(self) -> types::Brief {
        let milliseconds = |at: Timestamp| u64::try_from(at.0).unwrap_or_default();
        types::Brief {
            task: types::Task {
                id: self.task,
                content: self.content,
                source: self.source,
                requester_role: self.role.as_str().into(),
                intent: self.intent,
                priority: match self.priority {
                    Priority::Low => types::Priority::Low,
                    Priority::Normal => types::Priority::Normal,
                    Priority::High => types::Priority::High,
                    Priority::Urgent => types::Priority::Urgent,
                },
                destructive: self.destructive,
                tier: tier(self.tier),
                conversation: self
                    .conversation
                    .into_iter()
                    .map(|(role, text, at)| types::Turn { role, text, at: milliseconds(at) })
                    .collect(),
                received_at: milliseconds(self.received_at),
                extra: Vec::new(),
            },
            handed: self.handed.into_iter().map(handed).collect(),
            colleagues: self
                .colleagues
                .into_iter()
                .map(|[id, name, purpose, mode]| types::Colleague { id, name, purpose, mode })
                .collect(),
            remaining: types::Budget {
                host_calls: u32::try_from(self.limits.host_calls).unwrap_or(u32::MAX),
                tokens: self.limits.output_tokens,
                usd_micros: self.limits.usd_micros,
                wall_ms: self.limits.wall_s.saturating_mul(1000),
            },
            now: milliseconds(self.now),
            extra: self.extra,
        }
    }
}

fn handed(handed: Handed) -> types::Handed {
    let (text, data, citations) = match handed.outcome {
        Outcome::Answer { text, data, citations, .. } | Outcome::Handoff { text, data, citations, .. } => (text, data, citations),
        Outcome::Reject { why, keep, suggested } => {
            let data = suggested.map(|id| serde_json::json!({ "suggested": id }).to_string());
            (if keep.is_empty() { why } else { format!("{why}\n\n{keep}") }, data, Vec::new())
        }
    };
    let citations = citations
        .into_iter()
        .map(|citation| types::Citation { ref_: citation.reference, subject: citation.subject, claim: citation.claim })
        .collect();
    types::Handed { agent: handed.agent, text, data, citations, tier: tier(handed.tier) }
}

/// Text without NUL, which not every store can keep.
pub(super) fn clean(text: String) -> String {
    if text.contains('\0') { text.replace('\0', "\u{fffd}") } else { text }
}

pub(super) fn outcome(outcome: wit::Outcome) -> Outcome {
    let cited = |citations: Vec<types::Citation>| {
        citations
            .into_iter()
            .map(|citation| Citation { reference: citation.ref_, subject: citation.subject, claim: citation.claim })
            .collect()
    };
    match outcome {
        wit::Outcome::Answer(answer) => {
            Outcome::Answer { text: clean(answer.text), data: answer.data, citations: cited(answer.citations), wrote: answer.wrote }
        }
        wit::Outcome::Handoff(handoff) => Outcome::Handoff {
            to: handoff.to,
            why: handoff.why,
            text: clean(handoff.text),
            data: handoff.data,
            citations: cited(handoff.citations),
        },
        wit::Outcome::Reject(rejection) => {
            Outcome::Reject { why: clean(rejection.why), suggested: rejection.suggested, keep: rejection.keep }
        }
    }
}

pub(super) fn manifest(manifest: wit::Manifest) -> Manifest {
    let (wants, limits) = (manifest.wants, manifest.limits);
    Manifest {
        id: manifest.id,
        name: manifest.name,
        emoji: manifest.emoji,
        version: manifest.version,
        purpose: manifest.purpose,
        mode: manifest.mode,
        local_only: manifest.local_only,
        class_floor: match manifest.class_floor {
            types::ActionClass::A => "a",
            types::ActionClass::B => "b",
            types::ActionClass::C => "c",
            types::ActionClass::D => "d",
        }
        .into(),
        wants: Wants {
            models: wants.models,
            tools: wants.tools,
            vault_read: wants.vault_read,
            vault_write: wants.vault_write,
            memory: wants.memory,
            approvals: wants.approvals,
            handoff: wants.handoff,
        },
        limits: Limits {
            memory_mib: limits.memory_mib.into(),
            cpu_ms: limits.cpu_ms.into(),
            wall_s: limits.wall_s.into(),
            host_calls: limits.host_calls.into(),
            output_tokens: limits.output_tokens,
            usd_micros: limits.usd_micros,
            journal_kib: limits.journal_kib.into(),
            log_kib: limits.log_kib.into(),
        },
        persona: manifest.persona,
        examples: manifest.examples,
        extra: manifest.extra,
    }
}
