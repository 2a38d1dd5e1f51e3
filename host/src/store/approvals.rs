//! Questions that a person must answer before a task goes on: asked with the parking, and answered together with what follows, by
//! whoever is first.

use policy::task::{ApprovalStatus, ErrorCode, Reaction, Timestamp};
use policy::tier::{Label, Labelled, Tier};
use serde_json::Value;

use super::journal::{self, Position};
use super::{Db, StoreError, Tx, effects, on, within};
use crate::id;

/// The call may or may not have happened.
pub const AMBIGUOUS: &str = "ambiguous";

/// A question, with the call that it is about.
pub struct Approval {
    /// Its id.
    pub id: String,
    /// The call.
    pub at: Position,
    /// [`AMBIGUOUS`].
    pub kind: String,
    /// Where it stands.
    pub status: ApprovalStatus,
    /// The answer.
    pub reaction: Option<Reaction>,
    /// What the call is said to have answered.
    pub result: Option<Labelled<Value>>,
    /// Who answered.
    pub actor: Option<String>,
    /// When it was asked.
    pub created_at: Timestamp,
    /// When it was answered or closed.
    pub decided_at: Option<Timestamp>,
    /// Whose call.
    pub agent: String,
    /// `interface.function`.
    pub call: String,
    /// What was asked for, as sent.
    pub request: Labelled<Value>,
    /// When the call was made.
    pub called_at: Timestamp,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    task: String,
    hop: i64,
    run: i64,
    seq: i64,
    kind: String,
    status: String,
    reaction: Option<String>,
    result: Option<String>,
    actor: Option<String>,
    created_at: i64,
    decided_at: Option<i64>,
    agent: String,
    call: String,
    request: String,
    tier: String,
    tainted: i64,
    called_at: i64,
}

impl TryFrom<Row> for Approval {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        let bad = |what: &str, word: &str| StoreError::Unreadable(format!("{what} `{word}` of approval {}", row.id));
        let small = |value: i64| u32::try_from(value).unwrap_or(u32::MAX);
        let reaction = |word: &String| Reaction::named(word).ok_or_else(|| bad("reaction", word));
        let tier = Tier::named(&row.tier).ok_or_else(|| bad("label", &row.tier))?;
        let label = Label { tier, tainted: row.tainted != 0 };
        let result: Option<Value> = row.result.map(|json| serde_json::from_str(&json)).transpose()?;
        Ok(Self {
            status: ApprovalStatus::named(&row.status).ok_or_else(|| bad("status", &row.status))?,
            reaction: row.reaction.as_ref().map(reaction).transpose()?,
            at: Position { task: row.task, hop: small(row.hop), run: small(row.run), seq: small(row.seq) },
            result: result.map(|json| Labelled::new(label, json)),
            request: Labelled::new(label, serde_json::from_str(&row.request)?),
            id: row.id,
            kind: row.kind,
            actor: row.actor,
            created_at: Timestamp(row.created_at),
            decided_at: row.decided_at.map(Timestamp),
            agent: row.agent,
            call: row.call,
            called_at: Timestamp(row.called_at),
        })
    }
}

/// Asks whether a call has happened; nothing is added if that is asked already.
pub async fn ask(tx: &mut Tx<'_>, at: &Position, now: Timestamp) -> Result<(), StoreError> {
    const SQL: &str = "insert into approval (id, task, hop, run, seq, kind, status, created_at) \
         values ($1, $2, $3, $4, $5, $6, 'open', $7) on conflict (task, hop, run, seq) where status = 'open' do nothing";

    within!(tx, connection => sqlx::query(SQL).bind(id::task()).bind(&at.task).bind(i64::from(at.hop)).bind(i64::from(at.run))
        .bind(i64::from(at.seq)).bind(AMBIGUOUS).bind(now.0).execute(&mut **connection).await.map(|_| ()))?;
    Ok(())
}

/// What a list of questions is narrowed to.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only of that status.
    pub status: Option<ApprovalStatus>,
    /// Only of that task.
    pub task: Option<String>,
    /// Only that one.
    pub id: Option<String>,
    /// At most so many.
    pub limit: i64,
}

/// Questions, the oldest first.
pub async fn list(db: &Db, filter: Filter) -> Result<Vec<Approval>, StoreError> {
    const SQL: &str = "select approval.*, hop.agent, journal.kind as call, journal.request, journal.tier, journal.tainted, \
         journal.started_at as called_at from approval \
         join hop on hop.task = approval.task and hop.seq = approval.hop \
         join journal on journal.task = approval.task and journal.hop = approval.hop and journal.run = approval.run \
         and journal.seq = approval.seq \
         where ($1 is null or approval.status = $1) and ($2 is null or approval.task = $2) and ($3 is null or approval.id = $3) \
         order by approval.id limit $4";

    let rows: Vec<Row> = on!(db, pool => sqlx::query_as(SQL).bind(filter.status.map(ApprovalStatus::as_str)).bind(filter.task)
        .bind(filter.id).bind(filter.limit).fetch_all(pool).await)?;
    let mut found = Vec::with_capacity(rows.len());
    for mut row in rows {
        row.request = journal::text(db, &row.task, row.request).await?;
        found.push(Approval::try_from(row)?);
    }
    Ok(found)
}

/// The question of that id.
pub async fn find(db: &Db, id: &str) -> Result<Option<Approval>, StoreError> {
    Ok(list(db, Filter { id: Some(id.to_owned()), limit: 1, ..Filter::default() }).await?.pop())
}

