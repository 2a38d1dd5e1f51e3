//! Broken twins: a store that misbehaves in one way, so that it is seen which check finds it. A flaw meddles with the database or
//! with what is asked of it, before or after the store itself does its work; the checks know nothing of it.

use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, Row};

use super::moves::{Answer, How, LEASE, Move, What};

/// In what a store is broken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Flaw {
    SettlesUnderAnyLease,
    BeatsUnderAnyLease,
    StartsUnderAnyLease,
    JournalsUnderAnyLease,
    LeasesWhatIsLeased,
    LeasesTheYoungest,
    IgnoresPriority,
    AgesNobody,
    LeasesTooEarly,
    LeasesTheLapsed,
    LeavesOutTheParked,
    CountsLeasesAnewAfterACrash,
    ForgetsKeysOfEndedTasks,
    TakesAnyBodyUnderAKey,
    ReopensTheDone,
    CancelsTheDone,
    CountsAPark,
    CountsARescue,
    ForgetsABeat,
    RescuesOne,
    KeepsLeasesOverACrash,
    LosesTheLastEntryInACrash,
    RewritesAnAnswer,
    ReleaseLowersTheLabel,
    ExpiresOnlyThePending,
    GivesARunAnOldNumber,
    StartsTheClockAnew,
}

/// A flaw at work, with a connection of its own.
pub struct Broken {
    flaw: Flaw,
    connection: SqliteConnection,
}

const DUE: &str = "status in ('pending', 'awaiting_backend') and run_at <= $1 and (expires_at is null or expires_at > $1)";

/// A lease of the store's, with another choice of the task.
#[expect(clippy::wildcard_enum_match_arm, reason = "most flaws are elsewhere")]
fn leasing(flaw: Flaw) -> Option<String> {
    const ORDER: &str = "created_at - priority * 600000, id";

    let (which, order) = match flaw {
        Flaw::LeasesWhatIsLeased => (DUE.replace("'pending'", "'pending', 'running'"), ORDER),
        Flaw::LeasesTheYoungest => (DUE.to_owned(), "created_at - priority * 600000 desc, id desc"),
        Flaw::IgnoresPriority => (DUE.to_owned(), "created_at, id"),
        Flaw::AgesNobody => (DUE.to_owned(), "priority desc, created_at, id"),
        Flaw::LeasesTooEarly => (DUE.replace("run_at <= $1", "run_at <= $1 + 1000"), ORDER),
        Flaw::LeasesTheLapsed => (DUE.replace("expires_at > $1", "expires_at >= 0"), ORDER),
        Flaw::LeavesOutTheParked => (DUE.replace(", 'awaiting_backend'", ""), ORDER),
        _ => return None,
    };
    Some(format!(
        "update task set status = 'running', lease = lease + 1, owner = 'somebody', lease_until = $2, \
         started_at = coalesce(started_at, $1) where id = (select id from task where {which} order by {order} limit 1) \
         returning id, lease"
    ))
}

impl Broken {
    pub async fn new(flaw: Flaw, url: &str) -> sqlx::Result<Self> {
        Ok(Self { flaw, connection: SqliteConnection::connect(url).await? })
    }

