//! Task rows: enqueued, leased under a growing number, settled only under that number.

use policy::task::{ErrorCode, RetryPolicy, Role, Status, Timestamp};
use policy::tier::{Label, Labelled, Tier};

use super::{Db, StoreError, Tx, hops, on, within};
use crate::envelope::Envelope;

/// A task as it stands.
#[derive(Clone)]
pub struct Task {
    /// Its id.
    pub id: String,
    /// The client's.
    pub client_task_id: String,
    /// Where it stands.
    pub status: Status,
    /// What was asked.
    pub content: Labelled<String>,
    /// The words of the envelope, as sent.
    pub sent: Sent,
    /// On whose behalf.
    pub requester: String,
    /// What they are to the house.
    pub role: Role,
    /// Tier of the content as sent.
    pub data_tier: Tier,
    /// What its runs have read so far.
    pub label: Label,
    /// The conversation it belongs to.
    pub conversation_id: String,
    /// Its trace: 32 hexadecimal digits.
    pub trace_id: String,
    /// How failed hops are tried again.
    pub retry: RetryPolicy,
    /// Failed runs of the current hop.
    pub attempts: u32,
    /// When it came.
    pub created_at: Timestamp,
    /// When it was first leased.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// The report.
    pub output: Option<Labelled<String>>,
    /// Why it ended badly; the message may quote content.
    pub error: Option<(String, Labelled<String>)>,
    /// Why it is parked.
    pub waits_for: Option<Labelled<String>>,
}

/// Words of the envelope that pass through unchanged.
#[derive(Clone, Debug)]
pub struct Sent {
    /// The surface.
    pub source: String,
    /// What set it off.
    pub origin: Option<String>,
    /// What should come of it.
    pub intent: Option<String>,
    /// How urgent: `low` to `urgent`.
    pub priority: policy::task::Priority,
    /// Whether it may destroy something.
    pub destructive: Option<bool>,
    /// The agent it was sent to.
    pub target_agent: Option<String>,
}

/// A task under a lease: what a worker holds.
#[derive(Clone)]
pub struct Leased {
    /// The task as it was when leased.
    pub task: Task,
    /// The fencing number.
    pub lease: i64,
}

/// A task about to be enqueued.
pub struct New {
    /// Its id.
    pub id: String,
    /// Name of the caller's token.
    pub token: String,
    /// On whose behalf.
    pub requester: String,
    /// What they are to the house.
    pub role: Role,
    /// The conversation it belongs to.
    pub conversation_id: String,
    /// Its trace.
    pub trace_id: String,
    /// The caller's `traceparent`.
    pub traceparent: Option<String>,
    /// The agent of the first hop.
    pub first: String,
    /// What was asked.
    pub envelope: Envelope,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    client_task_id: String,
    status: String,
    content: String,
    source: String,
    origin: Option<String>,
    requester: String,
    role: String,
    intent: Option<String>,
    priority: i64,
    destructive: Option<i64>,
    data_tier: String,
    label: String,
    tainted: i64,
    target_agent: Option<String>,
    conversation_id: String,
    trace_id: String,
    max_attempts: i64,
    backoff_seconds: i64,
    attempts: i64,
    lease: i64,
    created_at: i64,
    started_at: Option<i64>,
    finished_at: Option<i64>,
    output: Option<String>,
    error_code: Option<String>,
    error_message: Option<String>,
    waits_for: Option<String>,
}

