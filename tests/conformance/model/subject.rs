//! The subject: a real store, reached as ingress, workers and operators reach it. With a flaw it is a broken one.

use host::envelope::Envelope;
use host::store::idempotency::{self, Key};
use host::store::intervene::{self, Consent};
use host::store::journal::{self, Closing, Opening, Position, Write};
use host::store::leases::{self, Settlement, Waits};
use host::store::{Db, StoreError, Tx, hops, tasks};
use policy::call::Effect;
use policy::task::{ErrorCode, Outcome, Priority, Timestamp};
use policy::tier::{Clearance, Label, Labelled};
use serde_json::{Value, json};
use sqlx::Connection;

use super::flaw::{Broken, Flaw};
use super::moves::{Answer, Entry, Hop, How, LEASE, Move, Seen, Task, What};
use crate::conformance::tasks::{SERVER, new, write};

/// Where a subject stands.
#[derive(Clone, Debug)]
pub struct Ground {
    pub url: String,
    /// Hosts on it at once.
    pub hosts: usize,
}

/// One store, and the hosts on it.
pub struct Subject {
    ground: Ground,
    hosts: Vec<Option<Db>>,
    broken: Option<Broken>,
}

impl Subject {
    /// An empty store.
    pub async fn new(ground: &Ground, flaw: Option<Flaw>) -> Result<Self, StoreError> {
        let mut hosts = Vec::new();
        for _ in 0..ground.hosts {
            hosts.push(Some(Db::open(&ground.url).await?));
        }
        emptied(&ground.url).await?;
        let broken = match flaw {
            Some(flaw) => Some(Broken::new(flaw, &ground.url).await?),
            None => None,
        };
        Ok(Self { ground: ground.clone(), hosts, broken })
    }

    /// Makes a move.
    pub async fn answer(&mut self, the: &Move) -> Result<Answer, StoreError> {
        let mut the = the.clone();
        let Some(mut broken) = self.broken.take() else { return self.well(&the).await };
        let mut answer = match broken.before(&mut the).await? {
            Some(answer) => answer,
            None => self.well(&the).await?,
        };
        broken.after(&the, &mut answer).await?;
        self.broken = Some(broken);
        Ok(answer)
    }

    async fn well(&mut self, the: &Move) -> Result<Answer, StoreError> {
        let (db, id, lease, now) = (self.db(the), the.task.clone(), the.lease, Timestamp(the.now));
        Ok(match the.what.clone() {
            What::Pass { .. } => Answer::Nothing,
            What::Crash => {
                self.crash(the.host).await?;
                leases::rescue(self.db(the), now).await?;
                Answer::Nothing
            }
            What::Enqueue { priority, ttl_s, key, body } => enqueue(db, the, priority, ttl_s, key.map(|key| (key, body))).await?,
            What::Lease => {
                let leased = leases::lease(db, now, now.plus(LEASE)).await?;
                Answer::Lease(leased.map(|leased| (leased.task.id, leased.lease)))
            }
            What::Beat => Answer::Held(leases::beat(db, id, lease, now.plus(LEASE)).await?),
            What::Settle { how, .. } => Answer::Held(settle(db, the.clone(), how).await?),
            What::Start => {
                let at = (the.at.0, the.at.1 + 1, 0);
                let begins = Write::Start { at: position(the, at), digest: "digest".into(), started_at: now };
                let input = Write::Entry(opening(the, at), closing(the));
                Answer::Run(write(db, lease, vec![begins, input]).await?.then_some(at.1))
            }
            What::Resume => Answer::Held(write(db, lease, vec![Write::Resume(position(the, the.at))]).await?),
            What::Intend { .. } => Answer::Held(write(db, lease, vec![Write::Intent(opening(the, the.at), None, None)]).await?),
            What::Record { .. } => Answer::Held(write(db, lease, vec![Write::Entry(opening(the, the.at), closing(the))]).await?),
            What::Cancel => Answer::Held(intervene::cancel(db, id, "enough".into(), Vec::new(), now).await?),
            What::Retry => Answer::Held(intervene::retry(db, id, Consent::Missing, now).await?),
            What::Rescue => Answer::Count(leases::rescue(db, now).await?),
            What::Expire => {
                let mut ids: Vec<String> = expired(db, now).await?.into_iter().map(|expired| expired.id).collect();
                ids.sort();
                Answer::Ids(ids)
            }
        })
    }

