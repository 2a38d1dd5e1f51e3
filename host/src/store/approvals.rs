//! Questions that a person must answer before a task goes on: asked with the parking. What is said to them stands in `verdicts`.

use std::collections::BTreeMap;

use policy::approval::{Binding, Consent, Question, Undoer, Undoing};
use policy::class::Class;
use policy::task::{ApprovalStatus, Reaction, Timestamp};
use policy::tier::{Label, Labelled, Tier};
use serde_json::Value;

use super::journal::{self, Position};
use super::{Db, StoreError, Tx, deliveries, on, within};
use crate::id;

/// The call may or may not have happened.
pub const AMBIGUOUS: &str = "ambiguous";
/// The call may not be made before somebody has consented to it.
pub const CALL: &str = "call";

/// A question, with the call that it is about.
pub struct Approval {
    /// Its id.
    pub id: String,
    /// The call.
    pub at: Position,
    /// [`AMBIGUOUS`] or [`CALL`].
    pub kind: String,
    /// Where it stands.
    pub status: ApprovalStatus,
    /// What is asked before a call.
    pub question: Option<Labelled<Question>>,
    /// Who has said yes, and through which channel.
    pub yes: Vec<(String, String)>,
    /// The answer.
    pub reaction: Option<Reaction>,
    /// What the call is said to have answered.
    pub result: Option<Labelled<Value>>,
    /// Who answered.
    pub actor: Option<String>,
    /// When it was asked.
    pub created_at: Timestamp,
    /// When it lapses.
    pub expires_at: Option<Timestamp>,
    /// Put off: nobody is reminded before that.
    pub silent_until: Option<Timestamp>,
    /// When it was answered or closed.
    pub decided_at: Option<Timestamp>,
    /// Whose call.
    pub agent: String,
    /// `interface.function`.
    pub call: String,
    /// What was asked for, as it would be sent.
    pub request: Labelled<Value>,
    /// When the call was made.
    pub called_at: Timestamp,
    /// On whose behalf, and what they are to the house.
    pub requester: String,
    /// Their role.
    pub role: String,
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
    #[sqlx(flatten)]
    asked: Asked,
    expires_at: Option<i64>,
    silent_until: Option<i64>,
    agent: String,
    call: String,
    request: String,
    call_tier: String,
    call_tainted: i64,
    called_at: i64,
    requester: String,
    role: String,
}

/// What a question before a call holds.
#[derive(sqlx::FromRow)]
struct Asked {
    class: Option<String>,
    because: Option<String>,
    why: Option<String>,
    undo: Option<String>,
    undo_by: Option<String>,
    usd_micros: Option<i64>,
    fingerprint: Option<String>,
    digest: Option<String>,
    tier: Option<String>,
    tainted: Option<i64>,
}

impl Asked {
    /// To what it is bound, and the class that the call had; `None` for a question of another kind.
    fn binding(&self, agent: &str) -> Result<Option<(Binding, Class)>, StoreError> {
        let (Some(fingerprint), Some(digest), Some(tier), Some(class)) = (&self.fingerprint, &self.digest, &self.tier, &self.class)
        else {
            return Ok(None);
        };
        let bad = |what: &str, word: &str| StoreError::Unreadable(format!("{what} `{word}` of an approval"));
        let tier = Tier::named(tier).ok_or_else(|| bad("label", tier))?;
        let label = Label { tier, tainted: self.tainted.unwrap_or_default() != 0 };
        let class = Class::named(class).ok_or_else(|| bad("class", class))?;
        let binding = Binding { fingerprint: fingerprint.clone(), agent: agent.to_owned(), digest: digest.clone(), label };
        Ok(Some((binding, class)))
    }

    fn question(self, agent: &str) -> Result<Option<Labelled<Question>>, StoreError> {
        let Some((binding, class)) = self.binding(agent)? else { return Ok(None) };
        let by = self.undo_by.as_deref().and_then(Undoer::named);
        Ok(Some(Labelled::new(
            binding.label,
            Question {
                class,
                because: self.because.unwrap_or_default(),
                why: self.why.unwrap_or_default(),
                undo: self.undo.zip(by).map(|(text, by)| Undoing { by, text }),
                usd_micros: self.usd_micros.and_then(|usd| u64::try_from(usd).ok()),
                binding,
            },
        )))
    }
}

