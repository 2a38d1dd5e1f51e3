//! What is to be told to people: written in the transaction of what it tells of, taken by one host at a time, given up only after it
//! was tried for long. It holds no content of a task: what is said is read when it is sent. Must never be the reason why anything else
//! waits.

use policy::task::Timestamp;

use super::{Db, StoreError, Tx, on, within};
use crate::id;

/// How long a host may take for one delivery before another takes it for lost, in milliseconds.
pub const TURN: i64 = 60_000;

/// Something to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct New {
    /// To which sink.
    pub sink: &'static str,
    /// What it is.
    pub kind: &'static str,
    /// Of which task; empty if of none.
    pub task: String,
    /// The approval, or a notice in the host's own words.
    pub about: String,
}

/// Something that is due.
#[derive(Clone, Debug)]
pub struct Due {
    /// By which its receiver may know it again.
    pub id: String,
    /// What it is.
    pub kind: String,
    /// Of which task; empty if of none.
    pub task: String,
    /// The approval, or a notice in the host's own words.
    pub about: String,
    /// How often it was tried, this time included.
    pub attempts: u32,
    /// Since when it waits.
    pub created_at: Timestamp,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    kind: String,
    task: String,
    about: String,
    attempts: i64,
    created_at: i64,
}

/// Adds some.
pub async fn put(tx: &mut Tx<'_>, all: &[New], now: Timestamp) -> Result<(), StoreError> {
    const SQL: &str = "insert into delivery (id, sink, kind, task, about, status, run_at, created_at) \
         values ($1, $2, $3, $4, $5, 'pending', $6, $6)";

    for new in all {
        within!(tx, connection => sqlx::query(SQL).bind(id::task()).bind(new.sink).bind(new.kind).bind(&new.task).bind(&new.about)
            .bind(now.0).execute(&mut **connection).await.map(|_| ()))?;
    }
    Ok(())
}

/// When the next one of a sink is due.
pub async fn next(db: &Db, sink: &str) -> Result<Option<Timestamp>, StoreError> {
    const SQL: &str = "select min(run_at) from delivery where status = 'pending' and sink = $1";

    let at: Option<i64> = on!(db, pool => sqlx::query_scalar(SQL).bind(sink).fetch_one(pool).await)?;
    Ok(at.map(Timestamp))
}

/// Takes the one of a sink that has been due for longest; nobody else takes it for [`TURN`].
pub async fn take(db: &Db, sink: &'static str, now: Timestamp) -> Result<Option<Due>, StoreError> {
    const SQLITE: &str = "update delivery set attempts = attempts + 1, run_at = $3 where id = (select id from delivery \
         where status = 'pending' and sink = $1 and run_at <= $2 order by run_at, id limit 1) returning *";
    const POSTGRES: &str = "update delivery set attempts = attempts + 1, run_at = $3 where id = (select id from delivery \
         where status = 'pending' and sink = $1 and run_at <= $2 order by run_at, id limit 1 for update skip locked) returning *";

    let until = now.plus(TURN);
    let row: Option<Row> = db
        .write(move |tx| {
            Box::pin(async move {
                Ok(match tx {
                    Tx::Sqlite(connection) => {
                        sqlx::query_as(SQLITE).bind(sink).bind(now.0).bind(until.0).fetch_optional(&mut **connection).await?
                    }
                    Tx::Postgres(connection) => {
                        sqlx::query_as(POSTGRES).bind(sink).bind(now.0).bind(until.0).fetch_optional(&mut **connection).await?
                    }
                })
            })
        })
        .await?;
    Ok(row.map(|Row { id, kind, task, about, attempts, created_at }| Due {
        id,
        kind,
        task,
        about,
        attempts: u32::try_from(attempts).unwrap_or(u32::MAX),
        created_at: Timestamp(created_at),
    }))
}