impl TryFrom<Row> for Leased {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        let bad = |what: &str, word: &str| StoreError::Unreadable(format!("{what} `{word}` of task {}", row.id));
        let tier = |word: &str| Tier::named(word).ok_or_else(|| bad("tier", word));
        let label = Label { tier: tier(&row.label)?, tainted: row.tainted != 0 };
        let priority = usize::try_from(row.priority).ok().and_then(|at| policy::task::Priority::ALL.get(at));
        let number = |value: i64| u32::try_from(value).unwrap_or(u32::MAX);
        let task = Task {
            status: Status::named(&row.status).ok_or_else(|| bad("status", &row.status))?,
            content: Labelled::new(label, row.content),
            sent: Sent {
                source: row.source,
                origin: row.origin,
                intent: row.intent,
                priority: *priority.ok_or_else(|| bad("priority", &row.priority.to_string()))?,
                destructive: row.destructive.map(|flag| flag != 0),
                target_agent: row.target_agent,
            },
            role: Role::named(&row.role).ok_or_else(|| bad("role", &row.role))?,
            data_tier: tier(&row.data_tier)?,
            label,
            retry: RetryPolicy { max_attempts: number(row.max_attempts), backoff_seconds: number(row.backoff_seconds) },
            attempts: number(row.attempts),
            created_at: Timestamp(row.created_at),
            started_at: row.started_at.map(Timestamp),
            finished_at: row.finished_at.map(Timestamp),
            output: row.output.map(|text| Labelled::new(label, text)),
            error: row.error_code.map(|code| (code, Labelled::new(label, row.error_message.unwrap_or_default()))),
            waits_for: row.waits_for.map(|text| Labelled::new(label, text)),
            id: row.id,
            client_task_id: row.client_task_id,
            requester: row.requester,
            conversation_id: row.conversation_id,
            trace_id: row.trace_id,
        };
        Ok(Self { task, lease: row.lease })
    }
}

/// Adds the task and its first hop.
pub async fn insert(tx: &mut Tx<'_>, new: New, now: Timestamp) -> Result<(), StoreError> {
    const SQL: &str = "insert into task (id, client_task_id, token, status, content, source, origin, requester, role, user_name, \
         zulip_user_id, intent, priority, destructive, data_tier, label, tainted, target_agent, conversation_id, trace_id, \
         traceparent, max_attempts, backoff_seconds, run_at, expires_at, created_at) \
         values ($1, $2, $3, 'pending', $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $14, 0, $15, $16, $17, $18, $19, $20, \
         $21, $22, $21)";

    let sent = new.envelope;
    let label = Label::of(sent.data_tier);
    let expires_at = sent.ttl_seconds.map(|seconds| now.plus(seconds.saturating_mul(1000)).0);
    within!(tx, connection => sqlx::query(SQL)
        .bind(&new.id)
        .bind(sent.task_id)
        .bind(new.token)
        .bind(sent.content)
        .bind(sent.source.as_str())
        .bind(sent.origin.map(|origin| origin.as_str()))
        .bind(new.requester)
        .bind(new.role.as_str())
        .bind(sent.user)
        .bind(sent.zulip_user_id)
        .bind(sent.intent.map(|intent| intent.as_str()))
        .bind(sent.priority as i64)
        .bind(sent.destructive.map(i64::from))
        .bind(sent.data_tier.as_str())
        .bind(sent.target_agent)
        .bind(new.conversation_id)
        .bind(new.trace_id)
        .bind(new.traceparent)
        .bind(i64::from(sent.retry_policy.max_attempts))
        .bind(i64::from(sent.retry_policy.backoff_seconds))
        .bind(now.0)
        .bind(expires_at)
        .execute(&mut **connection)
        .await
        .map(|_| ()))?;
    hops::insert(tx, &new.id, 1, &new.first, label).await
}

/// The task of that id.
pub async fn find(db: &Db, id: &str) -> Result<Option<Task>, StoreError> {
    const SQL: &str = "select * from task where id = $1";

    let row: Option<Row> = on!(db, pool => sqlx::query_as(SQL).bind(id).fetch_optional(pool).await)?;
    Ok(row.map(Leased::try_from).transpose()?.map(|leased| leased.task))
}

/// What a list of tasks is narrowed to.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only of that status.
    pub status: Option<String>,
    /// Only from that surface.
    pub source: Option<String>,
    /// Only those that had a hop of that agent.
    pub agent: Option<String>,
    /// Only of requesters of that role.
    pub role: Option<&'static str>,
    /// Only older than that id.
    pub before: Option<String>,
    /// At most so many.
    pub limit: i64,
}

/// Tasks, newest first.
pub async fn list(db: &Db, filter: Filter) -> Result<Vec<Task>, StoreError> {
    const SQL: &str = "select * from task \
         where ($1 is null or status = $1) and ($2 is null or source = $2) and ($3 is null or role = $3) \
         and ($4 is null or id < $4) \
         and ($5 is null or exists (select 1 from hop where hop.task = task.id and hop.agent = $5)) \
         order by id desc limit $6";

    let rows: Vec<Row> = on!(db, pool => sqlx::query_as(SQL)
        .bind(filter.status)
        .bind(filter.source)
        .bind(filter.role)
        .bind(filter.before)
        .bind(filter.agent)
        .bind(filter.limit)
        .fetch_all(pool)
        .await)?;
    rows.into_iter().map(|row| Leased::try_from(row).map(|leased| leased.task)).collect()
}

