//! Money: set aside before a priced call is sent, settled or released when it has ended. Rows are only ever added; what is checked
//! against a cap is one number in one row, never a sum over history.

use policy::task::Timestamp;
use policy::tier::Tier;

use super::journal::{Position, Usage};
use super::{Db, StoreError, Tx, on, within};

/// What a cap covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// One task.
    Task,
    /// One agent, one day.
    Agent,
    /// Everything of one day.
    Day,
    /// Everything of one week.
    Week,
}

impl Scope {
    /// As it is stored, and shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Task => "task",
            Self::Agent => "agent",
            Self::Day => "day",
            Self::Week => "week",
        }
    }
}

/// One cap that a reservation must keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cap {
    /// What it covers.
    pub scope: Scope,
    /// Which of them: the task, the agent and the day, the day, the week.
    pub period: String,
    /// Millionths of a US dollar.
    pub most: u64,
}

/// What is set aside for one call.
#[derive(Clone, Debug)]
pub struct Reservation {
    /// A true upper bound, in millionths of a US dollar.
    pub usd_micros: u64,
    /// Who spends.
    pub agent: String,
    /// Where.
    pub group: String,
    /// The run's label.
    pub tier: Tier,
    /// What must not be passed.
    pub caps: Vec<Cap>,
}

/// A cap that has no room for a reservation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OverCap {
    /// Which.
    pub cap: Cap,
    /// What is paid or reserved of it, in millionths of a US dollar.
    pub used: u64,
}

/// Whether a reservation was made.
pub(super) enum Reserved {
    Yes,
    /// And nothing is reserved.
    Over(OverCap),
}

/// What becomes of a reservation, or that there was none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bill {
    /// The call was free: only its use is noted.
    Free {
        /// Who called.
        agent: String,
        /// Where.
        group: String,
        /// The run's label.
        tier: Tier,
    },
    /// So many millionths of a US dollar were charged.
    Charged(u64),
    /// Nothing was charged.
    Released,
    /// Nobody knows what was charged: all of it.
    Assumed,
}

fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Sets money aside for a call, within every cap or not at all.
pub(super) async fn reserve(
    tx: &mut Tx<'_>,
    at: &Position,
    lease: i64,
    reservation: &Reservation,
    now: Timestamp,
) -> Result<Reserved, StoreError> {
    const SQL: &str = "insert into reservation (task, hop, run, seq, lease, agent, grp, tier, usd_micros, counters) \
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";

    for (taken, cap) in reservation.caps.iter().enumerate() {
        if !count(tx, cap, reservation.usd_micros).await? {
            let used = counted(tx, cap).await?;
            for earlier in reservation.caps.iter().take(taken) {
                shift(tx, (earlier.scope.as_str(), &earlier.period), -number(reservation.usd_micros)).await?;
            }
            return Ok(Reserved::Over(OverCap { cap: cap.clone(), used }));
        }
    }
    let counters: Vec<(&str, &str)> = reservation.caps.iter().map(|cap| (cap.scope.as_str(), cap.period.as_str())).collect();
    let counters = serde_json::to_string(&counters)?;
    within!(tx, connection => sqlx::query(SQL)
        .bind(&at.task)
        .bind(i64::from(at.hop))
        .bind(i64::from(at.run))
        .bind(i64::from(at.seq))
        .bind(lease)
        .bind(&reservation.agent)
        .bind(&reservation.group)
        .bind(reservation.tier.as_str())
        .bind(number(reservation.usd_micros))
        .bind(counters)
        .execute(&mut **connection)
        .await
        .map(|_| ()))?;
    let Reservation { agent, group, tier, usd_micros, .. } = reservation;
    let line =
        Line { entry: "reserve", agent, group, tier: tier.as_str(), usd_micros: number(*usd_micros), assumed: false, usage: None };
    append(tx, at, lease, &line, now).await?;
    Ok(Reserved::Yes)
}

/// Adds to a counter, unless that passes the cap: one statement, so that two who ask at once cannot both have the last of it.
async fn count(tx: &mut Tx<'_>, cap: &Cap, usd_micros: u64) -> Result<bool, StoreError> {
    const SQL: &str = "insert into counter (scope, period, usd_micros) select $1, $2, $3 where $3 <= $4 \
         on conflict (scope, period) do update set usd_micros = counter.usd_micros + excluded.usd_micros \
         where counter.usd_micros + excluded.usd_micros <= $4";

    Ok(within!(tx, connection => sqlx::query(SQL).bind(cap.scope.as_str()).bind(&cap.period).bind(number(usd_micros))
        .bind(number(cap.most)).execute(&mut **connection).await.map(|done| done.rows_affected() == 1))?)
}

async fn counted(tx: &mut Tx<'_>, cap: &Cap) -> Result<u64, StoreError> {
    const SQL: &str = "select usd_micros from counter where scope = $1 and period = $2";

    let used: Option<i64> = within!(tx, connection => sqlx::query_scalar(SQL).bind(cap.scope.as_str()).bind(&cap.period)
        .fetch_optional(&mut **connection).await)?;
    Ok(used.and_then(|used| u64::try_from(used).ok()).unwrap_or_default())
}

async fn shift(tx: &mut Tx<'_>, (scope, period): (&str, &str), by: i64) -> Result<(), StoreError> {
    const SQL: &str = "update counter set usd_micros = usd_micros + $3 where scope = $1 and period = $2";

    within!(tx, connection => sqlx::query(SQL).bind(scope).bind(period).bind(by).execute(&mut **connection).await.map(|_| ()))?;
    Ok(())
}

