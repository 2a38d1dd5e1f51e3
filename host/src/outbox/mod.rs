//! What people are told, at least once: rows that were committed with what they tell of, each sink served by itself, so that one that
//! is down delays its own messages and nothing else.
//!
//! Decides when and where, never whether something may happen. What a message says is read when it is sent (`letter`).

pub mod letter;
pub mod token;

use std::sync::Arc;
use std::time::Duration;

use policy::task::{Status, Timestamp};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::id;
use crate::markup::Links;
use crate::metrics::{self, name};
use crate::sink::{Kind, Name, Sink, Undelivered};
use crate::store::deliveries::{self, Became, Due, New};
use crate::store::{Db, StoreError};
pub use letter::Letters;
pub use token::{BadToken, Claim, Tokens};

/// How often a sink's rows are looked at when nothing rings.
const POLL: Duration = Duration::from_secs(1);
/// The first pause after a failure, doubled with each further one, in milliseconds.
const PAUSE: i64 = 2_000;
/// The longest pause between two tries, in milliseconds.
const LONGEST: i64 = 600_000;
/// For how long a message is tried before it is a dead letter, in milliseconds.
const PATIENCE: i64 = 24 * 3_600_000;

/// The way to people: a cheap handle.
#[derive(Clone)]
pub struct Outbox {
    sinks: Arc<[Sink]>,
    letters: Letters,
    ttl: i64,
    bell: Arc<Notify>,
}

/// Whether a sink gets messages of that kind (`homeaiops.md` §8.5, §10).
fn takes(sink: Name, kind: Kind) -> bool {
    match kind {
        Kind::Approval | Kind::Reminder | Kind::DeadLetter | Kind::Notice => sink != Name::Pushover,
        Kind::Report => matches!(sink, Name::Zulip | Name::Webhook),
        Kind::Expired => true,
    }
}

impl Outbox {
    /// Serves these sinks; questions lapse after `ttl` milliseconds.
    #[must_use]
    pub fn new(sinks: Vec<Sink>, letters: Letters, ttl: i64) -> Self {
        Self { sinks: sinks.into(), letters, ttl, bell: Arc::default() }
    }

    /// One that tells nobody anything: for programs that serve no people.
    #[must_use]
    pub fn silent() -> Self {
        // Nothing is ever signed with it.
        Self::new(Vec::new(), Letters::new(Tokens::new("", ""), Links::nowhere(), String::new()), 0)
    }

    /// After how many milliseconds a question lapses that nobody puts off.
    #[must_use]
    pub fn ttl(&self) -> i64 {
        self.ttl
    }

    /// The rows by which everybody who should hears of it, to be committed with what it tells of. `about` is the approval, or a notice
    /// in the host's own words.
    #[must_use]
    pub fn tell(&self, kind: Kind, task: &str, about: &str) -> Vec<New> {
        self.rows(kind, task, about, |sink| takes(sink, kind))
    }

    /// The rows by which a member of the household hears how their wish stands, if it stands so still when they are sent.
    #[must_use]
    pub fn tell_household(&self, task: &str, status: Status) -> Vec<New> {
        self.rows(Kind::Notice, task, status.as_str(), |sink| sink == Name::Zulip)
    }

    fn rows(&self, kind: Kind, task: &str, about: &str, wanted: impl Fn(Name) -> bool) -> Vec<New> {
        let sinks = self.sinks.iter().map(Sink::name).filter(|sink| wanted(*sink));
        sinks.map(|sink| New { sink: sink.as_str(), kind: kind.as_str(), task: task.to_owned(), about: about.to_owned() }).collect()
    }

    /// Something may be due.
    pub fn ring(&self) {
        self.bell.notify_waiters();
    }

    /// What signs links.
    #[must_use]
    pub fn tokens(&self) -> &Tokens {
        self.letters.tokens()
    }

    /// In whose name links speak.
    #[must_use]
    pub fn operator(&self) -> &str {
        self.letters.operator()
    }

    /// Names of the sinks.
    pub fn names(&self) -> impl Iterator<Item = Name> {
        self.sinks.iter().map(Sink::name)
    }

    /// Sends one message past the queue: for a trial.
    ///
    /// # Errors
    /// [`Undelivered`]; also if there is no such sink.
    pub async fn send(&self, to: Name, message: &crate::sink::Message) -> Result<(), Undelivered> {
        match self.sinks.iter().find(|sink| sink.name() == to) {
            Some(sink) => sink.deliver(message).await,
            None => Err(Undelivered::Never { said: format!("[sinks.{to}] is not configured") }),
        }
    }

    /// Serves every sink, each by itself, until told to drain.
    pub async fn run(self, db: Db, drain: CancellationToken) {
        let serving = self.sinks.iter().map(|sink| {
            let (outbox, sink, db) = (self.clone(), sink.clone(), db.clone());
            tokio::spawn(drain.clone().run_until_cancelled_owned(async move { outbox.serve(&sink, &db).await }))
        });
        futures::future::join_all(serving.collect::<Vec<_>>()).await;
    }

    async fn serve(&self, sink: &Sink, db: &Db) {
        loop {
            let rung = self.bell.notified();
            let pause = match self.next(sink, db).await {
                Ok(Next::Sent) => continue,
                Ok(Next::Wait(pause)) => pause,
                Ok(Next::Busy(pause)) => {
                    // It asked to be left alone: whatever else is due waits too.
                    tokio::time::sleep(pause).await;
                    continue;
                }
                Err(error) => {
                    tracing::error!(event = "store_unavailable", %error, "the outbox of {} cannot be read: {error}", sink.name());
                    POLL
                }
            };
            let _ = tokio::time::timeout(pause, rung).await;
        }
    }