    fn db(&self, the: &Move) -> &Db {
        self.hosts[the.host].as_ref().unwrap()
    }

    /// A host is gone and starts anew; its end has been noticed.
    async fn crash(&mut self, host: usize) -> Result<(), StoreError> {
        let name = self.hosts[host].take().map(|db| db.host().to_owned()).unwrap_or_default();
        if self.ground.url.starts_with("postgres") {
            unheld(&self.ground.url, &name).await?;
        }
        self.hosts[host] = Some(Db::open(&self.ground.url).await?);
        Ok(())
    }

    /// Everything that can be seen.
    pub async fn seen(&self) -> Result<Seen, StoreError> {
        let db = self.hosts[0].as_ref().unwrap();
        let listed = tasks::list(db, tasks::Filter { limit: 1000, ..tasks::Filter::default() }).await?;
        let mut seen = Seen::new();
        for told in futures::future::join_all(listed.into_iter().map(|task| told(db, task))).await {
            let (id, task) = told?;
            seen.insert(id, task);
        }
        Ok(seen)
    }
}

async fn told(db: &Db, task: tasks::Task) -> Result<(String, Task), StoreError> {
    let (hops, journal) = futures::future::try_join(hops::of(db, &task.id), journal::timeline(db, &task.id)).await?;
    let told = Task {
        status: task.status.as_str().into(),
        attempts: task.attempts,
        label: task.label,
        started_at: task.started_at.map(|at| at.0),
        finished_at: task.finished_at.map(|at| at.0),
        output: task.output.as_ref().map(words),
        error: task.error.as_ref().map(|(code, text)| (code.clone(), words(text))),
        waits_for: task.waits_for().map(words),
        parked_at: task.parked_at.map(|at| at.0),
        troubles: task.trouble.count,
        hops: hops.iter().map(hop).collect(),
        journal: journal.iter().map(entry).collect(),
    };
    Ok((task.id, told))
}

fn words(text: &Labelled<String>) -> String {
    text.open(Clearance::OPERATOR).unwrap().clone()
}

fn hop(hop: &hops::Hop) -> Hop {
    let told = hop.outcome.as_ref().map(|outcome| match outcome.open(Clearance::OPERATOR).unwrap() {
        Outcome::Answer { text, .. } | Outcome::Handoff { text, .. } => text.clone(),
        Outcome::Reject { why, .. } => why.clone(),
    });
    Hop {
        status: hop.status.clone(),
        run: hop.run,
        lease: hop.lease,
        said: told.or_else(|| hop.error.as_ref().map(words)),
        finished_at: hop.finished_at.map(|at| at.0),
    }
}

fn entry(entry: &journal::Entry) -> ((u32, u32, u32), Entry) {
    let text = |json: &Labelled<Value>| json.open(Clearance::OPERATOR).unwrap().as_str().unwrap_or_default().to_owned();
    let seen = Entry { state: entry.state.clone(), request: text(&entry.request), answer: entry.answer.as_ref().map(text) };
    ((entry.hop, entry.run, entry.seq), seen)
}

fn position(the: &Move, (hop, run, seq): (u32, u32, u32)) -> Position {
    Position { task: the.task.clone(), hop, run, seq }
}

fn opening(the: &Move, at: (u32, u32, u32)) -> Opening {
    Opening {
        at: position(the, at),
        lease: the.lease,
        kind: "vault.write",
        fingerprint: "of the call".into(),
        request: Value::from(the.mark()).to_string(),
        label: the.label,
        effect: Effect::Repeatable,
        started_at: Timestamp(the.now),
    }
}

fn closing(the: &Move) -> Closing {
    Closing {
        state: "done",
        answer: Value::from(the.mark()).to_string(),
        tries: "[]".into(),
        destination: None,
        label: the.label,
        usage: None,
        bill: None,
        wrote: None,
        finished_at: Timestamp(the.now),
    }
}

