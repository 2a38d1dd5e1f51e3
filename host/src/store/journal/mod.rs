//! What each run asked, what it was told, and under which label. Append-only but for the answer of an entry that
//! was started, or asked about.

mod payload;
mod read;
mod write;

use policy::call::Effect;
use policy::task::Timestamp;
use policy::tier::Label;

use super::StoreError;
use super::artefacts::{Artefact, Wrote};
use super::ledger::{Bill, OverCap, Reservation};

pub(super) use payload::get as text;
pub use read::{Behind, Entry, Past, asked, behind, calls, served, timeline};
pub(crate) use write::within;
pub use write::write;

/// Where an entry stands: the journal's key. `seq` 0 is the run's input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// The task.
    pub task: String,
    /// Its hop.
    pub hop: u32,
    /// The run of that hop.
    pub run: u32,
    /// The call of that run.
    pub seq: u32,
}

impl Position {
    /// The `ref` by which agents cite a call of their task.
    #[must_use]
    pub fn reference(&self) -> String {
        format!("{}.{}.{}", self.hop, self.run, self.seq)
    }

    /// Where a `ref` of that task points.
    ///
    /// # Errors
    /// [`StoreError::Unreadable`] if it is none of ours.
    pub fn cited(task: &str, reference: &str) -> Result<Self, StoreError> {
        let numbers: Result<Vec<u32>, _> = reference.split('.').map(str::parse).collect();
        match numbers.as_deref() {
            Ok([hop, run, seq]) => Ok(Self { task: task.to_owned(), hop: *hop, run: *run, seq: *seq }),
            Ok(_) | Err(_) => Err(StoreError::Unreadable(format!("reference `{reference}` of task {task}"))),
        }
    }
}

/// What is known when an entry is opened.
#[derive(Clone, Debug)]
pub struct Opening {
    /// Where.
    pub at: Position,
    /// The lease under which the call is made.
    pub lease: i64,
    /// `interface.function`.
    pub kind: &'static str,
    /// Of kind and canonical request.
    pub fingerprint: String,
    /// Canonical JSON.
    pub request: String,
    /// The label before the call.
    pub label: Label,
    /// What a crash in its middle means.
    pub effect: Effect,
    /// When it was made.
    pub started_at: Timestamp,
}

/// What is known when it is closed.
#[derive(Clone, Debug)]
pub struct Closing {
    /// `done`, `failed` or `denied`.
    pub state: &'static str,
    /// JSON of the result or the refusal.
    pub answer: String,
    /// JSON: the destinations tried.
    pub tries: String,
    /// The one that answered.
    pub destination: Option<String>,
    /// The label after the call.
    pub label: Label,
    /// What a model used.
    pub usage: Option<Usage>,
    /// What becomes of the money that was reserved for it, or that it was free.
    pub bill: Option<Bill>,
    /// The file that was written.
    pub wrote: Option<Wrote>,
    /// When it answered.
    pub finished_at: Timestamp,
}

/// What a model call used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// The model that served.
    pub model: String,
    /// Tokens read.
    pub input: u64,
    /// Tokens written.
    pub output: u64,
    /// Millionths of a US dollar.
    pub usd_micros: u64,
}

/// What a run writes. Several are one transaction, in order.
#[derive(Clone, Debug)]
pub enum Write {
    /// A run of a hop starts, under the number that its position says, pinned to a component.
    Start {
        /// Where.
        at: Position,
        /// The component.
        digest: String,
        /// When.
        started_at: Timestamp,
    },
    /// A run that was interrupted goes on.
    Resume(Position),
    /// A call is about to be sent: the content of the file that it is about, and what is reserved for it.
    Intent(Opening, Option<Artefact>, Option<Reservation>),
    /// A call may not be made before a person has consented to it.
    Asked(Opening),
    /// The consent of that approval is used up by the call whose intent is written with it.
    Spend(String, Timestamp),
    /// A call with its answer; one that was started is closed by it.
    Entry(Opening, Closing),
    /// What becomes of the money that was reserved for a call which has no answer, and when.
    Bill(Position, Bill, Timestamp),
}

/// What became of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written {
    /// It is on disk.
    Yes,
    /// The lease is not held any more: nothing was written.
    Taken,
    /// A cap does not allow a reservation: all but the intents were written.
    Over(OverCap),
}
