//! What people say to questions: each word is a compare-and-set, together with what follows from it. Of two who answer at once, one does.

use policy::approval::{self, Follows, Open, Refused};
use policy::call::CallError;
use policy::class::Class;
use policy::task::{ErrorCode, Reaction, Timestamp};

use super::journal::Position;
use super::leases::Expired;
use super::{Db, StoreError, Tx, approvals, deliveries, effects, links, on, within};

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

/// Answers a question about a call that may have happened, and lets its task go on or fail. `false`, and nothing has changed, if it
/// was answered or closed before, or is of another kind. `told` goes to people with it.
pub async fn decide(
    db: &Db,
    id: String,
    verdict: Verdict,
    (actor, told): (String, Vec<deliveries::New>),
    now: Timestamp,
) -> Result<bool, StoreError> {
    let decided = db.write(move |tx| {
        Box::pin(async move {
            // The task first, as everybody does who changes both.
            let task = match &verdict {
                Verdict::Retry | Verdict::Done { .. } => released(tx, &id, now).await?,
                Verdict::Fail { message } => failed(tx, &id, message, now).await?,
            };
            let Some(task) = task else { return Ok(false) };
            let result = match &verdict {
                Verdict::Done { answer } => Some(answer.as_str()),
                Verdict::Retry | Verdict::Fail { .. } => None,
            };
            let closing = (verdict.reaction(), result, actor.as_str(), now);
            let Some(at) = answered(tx, (&task, &id, "ambiguous"), closing).await? else { return Err(StoreError::Taken) };
            deliveries::put(tx, &told, now).await?;
            match verdict {
                Verdict::Retry => effects::allow(tx, &at).await?,
                Verdict::Done { answer } => {
                    effects::answer(tx, &at, ("done", &answer, "a person said that it had happened"), now).await?
                }
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

/// Whose word, by which way, when.
#[derive(Clone, Debug)]
pub struct Said {
    /// What.
    pub reaction: Reaction,
    /// Who.
    pub actor: String,
    /// Through which channel.
    pub channel: String,
    /// The hash of the link's token, if it came by one.
    pub link: Option<String>,
    /// When.
    pub at: Timestamp,
}

/// What became of a word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// It counts.
    Counts(Follows),
    /// It does not.
    Refused(Refused),
    /// The question was answered or closed before, or there is none.
    NotOpen,
    /// The link was used before, or is none of ours.
    Spent,
}

/// Takes a person's word on a question before a call. Whatever does not count changes nothing.
pub async fn hear(db: &Db, id: String, said: Said) -> Result<Heard, StoreError> {
    db.write(move |tx| {
        Box::pin(async move {
            let Some((task, open)) = held(tx, &id).await? else { return Ok(Heard::NotOpen) };
            let follows = match approval::decide(open.as_open(), said.reaction, &said.channel, said.at) {
                Ok(follows) => follows,
                Err(refused) => return Ok(Heard::Refused(refused)),
            };
            if let Some(link) = &said.link
                && !links::spend(tx, link, &id, said.at).await?
            {
                return Ok(Heard::Spent);
            }
            applied(tx, (&task, &id), &said, &follows).await?;
            Ok(Heard::Counts(follows))
        })
    })
    .await
}

/// An open question.
struct Waiting {
    class: Class,
    created_at: Timestamp,
    expires_at: Option<Timestamp>,
    channels: Vec<String>,
}

impl Waiting {
    fn as_open(&self) -> Open<'_> {
        Open { class: self.class, created_at: self.created_at, expires_at: self.expires_at, channels: &self.channels }
    }
}

/// Takes the task of an open question for the rest of the transaction, so that words come one after the other.
async fn held(tx: &mut Tx<'_>, id: &str) -> Result<Option<(String, Waiting)>, StoreError> {
    const HOLD: &str = "update task set waits_for = waits_for where status = 'awaiting_approval' \
         and id = (select task from approval where approval.id = $1) returning id";
    const SQL: &str = "select class, created_at, expires_at from approval where id = $1 and status = 'open' and kind = 'call'";
    const YES: &str = "select channel from consent where approval = $1";

    let task: Option<String> =
        within!(tx, connection => sqlx::query_scalar(HOLD).bind(id).fetch_optional(&mut **connection).await)?;
    let Some(task) = task else { return Ok(None) };
    let row: Option<(String, i64, Option<i64>)> = within!(tx, connection => sqlx::query_as(SQL).bind(id)
        .fetch_optional(&mut **connection).await)?;
    let Some((class, created_at, expires_at)) = row else { return Ok(None) };
    let channels: Vec<String> = within!(tx, connection => sqlx::query_scalar(YES).bind(id).fetch_all(&mut **connection).await)?;
    let class = Class::named(&class).ok_or_else(|| StoreError::Unreadable(format!("class `{class}` of approval {id}")))?;
    let waiting = Waiting { class, created_at: Timestamp(created_at), expires_at: expires_at.map(Timestamp), channels };
    Ok(Some((task, waiting)))
}

/// Does what follows from a word.
async fn applied(tx: &mut Tx<'_>, (task, id): (&str, &str), said: &Said, follows: &Follows) -> Result<(), StoreError> {
    let closing = (said.reaction, None, said.actor.as_str(), said.at);
    match follows {
        Follows::Another => yes(tx, id, said).await,
        Follows::Approved => {
            yes(tx, id, said).await?;
            released(tx, id, said.at).await?.ok_or(StoreError::Taken)?;
            answered(tx, (task, id, "call"), closing).await?.map(|_| ()).ok_or(StoreError::Taken)
        }
        Follows::Rejected => {
            released(tx, id, said.at).await?.ok_or(StoreError::Taken)?;
            let at = answered(tx, (task, id, "call"), closing).await?.ok_or(StoreError::Taken)?;
            let refusal = CallError::Denied {
                rule: "approval_denied".into(),
                said: format!("{} said no to this call", said.actor),
                at: format!("approval {id}"),
                hint: "do not try it another way: say that it was not done, and why".into(),
            };
            let answer = serde_json::to_string(&refusal)?;
            let answered = effects::answer(tx, &at, ("denied", &answer, "a person said no"), said.at).await?;
            answered.then_some(()).ok_or(StoreError::Taken)
        }
        Follows::Deferred { silent_until, expires_at } => deferred(tx, id, *silent_until, *expires_at).await,
    }
}

async fn yes(tx: &mut Tx<'_>, id: &str, said: &Said) -> Result<(), StoreError> {
    const SQL: &str = "insert into consent (approval, channel, actor, at) values ($1, $2, $3, $4)";

    within!(tx, connection => sqlx::query(SQL).bind(id).bind(&said.channel).bind(&said.actor).bind(said.at.0)
        .execute(&mut **connection).await.map(|_| ()))?;
    Ok(())
}

async fn deferred(tx: &mut Tx<'_>, id: &str, silent: Timestamp, expires_at: Option<Timestamp>) -> Result<(), StoreError> {
    // Whoever put it off is asked again when that is over.
    const SQL: &str = "update approval set silent_until = $2, expires_at = $3, remind_at = $2 where id = $1 and status = 'open'";

    within!(tx, connection => sqlx::query(SQL).bind(id).bind(silent.0).bind(expires_at.map(|at| at.0))
        .execute(&mut **connection).await.map(|_| ()))?;
    Ok(())
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

/// How a question ends: the word, what a call is said to have answered, whose word, when.
type Ending<'e> = (Reaction, Option<&'e str>, &'e str, Timestamp);

/// Closes a question of that kind with its answer: where its call stands.
async fn answered(
    tx: &mut Tx<'_>,
    (task, id, kind): (&str, &str, &str),
    (reaction, result, actor, now): Ending<'_>,
) -> Result<Option<Position>, StoreError> {
    const SQL: &str = "update approval set status = 'decided', reaction = $2, result = $3, actor = $4, decided_at = $5 \
         where id = $1 and status = 'open' and kind = $6 returning hop, run, seq";

    let at: Option<(i64, i64, i64)> = within!(tx, connection => sqlx::query_as(SQL).bind(id).bind(reaction.as_str())
        .bind(result).bind(actor).bind(now.0).bind(kind).fetch_optional(&mut **connection).await)?;
    let small = |value: i64| u32::try_from(value).unwrap_or(u32::MAX);
    Ok(at.map(|(hop, run, seq)| Position { task: task.to_owned(), hop: small(hop), run: small(run), seq: small(seq) }))
}

/// When the next question lapses.
pub async fn next_lapse(db: &Db) -> Result<Option<Timestamp>, StoreError> {
    const SQL: &str = "select min(expires_at) from approval where status = 'open'";

    let at: Option<i64> = on!(db, pool => sqlx::query_scalar(SQL).fetch_one(pool).await)?;
    Ok(at.map(Timestamp))
}

/// Ends tasks whose question has lapsed, so many at a time: nothing is executed, and no agent runs any more.
pub async fn lapse(tx: &mut Tx<'_>, now: Timestamp) -> Result<Vec<Expired>, StoreError> {
    // Words hold the task first: whoever has it now may put the question off, and is waited for.
    const HOLD: &str = "update task set run_at = run_at where status = 'awaiting_approval' and id in (select task from approval \
         where status = 'open' and expires_at <= $1 order by expires_at limit 500)";
    const SQL: &str = "update task set status = 'expired', finished_at = $1, error_code = $2, error_message = $3 \
         where status = 'awaiting_approval' \
         and id in (select task from approval where status = 'open' and expires_at <= $1 order by expires_at limit 500) \
         returning id, trace_id, source, error_code, role";
    const HOP: &str = "update hop set status = 'failed', error = 'expired', finished_at = $2 where task = $1 and status = 'parked'";

    let why = "nobody answered its question in time; nothing was executed after that";
    within!(tx, connection => sqlx::query(HOLD).bind(now.0).execute(&mut **connection).await.map(|_| ()))?;
    let lapsed: Vec<Expired> = within!(tx, connection => sqlx::query_as(SQL).bind(now.0).bind(ErrorCode::ApprovalExpired.as_str())
        .bind(why).fetch_all(&mut **connection).await)?;
    for Expired { id, .. } in &lapsed {
        within!(tx, connection => sqlx::query(HOP).bind(id).bind(now.0).execute(&mut **connection).await.map(|_| ()))?;
        approvals::close(tx, id, now).await?;
    }
    Ok(lapsed)
}