/// Every question of a task.
pub async fn of(db: &Db, task: &str) -> Result<Vec<Approval>, StoreError> {
    list(db, Filter { task: Some(task.to_owned()), limit: i64::MAX, ..Filter::default() }).await
}

/// How many tasks wait for a person, and since when the first of them.
pub async fn waiting(db: &Db) -> Result<(i64, Option<Timestamp>), StoreError> {
    const SQL: &str = "select count(*), min(waiting_since) from task where status = 'awaiting_approval'";

    let (count, since): (i64, Option<i64>) = on!(db, pool => sqlx::query_as(SQL).fetch_one(pool).await)?;
    Ok((count, since.map(Timestamp)))
}

/// What a person says of a call that may or may not have happened.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// It is made again, under the same key.
    Retry,
    /// It has happened.
    Done {
        /// JSON of what it answered.
        answer: String,
    },
    /// The task fails.
    Fail {
        /// Why, for people.
        message: String,
    },
}

impl Verdict {
    fn reaction(&self) -> Reaction {
        match self {
            Self::Retry => Reaction::Retry,
            Self::Done { .. } => Reaction::Done,
            Self::Fail { .. } => Reaction::Fail,
        }
    }
}

/// Answers a question, and lets its task go on or fail. `false`, and nothing has changed, if it was answered or closed before.
pub async fn decide(db: &Db, id: String, verdict: Verdict, actor: String, now: Timestamp) -> Result<bool, StoreError> {
    let decided = db.write(move |tx| {
        Box::pin(async move {
            // The task first, as everybody does who changes both.
            let task = match &verdict {
                Verdict::Retry | Verdict::Done { .. } => released(tx, &id, now).await?,
                Verdict::Fail { message } => failed(tx, &id, message, now).await?,
            };
            let Some(task) = task else { return Ok(false) };
            let Some((hop, run, seq)) = answered(tx, &id, &verdict, &actor, now).await? else { return Err(StoreError::Taken) };
            let at = Position { task, hop, run, seq };
            match verdict {
                Verdict::Retry => effects::allow(tx, &at).await?,
                Verdict::Done { answer } => effects::answer(tx, &at, &answer, now).await?,
                Verdict::Fail { .. } => true,
            }
            .then_some(true)
            .ok_or(StoreError::Taken)
        })
    });
    match decided.await {
        Err(StoreError::Taken) => Ok(false),
        decided => decided,
    }
}

/// Puts the task of an open question back in the queue; which.
async fn released(tx: &mut Tx<'_>, id: &str, now: Timestamp) -> Result<Option<String>, StoreError> {
    const SQL: &str = "update task set status = 'pending', run_at = $2 where status = 'awaiting_approval' \
         and id = (select task from approval where approval.id = $1 and approval.status = 'open') returning id";

    Ok(within!(tx, connection => sqlx::query_scalar(SQL).bind(id).bind(now.0).fetch_optional(&mut **connection).await)?)
}

/// Fails the task of an open question; which.
async fn failed(tx: &mut Tx<'_>, id: &str, message: &str, now: Timestamp) -> Result<Option<String>, StoreError> {
    const TASK: &str = "update task set status = 'failed', finished_at = $2, error_code = $3, error_message = $4, waits_for = null \
         where status = 'awaiting_approval' \
         and id = (select task from approval where approval.id = $1 and approval.status = 'open') returning id";
    const HOP: &str = "update hop set status = 'failed', error = $2, finished_at = $3 where task = $1 and status = 'parked'";

    let code = ErrorCode::ApprovalDenied.as_str();
    let task: Option<String> = within!(tx, connection => sqlx::query_scalar(TASK).bind(id).bind(now.0).bind(code).bind(message)
        .fetch_optional(&mut **connection).await)?;
    if let Some(task) = &task {
        within!(tx, connection => sqlx::query(HOP).bind(task).bind(message).bind(now.0)
            .execute(&mut **connection).await.map(|_| ()))?;
    }
    Ok(task)
}

/// Closes a question with its answer: hop, run and number of its call.
async fn answered(
    tx: &mut Tx<'_>,
    id: &str,
    verdict: &Verdict,
    actor: &str,
    now: Timestamp,
) -> Result<Option<(u32, u32, u32)>, StoreError> {
    const SQL: &str = "update approval set status = 'decided', reaction = $2, result = $3, actor = $4, decided_at = $5 \
         where id = $1 and status = 'open' returning hop, run, seq";

    let result = match verdict {
        Verdict::Done { answer } => Some(answer),
        Verdict::Retry | Verdict::Fail { .. } => None,
    };
    let at: Option<(i64, i64, i64)> = within!(tx, connection => sqlx::query_as(SQL).bind(id).bind(verdict.reaction().as_str())
        .bind(result).bind(actor).bind(now.0).fetch_optional(&mut **connection).await)?;
    let small = |value: i64| u32::try_from(value).unwrap_or(u32::MAX);
    Ok(at.map(|(hop, run, seq)| (small(hop), small(run), small(seq))))
}

/// Closes the questions of a task that has ended without their answers.
pub(super) async fn close(tx: &mut Tx<'_>, task: &str, now: Timestamp) -> Result<(), StoreError> {
    const SQL: &str = "update approval set status = 'closed', decided_at = $2 where task = $1 and status = 'open'";

    within!(tx, connection => sqlx::query(SQL).bind(task).bind(now.0).execute(&mut **connection).await.map(|_| ()))?;
    Ok(())
}