/// What was said before in the conversation of `task`: request and report of each ended task, oldest first.
pub async fn conversation(db: &Db, task: &Task, most: i64) -> Result<Vec<Task>, StoreError> {
    const SQL: &str = "select * from task where conversation_id = $1 and id < $2 and status = 'done' and requester = $3 \
         order by id desc limit $4";

    let rows: Vec<Row> = on!(db, pool => sqlx::query_as(SQL)
        .bind(&task.conversation_id)
        .bind(&task.id)
        .bind(&task.requester)
        .bind(most)
        .fetch_all(pool)
        .await)?;
    rows.into_iter().rev().map(|row| Leased::try_from(row).map(|leased| leased.task)).collect()
}

/// Leases the task that is due: by priority, ten minutes of age counting as one step of it.
pub async fn lease(db: &Db, owner: String, now: Timestamp, until: Timestamp) -> Result<Option<Leased>, StoreError> {
    const SQLITE: &str = "update task set status = 'running', lease = lease + 1, owner = $1, lease_until = $2, \
         started_at = coalesce(started_at, $3), waits_for = null where id = (select id from task \
         where status in ('pending', 'awaiting_backend') and run_at <= $3 and (expires_at is null or expires_at > $3) \
         order by created_at - priority * 600000, id limit 1) returning *";
    // `skip locked`: hosts on one database do not wait for each other. `materialized`: the choice is made once.
    const POSTGRES: &str = "with due as materialized (select id from task \
         where status in ('pending', 'awaiting_backend') and run_at <= $3 and (expires_at is null or expires_at > $3) \
         order by created_at - priority * 600000, id limit 1 for update skip locked) \
         update task set status = 'running', lease = lease + 1, owner = $1, lease_until = $2, \
         started_at = coalesce(started_at, $3), waits_for = null from due where task.id = due.id returning task.*";

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
    row.map(Leased::try_from).transpose()
}

/// What there is to do.
#[derive(Clone, Copy, Debug, Default)]
pub struct Look {
    /// A task could be leased.
    pub ready: bool,
    /// A time to live has passed.
    pub lapsed: bool,
    /// A lease has run out.
    pub lost: bool,
    /// When the next task is due that waits for its time.
    pub next: Option<Timestamp>,
}

