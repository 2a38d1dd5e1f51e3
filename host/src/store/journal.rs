//! What each run asked, what it was told, and under which label. Append-only but for the answer of a started entry.

use std::collections::BTreeMap;

use policy::task::Timestamp;
use policy::tier::{Label, Labelled, Tier};
use serde_json::Value;

use super::artefacts::{self, Artefact, Wrote};
use super::{Db, StoreError, Tx, on, within};

/// Where an entry stands: the journal's key. `seq` 0 is the run's input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// The task.
    pub task: String,
    /// Its hop.
    pub hop: u32,
    /// The run of that hop.
    pub run: u32,
    /// The call of that run.
    pub seq: u32,
}

impl Position {
    /// The `ref` by which agents cite a call of their task.
    #[must_use]
    pub fn reference(&self) -> String {
        format!("{}.{}.{}", self.hop, self.run, self.seq)
    }
}

/// What is known when an entry is opened.
#[derive(Clone, Debug)]
pub struct Opening {
    /// Where.
    pub at: Position,
    /// The lease under which the call is made.
    pub lease: i64,
    /// `interface.function`.
    pub kind: &'static str,
    /// Of kind and canonical request.
    pub fingerprint: String,
    /// Canonical JSON.
    pub request: String,
    /// The label before the call.
    pub label: Label,
    /// When it was made.
    pub started_at: Timestamp,
}

/// What is known when it is closed.
#[derive(Clone, Debug)]
pub struct Closing {
    /// `done`, `failed` or `denied`.
    pub state: &'static str,
    /// JSON of the result or the refusal.
    pub answer: String,
    /// JSON: the destinations tried.
    pub tries: String,
    /// The one that answered.
    pub destination: Option<String>,
    /// The label after the call.
    pub label: Label,
    /// What a model used.
    pub usage: Option<Usage>,
    /// The file that was written.
    pub wrote: Option<Wrote>,
    /// When it answered.
    pub finished_at: Timestamp,
}

/// What a model call used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// The model that served.
    pub model: String,
    /// Tokens read.
    pub input: u64,
    /// Tokens written.
    pub output: u64,
    /// Millionths of a US dollar.
    pub usd_micros: u64,
}

/// Writes a started entry, an intent, with the content of the file that it is about. `false`, and nothing is written, if the lease
/// is not held any more.
pub async fn start(db: &Db, opening: Opening, artefact: Option<Artefact>) -> Result<bool, StoreError> {
    let task = opening.at.task.clone();
    let written = db.write(move |tx| {
        Box::pin(async move {
            let held = put(tx, opening, None).await?;
            if let Some(artefact) = artefact.filter(|_| held) {
                artefacts::intend(tx, artefact).await?;
            }
            Ok(held)
        })
    });
    let written = written.await?;
    db.bell.changed(&task);
    Ok(written)
}

/// Writes an entry with its answer; one that was started is closed by it. `false`, and nothing is written, if the lease is not
/// held any more.
pub async fn record(db: &Db, opening: Opening, closing: Closing) -> Result<bool, StoreError> {
    let task = opening.at.task.clone();
    let written = db.write(move |tx| {
        Box::pin(async move {
            let (task, wrote, at) = (opening.at.task.clone(), closing.wrote.clone(), closing.finished_at);
            let held = put(tx, opening, Some(closing)).await?;
            if let Some(file) = wrote.filter(|_| held) {
                artefacts::wrote(tx, &task, &file, at).await?;
            }
            Ok(held)
        })
    });
    let written = written.await?;
    db.bell.changed(&task);
    Ok(written)
}

