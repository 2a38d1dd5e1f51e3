//! The words for work: who asked, for what, how urgent, how it ended.

use serde::{Deserialize, Serialize};

use crate::tier::Tier;

/// Milliseconds since the epoch, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// That many milliseconds later.
    #[must_use]
    pub fn plus(self, milliseconds: i64) -> Self {
        Self(self.0.saturating_add(milliseconds))
    }

    /// Milliseconds since `earlier`; negative if it is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// A closed set of words: the enum, its name in JSON, configuration and store, and the way back.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$word_doc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name { $($(#[$word_doc])* #[serde(rename = $word)] $variant),+ }

        impl $name {
            /// Every word, in the order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word as written in JSON, configuration and the store.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            /// The variant of that word, if there is one.
            #[must_use]
            pub fn named(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|one| one.as_str() == word)
            }
        }
    };
}
pub(crate) use words;

words! {
    /// The surface that a request came through.
    Source {
        /// Home Assistant's voice pipeline.
        Voice = "voice",
        /// A Zulip message.
        Zulip = "zulip",
        /// A text message.
        Text = "text",
        /// An investigation by HolmesGPT.
        Holmesgpt = "holmesgpt",
        /// A test.
        Test = "test",
        /// Open WebUI.
        Openwebui = "openwebui",
        /// The command line.
        Cli = "cli",
        /// Claude Code.
        ClaudeCode = "claude-code",
        /// A schedule.
        Scheduled = "scheduled",
    }
}

words! {
    /// What set the request off, behind its surface.
    Origin {
        /// Open WebUI.
        OpenWebui = "open-webui",
        /// Home Assistant's voice pipeline.
        HaVoice = "ha-voice",
        /// A phone.
        Android = "android",
        /// A watcher.
        Observer = "observer",
        /// A schedule.
        Scheduled = "scheduled",
        /// A person.
        Manual = "manual",
    }
}

words! {
    /// What the requester wants done with the content.
    Intent {
        /// An answer.
        Question = "question",
        /// A change in the world.
        Action = "action",
        /// Findings with sources.
        Research = "research",
        /// A note.
        Note = "note",
        /// A bug written down.
        Bug = "bug",
        /// An idea written down.
        Idea = "idea",
        /// To be reminded.
        Reminder = "reminder",
    }
}

words! {
    /// How urgent a task is; higher is leased first.
    Priority {
        /// When there is time.
        Low = "low",
        /// As it comes.
        Normal = "normal",
        /// Before the rest.
        High = "high",
        /// Now.
        Urgent = "urgent",
    }
}

words! {
    /// What a requester is to this house.
    Role {
        /// Runs it; sees everything.
        Operator = "operator",
        /// Lives in it; sees up to `internal`.
        Household = "household",
        /// A machine of the house.
        System = "system",
    }
}

words! {
    /// Where a task stands.
    Status {
        /// Waits for a worker.
        Pending = "pending",
        /// Is being worked on.
        Running = "running",
        /// Waits for a human.
        AwaitingApproval = "awaiting_approval",
        /// Waits for a model or tool server.
        AwaitingBackend = "awaiting_backend",
        /// Ended with a report.
        Done = "done",
        /// Ended without one.
        Failed = "failed",
        /// Ended by a person.
        Cancelled = "cancelled",
        /// Ended by its time to live.
        Expired = "expired",
    }
}

words! {
    /// Where a todo stands.
    TodoStatus {
        /// To be done.
        Open = "open",
        /// It was done.
        Done = "done",
        /// It will not be done.
        Dropped = "dropped",
    }
}

words! {
    /// Where a question to a person stands.
    ApprovalStatus {
        /// Waits for an answer.
        Open = "open",
        /// Was answered.
        Decided = "decided",
        /// Needs no answer any more: its task was cancelled, or expired.
        Closed = "closed",
    }
}

words! {
    /// What a person says to a question: to one before a call the first three, of a call that may or may not have happened the others.
    Reaction {
        /// The call may be made.
        Approve = "approve",
        /// It may not.
        Reject = "reject",
        /// Ask again later.
        Defer = "defer",
        /// Make it again: twice does no harm.
        Retry = "retry",
        /// It has happened, and this is what it answered.
        Done = "done",
        /// Give the task up.
        Fail = "fail",
    }
}

