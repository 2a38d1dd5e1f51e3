//! Leases: a task is worked on under a growing number, and settled only under that number.

use policy::task::{ErrorCode, Status, Timestamp};
use policy::tier::Label;

use super::tasks::{Leased, Row};
use super::{Db, StoreError, Tx, approvals, backends, ledger, on, within};

/// Leases the task that is due: by priority, ten minutes of age counting as one step of it.
pub async fn lease(db: &Db, now: Timestamp, until: Timestamp) -> Result<Option<Leased>, StoreError> {
    const SQLITE: &str = "update task set status = 'running', lease = lease + 1, owner = $1, lease_until = $2, \
         started_at = coalesce(started_at, $3) where id = (select id from task \
         where status in ('pending', 'awaiting_backend') and run_at <= $3 and (expires_at is null or expires_at > $3) \
         order by created_at - priority * 600000, id limit 1) returning *";
    // `skip locked`: hosts on one database do not wait for each other. `materialized`: the choice is made once.
    const POSTGRES: &str = "with due as materialized (select id from task \
         where status in ('pending', 'awaiting_backend') and run_at <= $3 and (expires_at is null or expires_at > $3) \
         order by created_at - priority * 600000, id limit 1 for update skip locked) \
         update task set status = 'running', lease = lease + 1, owner = $1, lease_until = $2, \
         started_at = coalesce(started_at, $3) from due where task.id = due.id returning task.*";

    let owner = db.host.clone();
    let row: Option<Row> = db
        .write(move |tx| {
            Box::pin(async move {
                Ok(match tx {
                    Tx::Sqlite(connection) => {
                        sqlx::query_as(SQLITE).bind(owner).bind(until.0).bind(now.0).fetch_optional(&mut **connection).await?
                    }
                    Tx::Postgres(connection) => {
                        sqlx::query_as(POSTGRES).bind(owner).bind(until.0).bind(now.0).fetch_optional(&mut **connection).await?
                    }
                })
            })
        })
        .await?;
    let leased = row.map(Leased::try_from).transpose()?;
    if let Some(leased) = &leased {
        db.bell.changed(&leased.task.id);
    }
    Ok(leased)
}

/// What there is to do.
#[derive(Clone, Copy, Debug, Default)]
pub struct Look {
    /// A task could be leased.
    pub ready: bool,
    /// A time to live has passed.
    pub lapsed: bool,
    /// When the next task is due that waits for its time.
    pub next: Option<Timestamp>,
}

/// Looks without writing, so that an idle host leaves the disk alone.
pub async fn look(db: &Db, now: Timestamp) -> Result<Look, StoreError> {
    const SQL: &str = "select \
         (select min(run_at) from task where status in ('pending', 'awaiting_backend') \
             and (expires_at is null or expires_at > $1)), \
         (select min(expires_at) from task where status in ('pending', 'awaiting_backend', 'awaiting_approval'))";

    let (run_at, expires_at): (Option<i64>, Option<i64>) = on!(db, pool => sqlx::query_as(SQL).bind(now.0).fetch_one(pool).await)?;
    Ok(Look {
        ready: run_at.is_some_and(|at| at <= now.0),
        lapsed: expires_at.is_some_and(|at| at <= now.0),
        next: run_at.map(Timestamp),
    })
}

/// Extends a lease that is still held; `false` if it is lost.
pub async fn beat(db: &Db, id: String, lease: i64, until: Timestamp) -> Result<bool, StoreError> {
    const SQL: &str = "update task set lease_until = $3 where id = $1 and lease = $2 and status = 'running'";

    db.write(move |tx| {
        Box::pin(async move {
            Ok(within!(tx, connection => sqlx::query(SQL).bind(id).bind(lease).bind(until.0)
                .execute(&mut **connection).await.map(|done| done.rows_affected() == 1))?)
        })
    })
    .await
}

/// SQL: whether the host of that name holds its advisory lock (`store::postgres`); the view splits the key in two halves.
macro_rules! present {
    ($host:literal) => {
        concat!(
            "exists (select 1 from pg_locks where locktype = 'advisory' and objsubid = 1 and granted \
             and database = (select oid from pg_database where datname = current_database()) \
             and (classid::bigint << 32 | objid::bigint) = hashtextextended(",
            $host,
            ", 0))"
        )
    };
}

