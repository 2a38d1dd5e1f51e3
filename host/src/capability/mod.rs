//! What a guest can call: one file per WIT interface, and the one path that every call takes (`perform`).
//!
//! Knows nothing of HTTP, queues or leases but the number it writes under.

pub mod wit;

pub mod perform;

pub mod act;

mod approvals;

pub mod arguments;

mod caps;
mod clock;
mod consent;
mod draft;
mod learn;
mod limits;
mod listing;
mod live;
mod log;
mod model;
mod opening;
mod record;
mod rehearse;
mod replay;
mod schema;
mod secrets;
mod spans;
mod told;
mod tools;
mod vault;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use policy::approval::Question;
use policy::grant::Grant;
use policy::household::Allowed;
use policy::manifest::Manifest;
use policy::task::Timestamp;
use policy::tier::{Label, Labelled};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;
use wasmtime::component::{HasSelf, Linker, ResourceTable};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use crate::gateway::Gateway;
use crate::id;
use crate::markup::Links;
use crate::outbox::Outbox;
use crate::router::Router;
use crate::store::Db;
use crate::store::journal::{Past, Position};
use crate::telemetry::trace::{Place, Traces};
use crate::vault::Vault;

pub use act::Asker;
pub use caps::Caps;
pub use clock::{GuestClock, Stream};
pub(crate) use clock::{link_empty_wasi, link_no_time, link_own_time};
pub use draft::Draft;
pub use limits::{MOST_ELEMENTS, MOST_HANDLES, MOST_INSTANCES, MOST_MEMORIES, MOST_TABLES, Room, Spent};
pub use live::{Doing, Live, What};
pub(crate) use model::tier;
pub(crate) use opening::fingerprint;
pub use rehearse::{Ask, Beyond, Made};
pub use secrets::Secrets;
pub use told::told;

/// Length of one epoch: the grain of the CPU limit.
pub const TICK: Duration = Duration::from_millis(10);

/// What calls act on: cheap handles, built once.
#[derive(Clone)]
pub struct World {
    /// The database.
    pub db: Db,
    /// The operator's notes.
    pub vault: Vault,
    /// The way to models.
    pub router: Arc<Router>,
    /// The way to tools, if there is one.
    pub gateway: Option<Arc<Gateway>>,
    /// One permit for each guest that may execute at once.
    pub executing: Arc<Semaphore>,
    /// What may be spent.
    pub caps: Caps,
    /// Calls of the household that need no asking.
    pub allowed: Arc<Allowed>,
    /// Who is told, and how.
    pub outbox: Outbox,
    /// Where links in what agents write may lead.
    pub links: Links,
    /// What no run may see.
    pub secrets: Secrets,
    /// Who watches runs as they go.
    pub live: Live,
    /// Where spans go.
    pub traces: Traces,
}

impl World {
    fn gateway_at(&self, url: &str) -> Option<&Gateway> {
        self.gateway.as_deref().filter(|gateway| gateway.has(url))
    }

    /// Whether a server that tasks wait for answers at all.
    pub async fn answers(&self, url: &str) -> bool {
        match self.gateway_at(url) {
            Some(gateway) => gateway.answers(url).await,
            None => self.router.answers(url).await,
        }
    }

    /// Whether that server served any call of this host since then.
    #[must_use]
    pub fn served_since(&self, url: &str, since: Timestamp) -> bool {
        match self.gateway_at(url) {
            Some(gateway) => gateway.served_since(url, since),
            None => self.router.served_since(url, since),
        }
    }
}

/// Under which lease a run acts.
#[derive(Clone)]
pub struct Tenure {
    /// The fencing number.
    pub lease: i64,
    /// Until when it is surely held, by this machine's own clock; moves with every renewal.
    pub until: watch::Receiver<Instant>,
}

