//! Hop rows: the chain of runs that a task has had.

use policy::task::{Handed, Outcome, Timestamp};
use policy::tier::{Label, Labelled, Tier};

use super::journal::Position;
use super::{Db, StoreError, Tx, on, within};

/// One hop.
#[derive(Clone)]
pub struct Hop {
    /// 1 for the first.
    pub seq: u32,
    /// Who works.
    pub agent: String,
    /// The component that works, once it has started.
    pub digest: Option<String>,
    /// The agent's own word for that component.
    pub version: Option<String>,
    /// `pending`, `running`, `parked`, `done` or `failed`.
    pub status: String,
    /// Grows with every start.
    pub run: u32,
    /// The lease under which its latest run started.
    pub lease: i64,
    /// How it ended.
    pub outcome: Option<Labelled<Outcome>>,
    /// Why it failed.
    pub error: Option<Labelled<String>>,
    /// When its latest run started.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}

#[derive(sqlx::FromRow)]
struct Row {
    seq: i64,
    agent: String,
    digest: Option<String>,
    version: Option<String>,
    status: String,
    run: i64,
    lease: i64,
    outcome: Option<String>,
    error: Option<String>,
    label: String,
    tainted: i64,
    started_at: Option<i64>,
    finished_at: Option<i64>,
}

/// A hop, and the task that it belongs to.
#[derive(sqlx::FromRow)]
struct Owned {
    task: String,
    #[sqlx(flatten)]
    row: Row,
}

impl TryFrom<Row> for Hop {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        let tier = Tier::named(&row.label).ok_or_else(|| StoreError::Unreadable(format!("label `{}` of a hop", row.label)))?;
        let label = Label { tier, tainted: row.tainted != 0 };
        let outcome: Option<Outcome> = row.outcome.map(|json| serde_json::from_str(&json)).transpose()?;
        Ok(Self {
            seq: u32::try_from(row.seq).unwrap_or(u32::MAX),
            agent: row.agent,
            digest: row.digest,
            version: row.version,
            status: row.status,
            run: u32::try_from(row.run).unwrap_or(u32::MAX),
            lease: row.lease,
            outcome: outcome.map(|outcome| Labelled::new(label, outcome)),
            error: row.error.map(|text| Labelled::new(label, text)),
            started_at: row.started_at.map(Timestamp),
            finished_at: row.finished_at.map(Timestamp),
        })
    }
}

impl Hop {
    /// What it hands to the next hop, if it has ended well. The next hop's label joins this one's.
    #[must_use]
    pub fn handed(&self) -> Option<Handed> {
        let outcome = self.outcome.as_ref()?;
        let open = outcome.open(policy::tier::Clearance::OPERATOR).ok()?.clone();
        Some(Handed { agent: self.agent.clone(), outcome: open, tier: outcome.label().tier })
    }
}

/// Adds a pending hop.
pub async fn insert(tx: &mut Tx<'_>, task: &str, seq: u32, agent: &str, label: Label) -> Result<(), StoreError> {
    const SQL: &str = "insert into hop (task, seq, agent, status, label, tainted) values ($1, $2, $3, 'pending', $4, $5)";

    within!(tx, connection => sqlx::query(SQL)
        .bind(task)
        .bind(i64::from(seq))
        .bind(agent)
        .bind(label.tier.as_str())
        .bind(i64::from(label.tainted))
        .execute(&mut **connection)
        .await
        .map(|_| ()))?;
    Ok(())
}

/// The hops of a task, in order.
pub async fn of(db: &Db, task: &str) -> Result<Vec<Hop>, StoreError> {
    const SQL: &str = "select hop.*, edition.version from hop left join edition on edition.agent = hop.agent \
         and edition.digest = hop.digest where hop.task = $1 order by hop.seq";

    let rows: Vec<Row> = on!(db, pool => sqlx::query_as(SQL).bind(task).fetch_all(pool).await)?;
    rows.into_iter().map(Hop::try_from).collect()
}

