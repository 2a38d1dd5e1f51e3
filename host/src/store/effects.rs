//! What a task has done to the world, read off its journal, and what a person has said of it.
//!
//! An entry's `effect` is `once` until somebody says that doing it again does no harm; then it is `repeatable`.

use policy::task::Timestamp;
use policy::tier::{Label, Labelled, Tier};
use serde_json::{Value, json};

use super::journal::{self, Position};
use super::{Db, StoreError, Tx, on, within};

/// An effect that has happened, or may have.
pub struct Happened {
    /// Its hop.
    pub hop: u32,
    /// The run of that hop.
    pub run: u32,
    /// The call of that run.
    pub seq: u32,
    /// Whose call.
    pub agent: String,
    /// `interface.function`.
    pub kind: String,
    /// Where it went, if it answered.
    pub destination: Option<String>,
    /// What was asked for, as sent.
    pub request: Labelled<Value>,
    /// Whether it was answered; else nobody knows whether it happened.
    pub known: bool,
    /// Whether doing it again does no harm.
    pub repeatable: bool,
    /// When the call was made.
    pub at: Timestamp,
}

#[derive(sqlx::FromRow)]
struct Row {
    hop: i64,
    run: i64,
    seq: i64,
    agent: String,
    kind: String,
    destination: Option<String>,
    request: String,
    state: String,
    effect: String,
    tier: String,
    tainted: i64,
    started_at: i64,
}

impl TryFrom<Row> for Happened {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        let tier = Tier::named(&row.tier).ok_or_else(|| StoreError::Unreadable(format!("label `{}` of an entry", row.tier)))?;
        let small = |value: i64| u32::try_from(value).unwrap_or(u32::MAX);
        Ok(Self {
            hop: small(row.hop),
            run: small(row.run),
            seq: small(row.seq),
            agent: row.agent,
            kind: row.kind,
            destination: row.destination,
            request: Labelled::new(Label { tier, tainted: row.tainted != 0 }, serde_json::from_str(&row.request)?),
            known: row.state == "done",
            repeatable: row.effect != "once",
            at: Timestamp(row.started_at),
        })
    }
}

/// Everything that the task has done, or may have, in order.
pub async fn of(db: &Db, task: &str) -> Result<Vec<Happened>, StoreError> {
    const SQL: &str = "select journal.hop, journal.run, journal.seq, hop.agent, journal.kind, journal.destination, journal.request, \
         journal.state, journal.effect, journal.tier, journal.tainted, journal.started_at \
         from journal join hop on hop.task = journal.task and hop.seq = journal.hop \
         where journal.task = $1 and journal.effect <> 'none' and journal.state in ('started', 'done') \
         order by journal.hop, journal.run, journal.seq";

    let rows: Vec<Row> = on!(db, pool => sqlx::query_as(SQL).bind(task).fetch_all(pool).await)?;
    let mut happened = Vec::with_capacity(rows.len());
    for mut row in rows {
        row.request = journal::text(db, task, row.request).await?;
        happened.push(Happened::try_from(row)?);
    }
    Ok(happened)
}

/// Whether any run of that hop has done, or may have done, what must not be done twice.
pub async fn unrepeatable(db: &Db, task: &str, hop: u32) -> Result<bool, StoreError> {
    const SQL: &str = "select count(*) from journal \
         where task = $1 and hop = $2 and effect = 'once' and state in ('started', 'done')";

    let found: i64 = on!(db, pool => sqlx::query_scalar(SQL).bind(task).bind(i64::from(hop)).fetch_one(pool).await)?;
    Ok(found > 0)
}

/// Lets a call be made again that may have happened; `false` if it is answered.
pub(super) async fn allow(tx: &mut Tx<'_>, at: &Position) -> Result<bool, StoreError> {
    const SQL: &str = "update journal set effect = 'repeatable' \
         where task = $1 and hop = $2 and run = $3 and seq = $4 and state = 'started'";

    Ok(within!(tx, connection => sqlx::query(SQL).bind(&at.task).bind(i64::from(at.hop)).bind(i64::from(at.run))
        .bind(i64::from(at.seq)).execute(&mut **connection).await.map(|done| done.rows_affected() == 1))?)
}

/// Lets everything be done again that was done in the hops from `from` on.
pub(super) async fn allow_all(tx: &mut Tx<'_>, task: &str, from: i64) -> Result<(), StoreError> {
    const SQL: &str = "update journal set effect = 'repeatable' where task = $1 and hop >= $2 and effect = 'once'";

    within!(tx, connection => sqlx::query(SQL).bind(task).bind(from).execute(&mut **connection).await.map(|_| ()))?;
    Ok(())
}

/// Closes a call that has no answer with one: its state, JSON, and who says so. `false` if it has one.
pub(super) async fn answer(
    tx: &mut Tx<'_>,
    at: &Position,
    (state, answer, by): (&str, &str, &str),
    now: Timestamp,
) -> Result<bool, StoreError> {
    const SQL: &str = "update journal set state = $8, answer = $5, tries = $6, finished_at = $7 \
         where task = $1 and hop = $2 and run = $3 and seq = $4 and state in ('started', 'asked')";

    let outcome = if state == "done" { "answered" } else { state };
    let tries = json!([{ "destination": "", "reason": by, "outcome": outcome }]).to_string();
    Ok(within!(tx, connection => sqlx::query(SQL).bind(&at.task).bind(i64::from(at.hop)).bind(i64::from(at.run))
        .bind(i64::from(at.seq)).bind(answer).bind(tries).bind(now.0).bind(state)
        .execute(&mut **connection).await.map(|done| done.rows_affected() == 1))?)
}

/// An edit of a task, as its journal keeps it.
pub(super) struct Edit<'e> {
    /// Where the new chain of hops begins.
    pub(super) at: Position,
    /// The last lease of the task.
    pub(super) lease: i64,
    /// What was asked before.
    pub(super) was: &'e str,
    /// Who changed it.
    pub(super) by: &'e str,
    /// The tier of what was asked, and whether it was tainted.
    pub(super) label: (&'e str, i64),
}

/// Notes an edit.
pub(super) async fn edited(tx: &mut Tx<'_>, edit: Edit<'_>, now: Timestamp) -> Result<(), StoreError> {
    const SQL: &str = "insert into journal (task, hop, run, seq, lease, kind, fingerprint, state, request, answer, tries, tier, tainted, \
         started_at, finished_at) values ($1, $2, $3, $4, $5, 'task.edit', '', 'done', $6, 'null', '[]', $7, $8, $9, $9)";

    let request = json!({ "by": edit.by, "content_was": edit.was }).to_string();
    within!(tx, connection => sqlx::query(SQL).bind(&edit.at.task).bind(i64::from(edit.at.hop)).bind(i64::from(edit.at.run))
        .bind(i64::from(edit.at.seq)).bind(edit.lease).bind(request).bind(edit.label.0).bind(edit.label.1).bind(now.0)
        .execute(&mut **connection).await.map(|_| ()))?;
    Ok(())
}