/// Writes an entry as part of a transaction.
pub(super) async fn put(tx: &mut Tx<'_>, opening: Opening, closing: Option<Closing>) -> Result<bool, StoreError> {
    const SQL: &str = "insert into journal (task, hop, run, seq, lease, kind, fingerprint, state, request, answer, tries, \
         destination, tier, tainted, model, input_tokens, output_tokens, usd_micros, started_at, finished_at) \
         select $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20 \
         where exists (select 1 from task where id = $1 and lease = $5 and status = 'running') \
         on conflict (task, hop, run, seq) do update set lease = excluded.lease, state = excluded.state, answer = excluded.answer, \
         tries = excluded.tries, destination = excluded.destination, tier = excluded.tier, tainted = excluded.tainted, \
         model = excluded.model, input_tokens = excluded.input_tokens, output_tokens = excluded.output_tokens, \
         usd_micros = excluded.usd_micros, finished_at = excluded.finished_at \
         where journal.state = 'started' and journal.fingerprint = excluded.fingerprint and journal.lease <= excluded.lease";

    let label = closing.as_ref().map_or(opening.label, |closing| closing.label);
    let usage = closing.as_ref().and_then(|closing| closing.usage.clone());
    let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let at = opening.at;
    Ok(within!(tx, connection => sqlx::query(SQL)
        .bind(&at.task)
        .bind(i64::from(at.hop))
        .bind(i64::from(at.run))
        .bind(i64::from(at.seq))
        .bind(opening.lease)
        .bind(opening.kind)
        .bind(&opening.fingerprint)
        .bind(closing.as_ref().map_or("started", |closing| closing.state))
        .bind(&opening.request)
        .bind(closing.as_ref().map(|closing| closing.answer.as_str()))
        .bind(closing.as_ref().map_or("[]", |closing| closing.tries.as_str()))
        .bind(closing.as_ref().and_then(|closing| closing.destination.as_deref()))
        .bind(label.tier.as_str())
        .bind(i64::from(label.tainted))
        .bind(usage.as_ref().map(|usage| usage.model.as_str()))
        .bind(usage.as_ref().map(|usage| number(usage.input)))
        .bind(usage.as_ref().map(|usage| number(usage.output)))
        .bind(usage.as_ref().map(|usage| number(usage.usd_micros)))
        .bind(opening.started_at.0)
        .bind(closing.as_ref().map(|closing| closing.finished_at.0))
        .execute(&mut **connection)
        .await
        .map(|done| done.rows_affected() == 1))?)
}

/// What a call read and used.
#[derive(sqlx::FromRow)]
struct Read {
    tier: String,
    tainted: i64,
    model: Option<String>,
    input_tokens: Option<i64>,
    output_tokens: Option<i64>,
    usd_micros: Option<i64>,
}

impl Read {
    fn label(&self) -> Result<Label, StoreError> {
        let tier = Tier::named(&self.tier).ok_or_else(|| StoreError::Unreadable(format!("label `{}` of an entry", self.tier)))?;
        Ok(Label { tier, tainted: self.tainted != 0 })
    }

    fn usage(self) -> Option<Usage> {
        let count = |value: Option<i64>| value.and_then(|value| u64::try_from(value).ok()).unwrap_or_default();
        let (input, output, usd_micros) = (count(self.input_tokens), count(self.output_tokens), count(self.usd_micros));
        self.model.map(|model| Usage { model, input, output, usd_micros })
    }
}

/// What a run was told, or asked and was answered, before it was interrupted.
#[derive(sqlx::FromRow)]
struct Told {
    seq: i64,
    kind: String,
    fingerprint: String,
    state: String,
    request: String,
    answer: Option<String>,
    destination: Option<String>,
    #[sqlx(flatten)]
    read: Read,
    started_at: i64,
    finished_at: Option<i64>,
}

/// A call of a run that is resumed.
#[derive(Clone, Debug)]
pub struct Past {
    /// `interface.function`.
    pub kind: String,
    /// Of kind and canonical request.
    pub fingerprint: String,
    /// `done`, `failed` or `denied`.
    pub state: String,
    /// JSON of the result or the refusal; none of a call that was only started: its truth is unknown.
    pub answer: Option<String>,
    /// The one that answered.
    pub destination: String,
    /// The label after it.
    pub label: Label,
    /// What a model used.
    pub usage: Option<Usage>,
    /// When it answered, or was made.
    pub finished_at: Timestamp,
}

/// What a run that is resumed has behind it: its input, and its calls, by `seq`.
pub struct Behind {
    /// The request of entry 0.
    pub input: String,
    /// The calls.
    pub calls: BTreeMap<u32, Past>,
}

/// What that run has behind it; `None` if it never started.
pub async fn behind(db: &Db, at: &Position) -> Result<Option<Behind>, StoreError> {
    const SQL: &str = "select seq, kind, fingerprint, state, request, answer, destination, tier, tainted, model, input_tokens, \
         output_tokens, usd_micros, started_at, finished_at from journal where task = $1 and hop = $2 and run = $3 order by seq";

    let rows: Vec<Told> = on!(db, pool => sqlx::query_as(SQL).bind(&at.task).bind(i64::from(at.hop)).bind(i64::from(at.run))
        .fetch_all(pool).await)?;
    let mut rows = rows.into_iter();
    let Some(input) = rows.next().filter(|first| first.seq == 0) else { return Ok(None) };
    let mut calls = BTreeMap::new();
    for row in rows {
        calls.insert(u32::try_from(row.seq).unwrap_or(u32::MAX), past(row)?);
    }
    Ok(Some(Behind { input: input.request, calls }))
}

