//! The end of a hop and what follows from it: one transaction, under the lease.

use policy::approval::{self, Question};
use policy::next::{Fault, Step};
use policy::task::{Outcome, Role, Status, Timestamp};
use policy::tier::Label;

use super::evidence::Marks;
use crate::capability::World;
use crate::markup::{Eyes, Links};
use crate::metrics::{self, name};
use crate::outbox::Outbox;
use crate::sink::Kind;
use crate::store::approvals::Before;
use crate::store::journal::{self, Position, Write};
use crate::store::leases::{self, Settlement, Waits};
use crate::store::tasks::{Leased, Trouble};
use crate::store::{StoreError, Tx, approvals, deliveries, hops, ledger};
use crate::{fault, id, telemetry};

/// A hop that ended, and what follows.
pub(super) struct Finished {
    pub(super) seq: u32,
    pub(super) agent: String,
    /// What its report must say of its own ground.
    pub(super) marks: Marks,
    pub(super) ended: Result<Outcome, Fault>,
    pub(super) label: Label,
    pub(super) step: Step,
    pub(super) trouble: Trouble,
    pub(super) unwritten: Vec<Write>,
}

/// Whether the lease goes on.
pub(super) enum Settled {
    GoesOn,
    Ended,
}

/// Commits the end of a hop together with what follows from it; nothing if the lease was lost.
pub(super) async fn settle(world: &World, leased: &Leased, finished: Finished) -> Result<Option<Settled>, StoreError> {
    let (db, links, outbox, now) = (&world.db, &world.links, world.outbox.clone(), id::now());
    let (task, lease) = (leased.task.id.clone(), leased.lease);
    let Finished { seq, agent, marks, ended, label, step, trouble, unwritten } = finished;
    let (goes_on, parks) = (matches!(step, Step::Hop(_)), matches!(step, Step::Park(_) | Step::Sleep(_) | Step::Ask(..)));
    let household = leased.task.role == Role::Household;
    let told = Told::of(&step, &ended);
    let fault = ended.as_ref().err().map(ToString::to_string);
    let settlement = settlement(&step, &ended, (trouble, links, &marks), now);
    fault::point("before_outcome").await;
    let held = db
        .write(move |tx| {
            Box::pin(async move {
                journal::within(tx, lease, unwritten).await?;
                let held = match settlement {
                    None => leases::advance(tx, (&task, lease), label).await?,
                    Some(how) => leases::settle(tx, (&task, lease), Some(label), how, now).await?,
                };
                if held && parks {
                    hops::park(tx, &task).await?;
                    if let Step::Ask(reference, question) = &step {
                        ask(tx, &outbox, (&task, reference, question.as_deref(), household), now).await?;
                    }
                } else if held {
                    let how = ended.as_ref().map_err(|_| fault.as_deref().unwrap_or_default());
                    hops::end(tx, (&task, seq), how, label, now).await?;
                    match &step {
                        Step::Hop(follower) => hops::insert(tx, &task, seq + 1, follower, label).await?,
                        Step::Finish => deliveries::put(tx, &outbox.tell(Kind::Report, &task, ""), now).await?,
                        Step::Fail(..) => {
                            deliveries::put(tx, &outbox.tell(Kind::DeadLetter, &task, ""), now).await?;
                            if household {
                                deliveries::put(tx, &outbox.tell_household(&task, Status::Failed), now).await?;
                            }
                        }
                        Step::Retry(_) | Step::Park(_) | Step::Sleep(_) | Step::Ask(..) => {}
                    }
                }
                if held && ended.is_err() {
                    // A call that its run did not live to see the end of.
                    ledger::assume_orphaned(tx, now).await?;
                }
                Ok(held)
            })
        })
        .await;
    match held {
        Ok(true) => {}
        Ok(false) | Err(StoreError::Taken) => return Ok(None),
        Err(error) => return Err(error),
    }
    fault::point("after_outcome").await;
    db.bell().changed(&leased.task.id);
    world.outbox.ring();
    told.log(leased, &agent, label, now);
    Ok(Some(if goes_on { Settled::GoesOn } else { Settled::Ended }))
}

/// Asks a person, and tells them that they are asked.
async fn ask(
    tx: &mut Tx<'_>,
    outbox: &Outbox,
    (task, reference, question, household): (&str, &str, Option<&Question>, bool),
    now: Timestamp,
) -> Result<(), StoreError> {
    let before = question.map(|question| Before {
        question,
        expires_at: approval::lapses(question, now, outbox.ttl()),
        remind_at: approval::reminder(now, now),
    });
    let Some(id) = approvals::ask(tx, &Position::cited(task, reference)?, before, now).await? else { return Ok(()) };
    deliveries::put(tx, &outbox.tell(Kind::Approval, task, &id), now).await?;
    if household {
        deliveries::put(tx, &outbox.tell_household(task, Status::AwaitingApproval), now).await?;
    }
    Ok(())
}