impl TryFrom<Row> for Approval {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        let bad = |what: &str, word: &str| StoreError::Unreadable(format!("{what} `{word}` of approval {}", row.id));
        let small = |value: i64| u32::try_from(value).unwrap_or(u32::MAX);
        let reaction = |word: &String| Reaction::named(word).ok_or_else(|| bad("reaction", word));
        let tier = Tier::named(&row.call_tier).ok_or_else(|| bad("label", &row.call_tier))?;
        let label = Label { tier, tainted: row.call_tainted != 0 };
        let result: Option<Value> = row.result.map(|json| serde_json::from_str(&json)).transpose()?;
        Ok(Self {
            status: ApprovalStatus::named(&row.status).ok_or_else(|| bad("status", &row.status))?,
            reaction: row.reaction.as_ref().map(reaction).transpose()?,
            at: Position { task: row.task, hop: small(row.hop), run: small(row.run), seq: small(row.seq) },
            result: result.map(|json| Labelled::new(label, json)),
            request: Labelled::new(label, serde_json::from_str(&row.request)?),
            question: row.asked.question(&row.agent)?,
            yes: Vec::new(),
            id: row.id,
            kind: row.kind,
            actor: row.actor,
            created_at: Timestamp(row.created_at),
            expires_at: row.expires_at.map(Timestamp),
            silent_until: row.silent_until.map(Timestamp),
            decided_at: row.decided_at.map(Timestamp),
            agent: row.agent,
            call: row.call,
            called_at: Timestamp(row.called_at),
            requester: row.requester,
            role: row.role,
        })
    }
}

/// A question before a call, and when it lapses and is brought to mind.
pub struct Before<'q> {
    /// What is asked.
    pub question: &'q Question,
    /// When it lapses.
    pub expires_at: Option<Timestamp>,
    /// When people are reminded of it.
    pub remind_at: Option<Timestamp>,
}

/// Asks whether a call has happened, or may be made; its id. `None`, and nothing is added, if that is asked already.
pub async fn ask(tx: &mut Tx<'_>, at: &Position, before: Option<Before<'_>>, now: Timestamp) -> Result<Option<String>, StoreError> {
    const SQL: &str = "insert into approval (id, task, hop, run, seq, kind, status, created_at, class, because, why, undo, undo_by, \
         usd_micros, fingerprint, digest, tier, tainted, expires_at, remind_at) \
         values ($1, $2, $3, $4, $5, $6, 'open', $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19) \
         on conflict (task, hop, run, seq) where status = 'open' do nothing";

    let id = id::task();
    let asked = before.as_ref().map(|before| before.question);
    let undo = asked.and_then(|asked| asked.undo.as_ref());
    let binding = asked.map(|asked| &asked.binding);
    let added = within!(tx, connection => sqlx::query(SQL)
        .bind(&id)
        .bind(&at.task)
        .bind(i64::from(at.hop))
        .bind(i64::from(at.run))
        .bind(i64::from(at.seq))
        .bind(if asked.is_some() { CALL } else { AMBIGUOUS })
        .bind(now.0)
        .bind(asked.map(|asked| asked.class.as_str()))
        .bind(asked.map(|asked| asked.because.as_str()))
        .bind(asked.map(|asked| asked.why.as_str()))
        .bind(undo.map(|undo| undo.text.as_str()))
        .bind(undo.map(|undo| undo.by.as_str()))
        .bind(asked.and_then(|asked| i64::try_from(asked.usd_micros?).ok()))
        .bind(binding.map(|binding| binding.fingerprint.as_str()))
        .bind(binding.map(|binding| binding.digest.as_str()))
        .bind(binding.map(|binding| binding.label.tier.as_str()))
        .bind(binding.map(|binding| i64::from(binding.label.tainted)))
        .bind(before.as_ref().and_then(|before| before.expires_at).map(|at| at.0))
        .bind(before.as_ref().and_then(|before| before.remind_at).map(|at| at.0))
        .execute(&mut **connection)
        .await
        .map(|done| done.rows_affected() == 1))?;
    Ok(added.then_some(id))
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
    /// Only those after that one.
    pub after: Option<String>,
    /// At most so many.
    pub limit: i64,
}