/// The hops of an agent that ended well, newest first, each with its task's id. Forgotten tasks are left out: nothing of theirs can
/// be done again.
pub async fn finished(db: &Db, agent: &str, most: u32) -> Result<Vec<(String, Hop)>, StoreError> {
    const SQL: &str = "select hop.*, edition.version from hop join task on task.id = hop.task \
         left join edition on edition.agent = hop.agent and edition.digest = hop.digest \
         where hop.agent = $1 and hop.status = 'done' and task.forgotten_at is null \
         order by hop.finished_at desc, hop.task desc, hop.seq desc limit $2";

    let rows: Vec<Owned> = on!(db, pool => sqlx::query_as(SQL).bind(agent).bind(i64::from(most)).fetch_all(pool).await)?;
    rows.into_iter().map(|owned| Ok((owned.task, Hop::try_from(owned.row)?))).collect()
}

/// How many hops of an agent ended well in tasks that are forgotten.
pub async fn forgotten(db: &Db, agent: &str) -> Result<u64, StoreError> {
    const SQL: &str = "select count(*) from hop join task on task.id = hop.task \
         where hop.agent = $1 and hop.status = 'done' and task.forgotten_at is not null";

    let count: i64 = on!(db, pool => sqlx::query_scalar(SQL).bind(agent).fetch_one(pool).await)?;
    Ok(u64::try_from(count).unwrap_or_default())
}

/// Starts a run of a hop, pinned to a component; `false` if the lease is lost, or another run has been started since.
pub(super) async fn start(tx: &mut Tx<'_>, at: &Position, lease: i64, digest: &str, now: Timestamp) -> Result<bool, StoreError> {
    const SQL: &str = "update hop set status = 'running', run = $3, lease = $4, digest = $5, started_at = $6, error = null, \
         outcome = null, finished_at = null where task = $1 and seq = $2 and run = $3 - 1 \
         and exists (select 1 from task where id = $1 and lease = $4 and status = 'running')";

    Ok(within!(tx, connection => sqlx::query(SQL).bind(&at.task).bind(i64::from(at.hop)).bind(i64::from(at.run)).bind(lease)
        .bind(digest).bind(now.0).execute(&mut **connection).await.map(|done| done.rows_affected() == 1))?)
}

/// Goes on with a run under another lease; `false` if that is lost.
pub(super) async fn resume(tx: &mut Tx<'_>, at: &Position, lease: i64) -> Result<bool, StoreError> {
    const SQL: &str = "update hop set status = 'running', lease = $4 where task = $1 and seq = $2 and run = $3 \
         and status in ('running', 'parked') and exists (select 1 from task where id = $1 and lease = $4 and status = 'running')";

    Ok(within!(tx, connection => sqlx::query(SQL).bind(&at.task).bind(i64::from(at.hop)).bind(i64::from(at.run)).bind(lease)
        .execute(&mut **connection).await.map(|done| done.rows_affected() == 1))?)
}

/// Puts a run aside without an outcome: it will be resumed, and is not taken for one that a crash swallowed.
pub async fn park(tx: &mut Tx<'_>, task: &str) -> Result<(), StoreError> {
    const SQL: &str = "update hop set status = 'parked' where task = $1 and status = 'running'";

    within!(tx, connection => sqlx::query(SQL).bind(task).execute(&mut **connection).await.map(|_| ()))?;
    Ok(())
}

/// Records how a run of a hop ended: its outcome, or the error of a run that failed.
pub async fn end(
    tx: &mut Tx<'_>,
    (task, seq): (&str, u32),
    how: Result<&Outcome, &str>,
    label: Label,
    now: Timestamp,
) -> Result<(), StoreError> {
    const SQL: &str = "update hop set status = $3, outcome = $4, error = $5, label = $6, tainted = $7, finished_at = $8 \
         where task = $1 and seq = $2";

    let (status, outcome, error) = match how {
        Ok(outcome) => ("done", Some(serde_json::to_string(outcome)?), None),
        Err(said) => ("failed", None, Some(said)),
    };
    within!(tx, connection => sqlx::query(SQL)
        .bind(task)
        .bind(i64::from(seq))
        .bind(status)
        .bind(outcome)
        .bind(error)
        .bind(label.tier.as_str())
        .bind(i64::from(label.tainted))
        .bind(now.0)
        .execute(&mut **connection)
        .await
        .map(|_| ()))?;
    Ok(())
}
