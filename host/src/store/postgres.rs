//! Opening a PostgreSQL database that many hosts may share: each is known by a lock that ends with its connection, and they wake
//! each other.
//!
//! Both connections are the session's own: behind a pooler that shares sessions, neither works. Connect to the server itself.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use sqlx::Connection;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgListener, PgPool, PgPoolOptions};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::{Bell, Db, Held, Pool, StoreError, migrations, without_password};
use crate::id;

/// Connections for statements of this host.
const CONNECTIONS: u32 = 16;
/// How long a request waits for the database before it is told that there is none.
const PATIENCE: Duration = Duration::from_secs(3);
/// A connection that rested so long is asked whether it is still there before it is used.
const RESTED: Duration = Duration::from_millis(100);
/// How often the session that holds the lock is seen to be alive.
const PULSE: Duration = Duration::from_secs(5);
/// After the database came back, other hosts get this long to take their locks again before anybody judges them gone.
const GRACE: Duration = Duration::from_secs(10);
/// The largest difference between this machine's clock and the database's, in milliseconds: times of many hosts are compared.
const SKEW: i64 = 5_000;
/// Hints to other hosts are at least this far apart: a commit that notifies waits for every other such commit.
const HUSH: Duration = Duration::from_millis(10);
/// The channel of those hints.
const CHANNEL: &str = "homeaiops_due";

/// What says that this host lives, as long as the handle does.
pub(super) struct Presence {
    since: watch::Receiver<Option<Instant>>,
    loops: Vec<JoinHandle<()>>,
}

impl Presence {
    /// Whether this host may take another's missing lock for its end.
    pub(super) fn may_judge(&self) -> bool {
        self.since.borrow().is_some_and(|since| since <= Instant::now())
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.loops.iter().for_each(JoinHandle::abort);
    }
}

pub(super) async fn open(url: &str) -> Result<Db, StoreError> {
    let failed = |why: String, hint| StoreError::Open { url: without_password(url), why, hint };
    let options = PgConnectOptions::from_str(url)
        .map_err(|error| failed(error.to_string(), "check [database] url"))?
        .application_name("homeaiops");
    let reached = |error: sqlx::Error| failed(error.to_string(), "is PostgreSQL running there, and may this user connect?");
    let pool = PgPoolOptions::new()
        .max_connections(CONNECTIONS)
        .acquire_timeout(PATIENCE)
        // One that was used a moment ago is taken at its word: asking costs a round trip each time.
        .test_before_acquire(false)
        .before_acquire(|connection, used| {
            Box::pin(async move { if used.idle_for < RESTED { Ok(true) } else { connection.ping().await.map(|()| true) } })
        })
        .connect_with(options.clone())
        .await
        .map_err(reached)?;
    let skew = skew(&pool).await.map_err(reached)?;
    if skew.abs() > SKEW {
        let why = format!("its clock and this machine's are {} s apart", skew / 1000);
        return Err(failed(why, "set both by NTP: leases and times to live of all hosts are compared"));
    }
    migrations::POSTGRES
        .run(&pool)
        .await
        .map_err(|error| failed(error.to_string(), "it was made by another version, or the user may not create tables"))?;
    let (host, bell) = (id::task(), Bell::new());
    let session = present(&options, &host).await.map_err(reached)?;
    let session = session.ok_or_else(|| failed("another host has this one's name".into(), "start it again"))?;
    let (up, since) = watch::channel(Some(Instant::now()));
    let loops = vec![
        tokio::spawn(stay(session, options, host.clone(), up)),
        tokio::spawn(listen(pool.clone(), bell.clone())),
        tokio::spawn(tell(pool.clone(), bell.clone())),
    ];
    let held = Held::Presence(Arc::new(Presence { since, loops }));
    Ok(Db { pool: Pool::Postgres(pool), bell, host, held })
}

/// Opens the database beside the hosts that work on it: no presence, and the server itself refuses to write for it.
pub(super) async fn reading(url: &str) -> Result<Db, StoreError> {
    let failed = |why: String, hint| StoreError::Open { url: without_password(url), why, hint };
    let options = PgConnectOptions::from_str(url)
        .map_err(|error| failed(error.to_string(), "check [database] url"))?
        .application_name("homeaiops")
        .options([("default_transaction_read_only", "on")]);
    let pool = PgPoolOptions::new().max_connections(1).acquire_timeout(PATIENCE).connect_with(options).await;
    let pool = pool.map_err(|error| failed(error.to_string(), "is PostgreSQL running there, and may this user connect?"))?;
    Ok(Db { pool: Pool::Postgres(pool), bell: Bell::new(), host: id::task(), held: Held::Nothing })
}

/// How far the database's clock is ahead of ours, in milliseconds.
async fn skew(pool: &PgPool) -> sqlx::Result<i64> {
    const SQL: &str = "select (extract(epoch from clock_timestamp()) * 1000)::bigint";

    let theirs: i64 = sqlx::query_scalar(SQL).fetch_one(pool).await?;
    Ok(theirs - id::now().0)
}

/// A session that holds the lock of this host. `None` if an older one of ours holds it still: the server has not noticed its end.
async fn present(options: &PgConnectOptions, host: &str) -> sqlx::Result<Option<PgConnection>> {
    const SQL: &str = "select pg_try_advisory_lock(hashtextextended($1, 0))";

    let mut session = PgConnection::connect_with(options).await?;
    let held: bool = sqlx::query_scalar(SQL).bind(host).fetch_one(&mut session).await?;
    Ok(held.then_some(session))
}

/// Keeps the lock, and takes it again when the session broke.
async fn stay(mut session: PgConnection, options: PgConnectOptions, host: String, up: watch::Sender<Option<Instant>>) {
    loop {
        sleep(PULSE).await;
        if matches!(timeout(PULSE, session.ping()).await, Ok(Ok(()))) {
            continue;
        }
        up.send_replace(None);
        tracing::warn!(event = "presence_lost", host, "the session that shows this host's presence broke");
        // One that only stalled would keep the lock from its successor.
        drop(session);
        session = loop {
            let why = match timeout(PULSE, present(&options, &host)).await {
                Ok(Ok(Some(session))) => break session,
                Ok(Ok(None)) => "the old session still holds the lock".to_owned(),
                Ok(Err(error)) => error.to_string(),
                Err(_) => "the database does not answer".to_owned(),
            };
            tracing::warn!(event = "presence_lost", host, why, "this host cannot show its presence: {why}");
            sleep(PULSE).await;
        };
        up.send_replace(Some(Instant::now() + GRACE));
        tracing::info!(event = "presence_back", host, "this host shows its presence again");
    }
}

/// Passes on what other hosts hint at. A connection that comes back counts as a hint: something may have been missed.
async fn listen(pool: PgPool, bell: Bell) {
    loop {
        if let Ok(mut listener) = PgListener::connect_with(&pool).await
            && listener.listen(CHANNEL).await.is_ok()
        {
            bell.wake();
            while let Ok(Some(_)) = listener.try_recv().await {
                bell.wake();
            }
        }
        sleep(Duration::from_secs(1)).await;
    }
}

/// Hints to other hosts, after the commit and off its path.
async fn tell(pool: PgPool, bell: Bell) {
    const SQL: &str = "select pg_notify($1, '')";

    let due = bell.abroad();
    loop {
        due.notified().await;
        if let Err(error) = sqlx::query(SQL).bind(CHANNEL).execute(&pool).await {
            // They look by themselves within a second.
            tracing::debug!(event = "hint_lost", %error, "other hosts were not told of a due task");
        }
        sleep(HUSH).await;
    }
}