/// SQL: a question with its call and its task.
macro_rules! question {
    ($more:literal) => {
        concat!(
            "select approval.*, hop.agent, journal.kind as call, journal.request, journal.tier as call_tier, \
             journal.tainted as call_tainted, journal.started_at as called_at, task.requester, task.role from approval \
             join task on task.id = approval.task \
             join hop on hop.task = approval.task and hop.seq = approval.hop \
             join journal on journal.task = approval.task and journal.hop = approval.hop and journal.run = approval.run \
             and journal.seq = approval.seq where ",
            $more
        )
    };
}

/// Questions, the oldest first.
pub async fn list(db: &Db, filter: Filter) -> Result<Vec<Approval>, StoreError> {
    const SQL: &str = question!(
        "($1 is null or approval.status = $1) and ($2 is null or approval.task = $2) and ($3 is null or approval.id > $3) \
         order by approval.id limit $4"
    );
    // Whatever was answered in all the years before: only those that wait are looked at.
    const OPEN: &str = question!("approval.status = 'open' and approval.id > $2 order by approval.id limit $1");
    const ONE: &str = question!("approval.id = $1");

    let rows: Vec<Row> = match filter {
        Filter { id: Some(id), .. } => on!(db, pool => sqlx::query_as(ONE).bind(id).fetch_all(pool).await)?,
        Filter { status: Some(ApprovalStatus::Open), task: None, limit, after, .. } => {
            on!(db, pool => sqlx::query_as(OPEN).bind(limit).bind(after.unwrap_or_default()).fetch_all(pool).await)?
        }
        Filter { status, task, after, limit, .. } => {
            on!(db, pool => sqlx::query_as(SQL).bind(status.map(ApprovalStatus::as_str)).bind(&task).bind(&after).bind(limit)
                .fetch_all(pool).await)?
        }
    };
    let mut found = Vec::with_capacity(rows.len());
    for mut row in rows {
        row.request = journal::text(db, &row.task, row.request).await?;
        found.push(Approval::try_from(row)?);
    }
    let ids = || found.iter().map(|approval| &approval.id);
    if let (Some(first), Some(last)) = (ids().min(), ids().max()) {
        let mut yes = said_yes(db, (first, last)).await?;
        for approval in &mut found {
            approval.yes = yes.remove(&approval.id).unwrap_or_default();
        }
    }
    Ok(found)
}

/// Who has said yes to the questions from one id to another, through which channel.
async fn said_yes(db: &Db, (first, last): (&str, &str)) -> Result<BTreeMap<String, Vec<(String, String)>>, StoreError> {
    const SQL: &str = "select approval, actor, channel from consent where approval between $1 and $2 order by at, channel";

    let rows: Vec<(String, String, String)> = on!(db, pool => sqlx::query_as(SQL).bind(first).bind(last).fetch_all(pool).await)?;
    let mut yes: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    for (approval, actor, channel) in rows {
        yes.entry(approval).or_default().push((actor, channel));
    }
    Ok(yes)
}

/// The question of that id.
pub async fn find(db: &Db, id: &str) -> Result<Option<Approval>, StoreError> {
    Ok(list(db, Filter { id: Some(id.to_owned()), limit: 1, ..Filter::default() }).await?.pop())
}

/// Every question of a task.
pub async fn of(db: &Db, task: &str) -> Result<Vec<Approval>, StoreError> {
    list(db, Filter { task: Some(task.to_owned()), limit: i64::MAX, ..Filter::default() }).await
}