/// Looks without writing, so that an idle host leaves the disk alone.
pub async fn look(db: &Db, now: Timestamp) -> Result<Look, StoreError> {
    const SQL: &str = "select \
         (select min(run_at) from task where status in ('pending', 'awaiting_backend') \
             and (expires_at is null or expires_at > $1)), \
         (select min(expires_at) from task where status in ('pending', 'awaiting_backend', 'awaiting_approval')), \
         (select min(lease_until) from task where status = 'running')";

    let (run_at, expires_at, lease_until): (Option<i64>, Option<i64>, Option<i64>) =
        on!(db, pool => sqlx::query_as(SQL).bind(now.0).fetch_one(pool).await)?;
    Ok(Look {
        ready: run_at.is_some_and(|at| at <= now.0),
        lapsed: expires_at.is_some_and(|at| at <= now.0),
        lost: lease_until.is_some_and(|until| until < now.0),
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

/// Puts tasks whose lease has run out back in the queue; how many.
pub async fn rescue(db: &Db, now: Timestamp) -> Result<u64, StoreError> {
    const SQL: &str = "update task set status = 'pending', owner = null, lease_until = null, run_at = $1 \
         where status = 'running' and lease_until < $1";

    db.write(move |tx| {
        Box::pin(async move {
            Ok(within!(tx, connection => sqlx::query(SQL).bind(now.0)
                .execute(&mut **connection).await.map(|done| done.rows_affected()))?)
        })
    })
    .await
}

/// Voids every lease: whoever held one is known to be gone.
pub(super) async fn void_leases(db: &Db) -> Result<(), StoreError> {
    const SQL: &str = "update task set status = 'pending', owner = null, lease_until = null where status = 'running'";

    db.write(|tx| {
        Box::pin(async move {
            within!(tx, connection => sqlx::query(SQL).execute(&mut **connection).await.map(|_| ()))?;
            Ok(())
        })
    })
    .await
}

/// Ends tasks whose time to live has passed before they ran; their ids.
pub async fn expire(db: &Db, now: Timestamp) -> Result<Vec<String>, StoreError> {
    const SQL: &str = "update task set status = 'expired', finished_at = $1, error_code = $2, \
         error_message = 'its time to live passed before it was done; nothing was executed after that' \
         where status in ('pending', 'awaiting_backend', 'awaiting_approval') and expires_at <= $1 returning id";

    db.write(move |tx| {
        Box::pin(async move {
            Ok(within!(tx, connection => sqlx::query_scalar(SQL).bind(now.0).bind(ErrorCode::TtlExpired.as_str())
                .fetch_all(&mut **connection).await)?)
        })
    })
    .await
}

/// How many tasks there are of each status and priority, ended ones left out.
pub async fn depth(db: &Db) -> Result<Vec<(String, i64, i64)>, StoreError> {
    const SQL: &str = "select status, priority, count(*) from task \
         where status in ('pending', 'running', 'awaiting_backend', 'awaiting_approval') group by status, priority";

    Ok(on!(db, pool => sqlx::query_as(SQL).fetch_all(pool).await)?)
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
        /// For what it waits.
        waits_for: String,
    },
    /// Given back as it was: the host drains.
    Release,
    /// It failed.
    Failed {
        /// Stable.
        code: ErrorCode,
        /// For people.
        message: String,
    },
}

/// Ends a lease; `false` if it was lost, and then nothing has changed.
pub async fn settle(
    tx: &mut Tx<'_>,
    (id, lease): (&str, i64),
    label: Label,
    how: Settlement,
    now: Timestamp,
) -> Result<bool, StoreError> {
    const SQL: &str = "update task set status = $3, label = $4, tainted = $5, output = $6, error_code = $7, \
         error_message = $8, waits_for = $9, run_at = coalesce($10, run_at), finished_at = $11, attempts = attempts + $12, \
         owner = null, lease_until = null where id = $1 and lease = $2 and status = 'running'";

    let (mut output, mut code, mut message, mut waits_for, mut run_at, mut finished_at) = (None, None, None, None, None, None);
    let status = match how {
        Settlement::Done { output: text } => {
            output = Some(text);
            finished_at = Some(now.0);
            Status::Done
        }
        Settlement::Retry { at } => {
            run_at = Some(at.0);
            Status::Pending
        }
        Settlement::Park { at, waits_for: what } => {
            run_at = Some(at.0);
            waits_for = Some(what);
            Status::AwaitingBackend
        }
        Settlement::Release => Status::Pending,
        Settlement::Failed { code: why, message: text } => {
            code = Some(why.as_str());
            message = Some(text);
            finished_at = Some(now.0);
            Status::Failed
        }
    };
    let failed_runs = i64::from(run_at.is_some() && waits_for.is_none() || code.is_some());
    Ok(within!(tx, connection => sqlx::query(SQL)
        .bind(id)
        .bind(lease)
        .bind(status.as_str())
        .bind(label.tier.as_str())
        .bind(i64::from(label.tainted))
        .bind(output)
        .bind(code)
        .bind(message)
        .bind(waits_for)
        .bind(run_at)
        .bind(finished_at)
        .bind(failed_runs)
        .execute(&mut **connection)
        .await
        .map(|done| done.rows_affected() == 1))?)
}

/// Records the label that a task has reached and starts the count of failed runs anew, for its next hop; `false` if the lease
/// was lost.
pub async fn advance(tx: &mut Tx<'_>, (id, lease): (&str, i64), label: Label) -> Result<bool, StoreError> {
    const SQL: &str = "update task set label = $3, tainted = $4, attempts = 0 where id = $1 and lease = $2 and status = 'running'";

    Ok(within!(tx, connection => sqlx::query(SQL)
        .bind(id)
        .bind(lease)
        .bind(label.tier.as_str())
        .bind(i64::from(label.tainted))
        .execute(&mut **connection)
        .await
        .map(|done| done.rows_affected() == 1))?)
}