    /// Sends what is due.
    async fn next(&self, sink: &Sink, db: &Db) -> Result<Next, StoreError> {
        let now = id::now();
        let next = deliveries::next(db, sink.name().as_str()).await?;
        let Some(_) = next.filter(|at| *at <= now) else {
            let wait = next.and_then(|at| u64::try_from(at.since(now)).ok()).map_or(POLL, Duration::from_millis);
            return Ok(Next::Wait(POLL.min(wait)));
        };
        match deliveries::take(db, sink.name().as_str(), now).await? {
            Some(due) => Ok(self.delivered(sink, db, due).await?.map_or(Next::Sent, Next::Busy)),
            None => Ok(Next::Sent),
        }
    }

    /// Sends one message; for how long the service asks to be left alone, if it does.
    async fn delivered(&self, sink: &Sink, db: &Db, due: Due) -> Result<Option<Duration>, StoreError> {
        let name = sink.name();
        let mut busy = None;
        let became = match self.letters.write(db, &due, sink).await? {
            None => Became::Dropped,
            Some(message) => match sink.deliver(&message).await {
                Ok(()) => Became::Sent,
                Err(undelivered) => {
                    busy = silence(&undelivered);
                    follows(undelivered, &due, id::now())
                }
            },
        };
        // First it is so, then that is said: whoever reads the line may rely on it.
        deliveries::settle(db, due.id.clone(), became.clone(), id::now()).await?;
        let (task_id, kind, attempts) = (&due.task, &due.kind, due.attempts);
        let outcome = match &became {
            Became::Sent => {
                tracing::info!(
                    event = "delivery_sent",
                    sink = name.as_str(),
                    kind,
                    task_id,
                    attempts,
                    "{name} has the {kind} of {task_id}"
                );
                "sent"
            }
            Became::Dropped => "dropped",
            Became::Later(_, said) => {
                tracing::warn!(
                    event = "delivery_failed",
                    sink = name.as_str(),
                    kind,
                    task_id,
                    attempts,
                    said,
                    "{name} did not take the {kind} of {task_id}: {said}"
                );
                "failed"
            }
            Became::Dead(said) => {
                tracing::warn!(
                    event = "delivery_dead",
                    sink = name.as_str(),
                    kind,
                    task_id,
                    attempts,
                    said,
                    "{name} never took the {kind} of {task_id}: {said}"
                );
                "dead"
            }
        };
        metrics::count(name::DELIVERIES, 1, &[("sink", name.as_str()), ("outcome", outcome)]);
        Ok(busy)
    }
}

/// What became of a look at a queue.
enum Next {
    /// Something was taken from it: there may be more.
    Sent,
    /// Nothing is due for so long.
    Wait(Duration),
    /// The service wants nothing for so long.
    Busy(Duration),
}

/// For how long a service wants to be left alone: as it says, within bounds.
fn silence(undelivered: &Undelivered) -> Option<Duration> {
    let longest = Duration::from_millis(LONGEST.unsigned_abs());
    match undelivered {
        Undelivered::Later { after, .. } => after.map(|after| after.min(longest)),
        Undelivered::Never { .. } => None,
    }
}

/// What becomes of a message that was not taken.
fn follows(undelivered: Undelivered, due: &Due, now: Timestamp) -> Became {
    match undelivered {
        Undelivered::Never { said } => Became::Dead(said),
        Undelivered::Later { said, .. } if now.since(due.created_at) >= PATIENCE => {
            Became::Dead(format!("{said}; it was tried {} times in {} h", due.attempts, PATIENCE / 3_600_000))
        }
        Undelivered::Later { said, after } => {
            let doubled = PAUSE.saturating_mul(1_i64 << due.attempts.saturating_sub(1).min(16)).min(LONGEST);
            // A server that names a time is believed, up to as long as the message is tried at all.
            let asked = after.and_then(|after| i64::try_from(after.as_millis()).ok()).unwrap_or_default().min(PATIENCE);
            Became::Later(now.plus(doubled.max(asked)), said)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(attempts: u32) -> Due {
        let text = String::new;
        Due { id: text(), kind: "report".into(), task: text(), about: text(), attempts, created_at: Timestamp(0) }
    }

    #[test]
    fn a_pause_doubles_and_a_server_that_names_one_is_believed() {
        let later = |after: Option<u64>| Undelivered::Later { said: "down".into(), after: after.map(Duration::from_secs) };
        let pause = |attempts, after| match follows(later(after), &due(attempts), Timestamp(1_000)) {
            Became::Later(at, _) => at.0 - 1_000,
            other @ (Became::Sent | Became::Dropped | Became::Dead(_)) => panic!("{other:?}"),
        };
        assert_eq!([1, 2, 3, 4].map(|attempts| pause(attempts, None)), [2_000, 4_000, 8_000, 16_000]);
        assert_eq!((pause(40, None), pause(1, Some(3_600)), pause(20, Some(1))), (600_000, 3_600_000, 600_000));
        assert!(matches!(follows(later(None), &due(200), Timestamp(PATIENCE)), Became::Dead(said) if said.contains("200 times")));
        let never = Undelivered::Never { said: "no such topic".into() };
        assert_eq!(follows(never, &due(1), Timestamp(1)), Became::Dead("no such topic".into()));
    }
}