/// A row about to be added.
struct Line<'l> {
    entry: &'static str,
    agent: &'l str,
    group: &'l str,
    tier: &'l str,
    usd_micros: i64,
    assumed: bool,
    usage: Option<&'l Usage>,
}

async fn append(tx: &mut Tx<'_>, at: &Position, lease: i64, line: &Line<'_>, now: Timestamp) -> Result<(), StoreError> {
    const SQL: &str = "insert into ledger (task, hop, run, seq, lease, entry, assumed, agent, grp, model, tier, input_tokens, \
         output_tokens, usd_micros, at) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)";

    within!(tx, connection => sqlx::query(SQL)
        .bind(&at.task)
        .bind(i64::from(at.hop))
        .bind(i64::from(at.run))
        .bind(i64::from(at.seq))
        .bind(lease)
        .bind(line.entry)
        .bind(i64::from(line.assumed))
        .bind(line.agent)
        .bind(line.group)
        .bind(line.usage.map(|usage| usage.model.as_str()))
        .bind(line.tier)
        .bind(line.usage.map(|usage| number(usage.input)))
        .bind(line.usage.map(|usage| number(usage.output)))
        .bind(line.usd_micros)
        .bind(now.0)
        .execute(&mut **connection)
        .await
        .map(|_| ()))?;
    Ok(())
}

/// What was set aside.
#[derive(sqlx::FromRow)]
struct Aside {
    agent: String,
    grp: String,
    tier: String,
    usd_micros: i64,
    counters: String,
}

/// What was set aside under a lease that nobody holds any more.
#[derive(sqlx::FromRow)]
struct Orphan {
    task: String,
    hop: i64,
    run: i64,
    seq: i64,
    lease: i64,
    #[sqlx(flatten)]
    aside: Aside,
}

/// Ends the reservation of a call, or notes the use of a free one; `false` if there was none to end: somebody else has ended it, and
/// has the task.
pub(super) async fn settle(
    tx: &mut Tx<'_>,
    at: &Position,
    lease: i64,
    (bill, now): (&Bill, Timestamp),
    usage: Option<&Usage>,
) -> Result<bool, StoreError> {
    const SQL: &str = "delete from reservation where task = $1 and hop = $2 and run = $3 and seq = $4 and lease = $5 \
         returning agent, grp, tier, usd_micros, counters";

    if let Bill::Free { agent, group, tier } = bill {
        let line = Line { entry: "usage", agent, group, tier: tier.as_str(), usd_micros: 0, assumed: false, usage };
        append(tx, at, lease, &line, now).await?;
        return Ok(true);
    }
    let aside: Option<Aside> = within!(tx, connection => sqlx::query_as(SQL).bind(&at.task).bind(i64::from(at.hop))
        .bind(i64::from(at.run)).bind(i64::from(at.seq)).bind(lease).fetch_optional(&mut **connection).await)?;
    let Some(Aside { agent, grp, tier, usd_micros: set_aside, counters }) = aside else { return Ok(false) };
    let (entry, paid, assumed) = match bill {
        Bill::Charged(paid) => ("settle", number(*paid), false),
        Bill::Assumed => ("settle", set_aside, true),
        Bill::Released | Bill::Free { .. } => ("release", 0, false),
    };
    if paid != set_aside {
        let counters: Vec<(String, String)> = serde_json::from_str(&counters)?;
        for (scope, period) in &counters {
            shift(tx, (scope, period), paid - set_aside).await?;
        }
    }
    let usd_micros = if entry == "release" { set_aside } else { paid };
    let line = Line { entry, agent: &agent, group: &grp, tier: &tier, usd_micros, assumed, usage };
    append(tx, at, lease, &line, now).await?;
    Ok(true)
}

/// Settles in full what was set aside under leases that are held by nobody any more: whether the call was charged, nobody knows.
pub(crate) async fn assume_orphaned(tx: &mut Tx<'_>, now: Timestamp) -> Result<(), StoreError> {
    const SQL: &str = "delete from reservation \
         where not exists (select 1 from task where task.id = reservation.task and task.lease = reservation.lease \
         and task.status = 'running') returning task, hop, run, seq, lease, agent, grp, tier, usd_micros, counters";

    let orphans: Vec<Orphan> = within!(tx, connection => sqlx::query_as(SQL).fetch_all(&mut **connection).await)?;
    for Orphan { task, hop, run, seq, lease, aside } in orphans {
        let small = |value: i64| u32::try_from(value).unwrap_or(u32::MAX);
        let at = Position { task, hop: small(hop), run: small(run), seq: small(seq) };
        let Aside { agent, grp, tier, usd_micros, .. } = &aside;
        let line = Line { entry: "settle", agent, group: grp, tier, usd_micros: *usd_micros, assumed: true, usage: None };
        append(tx, &at, lease, &line, now).await?;
    }
    Ok(())
}

/// What a task has cost so far, in millionths of a US dollar.
pub async fn cost(db: &Db, task: &str) -> Result<u64, StoreError> {
    const SQL: &str = "select cast(coalesce(sum(usd_micros), 0) as bigint) from ledger where task = $1 and entry = 'settle'";

    let micros: i64 = on!(db, pool => sqlx::query_scalar(SQL).bind(task).fetch_one(pool).await)?;
    Ok(u64::try_from(micros).unwrap_or_default())
}
