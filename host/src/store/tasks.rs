//! Task rows: enqueued once, then read.

use policy::task::{RetryPolicy, Role, Status, Timestamp};
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
    /// Why it is parked, or was before its present lease.
    pub waits_for: Option<Labelled<String>>,
    /// Since when it waits, or waited before its present lease.
    pub waiting_since: Timestamp,
    /// Since when the present outage keeps it.
    pub parked_at: Option<Timestamp>,
    /// What its hop has suffered at a server.
    pub trouble: Trouble,
    /// Where its root span stands (W3C trace context).
    pub traceparent: Option<String>,
    /// When its content was replaced by digests of itself.
    pub forgotten_at: Option<Timestamp>,
    /// Leases in a row that ended with their host and brought nothing new.
    pub crashes: u32,
    /// When it was taken from the dead letters.
    pub discarded_at: Option<Timestamp>,
    /// Where its present chain of hops begins: before an edit there was another.
    pub first_hop: u32,
    /// Whom the requester is to Zulip.
    pub zulip_user_id: Option<i64>,
}

impl Task {
    /// For what it waits, while it does.
    #[must_use]
    pub fn waits_for(&self) -> Option<&Labelled<String>> {
        let waits = matches!(self.status, Status::AwaitingBackend | Status::AwaitingApproval);
        self.waits_for.as_ref().filter(|_| waits)
    }
}

/// What a hop has suffered at one server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trouble {
    /// The server.
    pub backend: Option<String>,
    /// How often the hop has failed there while others did not.
    pub count: u32,
    /// When it last failed there.
    pub last: Option<Timestamp>,
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
    /// Since when it could have been leased.
    pub due_at: Timestamp,
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
    /// Where its root span stands (W3C trace context).
    pub traceparent: String,
    /// The agent of the first hop.
    pub first: String,
    /// What was asked.
    pub envelope: Envelope,
}

#[derive(sqlx::FromRow)]
pub(super) struct Row {
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
    run_at: i64,
    created_at: i64,
    started_at: Option<i64>,
    finished_at: Option<i64>,
    output: Option<String>,
    error_code: Option<String>,
    error_message: Option<String>,
    waits_for: Option<String>,
    waiting_since: i64,
    parked_at: Option<i64>,
    backend: Option<String>,
    troubles: i64,
    trouble_at: Option<i64>,
    traceparent: Option<String>,
    forgotten_at: Option<i64>,
    crashes: i64,
    discarded_at: Option<i64>,
    first_hop: i64,
    zulip_user_id: Option<i64>,
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
            waiting_since: Timestamp(row.waiting_since),
            parked_at: row.parked_at.map(Timestamp),
            trouble: Trouble { backend: row.backend, count: number(row.troubles), last: row.trouble_at.map(Timestamp) },
            traceparent: row.traceparent,
            forgotten_at: row.forgotten_at.map(Timestamp),
            crashes: number(row.crashes),
            discarded_at: row.discarded_at.map(Timestamp),
            first_hop: number(row.first_hop),
            zulip_user_id: row.zulip_user_id,
            id: row.id,
            client_task_id: row.client_task_id,
            requester: row.requester,
            conversation_id: row.conversation_id,
            trace_id: row.trace_id,
        };
        Ok(Self { task, lease: row.lease, due_at: Timestamp(row.run_at) })
    }
}

/// Adds the task and its first hop.
pub async fn insert(tx: &mut Tx<'_>, new: New, now: Timestamp) -> Result<(), StoreError> {
    const SQL: &str = "insert into task (id, client_task_id, token, status, content, source, origin, requester, role, user_name, \
         zulip_user_id, intent, priority, destructive, data_tier, label, tainted, target_agent, conversation_id, trace_id, \
         traceparent, max_attempts, backoff_seconds, run_at, expires_at, created_at, waiting_since) \
         values ($1, $2, $3, 'pending', $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $14, 0, $15, $16, $17, $18, $19, $20, \
         $21, $22, $21, $21)";

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
    /// Only dead letters: what failed and was not discarded.
    pub dead: bool,
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
         and ($7 = 0 or (status = 'failed' and discarded_at is null)) \
         order by id desc limit $6";

    let rows: Vec<Row> = on!(db, pool => sqlx::query_as(SQL)
        .bind(filter.status)
        .bind(filter.source)
        .bind(filter.role)
        .bind(filter.before)
        .bind(filter.agent)
        .bind(filter.limit)
        .bind(i64::from(filter.dead))
        .fetch_all(pool)
        .await)?;
    rows.into_iter().map(|row| Leased::try_from(row).map(|leased| leased.task)).collect()
}

/// What was said before in the conversation of `task`: request and report of each ended task, oldest first. What is forgotten is
/// not told to agents.
pub async fn conversation(db: &Db, task: &Task, most: i64) -> Result<Vec<Task>, StoreError> {
    const SQL: &str = "select * from task where conversation_id = $1 and id < $2 and status = 'done' and requester = $3 \
         and forgotten_at is null order by id desc limit $4";

    // Most tasks begin a conversation, which is then named after them: nothing was said before.
    if task.conversation_id == task.id {
        return Ok(Vec::new());
    }
    let rows: Vec<Row> = on!(db, pool => sqlx::query_as(SQL)
        .bind(&task.conversation_id)
        .bind(&task.id)
        .bind(&task.requester)
        .bind(most)
        .fetch_all(pool)
        .await)?;
    rows.into_iter().rev().map(|row| Leased::try_from(row).map(|leased| leased.task)).collect()
}

/// How many tasks there are of each status and priority, ended ones left out.
pub async fn depth(db: &Db) -> Result<Vec<(String, i64, i64)>, StoreError> {
    const SQL: &str = "select status, priority, count(*) from task \
         where status in ('pending', 'running', 'awaiting_backend', 'awaiting_approval') group by status, priority";

    Ok(on!(db, pool => sqlx::query_as(SQL).fetch_all(pool).await)?)
}

/// How many tasks wait to be leased, counted up to `most`.
pub async fn waiting(db: &Db, most: i64) -> Result<i64, StoreError> {
    const SQL: &str = "select count(*) from \
         (select 1 from task where status in ('pending', 'awaiting_backend') limit $1) as waiting";

    Ok(on!(db, pool => sqlx::query_scalar(SQL).bind(most).fetch_one(pool).await)?)
}