words! {
    /// Why a task did not end well. Stable: other programs rely on it.
    ErrorCode {
        /// Every attempt that its retry policy allows has failed.
        AttemptsExhausted = "attempts_exhausted",
        /// Its time to live passed before it was done.
        TtlExpired = "ttl_expired",
        /// Nobody answered its approval in time.
        ApprovalExpired = "approval_expired",
        /// The operator said no.
        ApprovalDenied = "approval_denied",
        /// An agent crashed inside its sandbox.
        AgentTrapped = "agent_trapped",
        /// An agent ran into a limit of its manifest.
        LimitExceeded = "limit_exceeded",
        /// A money cap was reached.
        BudgetExceeded = "budget_exceeded",
        /// A rule forbids it.
        Denied = "denied",
        /// A resumed run did something else than before.
        ReplayDivergence = "replay_divergence",
        /// A server that it needs does not answer.
        BackendUnavailable = "backend_unavailable",
        /// An agent ended with an outcome that makes no sense.
        InvalidOutcome = "invalid_outcome",
        /// A person cancelled it.
        Cancelled = "cancelled",
    }
}

/// How often and how fast a failed hop is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetryPolicy {
    /// Failed runs of one hop after which the task fails; at least 1.
    pub max_attempts: u32,
    /// Pause after the first failure, doubled with each further one.
    pub backoff_seconds: u32,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { max_attempts: 3, backoff_seconds: 0 }
    }
}

/// Points at a host call of this task that a claim rests on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Citation {
    /// The `ref` that the call returned.
    #[serde(rename = "ref")]
    pub reference: String,
    /// What the claim is about.
    pub subject: String,
    /// The claim.
    pub claim: String,
}

/// How a hop ended, in the agent's own words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Outcome {
    /// The work is done; the reporter says so.
    Answer {
        /// For the reporter.
        text: String,
        /// JSON, if the agent had a structured outcome.
        data: Option<String>,
        /// What the claims rest on.
        citations: Vec<Citation>,
        /// Paths that the agent says it wrote.
        wrote: Vec<String>,
    },
    /// Another agent should go on.
    Handoff {
        /// Its id.
        to: String,
        /// Why that one.
        why: String,
        /// For the next agent.
        text: String,
        /// JSON, if the agent had a structured outcome.
        data: Option<String>,
        /// What the claims rest on.
        citations: Vec<Citation>,
    },
    /// Not this agent's work.
    Reject {
        /// Why not.
        why: String,
        /// Who might.
        suggested: Option<String>,
        /// What should not get lost.
        keep: String,
    },
}

impl Outcome {
    /// `answer`, `handoff` or `reject`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Answer { .. } => "answer",
            Self::Handoff { .. } => "handoff",
            Self::Reject { .. } => "reject",
        }
    }
}

/// What a former hop hands to the next one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handed {
    /// Who hands it over.
    pub agent: String,
    /// How that hop ended.
    pub outcome: Outcome,
    /// The label it had then.
    pub tier: Tier,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_apart_by_milliseconds() {
        let (early, late) = (Timestamp(1_000), Timestamp(1_250));
        assert_eq!((early.plus(250), late.plus(-250)), (late, early));
        assert_eq!((late.since(early), early.since(late)), (250, -250));
        assert_eq!(Timestamp(i64::MAX).plus(1), Timestamp(i64::MAX));
    }

    #[test]
    fn an_outcome_has_a_word() {
        let answer = Outcome::Answer { text: String::new(), data: None, citations: Vec::new(), wrote: Vec::new() };
        let (to, why, text) = (String::new(), String::new(), String::new());
        let handoff = Outcome::Handoff { to, why, text, data: None, citations: Vec::new() };
        let reject = Outcome::Reject { why: String::new(), suggested: None, keep: String::new() };
        assert_eq!([answer.kind(), handoff.kind(), reject.kind()], ["answer", "handoff", "reject"]);
    }

    #[test]
    fn words_are_read_as_they_are_written() {
        for word in Source::ALL {
            assert_eq!(Source::named(word.as_str()), Some(*word));
        }
        assert_eq!((Source::named("CLI"), Source::named("")), (None, None));
    }
}