/// What became of a delivery that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Became {
    /// Its receiver has it.
    Sent,
    /// It is tried again then.
    Later(Timestamp, String),
    /// There is nothing to tell any more: it was answered, tried again or forgotten meanwhile, or is nobody's business there.
    Dropped,
    /// It is given up: a dead letter of the outbox.
    Dead(String),
}

/// Notes what became of it.
pub async fn settle(db: &Db, id: String, became: Became, now: Timestamp) -> Result<(), StoreError> {
    const SQL: &str = "update delivery set status = $2, run_at = coalesce($3, run_at), error = $4, ended_at = $5 \
         where id = $1 and status = 'pending'";

    let (status, run_at, error, ended_at) = match became {
        Became::Sent => ("sent", None, None, Some(now.0)),
        Became::Dropped => ("dropped", None, None, Some(now.0)),
        Became::Later(at, error) => ("pending", Some(at.0), Some(error), None),
        Became::Dead(error) => ("dead", None, Some(error), Some(now.0)),
    };
    db.write(move |tx| {
        Box::pin(async move {
            within!(tx, connection => sqlx::query(SQL).bind(id).bind(status).bind(run_at).bind(error).bind(ended_at)
                .execute(&mut **connection).await.map(|_| ()))?;
            Ok(())
        })
    })
    .await
}

/// How many wait, by sink.
pub async fn pending(db: &Db) -> Result<Vec<(String, i64)>, StoreError> {
    const SQL: &str = "select sink, count(*) from delivery where status = 'pending' group by sink";

    Ok(on!(db, pool => sqlx::query_as(SQL).fetch_all(pool).await)?)
}

/// A delivery as people see it: not what it says.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct Seen {
    /// Its id.
    pub id: String,
    /// To which sink.
    pub sink: String,
    /// Of which task.
    pub task: String,
    /// What it is.
    pub kind: String,
    /// `pending`, `sent`, `dropped` or `dead`.
    pub status: String,
    /// How often it was tried.
    pub attempts: i64,
    /// What went wrong last.
    pub error: Option<String>,
    /// Since when it waits.
    pub created_at: i64,
    /// When it was sent, or given up.
    pub ended_at: Option<i64>,
}

/// Those of a status, newest first.
pub async fn list(db: &Db, status: &str, most: i64) -> Result<Vec<Seen>, StoreError> {
    const SQL: &str = "select id, sink, task, kind, status, attempts, error, created_at, ended_at from delivery \
         where status = $1 order by id desc limit $2";

    Ok(on!(db, pool => sqlx::query_as(SQL).bind(status).bind(most).fetch_all(pool).await)?)
}

/// The one of that id.
pub async fn find(db: &Db, id: &str) -> Result<Option<Seen>, StoreError> {
    const SQL: &str = "select id, sink, task, kind, status, attempts, error, created_at, ended_at from delivery where id = $1";

    Ok(on!(db, pool => sqlx::query_as(SQL).bind(id).fetch_optional(pool).await)?)
}

/// Those of one task, in order.
pub async fn of(db: &Db, task: &str) -> Result<Vec<Seen>, StoreError> {
    const SQL: &str = "select id, sink, task, kind, status, attempts, error, created_at, ended_at from delivery \
         where task = $1 order by id";

    Ok(on!(db, pool => sqlx::query_as(SQL).bind(task).fetch_all(pool).await)?)
}

/// Tries one that was given up again; `false` if it was not.
pub async fn again(db: &Db, id: String, now: Timestamp) -> Result<bool, StoreError> {
    const SQL: &str = "update delivery set status = 'pending', attempts = 0, run_at = $2, ended_at = null, created_at = $2 \
         where id = $1 and status = 'dead'";

    db.write(move |tx| {
        Box::pin(async move {
            Ok(within!(tx, connection => sqlx::query(SQL).bind(id).bind(now.0).execute(&mut **connection).await
                .map(|done| done.rows_affected() == 1))?)
        })
    })
    .await
}