/// Who runs, how far, and what it has read: the state of one instance.
pub struct Hop {
    /// What calls act on.
    pub world: World,
    /// The effective grant.
    pub grant: Arc<Grant>,
    /// The component's digest.
    pub digest: String,
    /// Where the next call is journaled.
    pub at: Position,
    /// The calls that a resumed run has behind it, until it has passed them.
    pub past: BTreeMap<u32, Past>,
    /// How it goes on after them.
    pub beyond: Beyond,
    /// Since when it does again what it did before it was interrupted, until it has.
    pub replaying_since: Option<Timestamp>,
    /// Entries that are not on disk yet.
    pub draft: Draft,
    /// How often each call was made, by fingerprint.
    pub made: BTreeMap<String, u32>,
    /// Under which lease.
    pub tenure: Tenure,
    /// What the run has read so far.
    pub label: Label,
    /// What it has used of its limits.
    pub spent: Spent,
    /// Until when the whole run may last; moves while it waits for its turn.
    pub deadline: watch::Sender<Instant>,
    /// The time that the guest sees.
    pub clock: GuestClock,
    /// The last lines that it logged.
    pub last_lines: VecDeque<String>,
    /// The trace it belongs to.
    pub trace_id: String,
    /// Where its span stands: its calls hang below.
    pub span: Place,
    /// The agent's manner of working, for log lines.
    pub mode: String,
    /// From when to when the present call waited for its turn.
    pub queued: Option<(Timestamp, Timestamp)>,
    /// On whose behalf.
    pub asker: Asker,
    /// Whether an outage has kept its task until now.
    pub parked: bool,
    /// Set by a call that outlasted an epoch: the next tick is not the guest's.
    pub waited: bool,
    /// Held while the guest executes, given back while it waits.
    pub permit: Option<OwnedSemaphorePermit>,
    /// What it takes of this machine.
    pub room: Room,
    /// WASI with nothing in it.
    pub wasi: WasiCtx,
    /// Its handles.
    pub table: ResourceTable,
}

/// What a fresh instance starts from.
pub struct Start {
    /// What calls act on.
    pub world: World,
    /// The effective grant.
    pub grant: Arc<Grant>,
    /// The component's digest.
    pub digest: String,
    /// The agent's manner of working.
    pub mode: String,
    /// Where its input is journaled.
    pub at: Position,
    /// The calls that it has behind it.
    pub past: BTreeMap<u32, Past>,
    /// How it goes on after them.
    pub beyond: Beyond,
    /// Under which lease.
    pub tenure: Tenure,
    /// Its label at the start.
    pub label: Label,
    /// When it started.
    pub now: Timestamp,
    /// The trace it belongs to.
    pub trace_id: String,
    /// Where its span stands.
    pub span: Place,
    /// On whose behalf.
    pub asker: Asker,
    /// Whether an outage has kept its task until now.
    pub parked: bool,
}

/// Why the host ends a run from its side. The guest never sees it: it traps with this as the cause.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stop {
    /// A limit of the manifest.
    #[error("{0}")]
    Limit(String),
    /// Our own store is gone: no decision of anybody, and the lease brings the run back.
    #[error("the store does not answer: {0}")]
    Store(String),
    /// A server that the call needs does not answer.
    #[error("{said}")]
    Backend {
        /// What happened.
        said: String,
        /// The server.
        at: String,
        /// Whether it was asked; one that failed a moment ago is left alone.
        asked: bool,
    },
    /// A resumed run asked for something else than before.
    #[error("{0}")]
    Diverged(String),
    /// Others have every turn at a server.
    #[error("{at} is busy")]
    Busy {
        /// The server.
        at: String,
    },
    /// A cap of money allows no more for a while.
    #[error("{said}")]
    Budget {
        /// Which, and what is used of it.
        said: String,
        /// For how long, in milliseconds.
        pause: i64,
    },
    /// The guest sleeps for so long that it should not do so in memory.
    #[error("it sleeps for {pause} ms")]
    Asleep {
        /// Milliseconds.
        pause: i64,
    },
    /// A call was sent and never answered, and only a person may send it again.
    #[error("call {reference} was sent and its answer never came")]
    Unknown {
        /// The `ref` of the call.
        reference: String,
        /// `interface.function`.
        kind: String,
    },
    /// A call may not be made before a person has consented to it.
    #[error("call {reference} (`{to}`) waits for a person's consent")]
    Consent {
        /// The `ref` of the call.
        reference: String,
        /// Where it would go.
        to: String,
        /// What is asked.
        question: Box<Question>,
    },
    /// Another worker has the task.
    #[error("the lease is lost")]
    LeaseLost,
}

impl Hop {
    /// The state of a fresh instance, ready to execute.
    pub async fn new(start: Start) -> Self {
        let limits = *start.grant.limits();
        // The wall clock starts when the guest may: waiting for its turn is not billed to it.
        let permit = start.world.executing.clone().acquire_owned().await.ok();
        let replaying_since = start.past.values().any(|call| call.answer.is_some()).then(id::now);
        let draft = match start.beyond {
            Beyond::Live => Draft::new(start.world.db.clone(), &start.at.task, start.tenure.lease),
            Beyond::Stop(_) | Beyond::Ask(_) => Draft::thrown_away(start.world.db.clone()),
        };
        Self {
            world: start.world,
            grant: start.grant,
            digest: start.digest,
            at: start.at,
            past: start.past,
            beyond: start.beyond,
            replaying_since,
            draft,
            made: BTreeMap::new(),
            tenure: start.tenure,
            label: start.label,
            spent: Spent::default(),
            deadline: watch::Sender::new(Instant::now() + Duration::from_secs(limits.wall_s)),
            clock: GuestClock::starting(start.now),
            last_lines: VecDeque::new(),
            trace_id: start.trace_id,
            span: start.span,
            mode: start.mode,
            queued: None,
            asker: start.asker,
            parked: start.parked,
            waited: false,
            permit,
            room: Room::mib(limits.memory_mib),
            wasi: WasiCtx::default(),
            table: handles(),
        }
    }