/// Whether a lease has run out, or belongs to a host that is gone. A host that does not show its own presence judges nobody: after
/// a restart of the database all locks are free.
pub async fn lost(db: &Db, now: Timestamp) -> Result<bool, StoreError> {
    const LAPSED: &str =
        "select count(*) from (select 1 from task where status = 'running' and lease_until < $1 limit 1) as lapsed";
    const ORPHANED: &str = concat!(
        "select count(*) from (select 1 from task where status = 'running' and (lease_until < $1 or (not ",
        present!("owner"),
        " and ",
        present!("$2"),
        ")) limit 1) as orphaned"
    );

    let found: i64 = match (&db.pool, &db.held) {
        (super::Pool::Postgres(pool), super::Held::Presence(presence)) if presence.may_judge() => {
            sqlx::query_scalar(ORPHANED).bind(now.0).bind(&db.host).fetch_one(pool).await?
        }
        _ => on!(db, pool => sqlx::query_scalar(LAPSED).bind(now.0).fetch_one(pool).await)?,
    };
    Ok(found > 0)
}

/// SQL: counts a lease that ended with its host. One under which a call was answered begins the count anew: something has happened.
macro_rules! one_more {
    () => {
        "crashes = case when exists (select 1 from journal where journal.task = task.id and journal.lease = task.lease \
         and journal.seq > 0 and journal.state <> 'started') then 1 else crashes + 1 end"
    };
}

/// Puts tasks whose lease has run out, or whose host is gone, back in the queue; how many.
pub async fn rescue(db: &Db, now: Timestamp) -> Result<u64, StoreError> {
    const LAPSED: &str = concat!(
        "update task set status = 'pending', owner = null, lease_until = null, run_at = $1, waiting_since = $1, waits_for = null, ",
        one_more!(),
        " where status = 'running' and lease_until < $1"
    );
    const ORPHANED: &str = concat!(
        "update task set status = 'pending', owner = null, lease_until = null, run_at = $1, waiting_since = $1, waits_for = null, ",
        one_more!(),
        " where status = 'running' and (lease_until < $1 or (not ",
        present!("owner"),
        " and ",
        present!("$2"),
        "))"
    );

    let host = match &db.held {
        super::Held::Presence(presence) if presence.may_judge() => Some(db.host.clone()),
        super::Held::Presence(_) | super::Held::Lock { .. } | super::Held::Nothing => None,
    };
    db.write(move |tx| {
        Box::pin(async move {
            let rescued = match (&mut *tx, host) {
                (Tx::Postgres(connection), Some(host)) => {
                    sqlx::query(ORPHANED).bind(now.0).bind(host).execute(&mut **connection).await?.rows_affected()
                }
                (tx, _) => within!(tx, connection => sqlx::query(LAPSED).bind(now.0)
                    .execute(&mut **connection).await.map(|done| done.rows_affected()))?,
            };
            ledger::assume_orphaned(tx, now).await?;
            Ok(rescued)
        })
    })
    .await
}

/// Gives back whatever this host works on, as it was: it drains. That is no crash.
pub async fn give_back_all(db: &Db, now: Timestamp) -> Result<(), StoreError> {
    const HOPS: &str = "update hop set status = 'parked' where status = 'running' \
         and task in (select id from task where owner = $1 and status = 'running')";
    const TASKS: &str = "update task set status = 'pending', owner = null, lease_until = null, run_at = $2, waiting_since = $2, \
         waits_for = null where owner = $1 and status = 'running'";

    let owner = db.host.clone();
    db.write(move |tx| {
        Box::pin(async move {
            within!(tx, connection => sqlx::query(HOPS).bind(&owner).execute(&mut **connection).await.map(|_| ()))?;
            within!(tx, connection => sqlx::query(TASKS).bind(&owner).bind(now.0).execute(&mut **connection).await.map(|_| ()))?;
            ledger::assume_orphaned(tx, now).await
        })
    })
    .await
}