/// As `ingress` commits a request.
async fn enqueue(db: &Db, the: &Move, priority: Priority, ttl_s: Option<i64>, key: Option<(u8, u8)>) -> Result<Answer, StoreError> {
    let new = tasks::New {
        envelope: Envelope { priority, ttl_seconds: ttl_s, ..new("", json!({})).envelope },
        ..new(&the.task, json!({}))
    };
    let (id, now) = (the.task.clone(), Timestamp(the.now));
    let held = db.write(move |tx| {
        Box::pin(async move {
            let held = match key {
                Some((key, body)) => idempotency::claim(tx, ("test", &key.to_string()), &body.to_string(), &new.id, now).await?,
                None => Key::New,
            };
            if held == Key::New {
                tasks::insert(tx, new, now).await?;
            }
            Ok(held)
        })
    });
    Ok(Answer::Task(match held.await? {
        Key::New => Some(id),
        Key::Same(first) => Some(first),
        Key::Other | Key::Gone => None,
    }))
}

/// As `worker` commits the end of a hop, or gives a task back.
async fn settle(db: &Db, the: Move, how: How) -> Result<bool, StoreError> {
    db.write(move |tx| Box::pin(async move { settled(tx, &the, how).await })).await
}

async fn settled(tx: &mut Tx<'_>, the: &Move, how: How) -> Result<bool, StoreError> {
    let (now, mark, held, label) = (Timestamp(the.now), the.mark(), (the.task.as_str(), the.lease), the.label);
    let later = |after: i64| now.plus(after);
    let settlement = match how {
        How::NextHop => None,
        How::Done => Some(Settlement::Done { output: mark.clone() }),
        How::Retry(after) => Some(Settlement::Retry { at: later(after) }),
        How::Release(after) => Some(Settlement::Release { at: later(after) }),
        How::Failed => Some(Settlement::Failed { code: ErrorCode::AttemptsExhausted, message: mark.clone() }),
        How::Park(after) => Some(Settlement::Park {
            at: later(after),
            said: mark.clone(),
            waits: Waits::Server { url: SERVER.into(), troubles: 1, trouble_at: None },
        }),
    };
    let release = matches!(how, How::Release(_));
    let is_held = match settlement {
        None => leases::advance(tx, held, label).await?,
        Some(settlement) => leases::settle(tx, held, (!release).then_some(label), settlement, now).await?,
    };
    if !is_held {
        return Ok(false);
    }
    let answer = Outcome::Answer { text: mark.clone(), data: None, citations: vec![], wrote: vec![] };
    let end: Result<&Outcome, &str> = match how {
        How::Park(_) | How::Release(_) => {
            hops::park(tx, &the.task).await?;
            return Ok(true);
        }
        How::Done | How::NextHop => Ok(&answer),
        How::Retry(_) | How::Failed => Err(&mark),
    };
    hops::end(tx, (&the.task, the.at.0), end, label, now).await?;
    if how == How::NextHop {
        hops::insert(tx, &the.task, the.at.0 + 1, "reporter", label).await?;
    }
    Ok(true)
}

/// Takes everything out of a database, so that it serves for many sequences.
async fn emptied(url: &str) -> sqlx::Result<()> {
    const SQL: &str = "delete from journal; delete from hop; delete from idempotency; delete from backend; delete from task";

    if url.starts_with("postgres") {
        let mut connection = sqlx::PgConnection::connect(url).await?;
        sqlx::raw_sql(SQL).execute(&mut connection).await?;
        connection.close().await
    } else {
        let mut connection = sqlx::SqliteConnection::connect(url).await?;
        sqlx::raw_sql(SQL).execute(&mut connection).await?;
        connection.close().await
    }
}

/// Waits until the server has noticed that the host of that name is gone.
async fn unheld(url: &str, host: &str) -> sqlx::Result<()> {
    const SQL: &str = "select pg_try_advisory_lock(hashtextextended($1, 0))";

    let mut connection = sqlx::PgConnection::connect(url).await?;
    while !sqlx::query_scalar::<_, bool>(SQL).bind(host).fetch_one(&mut connection).await? {
        tokio::task::yield_now().await;
    }
    connection.close().await
}

/// The label with which a worker settles: what the task has reached, and perhaps more.
pub fn risen(label: Label, restricted: bool) -> Label {
    let more = if restricted { policy::tier::Tier::Restricted } else { policy::tier::Tier::Public };
    label.join(Label::of(more))
}

async fn expired(db: &Db, now: Timestamp) -> Result<Vec<leases::Expired>, StoreError> {
    db.write(move |tx| Box::pin(async move { leases::expire(tx, now).await })).await
}
