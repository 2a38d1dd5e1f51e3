//! Servers that do not serve: one trial at a time for all tasks and all hosts, and everybody goes on when one succeeds.

use policy::task::Timestamp;

use super::{Db, StoreError, Tx, deliveries, on, within};

/// How long after a failure the next trial may come, in milliseconds (design §7)…
pub const PAUSE: i64 = 10_000;
/// …doubled with each trial that fails, up to this.
pub const LONGEST: i64 = 60_000;
/// An outage that lasts so long is worth a notice, in milliseconds (design §7).
pub const NOTICE: i64 = 15 * 60_000;

/// An outage that lasts.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Outage {
    /// The server.
    pub url: String,
    /// Since when, in milliseconds since the epoch.
    pub down_since: i64,
}

/// Notes that a call failed there: the outage begins, unless it has begun. Its row is held to the end of the transaction, so that a
/// recovery sees whoever parks now.
pub(super) async fn failed(tx: &mut Tx<'_>, url: &str, now: Timestamp) -> Result<(), StoreError> {
    const SQL: &str = "insert into backend (url, down_since, next_trial_at) values ($1, $2, $3) \
         on conflict (url) do update set url = excluded.url";

    within!(tx, connection => sqlx::query(SQL).bind(url).bind(now.0).bind(now.plus(PAUSE).0)
        .execute(&mut **connection).await.map(|_| ()))?;
    Ok(())
}

/// The servers whose next trial is due.
pub async fn due(db: &Db, now: Timestamp) -> Result<Vec<String>, StoreError> {
    const SQL: &str = "select url from backend where next_trial_at <= $1";

    Ok(on!(db, pool => sqlx::query_scalar(SQL).bind(now.0).fetch_all(pool).await)?)
}

/// Takes the trial that is due; `false` if another host was faster.
pub async fn claim(db: &Db, url: String, now: Timestamp) -> Result<bool, StoreError> {
    // The pause doubles with each trial: 10, 20, 40, then 60 s.
    const SQL: &str = "update backend set trials = trials + 1, next_trial_at = $2 + \
         case trials when 0 then $3 when 1 then $3 * 2 when 2 then $3 * 4 else $4 end \
         where url = $1 and next_trial_at <= $2";

    db.write(move |tx| {
        Box::pin(async move {
            Ok(within!(tx, connection => sqlx::query(SQL).bind(url).bind(now.0).bind(PAUSE).bind(LONGEST)
                .execute(&mut **connection).await.map(|done| done.rows_affected() == 1))?)
        })
    })
    .await
}

/// Lets one of the tasks that wait for the server try it: one that never failed by itself first, then the one that has not tried for
/// longest. `false` if none waits.
pub async fn try_one(db: &Db, url: String, now: Timestamp) -> Result<bool, StoreError> {
    const SQL: &str = "update task set run_at = $2 where id = (select id from task \
         where status = 'awaiting_backend' and backend = $1 order by troubles, run_at limit 1)";

    db.write(move |tx| {
        Box::pin(async move {
            Ok(within!(tx, connection => sqlx::query(SQL).bind(url).bind(now.0)
                .execute(&mut **connection).await.map(|done| done.rows_affected() == 1))?)
        })
    })
    .await
}

/// Lets one of the tasks in that wait for a turn at a server that serves: the most urgent. `false` if none waits.
pub async fn let_in(db: &Db, url: String, now: Timestamp) -> Result<bool, StoreError> {
    const SQL: &str = "update task set run_at = $2 where id = (select id from task \
         where status = 'awaiting_backend' and backend = $1 and run_at > $2 \
         and not exists (select 1 from backend where backend.url = $1) order by created_at - priority * 600000, id limit 1)";

    db.write(move |tx| {
        Box::pin(async move {
            Ok(within!(tx, connection => sqlx::query(SQL).bind(url).bind(now.0)
                .execute(&mut **connection).await.map(|done| done.rows_affected() == 1))?)
        })
    })
    .await
}

/// Whether anybody waits for the server, or is trying it.
pub async fn waited_for(db: &Db, url: &str) -> Result<bool, StoreError> {
    const SQL: &str = "select count(*) from task where backend = $1 and status in ('running', 'awaiting_backend')";

    let waiting: i64 = on!(db, pool => sqlx::query_scalar(SQL).bind(url).fetch_one(pool).await)?;
    Ok(waiting > 0)
}

/// The server serves: forgets the outage and lets everybody who waits for it go on. Since when it was away, if it was known to be.
pub async fn recovered(db: &Db, url: String, now: Timestamp) -> Result<Option<i64>, StoreError> {
    const FORGET: &str = "delete from backend where url = $1 returning down_since";
    // A call that failed by itself rests: others may be served because it is not.
    const RELEASE: &str = "update task set run_at = case when troubles > 0 and trouble_at + $3 > $2 then trouble_at + $3 else $2 end \
         where status = 'awaiting_backend' and backend = $1 and run_at > $2";

    db.write(move |tx| {
        Box::pin(async move {
            let since: Option<i64> = within!(tx, connection => sqlx::query_scalar(FORGET).bind(&url)
                .fetch_optional(&mut **connection).await)?;
            if since.is_none() {
                // Whoever parks for an outage writes its row: without one, those who wait there wait for a turn.
                return Ok(None);
            }
            within!(tx, connection => sqlx::query(RELEASE).bind(&url).bind(now.0).bind(PAUSE)
                .execute(&mut **connection).await.map(|_| ()))?;
            Ok(since)
        })
    })
    .await
}

/// Outages that have become worth a notice: each once, with the rows by which people hear of it.
pub async fn overdue(
    db: &Db,
    tell: impl Fn(&Outage) -> Vec<deliveries::New> + Send + Sync + 'static,
    now: Timestamp,
) -> Result<Vec<Outage>, StoreError> {
    const LOOK: &str = "select count(*) from backend where noticed_at is null and down_since <= $1";
    const SQL: &str = "update backend set noticed_at = $1 where noticed_at is null and down_since <= $2 returning url, down_since";

    let since = now.plus(-NOTICE);
    // So that an idle host leaves the disk alone.
    let found: i64 = on!(db, pool => sqlx::query_scalar(LOOK).bind(since.0).fetch_one(pool).await)?;
    if found == 0 {
        return Ok(Vec::new());
    }
    db.write(move |tx| {
        Box::pin(async move {
            let found: Vec<Outage> =
                within!(tx, connection => sqlx::query_as(SQL).bind(now.0).bind(since.0).fetch_all(&mut **connection).await)?;
            for outage in &found {
                deliveries::put(tx, &tell(outage), now).await?;
            }
            Ok(found)
        })
    })
    .await
}

/// The servers that are away, and since when.
pub async fn away(db: &Db) -> Result<Vec<Outage>, StoreError> {
    const SQL: &str = "select url, down_since from backend order by down_since";

    Ok(on!(db, pool => sqlx::query_as(SQL).fetch_all(pool).await)?)
}