/// Voids every lease: whoever held one is known to be gone.
pub(super) async fn void(db: &Db, now: Timestamp) -> Result<(), StoreError> {
    const SQL: &str = concat!(
        "update task set status = 'pending', owner = null, lease_until = null, waiting_since = $1, waits_for = null, ",
        one_more!(),
        " where status = 'running'"
    );

    db.write(move |tx| {
        Box::pin(async move {
            within!(tx, connection => sqlx::query(SQL).bind(now.0).execute(&mut **connection).await.map(|_| ()))?;
            ledger::assume_orphaned(tx, now).await
        })
    })
    .await
}

/// A task that has expired.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Expired {
    /// Its id.
    pub id: String,
    /// Its trace.
    pub trace_id: String,
    /// The surface it came through.
    pub source: String,
    /// `ttl_expired`, or `approval_expired` if it waited for a person.
    pub error_code: String,
    /// What its requester is to the house.
    pub role: String,
}

/// Ends tasks whose time to live has passed before they ran.
pub async fn expire(tx: &mut Tx<'_>, now: Timestamp) -> Result<Vec<Expired>, StoreError> {
    const SQL: &str = "update task set status = 'expired', finished_at = $1, \
         error_code = case status when 'awaiting_approval' then $3 else $2 end, \
         error_message = case status when 'awaiting_approval' \
         then 'nobody answered its question before its time to live passed; nothing was executed after that' \
         else 'its time to live passed before it was done; nothing was executed after that' end \
         where status in ('pending', 'awaiting_backend', 'awaiting_approval') and expires_at <= $1 \
         returning id, trace_id, source, error_code, role";
    const HOP: &str = "update hop set status = 'failed', error = 'expired', finished_at = $2 where task = $1 and status = 'parked'";

    let expired: Vec<Expired> = within!(tx, connection => sqlx::query_as(SQL).bind(now.0)
        .bind(ErrorCode::TtlExpired.as_str()).bind(ErrorCode::ApprovalExpired.as_str())
        .fetch_all(&mut **connection).await)?;
    for Expired { id, .. } in &expired {
        within!(tx, connection => sqlx::query(HOP).bind(id).bind(now.0).execute(&mut **connection).await.map(|_| ()))?;
        approvals::close(tx, id, now).await?;
    }
    Ok(expired)
}

/// For what a parked task waits.
#[derive(Clone, Debug)]
pub enum Waits {
    /// A server that does not serve.
    Server {
        /// Which.
        url: String,
        /// How often the hop has failed there while others did not.
        troubles: u32,
        /// When it last failed so.
        trouble_at: Option<Timestamp>,
    },
    /// A turn at a server that serves others.
    Turn {
        /// Which.
        url: String,
    },
    /// Its time.
    Else,
}

/// What a lease ends in.
#[derive(Clone, Debug)]
pub enum Settlement {
    /// The report is there.
    Done {
        /// What the requester reads.
        output: String,
    },
    /// The same hop later, one failed run more.
    Retry {
        /// Not before.
        at: Timestamp,
    },
    /// The same hop later, no attempt burnt.
    Park {
        /// Not before.
        at: Timestamp,
        /// For what it waits, for people.
        said: String,
        /// For what it waits.
        waits: Waits,
    },
    /// The same run later: it sleeps.
    Sleep {
        /// Until then.
        at: Timestamp,
    },
    /// The same hop when a person has answered.
    Ask {
        /// For what it waits.
        waits_for: String,
    },
    /// Given back as it was: the host drains, or cannot go on.
    Release {
        /// Not before.
        at: Timestamp,
    },
    /// It failed.
    Failed {
        /// Stable.
        code: ErrorCode,
        /// For people.
        message: String,
    },
}