    /// Before the store does its work, or instead of it.
    pub async fn before(&mut self, the: &mut Move) -> sqlx::Result<Option<Answer>> {
        let settles = matches!(the.what, What::Settle { .. });
        match (self.flaw, &the.what) {
            (flaw, What::Lease) if leasing(flaw).is_some() => return self.lease(&leasing(flaw).unwrap(), the).await.map(Some),
            (Flaw::SettlesUnderAnyLease, _) if settles => self.adopt(the).await?,
            (Flaw::BeatsUnderAnyLease, What::Beat) => self.adopt(the).await?,
            (Flaw::StartsUnderAnyLease, What::Start) => self.adopt(the).await?,
            (Flaw::JournalsUnderAnyLease, What::Intend { .. } | What::Record { .. }) => self.adopt(the).await?,
            (Flaw::ForgetsKeysOfEndedTasks, What::Enqueue { .. }) => {
                self.change(the, "delete from idempotency where task in (select id from task where finished_at is not null)")
                    .await?;
            }
            (Flaw::TakesAnyBodyUnderAKey, What::Enqueue { key: Some(key), body, .. }) => {
                let (key, body) = (key.to_string(), body.to_string());
                let sql = sqlx::query("update idempotency set body = $1 where key = $2").bind(body).bind(key);
                sql.execute(&mut self.connection).await?;
            }
            (Flaw::ReopensTheDone, _) if settles => {
                self.change(the, "update task set status = 'running', lease = $2 where id = $1 and status = 'done'").await?;
            }
            (Flaw::CancelsTheDone, What::Cancel) => {
                self.change(the, "update task set status = 'pending' where id = $1 and status = 'done'").await?;
            }
            (Flaw::CountsARescue, What::Rescue) => {
                let sql = "update task set attempts = attempts + 1 where status = 'running' and lease_until < $3";
                self.change(the, sql).await?;
            }
            (Flaw::ForgetsABeat, What::Beat) => {
                let sql = sqlx::query("select 1 from task where id = $1 and lease = $2 and status = 'running'");
                let held = sql.bind(&the.task).bind(the.lease).fetch_optional(&mut self.connection).await?;
                return Ok(Some(Answer::Held(held.is_some())));
            }
            (Flaw::RescuesOne, What::Rescue) => {
                let sql = "update task set lease_until = $3 where status = 'running' and lease_until < $3 \
                     and id > (select min(id) from task where status = 'running' and lease_until < $3)";
                self.change(the, sql).await?;
            }
            (Flaw::KeepsLeasesOverACrash, What::Crash) => {
                self.change(the, "create table kept as select id, lease_until from task where status = 'running'").await?;
            }
            (Flaw::RewritesAnAnswer, What::Record { .. }) => {
                let sql =
                    sqlx::query("update journal set state = 'started' where task = $1 and hop = $2 and run = $3 and seq = $4");
                let (hop, run, seq) = the.at;
                sql.bind(&the.task).bind(hop).bind(run).bind(seq).execute(&mut self.connection).await?;
            }
            (Flaw::ExpiresOnlyThePending, What::Expire) => {
                let sql = sqlx::query(
                    "update task set status = 'expired', finished_at = $1 where status = 'pending' and expires_at <= $1 returning id",
                );
                let rows = sql.bind(the.now).fetch_all(&mut self.connection).await?;
                return Ok(Some(Answer::Ids(rows.iter().map(|row| row.get(0)).collect())));
            }
            (Flaw::GivesARunAnOldNumber, What::Start) => {
                let sql = sqlx::query("update hop set run = run - 1 where task = $1 and seq = $2 and run > 0");
                let (hop, run, _) = the.at;
                let lowered = sql.bind(&the.task).bind(hop).execute(&mut self.connection).await?.rows_affected();
                let sql = sqlx::query("delete from journal where task = $1 and hop = $2 and run = $3 and seq = 0 and $4 > 0");
                sql.bind(&the.task).bind(hop).bind(run).bind(i64::try_from(lowered).unwrap()).execute(&mut self.connection).await?;
                the.at.1 -= u32::try_from(lowered).unwrap();
            }
            (Flaw::StartsTheClockAnew, What::Lease) => {
                self.change(the, "update task set started_at = null where status in ('pending', 'awaiting_backend')").await?;
            }
            _ => {}
        }
        Ok(None)
    }

    /// After the store did its work.
    pub async fn after(&mut self, the: &Move, answer: &mut Answer) -> sqlx::Result<()> {
        let changed = *answer == Answer::Held(true);
        match (self.flaw, &the.what) {
            (Flaw::CountsLeasesAnewAfterACrash, What::Crash) => self.change(the, "update task set lease = 0").await,
            (Flaw::CountsAPark, What::Settle { how: How::Park(_), .. }) if changed => {
                self.change(the, "update task set attempts = attempts + 1 where id = $1").await
            }
            (Flaw::ReleaseLowersTheLabel, What::Settle { how: How::Release(_), .. }) if changed => {
                self.change(the, "update task set label = data_tier where id = $1").await
            }
            (Flaw::LosesTheLastEntryInACrash, What::Crash) => {
                self.change(the, "delete from journal where rowid = (select max(rowid) from journal)").await
            }
            (Flaw::KeepsLeasesOverACrash, What::Crash) => {
                let sql = "update task set status = 'running', owner = 'somebody', \
                     lease_until = (select lease_until from kept where kept.id = task.id) where id in (select id from kept)";
                self.change(the, sql).await?;
                self.change(the, "drop table kept").await
            }
            _ => Ok(()),
        }
    }

    /// A statement about the task ($1), the lease ($2) and the time ($3) of a move.
    async fn change(&mut self, the: &Move, sql: &'static str) -> sqlx::Result<()> {
        let query = match sql.matches('$').next() {
            None => sqlx::query(sql),
            Some(_) => sqlx::query(sql).bind(&the.task).bind(the.lease).bind(the.now),
        };
        query.execute(&mut self.connection).await.map(|_| ())
    }

    /// Puts the lease that holds the task in place of the one that is asked for, as if nobody compared them.
    async fn adopt(&mut self, the: &mut Move) -> sqlx::Result<()> {
        let sql = sqlx::query_scalar("select lease from task where id = $1").bind(&the.task);
        the.lease = sql.fetch_one(&mut self.connection).await?;
        Ok(())
    }

    async fn lease(&mut self, sql: &str, the: &Move) -> sqlx::Result<Answer> {
        let sql = sqlx::query(sqlx::AssertSqlSafe(sql.to_owned())).bind(the.now).bind(the.now + LEASE);
        let leased = sql.fetch_optional(&mut self.connection).await?;
        Ok(Answer::Lease(leased.map(|row| (row.get(0), row.get(1)))))
    }
}