/// What becomes of the lease; `None` if it goes on.
fn settlement(
    step: &Step,
    ended: &Result<Outcome, Fault>,
    (trouble, links, marks): (Trouble, &Links, &Marks),
    now: Timestamp,
) -> Option<Settlement> {
    Some(match step {
        Step::Hop(_) => return None,
        Step::Finish => Settlement::Done { output: links.harmless(&marks.on(report(ended)), Eyes::Reader) },
        Step::Retry(pause) => Settlement::Retry { at: now.plus(*pause) },
        Step::Park(pause) => {
            let waits = match ended {
                Err(Fault::Backend { at, .. }) => {
                    Waits::Server { url: at.clone(), troubles: trouble.count, trouble_at: trouble.last }
                }
                Err(Fault::Busy { at }) => Waits::Turn { url: at.clone() },
                Ok(_) | Err(_) => Waits::Else,
            };
            let said = ended.as_ref().err().map(ToString::to_string).unwrap_or_default();
            Settlement::Park { at: now.plus(*pause), said, waits }
        }
        Step::Ask(..) => Settlement::Ask { waits_for: ended.as_ref().err().map(ToString::to_string).unwrap_or_default() },
        Step::Sleep(pause) => Settlement::Sleep { at: now.plus(*pause) },
        Step::Fail(code, message) => Settlement::Failed { code: *code, message: message.clone() },
    })
}

fn report(ended: &Result<Outcome, Fault>) -> String {
    match ended {
        Ok(Outcome::Answer { text, .. } | Outcome::Handoff { text, .. }) => text.clone(),
        Ok(Outcome::Reject { why, .. }) => why.clone(),
        Err(_) => String::new(),
    }
}

/// What the log says of a settled hop.
enum Told {
    Nothing,
    Done,
    Again(&'static str, String),
    Asks(String),
    Failed(&'static str, String),
}

impl Told {
    fn of(step: &Step, ended: &Result<Outcome, Fault>) -> Self {
        let why = || ended.as_ref().err().map(ToString::to_string).unwrap_or_default();
        match step {
            Step::Hop(_) => Self::Nothing,
            Step::Finish => Self::Done,
            Step::Retry(_) => Self::Again("hop_retry", why()),
            Step::Park(_) | Step::Sleep(_) => Self::Again("task_parked", why()),
            Step::Ask(..) => Self::Asks(why()),
            Step::Fail(code, message) => Self::Failed(code.as_str(), message.clone()),
        }
    }

    fn log(self, leased: &Leased, agent: &str, label: Label, now: Timestamp) {
        let task = &leased.task;
        let (task_id, trace_id) = (&task.id, &task.trace_id);
        let shown = |text: String| telemetry::shown(&policy::tier::Labelled::new(label, text));
        let status = match self {
            Self::Nothing => return,
            Self::Again(event, why) => {
                let why = shown(why);
                tracing::warn!(event, task_id, trace_id, agent, why, "task {task_id} will be tried again");
                return;
            }
            Self::Asks(why) => {
                let why = shown(why);
                tracing::warn!(
                    event = "task_parked",
                    task_id,
                    trace_id,
                    agent,
                    why,
                    "task {task_id} waits for an answer: `hai awaiting`"
                );
                return;
            }
            Self::Done => {
                let attempts = task.attempts;
                tracing::info!(
                    event = "task_completed",
                    task_id,
                    trace_id,
                    agent,
                    status = "done",
                    attempts,
                    "task {task_id} is done"
                );
                "done"
            }
            Self::Failed(code, why) => {
                let why = shown(why);
                metrics::count(name::DEAD, 1, &[("code", code)]);
                tracing::error!(event = "task_failed", task_id, trace_id, agent, code, why, "task {task_id} failed: {code}");
                "failed"
            }
        };
        metrics::count(name::TASKS, 1, &[("source", &task.sent.source), ("status", status)]);
        #[expect(clippy::cast_precision_loss, reason = "milliseconds of one task")]
        let seconds = now.since(task.started_at.unwrap_or(task.created_at)) as f64 / 1000.0;
        metrics::observe(name::TASK_SECONDS, seconds, &[("agent", agent), ("status", status)]);
    }
}