/// Ends a lease, with the label that the task has reached if a hop ended; `false` if the lease was lost, and then nothing has
/// changed.
pub async fn settle(
    tx: &mut Tx<'_>,
    (id, lease): (&str, i64),
    label: Option<Label>,
    how: Settlement,
    now: Timestamp,
) -> Result<bool, StoreError> {
    // A release decides nothing: an outage that kept the task keeps it still.
    const SQL: &str = "update task set status = $3, label = coalesce($4, label), tainted = coalesce($5, tainted), output = $6, error_code = $7, \
         error_message = $8, waits_for = $9, run_at = coalesce($10, run_at), finished_at = $11, attempts = attempts + $12, \
         waiting_since = $13, \
         parked_at = case $14 when 'parks' then coalesce(parked_at, $13) when 'stays' then parked_at end, \
         backend = case $14 when 'stays' then backend else $15 end, \
         troubles = case $14 when 'parks' then $16 when 'stays' then troubles else 0 end, \
         trouble_at = case $14 when 'parks' then $17 when 'stays' then trouble_at end, \
         crashes = 0, owner = null, lease_until = null where id = $1 and lease = $2 and status = 'running'";

    let (mut output, mut code, mut message, mut waits_for, mut run_at, mut finished_at) = (None, None, None, None, None, None);
    let (mut failed_runs, mut troubles, mut trouble_at, mut backend, mut away) = (0_i64, 0_u32, None, None, false);
    let outage = match &how {
        Settlement::Park { .. } => "parks",
        Settlement::Release { .. } => "stays",
        Settlement::Done { .. }
        | Settlement::Retry { .. }
        | Settlement::Ask { .. }
        | Settlement::Failed { .. }
        | Settlement::Sleep { .. } => "ends",
    };
    let status = match how {
        Settlement::Done { output: text } => {
            output = Some(text);
            finished_at = Some(now.0);
            Status::Done
        }
        Settlement::Retry { at } => {
            failed_runs = 1;
            run_at = Some(at.0);
            Status::Pending
        }
        Settlement::Park { at, said, waits } => {
            run_at = Some(at.0);
            waits_for = Some(said);
            match waits {
                Waits::Server { url, troubles: count, trouble_at: last } => {
                    away = true;
                    (backend, troubles, trouble_at) = (Some(url), count, last);
                }
                Waits::Turn { url } => backend = Some(url),
                Waits::Else => {}
            }
            Status::AwaitingBackend
        }
        Settlement::Ask { waits_for: what } => {
            waits_for = Some(what);
            Status::AwaitingApproval
        }
        Settlement::Release { at } | Settlement::Sleep { at } => {
            run_at = Some(at.0);
            Status::Pending
        }
        Settlement::Failed { code: why, message: text } => {
            failed_runs = 1;
            code = Some(why.as_str());
            message = Some(text);
            finished_at = Some(now.0);
            Status::Failed
        }
    };
    let held = within!(tx, connection => sqlx::query(SQL)
        .bind(id)
        .bind(lease)
        .bind(status.as_str())
        .bind(label.map(|label| label.tier.as_str()))
        .bind(label.map(|label| i64::from(label.tainted)))
        .bind(output)
        .bind(code)
        .bind(message)
        .bind(waits_for)
        .bind(run_at)
        .bind(finished_at)
        .bind(failed_runs)
        .bind(now.0)
        .bind(outage)
        .bind(&backend)
        .bind(i64::from(troubles))
        .bind(trouble_at.map(|at| at.0))
        .execute(&mut **connection)
        .await
        .map(|done| done.rows_affected() == 1))?;
    if let Some(url) = backend.filter(|_| held && away) {
        backends::failed(tx, &url, now).await?;
    }
    Ok(held)
}

/// Records the label that a task has reached and starts the count of failed runs anew, for its next hop; `false` if the lease
/// was lost.
pub async fn advance(tx: &mut Tx<'_>, (id, lease): (&str, i64), label: Label) -> Result<bool, StoreError> {
    const SQL: &str = "update task set label = $3, tainted = $4, attempts = 0, crashes = 0, parked_at = null, backend = null, troubles = 0, trouble_at = null where id = $1 and lease = $2 and status = 'running'";

    Ok(within!(tx, connection => sqlx::query(SQL)
        .bind(id)
        .bind(lease)
        .bind(label.tier.as_str())
        .bind(i64::from(label.tainted))
        .execute(&mut **connection)
        .await
        .map(|done| done.rows_affected() == 1))?)
}