fn past(row: Told) -> Result<Past, StoreError> {
    Ok(Past {
        kind: row.kind,
        fingerprint: row.fingerprint,
        state: row.state,
        answer: row.answer,
        destination: row.destination.unwrap_or_default(),
        label: row.read.label()?,
        usage: row.read.usage(),
        finished_at: Timestamp(row.finished_at.unwrap_or(row.started_at)),
    })
}

/// One line of a task's timeline.
pub struct Entry {
    /// Its hop.
    pub hop: u32,
    /// The run of that hop.
    pub run: u32,
    /// The call of that run.
    pub seq: u32,
    /// `interface.function`, or `run.input` for entry 0.
    pub kind: String,
    /// `started`, `done`, `failed` or `denied`.
    pub state: String,
    /// What was asked, as sent.
    pub request: Labelled<Value>,
    /// What came back.
    pub answer: Option<Labelled<Value>>,
    /// Destinations tried, with their reasons.
    pub tries: Value,
    /// The one that answered.
    pub destination: Option<String>,
    /// The label after it.
    pub label: Label,
    /// What a model used.
    pub usage: Option<Usage>,
    /// When it was made.
    pub started_at: Timestamp,
    /// When it answered.
    pub finished_at: Option<Timestamp>,
}

#[derive(sqlx::FromRow)]
struct Row {
    hop: i64,
    run: i64,
    seq: i64,
    kind: String,
    state: String,
    request: String,
    answer: Option<String>,
    tries: String,
    destination: Option<String>,
    #[sqlx(flatten)]
    read: Read,
    started_at: i64,
    finished_at: Option<i64>,
}

impl TryFrom<Row> for Entry {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        let (label, usage) = (row.read.label()?, row.read.usage());
        let small = |value: i64| u32::try_from(value).unwrap_or(u32::MAX);
        Ok(Self {
            hop: small(row.hop),
            run: small(row.run),
            seq: small(row.seq),
            kind: row.kind,
            state: row.state,
            request: Labelled::new(label, serde_json::from_str(&row.request)?),
            answer: row.answer.map(|json| serde_json::from_str(&json)).transpose()?.map(|json| Labelled::new(label, json)),
            tries: serde_json::from_str(&row.tries)?,
            destination: row.destination,
            label,
            usage,
            started_at: Timestamp(row.started_at),
            finished_at: row.finished_at.map(Timestamp),
        })
    }
}

/// Everything that a task's runs did, in order.
pub async fn timeline(db: &Db, task: &str) -> Result<Vec<Entry>, StoreError> {
    const SQL: &str = "select * from journal where task = $1 order by hop, run, seq";

    let rows: Vec<Row> = on!(db, pool => sqlx::query_as(SQL).bind(task).fetch_all(pool).await)?;
    rows.into_iter().map(Entry::try_from).collect()
}

/// The calls of a task from hop `from` on, in order: without what was asked, and with the answers only of those that were refused
/// or failed.
pub async fn calls(db: &Db, task: &str, from: u32) -> Result<Vec<Entry>, StoreError> {
    const SQL: &str = "select hop, run, seq, kind, state, 'null' as request, \
         case when state in ('denied', 'failed') then answer end as answer, '[]' as tries, destination, tier, tainted, model, \
         input_tokens, output_tokens, usd_micros, started_at, finished_at \
         from journal where task = $1 and hop >= $2 order by hop, run, seq";

    let rows: Vec<Row> = on!(db, pool => sqlx::query_as(SQL).bind(task).bind(i64::from(from)).fetch_all(pool).await)?;
    rows.into_iter().map(Entry::try_from).collect()
}

/// What a task has cost so far, in millionths of a US dollar, and the groups that served it.
pub async fn served(db: &Db, task: &str) -> Result<(u64, Vec<String>), StoreError> {
    const SQL: &str = "select destination, coalesce(sum(usd_micros), 0) from journal \
         where task = $1 and model is not null and destination is not null group by destination order by destination";
    const POSTGRES: &str = "select destination, coalesce(sum(usd_micros), 0)::bigint from journal \
         where task = $1 and model is not null and destination is not null group by destination order by destination";

    let rows: Vec<(String, i64)> = match &db.pool {
        super::Pool::Sqlite(pool, _) => sqlx::query_as(SQL).bind(task).fetch_all(pool).await?,
        super::Pool::Postgres(pool) => sqlx::query_as(POSTGRES).bind(task).fetch_all(pool).await?,
    };
    let cost = rows.iter().map(|(_, micros)| u64::try_from(*micros).unwrap_or_default()).sum();
    Ok((cost, rows.into_iter().map(|(group, _)| group).collect()))
}