/// What is on record for a call that was asked about: who has consented to it, and its id. `None` if nobody has.
pub async fn consent(db: &Db, at: &Position) -> Result<Option<(String, Consent)>, StoreError> {
    const SQL: &str = "select approval.*, hop.agent, (select count(*) from consent where approval = approval.id) as yes \
         from approval join hop on hop.task = approval.task and hop.seq = approval.hop \
         where approval.task = $1 and approval.hop = $2 and approval.run = $3 and approval.seq = $4 and approval.kind = 'call' \
         and approval.status = 'decided' and approval.reaction = 'approve' order by approval.id desc limit 1";

    #[derive(sqlx::FromRow)]
    struct Given {
        id: String,
        agent: String,
        #[sqlx(flatten)]
        asked: Asked,
        yes: i64,
        spent_at: Option<i64>,
    }
    let row: Option<Given> = on!(db, pool => sqlx::query_as(SQL).bind(&at.task).bind(i64::from(at.hop)).bind(i64::from(at.run))
        .bind(i64::from(at.seq)).fetch_optional(pool).await)?;
    let Some(row) = row else { return Ok(None) };
    let Some((binding, class)) = row.asked.binding(&row.agent)? else { return Ok(None) };
    let consent = Consent { binding, class, yes: usize::try_from(row.yes).unwrap_or_default(), spent: row.spent_at.is_some() };
    Ok(Some((row.id, consent)))
}

/// Uses up a consent; `false` if that was done before.
pub(super) async fn spend(tx: &mut Tx<'_>, id: &str, now: Timestamp) -> Result<bool, StoreError> {
    const SQL: &str = "update approval set spent_at = $2 \
         where id = $1 and status = 'decided' and reaction = 'approve' and spent_at is null";

    Ok(within!(tx, connection => sqlx::query(SQL).bind(id).bind(now.0).execute(&mut **connection).await
        .map(|done| done.rows_affected() == 1))?)
}

/// How many tasks wait for a person, and since when the first of them.
pub async fn waiting(db: &Db) -> Result<(i64, Option<Timestamp>), StoreError> {
    const SQL: &str = "select count(*), min(waiting_since) from task where status = 'awaiting_approval'";

    let (count, since): (i64, Option<i64>) = on!(db, pool => sqlx::query_as(SQL).fetch_one(pool).await)?;
    Ok((count, since.map(Timestamp)))
}

/// How many tasks wait for a person since that moment or later, and how many for longer.
pub async fn paused(db: &Db, since: Timestamp) -> Result<(i64, i64), StoreError> {
    const SQL: &str = "select count(case when waiting_since >= $1 then 1 end), count(case when waiting_since < $1 then 1 end) \
         from task where status = 'awaiting_approval'";

    Ok(on!(db, pool => sqlx::query_as(SQL).bind(since.0).fetch_one(pool).await)?)
}

/// Marks the questions of which people are to be reminded now, each with the rows by which they are (of the approval, of its task);
/// how many.
pub async fn remind(
    db: &Db,
    tell: impl Fn(&str, &str) -> Vec<deliveries::New> + Send + Clone + 'static,
    now: Timestamp,
) -> Result<usize, StoreError> {
    const DUE: &str = "select id, task, created_at, reminders from approval \
         where status = 'open' and remind_at <= $1 order by remind_at limit 100";
    const SQL: &str = "update approval set reminders = reminders + 1, remind_at = $3 \
         where id = $1 and status = 'open' and reminders = $2 and remind_at <= $4";

    type Row = (String, String, i64, i64);
    let due: Vec<Row> = on!(db, pool => sqlx::query_as(DUE).bind(now.0).fetch_all(pool).await)?;
    let mut reminded = 0;
    for (id, task, created_at, sent) in due {
        let next = policy::approval::reminder(Timestamp(created_at), now);
        let tell = tell.clone();
        let mine = db.write(move |tx| {
            Box::pin(async move {
                // Another host may have been faster, or somebody has put it off.
                let mine = within!(tx, connection => sqlx::query(SQL).bind(&id).bind(sent).bind(next.map(|at| at.0)).bind(now.0)
                    .execute(&mut **connection).await.map(|done| done.rows_affected() == 1))?;
                if mine {
                    deliveries::put(tx, &tell(&id, &task), now).await?;
                }
                Ok(mine)
            })
        });
        reminded += usize::from(mine.await?);
    }
    Ok(reminded)
}

/// Closes the questions of a task that has ended without their answers.
pub(super) async fn close(tx: &mut Tx<'_>, task: &str, now: Timestamp) -> Result<(), StoreError> {
    const SQL: &str = "update approval set status = 'closed', decided_at = $2 where task = $1 and status = 'open'";

    within!(tx, connection => sqlx::query(SQL).bind(task).bind(now.0).execute(&mut **connection).await.map(|_| ()))?;
    Ok(())
}
