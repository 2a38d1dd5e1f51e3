//! What a random sequence is made of, what each move is answered, and what can be seen after it. Nothing here knows a database.

use std::collections::BTreeMap;

use policy::task::Priority;
use policy::tier::Label;
use proptest::prelude::*;
use proptest::sample::select;

/// How long a lease holds without a renewal, in milliseconds.
pub const LEASE: i64 = 30_000;

/// What somebody does.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    Enqueue {
        priority: Priority,
        ttl_s: Option<i64>,
        key: Option<u8>,
        body: u8,
    },
    Lease,
    Beat,
    Settle {
        how: How,
        restricted: bool,
    },
    Start,
    Resume,
    /// Writes an intent: at the next place of the run, or at its last one again.
    Intend {
        again: bool,
    },
    /// Writes an entry with its answer.
    Record {
        again: bool,
    },
    Cancel,
    Retry,
    Pass {
        ms: i64,
    },
    Rescue,
    Expire,
    /// A host dies and starts again; whoever sees it first gives its tasks back.
    Crash,
}

/// What a worker makes of its lease; times are milliseconds from now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum How {
    Done,
    Retry(i64),
    Park(i64),
    Release(i64),
    Failed,
    NextHop,
}

/// A move as drawn: whose it is follows from what there is by then.
#[derive(Clone, Debug)]
pub struct Draw {
    /// Which of those that come into question, counted from the newest.
    pub pick: usize,
    /// Under a lease that is held, or under one that is lost; if there is none of that kind, under any.
    pub live: bool,
    pub what: What,
}

pub fn draws() -> impl Strategy<Value = Vec<Draw>> {
    let draw = (0_usize..5, prop::bool::weighted(0.6), what()).prop_map(|(pick, live, what)| Draw { pick, live, what });
    prop::collection::vec(draw, 60..120)
}

fn what() -> impl Strategy<Value = What> {
    let priority = select(Priority::ALL);
    let ttl_s = prop_oneof![1 => Just(None), 1 => select(&[2, 40, 900][..]).prop_map(Some)];
    let key = prop_oneof![1 => Just(None), 1 => (0_u8..3).prop_map(Some)];
    let enqueue = (priority, ttl_s, key, 0_u8..2);
    let settle = (how(), prop::bool::weighted(0.4));
    prop_oneof![
        4 => enqueue.prop_map(|(priority, ttl_s, key, body)| What::Enqueue { priority, ttl_s, key, body }),
        9 => Just(What::Lease),
        3 => Just(What::Beat),
        9 => settle.prop_map(|(how, restricted)| What::Settle { how, restricted }),
        4 => Just(What::Start),
        1 => Just(What::Resume),
        2 => any::<bool>().prop_map(|again| What::Intend { again }),
        3 => any::<bool>().prop_map(|again| What::Record { again }),
        1 => Just(What::Cancel),
        3 => Just(What::Retry),
        4 => select(&[1, 900, 20_000, 20_000, 31_000, 700_000, 1_900_000][..]).prop_map(|ms| What::Pass { ms }),
        2 => Just(What::Rescue),
        2 => Just(What::Expire),
        1 => Just(What::Crash),
    ]
}

fn how() -> impl Strategy<Value = How> {
    let later = || select(&[0, 1_000, 600_000][..]);
    prop_oneof![
        1 => Just(How::Done),
        2 => later().prop_map(How::Retry),
        3 => later().prop_map(How::Park),
        2 => later().prop_map(How::Release),
        1 => Just(How::Failed),
        2 => Just(How::NextHop),
    ]
}

/// A move with everything that it names.
#[derive(Clone, Debug)]
pub struct Move {
    /// Its number in the sequence.
    pub step: usize,
    pub now: i64,
    pub what: What,
    /// Which host does it, or dies.
    pub host: usize,
    /// The task that it is about; the new id if it enqueues.
    pub task: String,
    /// The lease under which it is made: any that was ever given.
    pub lease: i64,
    /// Where the task's run stands: hop, run, and the place of the entry.
    pub at: (u32, u32, u32),
    /// The label that the task has reached.
    pub label: Label,
}

impl Move {
    /// Words that stand in everything that the move writes.
    pub fn mark(&self) -> String {
        format!("step {}", self.step)
    }

    /// Whether it is made by a worker, under a lease.
    pub fn leased(&self) -> bool {
        matches!(
            self.what,
            What::Beat | What::Settle { .. } | What::Start | What::Resume | What::Intend { .. } | What::Record { .. }
        )
    }
}

/// What a move is answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    Nothing,
    /// The task that was enqueued, or that its key stands for; none if the key stands for another body.
    Task(Option<String>),
    Lease(Option<(String, i64)>),
    /// Whether anything was changed.
    Held(bool),
    Run(Option<u32>),
    Count(u64),
    Ids(Vec<String>),
}

impl Answer {
    /// Whether it says that nothing was changed.
    pub fn refuses(&self) -> bool {
        matches!(self, Self::Held(false) | Self::Run(None))
    }

    /// Yes or no, for the list of what was reached.
    pub fn kind(&self) -> &'static str {
        let yes = match self {
            Self::Nothing => return "",
            Self::Task(task) => task.is_some(),
            Self::Lease(lease) => lease.is_some(),
            Self::Held(held) => *held,
            Self::Run(run) => run.is_some(),
            Self::Count(count) => *count > 0,
            Self::Ids(ids) => !ids.is_empty(),
        };
        if yes { "yes" } else { "no" }
    }
}

/// Everything that can be seen, by id.
pub type Seen = BTreeMap<String, Task>;

/// A task, as everybody sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    pub status: String,
    pub attempts: u32,
    pub label: Label,
    pub started_at: Option<i64>,
    pub finished_at: Option<i64>,
    pub output: Option<String>,
    pub error: Option<(String, String)>,
    pub waits_for: Option<String>,
    pub parked_at: Option<i64>,
    pub troubles: u32,
    pub hops: Vec<Hop>,
    /// By hop, run and place.
    pub journal: BTreeMap<(u32, u32, u32), Entry>,
}

impl Task {
    pub fn ended(&self) -> bool {
        matches!(self.status.as_str(), "done" | "failed" | "cancelled" | "expired")
    }

    pub fn waits(&self) -> bool {
        matches!(self.status.as_str(), "pending" | "awaiting_backend" | "awaiting_approval")
    }

    /// Every text in it that some move wrote.
    pub fn texts(&self) -> impl Iterator<Item = &String> {
        let own = [self.output.as_ref(), self.error.as_ref().map(|(_, text)| text), self.waits_for.as_ref()];
        let hops = self.hops.iter().filter_map(|hop| hop.said.as_ref());
        let journal = self.journal.values().flat_map(|entry| [Some(&entry.request), entry.answer.as_ref()].into_iter().flatten());
        own.into_iter().flatten().chain(hops).chain(journal)
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Hop {
    pub status: String,
    pub run: u32,
    pub lease: i64,
    /// Its outcome, or why it failed.
    pub said: Option<String>,
    pub finished_at: Option<i64>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub state: String,
    pub request: String,
    pub answer: Option<String>,
}
