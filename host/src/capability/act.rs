//! What a capability is to the path that every call takes: where a call could go, what it could cost, and its effect.

use opentelemetry::trace::SpanKind;
use policy::approval::Undoing;
use policy::call::{Call, CallError, Effect};
use policy::class::Class;
use policy::denied::Denied;
use policy::grant::Grant;
use policy::judge::{Destination, Granted};
use policy::task::{Role, Timestamp};
use policy::tier::{Clearance, Label, Tier};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::OwnedSemaphorePermit;

pub use super::spans::Seen;
use super::{Stop, World};
use crate::store::StoreError;
use crate::store::artefacts::{Artefact, Wrote};
use crate::store::journal::{Position, Usage};

/// A call that this host can act on: its destinations and its effect.
pub trait Act: Call {
    /// What a success answers.
    type Answer: Serialize + DeserializeOwned + Send;

    /// What must be known of the world outside before this call can be judged.
    fn learn(&mut self, _world: &World, _grant: &Grant, _asker: &Asker) -> impl Future<Output = Result<(), Stop>> + Send {
        async { Ok(()) }
    }

    /// Step 2, for this call: where it could go, best first.
    fn destinations(&self, world: &World, grant: &Grant) -> Result<Vec<Destination>, Denied>;

    /// Step 5, for this call: whether a person must consent to it first.
    ///
    /// # Errors
    /// The refusal of one that would have to be asked about where nobody can be asked.
    fn consent(&self, _world: &World, _by: &By<'_>) -> Result<Need, Denied> {
        Ok(Need::Nothing)
    }

    /// The most that it can use of a run's budget at one destination.
    fn bound(&self, _world: &World, _destination: &Destination) -> Bound {
        Bound::default()
    }

    /// What a crash in its middle means.
    fn effect(&self, _world: &World, _destination: &Destination) -> Effect {
        Effect::None
    }

    /// The file whose content must be known on disk before the effect, beside the intent itself.
    fn prepare(&self, _world: &World, _who: &Who) -> impl Future<Output = Result<Option<Artefact>, Failed>> + Send {
        async { Ok(None) }
    }

    /// Its turn at a server that serves so many at once, held during the effect.
    fn turn(_world: &World, _granted: &Granted<Self>) -> impl Future<Output = Result<Option<OwnedSemaphorePermit>, Failed>> + Send {
        async { Ok(None) }
    }

    /// How it looks in a trace; `destination` is the one that answered, if one did.
    fn seen(&self, _world: &World, _destination: Option<&str>) -> Seen {
        Seen { name: Self::KIND.into(), kind: SpanKind::Internal, facts: Vec::new() }
    }

    /// Step 8, for this call.
    fn act(world: World, granted: Granted<Self>, who: Who) -> impl Future<Output = Result<Reply<Self::Answer>, Failed>> + Send;
}

/// On whose behalf a run works.
#[derive(Clone, Debug)]
pub struct Asker {
    /// Who.
    pub requester: String,
    /// What they are to the house.
    pub role: Role,
}

/// Whose call it is that may need consent.
pub struct By<'h> {
    /// The effective grant.
    pub grant: &'h Grant,
    /// What the run has read.
    pub label: Label,
    /// On whose behalf.
    pub asker: &'h Asker,
}

/// Whether a person must consent to a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Need {
    /// Nobody is asked.
    Nothing,
    /// Somebody is.
    Consent(Asked),
}

/// What a person is asked, before it is bound to a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The class of the call.
    pub class: Class,
    /// Why it has that class.
    pub because: String,
    /// Why its agent makes it.
    pub why: String,
    /// How it is undone.
    pub undo: Option<Undoing>,
    /// What it costs, in millionths of a US dollar.
    pub usd_micros: Option<u64>,
}

/// What a call can use of a run's budget.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bound {
    /// Tokens that a model may write.
    pub output_tokens: u64,
    /// Millionths of a US dollar.
    pub usd_micros: u64,
}

/// Who acts: for files and filters.
#[derive(Clone)]
pub struct Who {
    /// Where the call stands in the journal.
    pub at: Position,
    /// The component.
    pub digest: String,
    /// The label before the call.
    pub label: Label,
    /// The effective grant.
    pub grant: std::sync::Arc<Grant>,
    /// Whether an outage has kept its task until now.
    pub parked: bool,
    /// Under which its receiver knows the call, however often it is sent.
    pub key: String,
    /// When the call was first made: it may have been interrupted since.
    pub first_at: Timestamp,
}

/// A successful effect.
pub struct Reply<A> {
    /// What the agent is told.
    pub answer: A,
    /// The tier of it: the run rises to this.
    pub tier: Tier,
    /// What a model used.
    pub usage: Option<Usage>,
    /// The file that was written.
    pub wrote: Option<Wrote>,
}

/// An effect that did not succeed.
#[derive(Debug)]
pub enum Failed {
    /// The other side's answer: the agent is told.
    Told(CallError),
    /// A server is in trouble: the next destination, or the run waits.
    Backend {
        /// What happened.
        said: String,
        /// The server.
        at: String,
        /// Whether it was asked; one that failed a moment ago is left alone.
        asked: bool,
    },
    /// Others have every turn at a server: the run waits outside of memory.
    Busy {
        /// The server.
        at: String,
    },
    /// The guest sleeps for so long that it should not do so in memory.
    Asleep {
        /// Milliseconds.
        pause: i64,
    },
    /// It was sent and is not repeatable, and its answer never came.
    Unknown(String),
    /// The same, and the other side may charge for it.
    Charged(Box<Failed>),
    /// The run's wall clock ran out meanwhile: the run ends.
    Overdue,
    /// Our own store: the run ends, and nobody is told a decision that nobody made.
    Store(StoreError),
}

impl Failed {
    /// What it is, and whether the other side may charge for it: surely not only if that is known.
    #[must_use]
    pub fn apart(self) -> (Self, bool) {
        match self {
            Self::Charged(failed) => (failed.apart().0, true),
            Self::Overdue => (self, true),
            Self::Told(_) | Self::Backend { .. } | Self::Busy { .. } | Self::Asleep { .. } | Self::Unknown(_) | Self::Store(_) => {
                (self, false)
            }
        }
    }
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// What a call answers, and the `ref` by which the agent can cite it.
pub struct Told<A> {
    /// The `ref`.
    pub reference: String,
    /// The answer.
    pub answer: A,
    /// The run's label after it.
    pub label: Label,
    /// The destination that answered.
    pub destination: String,
    /// What a model used.
    pub usage: Option<Usage>,
}

/// Whether the run may read data of that tier, by its agent's clearance.
#[must_use]
pub fn readable(grant: &Grant, tier: Tier) -> bool {
    Clearance(grant.clearance()).admits(tier)
}