    /// Remembers a line for the report of a crash, and says whether the log still has room.
    fn remember(&mut self, line: &str) -> Result<(), Stop> {
        const LAST: usize = 20;
        // What the host writes around a line counts too, so that empty lines are not free.
        const AROUND: u64 = 32;
        self.spent.log_bytes += line.len() as u64 + AROUND;
        let most = self.grant.limits().log_kib;
        if self.spent.log_bytes > most * 1024 {
            return Err(Stop::Limit(format!("log_kib = {most}: the agent logs more than that")));
        }
        if self.last_lines.len() == LAST {
            self.last_lines.pop_front();
        }
        // Not every store can keep a NUL, and they become part of an error.
        self.last_lines.push_back(line.replace('\0', "\u{fffd}"));
        Ok(())
    }

    /// Counts bytes that go into the journal.
    fn journaled(&mut self, bytes: usize) -> Result<(), Stop> {
        let most = self.grant.limits().journal_kib;
        self.spent.journal_bytes = self.spent.journal_bytes.saturating_add(bytes as u64);
        if self.spent.journal_bytes > most.saturating_mul(1024) {
            return Err(Stop::Limit(format!("journal_kib = {most}: the agent asks or is told more than that")));
        }
        Ok(())
    }

    /// Whether it only does again what it did before it was interrupted.
    pub fn replays(&self) -> bool {
        self.past.values().any(|call| call.answer.is_some())
    }

    /// Text of this run, under its label.
    pub fn labelled(&self, text: String) -> Labelled<String> {
        Labelled::new(self.label, text)
    }

    /// Milliseconds that are left of the wall clock limit.
    pub fn wall_left(&self) -> u64 {
        u64::try_from(self.deadline.borrow().saturating_duration_since(Instant::now()).as_millis()).unwrap_or(u64::MAX)
    }

    /// Stops the wall clock; what was left of it.
    fn freeze(&mut self) -> Duration {
        const FAR: Duration = Duration::from_secs(365 * 24 * 3600);
        let left = self.deadline.borrow().saturating_duration_since(Instant::now());
        self.deadline.send_replace(Instant::now() + FAR);
        left
    }

    /// Lets the wall clock go on with what was left.
    fn thaw(&mut self, left: Duration) {
        self.deadline.send_replace(Instant::now() + left);
    }
}

/// An empty table of handles, with an end.
pub(crate) fn handles() -> ResourceTable {
    let mut table = ResourceTable::new();
    table.set_max_capacity(MOST_HANDLES);
    table
}

impl WasiView for Hop {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

/// Links what the manifest asks for (and so its operator grants) and WASI with nothing in it. What is not linked is absent: a
/// component that imports it does not load.
///
/// # Errors
/// If the linker refuses a name twice, which is a mistake of this program.
pub fn link(linker: &mut Linker<Hop>, manifest: &Manifest) -> wasmtime::Result<()> {
    use wit::homeaiops::agent;

    clock::link_empty_wasi(linker)?;
    clock::link_time(linker)?;
    agent::types::add_to_linker::<Hop, HasSelf<Hop>>(linker, |hop| hop)?;
    agent::log::add_to_linker::<Hop, HasSelf<Hop>>(linker, |hop| hop)?;
    if !manifest.wants.models.is_empty() {
        agent::model::add_to_linker::<Hop, HasSelf<Hop>>(linker, |hop| hop)?;
    }
    if manifest.wants.approvals {
        agent::approvals::add_to_linker::<Hop, HasSelf<Hop>>(linker, |hop| hop)?;
    }
    if !manifest.wants.tools.is_empty() {
        agent::tools::add_to_linker::<Hop, HasSelf<Hop>>(linker, |hop| hop)?;
    }
    if !(manifest.wants.vault_read.is_empty() && manifest.wants.vault_write.is_empty()) {
        agent::vault::add_to_linker::<Hop, HasSelf<Hop>>(linker, |hop| hop)?;
    }
    Ok(())
}
