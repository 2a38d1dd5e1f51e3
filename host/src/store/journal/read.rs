//! Reading it: for a run that goes on, for a timeline.

use std::collections::BTreeMap;

use policy::call::Effect;
use policy::task::Timestamp;
use policy::tier::{Label, Labelled, Tier};
use serde_json::Value;

use super::{Position, Usage, payload};
use crate::store::{Db, StoreError, on};

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
    effect: String,
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
    /// `asked`, `started`, `done`, `failed` or `denied`.
    pub state: String,
    /// JSON of the result or the refusal; none of a call that waits for consent, and of one that was only started: its truth is unknown.
    pub answer: Option<String>,
    /// The one that answered.
    pub destination: String,
    /// The label after it.
    pub label: Label,
    /// What a model used.
    pub usage: Option<Usage>,
    /// What it means that it has no answer.
    pub effect: Effect,
    /// When it was made.
    pub started_at: Timestamp,
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
         output_tokens, usd_micros, effect, started_at, finished_at from journal where task = $1 and hop = $2 and run = $3 order by seq";

    let rows: Vec<Told> = on!(db, pool => sqlx::query_as(SQL).bind(&at.task).bind(i64::from(at.hop)).bind(i64::from(at.run))
        .fetch_all(pool).await)?;
    let mut rows = rows.into_iter();
    let Some(input) = rows.next().filter(|first| first.seq == 0) else { return Ok(None) };
    let mut calls = BTreeMap::new();
    for mut row in rows {
        if let Some(answer) = row.answer.take() {
            row.answer = Some(payload::get(db, &at.task, answer).await?);
        }
        calls.insert(u32::try_from(row.seq).unwrap_or(u32::MAX), past(row)?);
    }
    Ok(Some(Behind { input: payload::get(db, &at.task, input.request).await?, calls }))
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
        effect: Effect::named(&row.effect).ok_or_else(|| StoreError::Unreadable(format!("effect `{}` of an entry", row.effect)))?,
        started_at: Timestamp(row.started_at),
        finished_at: Timestamp(row.finished_at.unwrap_or(row.started_at)),
    })
}

/// Kind, fingerprint and request of one entry, as sent.
pub async fn asked(db: &Db, at: &Position) -> Result<Option<(String, String, String)>, StoreError> {
    const SQL: &str = "select kind, fingerprint, request from journal where task = $1 and hop = $2 and run = $3 and seq = $4";

    let row: Option<(String, String, String)> = on!(db, pool => sqlx::query_as(SQL).bind(&at.task).bind(i64::from(at.hop))
        .bind(i64::from(at.run)).bind(i64::from(at.seq)).fetch_optional(pool).await)?;
    let Some((kind, fingerprint, request)) = row else { return Ok(None) };
    Ok(Some((kind, fingerprint, payload::get(db, &at.task, request).await?)))
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
    /// `asked`, `started`, `done`, `failed` or `denied`.
    pub state: String,
    /// What was asked, as sent.
    pub request: Labelled<Value>,
    /// What came back.
    pub answer: Option<Labelled<Value>>,
    /// Destinations tried, with their reasons.
    pub tries: Value,
    /// The one that answered.
    pub destination: Option<String>,
    /// What it does to the world.
    pub effect: String,
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
    effect: String,
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
            effect: row.effect,
            label,
            usage,
            started_at: Timestamp(row.started_at),
            finished_at: row.finished_at.map(Timestamp),
        })
    }
}

/// Entries with their long texts.
async fn whole(db: &Db, task: &str, rows: Vec<Row>) -> Result<Vec<Entry>, StoreError> {
    let mut entries = Vec::with_capacity(rows.len());
    for mut row in rows {
        row.request = payload::get(db, task, row.request).await?;
        if let Some(answer) = row.answer.take() {
            row.answer = Some(payload::get(db, task, answer).await?);
        }
        entries.push(Entry::try_from(row)?);
    }
    Ok(entries)
}

/// Everything that a task's runs did, in order.
pub async fn timeline(db: &Db, task: &str) -> Result<Vec<Entry>, StoreError> {
    const SQL: &str = "select * from journal where task = $1 order by hop, run, seq";

    let rows: Vec<Row> = on!(db, pool => sqlx::query_as(SQL).bind(task).fetch_all(pool).await)?;
    whole(db, task, rows).await
}

/// The calls of a task from hop `from` on, in order: without what was asked, and with the answers only of those that were refused
/// or failed.
pub async fn calls(db: &Db, task: &str, from: u32) -> Result<Vec<Entry>, StoreError> {
    const SQL: &str = "select hop, run, seq, kind, state, 'null' as request, \
         case when state in ('denied', 'failed') then answer end as answer, '[]' as tries, destination, effect, tier, tainted, model, \
         input_tokens, output_tokens, usd_micros, started_at, finished_at \
         from journal where task = $1 and hop >= $2 and run > 0 order by hop, run, seq";

    let rows: Vec<Row> = on!(db, pool => sqlx::query_as(SQL).bind(task).bind(i64::from(from)).fetch_all(pool).await)?;
    whole(db, task, rows).await
}

/// The groups that served a task.
pub async fn served(db: &Db, task: &str) -> Result<Vec<String>, StoreError> {
    const SQL: &str = "select distinct destination from journal where task = $1 and model is not null and destination is not null \
         order by destination";

    Ok(on!(db, pool => sqlx::query_scalar(SQL).bind(task).fetch_all(pool).await)?)
}
