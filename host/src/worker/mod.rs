//! Permit → lease → hops → settle, until told to drain.
//!
//! One lease covers a task until it parks or ends; its hops settle inside it. Nothing is held while a hop waits for the world but
//! the lease and the place in memory.

mod evidence;
mod hop;
mod input;
mod lease;
mod settle;
mod spans;
mod sweep;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use policy::next::{Ended, Fault, MOST_CRASHES, Step, next, sensible};
use policy::task::{ErrorCode, Outcome};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::capability::World;
use crate::fleet::Fleet;
use crate::metrics::{self, name};
use crate::store::leases::{self, Settlement};
use crate::store::tasks::{self, Leased, Trouble};
use crate::store::{StoreError, effects, hops, ledger};
use crate::{fault, id};

use evidence::Marks;
pub use input::Input;
use settle::{Finished, Settled, settle};

/// How often the queue is looked at when nothing rings.
const POLL: Duration = Duration::from_secs(1);
/// How long a task rests after it was interrupted by a trouble of our own, in milliseconds.
const PAUSE: i64 = 5_000;

/// What a worker needs.
#[derive(Clone)]
pub struct Worker {
    /// What calls act on.
    pub world: World,
    /// Which agents there are.
    pub fleet: Arc<Fleet>,
    /// Runs in memory at once.
    pub in_flight: usize,
    /// How long running hops may go on after the drain began.
    pub grace: Duration,
}

impl Worker {
    /// Works until `drain` is cancelled; then leases nothing more and gives running hops their grace. Tasks that are still running
    /// after that go back to the queue as they were.
    pub async fn run(self, drain: CancellationToken) {
        let room = Arc::new(Semaphore::new(self.in_flight));
        let mut running = JoinSet::new();
        let sweeping = tokio::spawn(drain.clone().run_until_cancelled_owned(self.clone().sweep()));
        // A permit is taken before a lease: a task that is leased is worked on at once.
        while let Some(Ok(permit)) = drain.run_until_cancelled(room.clone().acquire_owned()).await {
            while running.try_join_next().is_some() {}
            let Some((leased, since)) = drain.run_until_cancelled(self.leased()).await else { break };
            let worker = self.clone();
            running.spawn(async move { worker.work(leased, since, permit).await });
        }
        fault::point("draining").await;
        if tokio::time::timeout(self.grace, async { while running.join_next().await.is_some() {} }).await.is_err() {
            tracing::warn!(event = "drain_overdue", left = running.len(), "{} hops did not end in time", running.len());
            running.shutdown().await;
            if let Err(error) = leases::give_back_all(&self.world.db, id::now()).await {
                tracing::error!(event = "store_unavailable", %error, "hops that did not end in time wait for the next start: {error}");
            }
        }
        // It ends with the drain; how is nothing to anybody.
        let _ = sweeping.await;
    }

    /// The next task, waiting for it, and the moment before it was leased.
    async fn leased(&self) -> (Leased, Instant) {
        loop {
            // Registered before the look, so that a task that comes between the two is not slept over.
            let due = self.world.db.bell().due();
            let rung = due.notified();
            tokio::pin!(rung);
            rung.as_mut().enable();
            let since = Instant::now();
            match self.take().await {
                Ok(Ok(leased)) => return (leased, since),
                Ok(Err(pause)) => {
                    let _ = tokio::time::timeout(pause, rung).await;
                }
                Err(error) => {
                    tracing::error!(event = "store_unavailable", %error, "the queue cannot be read: {error}");
                    tokio::time::sleep(POLL).await;
                }
            }
        }
    }

    /// A task that is due, or how long to wait before the next look.
    async fn take(&self) -> Result<Result<Leased, Duration>, StoreError> {
        let now = id::now();
        let look = leases::look(&self.world.db, now).await?;
        if !look.ready || self.world.vault.paused() {
            let until_next = look.next.filter(|next| *next > now).map_or(i64::MAX, |next| next.since(now));
            return Ok(Err(POLL.min(Duration::from_millis(u64::try_from(until_next).unwrap_or(u64::MAX)))));
        }
        // Of this moment: what came since the look may be more urgent than what was seen.
        let now = id::now();
        let leased = leases::lease(&self.world.db, now, now.plus(lease::LENGTH)).await?;
        Ok(leased.ok_or(POLL))
    }

