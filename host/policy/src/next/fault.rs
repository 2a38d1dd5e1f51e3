//! Why a hop did not reach an outcome, and whether it only rests.

use crate::approval::Question;

/// Why a hop did not reach an outcome.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The guest crashed; the text ends with its last log lines.
    #[error("agent trapped: {0}")]
    Trapped(String),
    /// The agent itself gave up, and says why.
    #[error("{0}")]
    GaveUp(String),
    /// A limit of the manifest.
    #[error("limit exceeded: {0}")]
    Limit(String),
    /// An outcome that makes no sense.
    #[error("invalid outcome: {0}")]
    Outcome(String),
    /// The hop may not run.
    #[error("denied: {0}")]
    Denied(String),
    /// A server that it needs does not answer.
    #[error("backend unavailable: {said}")]
    Backend {
        /// What happened.
        said: String,
        /// The server.
        at: String,
        /// Whether it was asked; one that failed a moment ago is left alone.
        asked: bool,
    },
    /// A resumed run asked for something else than before.
    #[error("replay divergence: {0}")]
    Diverged(String),
    /// The agent itself is not loaded.
    #[error("agent unavailable: {0}")]
    Away(String),
    /// Others have every turn at a server.
    #[error("busy: {at} serves others")]
    Busy {
        /// The server.
        at: String,
    },
    /// A cap of money allows no more for a while.
    #[error("budget exceeded: {said}")]
    Budget {
        /// Which cap, and what is used of it.
        said: String,
        /// Until it allows more, in milliseconds.
        pause: i64,
    },
    /// It sleeps: no fault, but the run rests meanwhile.
    #[error("asleep for {pause} ms")]
    Asleep {
        /// Until it wakes, in milliseconds.
        pause: i64,
    },
    /// A call was sent and never answered, and must not be sent again by anybody but a person.
    #[error("call {reference} (`{kind}`) was sent and its answer never came: it may or may not have happened")]
    Unknown {
        /// The `ref` of the call.
        reference: String,
        /// `interface.function`.
        kind: String,
    },
    /// A call may not be made before a person has consented to it.
    #[error("call {reference} of `{}` (`{to}`, class {}) waits for a person's consent", question.binding.agent, question.class.as_str())]
    Consent {
        /// The `ref` of the call.
        reference: String,
        /// Where it would go.
        to: String,
        /// What is asked.
        question: Box<Question>,
    },
    /// So many hosts have died on it in a row.
    #[error("its host died {0} times in a row while it worked on this, and each time nothing new had happened")]
    Crashed(u32),
}

impl Fault {
    /// Whether the run only rests: it will go on where it was.
    #[must_use]
    pub fn rests(&self) -> bool {
        match self {
            Self::Backend { .. }
            | Self::Busy { .. }
            | Self::Budget { .. }
            | Self::Asleep { .. }
            | Self::Unknown { .. }
            | Self::Consent { .. } => true,
            Self::Trapped(_)
            | Self::GaveUp(_)
            | Self::Limit(_)
            | Self::Outcome(_)
            | Self::Denied(_)
            | Self::Diverged(_)
            | Self::Away(_)
            | Self::Crashed(_) => false,
        }
    }
}