    /// Works on one task for as long as its lease is held.
    async fn work(self, leased: Leased, since: Instant, _place: OwnedSemaphorePermit) {
        let Leased { task, lease, due_at } = &leased;
        #[expect(clippy::cast_precision_loss, reason = "milliseconds of waiting")]
        metrics::observe(name::CLAIM_SECONDS, id::now().since(*due_at) as f64 / 1000.0, &[]);
        let began = id::now();
        spans::waited(&self.world.traces, &leased, began);
        tracing::info!(event = "task_leased", task_id = task.id, trace_id = task.trace_id, lease, "leased task {}", task.id);
        fault::point("leased").await;
        let (kept, until) = lease::keeper(self.world.db.clone(), task.id.clone(), *lease, since);
        // A mistake of ours must not run for ever: the task fails, and says why.
        let hops = AssertUnwindSafe(self.hops(&leased, until)).catch_unwind();
        let mut ours = true;
        tokio::select! {
            () = kept => {
                tracing::warn!(event = "lease_lost", task_id = task.id, lease, "lost the lease of task {}", task.id);
                ours = self.broken_off(&leased).await;
            }
            worked = hops => match worked {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::error!(event = "task_interrupted", task_id = task.id, %error, "task {} goes back to the queue: {error}", task.id);
                    self.give_back(&leased).await;
                }
                Err(_) => {
                    tracing::error!(event = "host_panicked", task_id = task.id, "task {} ran into a mistake of the host", task.id);
                    let said = "the host itself failed; please report this, with the lines of its log";
                    if let Err(error) = self.fail(&leased, Fault::Trapped(said.into()), ErrorCode::AgentTrapped).await {
                        tracing::error!(event = "store_unavailable", %error, "task {} waits for its lease to run out: {error}", task.id);
                    }
                }
            },
        }
        if ours {
            spans::held(&self.world.traces, &leased, self.world.db.host(), (began, id::now()));
        }
        self.world.db.bell().wake();
    }

    /// Hop after hop, until the task parks or ends.
    async fn hops(&self, leased: &Leased, until: lease::Until) -> Result<(), StoreError> {
        let (mut label, mut attempts) = (leased.task.label, leased.task.attempts);
        let mut trouble = leased.task.trouble.clone();
        if leased.task.crashes >= MOST_CRASHES {
            return self.fail(leased, Fault::Crashed(leased.task.crashes), ErrorCode::AttemptsExhausted).await;
        }
        loop {
            let mut hops = hops::of(&self.world.db, &leased.task.id).await?;
            // What was done before its operator edited the task is nothing to those who work on it now.
            hops.retain(|hop| hop.seq >= leased.task.first_hop);
            let Some(current) = hops.last() else { return Ok(()) };
            let ran = hop::run(self, leased, &hops, label, until.clone()).await?;
            let Some(ended) = ran.ended else {
                self.give_back(leased).await;
                return Ok(());
            };
            let may_hand = |to: &str| ran.grant.as_ref().is_some_and(|grant| grant.hands_to(to));
            let serves = |id: &str| self.fleet.serves(id);
            let ended = ended.and_then(|outcome| sensible(&current.agent, outcome, serves, may_hand));
            trouble = self.suffered(trouble, &ended);
            let rejections = hops.iter().filter(|hop| hop.status == "done" && is_rejection(hop)).count();
            let unrepeatable = ended.is_err() && effects::unrepeatable(&self.world.db, &leased.task.id, current.seq).await?;
            let situation = Ended {
                agent: &current.agent,
                hops: current.seq + 1 - leased.task.first_hop,
                rejections: u32::try_from(rejections).unwrap_or(u32::MAX),
                failures: attempts,
                troubles: trouble.count,
                unrepeatable,
                retry: leased.task.retry,
                chance: rand::random(),
            };
            let step = next(situation, ended.as_ref(), serves);
            // It looked like one that will be resumed, and was not reported.
            let gives_up = matches!((&ended, &step), (Err(Fault::Backend { .. }), Step::Fail(..)));
            let busy = match &ended {
                Err(Fault::Busy { at }) => Some(at.clone()),
                Ok(_) | Err(_) => None,
            };
            let marks = match (&step, &ended) {
                (Step::Finish, Ok(outcome)) => {
                    let ground = (&self.world.db, &self.fleet);
                    evidence::marks(ground, (&leased.task.id, &hops), outcome, &ran.unwritten).await?
                }
                _ => Marks::default(),
            };
            let finished = Finished {
                seq: current.seq,
                agent: current.agent.clone(),
                marks,
                ended,
                label: ran.label,
                step,
                trouble: trouble.clone(),
                unwritten: ran.unwritten,
            };
            match settle(&self.world, leased, finished).await? {
                Some(Settled::GoesOn) => {
                    (label, attempts) = (ran.label, 0);
                    trouble = Trouble::default();
                }
                Some(Settled::Ended) if gives_up => {
                    self.broken_off(leased).await;
                    return Ok(());
                }
                Some(Settled::Ended) | None => {
                    // Now it is a row that whoever leaves can let in.
                    busy.iter().for_each(|url| self.world.router.waits_still(url));
                    return Ok(());
                }
            }
        }
    }

    /// What a hop has suffered by now. Only failures between which the server served others are its own: an outage is nobody's fault,
    /// and a server that was left alone has not failed.
    fn suffered(&self, before: Trouble, ended: &Result<Outcome, Fault>) -> Trouble {
        let Err(Fault::Backend { at, asked, .. }) = ended else { return Trouble::default() };
        let before =
            if before.backend.as_ref() == Some(at) { before } else { Trouble { backend: Some(at.clone()), ..Trouble::default() } };
        if !asked {
            return before;
        }
        let own = before.last.is_none_or(|last| self.world.served_since(at, last));
        Trouble { count: before.count + u32::from(own), last: Some(id::now()), ..before }
    }

    /// Reports the run of a task that was broken off for good; `false` if somebody goes on with it, and reports it then.
    async fn broken_off(&self, leased: &Leased) -> bool {
        let hops = hops::of(&self.world.db, &leased.task.id).await.unwrap_or_default();
        let cut = hops.last().filter(|row| row.lease == leased.lease && row.status == "failed");
        if let Some(row) = cut {
            spans::cut(&self.world.traces, leased, row, id::now());
        }
        cut.is_some()
    }

    /// Fails a task whose hop nobody can work on: for a mistake of the host, or because hosts die on it.
    async fn fail(&self, leased: &Leased, fault: Fault, code: ErrorCode) -> Result<(), StoreError> {
        let hops = hops::of(&self.world.db, &leased.task.id).await?;
        let Some(current) = hops.last() else { return Ok(()) };
        let step = Step::Fail(code, fault.to_string());
        if hop::under_way(current) && current.lease != leased.lease {
            spans::cut(&self.world.traces, leased, current, id::now());
        }
        // What its runs have read by now, whatever it was when it was leased.
        let label = tasks::find(&self.world.db, &leased.task.id).await?.map_or(leased.task.label, |task| task.label);
        let finished = Finished {
            seq: current.seq,
            agent: current.agent.clone(),
            marks: Marks::default(),
            ended: Err(fault),
            label,
            step,
            trouble: Trouble::default(),
            unwritten: Vec::new(),
        };
        settle(&self.world, leased, finished).await.map(|_| ())
    }

    /// Gives a task back as it was, to rest a little: what interrupted it is a trouble of our own, which may last. While the store
    /// does not answer this is tried again, for as long as the lease could be held; after that it runs out by itself.
    async fn give_back(&self, leased: &Leased) {
        const TRIES: i64 = lease::LENGTH / 1000;
        for _ in 0..TRIES {
            let (id, lease, now) = (leased.task.id.clone(), leased.lease, id::now());
            let rest = Settlement::Release { at: now.plus(PAUSE) };
            let given = self.world.db.write(move |tx| {
                Box::pin(async move {
                    let held = leases::settle(tx, (&id, lease), None, rest, now).await?;
                    if held {
                        hops::park(tx, &id).await?;
                        ledger::assume_orphaned(tx, now).await?;
                    }
                    Ok(held)
                })
            });
            match given.await {
                Ok(_) => return self.world.db.bell().changed(&leased.task.id),
                Err(error) => {
                    tracing::error!(event = "store_unavailable", %error, "task {} cannot be given back: {error}", leased.task.id);
                    tokio::time::sleep(POLL).await;
                }
            }
        }
    }
}

fn is_rejection(hop: &hops::Hop) -> bool {
    hop.handed().is_some_and(|handed| matches!(handed.outcome, Outcome::Reject { .. }))
}
