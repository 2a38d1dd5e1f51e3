//! All SQL. Nothing above knows which database there is.
//!
//! SQLite is written by one connection that groups commits; PostgreSQL by a transaction each. A statement is written once and
//! checked against both drivers by `on!` and `within!`.

mod writer;

pub mod artefacts;
pub mod hops;
pub mod idempotency;
pub mod journal;
pub mod leases;
pub mod tasks;

use std::fs::File;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};

/// A database that cannot be used, or not now.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It could not be opened.
    #[error("the database `{url}` cannot be opened: {why}; {hint}")]
    Open {
        /// Where it should be, without password.
        url: String,
        /// What the driver or the system says.
        why: String,
        /// What to do.
        hint: &'static str,
    },
    /// A statement failed.
    #[error("the database does not answer as it should: {0}")]
    Query(#[from] sqlx::Error),
    /// A group of writes could not be committed together.
    #[error("the database did not commit: {0}")]
    Commit(String),
    /// A row holds what this version cannot read.
    #[error("the database holds something unreadable: {0}")]
    Unreadable(String),
}

impl From<serde_json::Error> for StoreError {
    fn from(error: serde_json::Error) -> Self {
        Self::Unreadable(error.to_string())
    }
}

/// The database: a cheap handle.
#[derive(Clone)]
pub struct Db {
    pool: Pool,
    /// Held as long as any handle lives: one host at a time on a SQLite file.
    _lock: Option<Arc<File>>,
}

#[derive(Clone)]
enum Pool {
    Sqlite(SqlitePool, writer::Writer),
    Postgres(PgPool),
}

/// An open write transaction.
pub enum Tx<'c> {
    /// Inside a group of writes.
    Sqlite(&'c mut SqliteConnection),
    /// On its own.
    Postgres(&'c mut PgConnection),
}

/// Reads: one body, type-checked against both drivers.
macro_rules! on {
    ($db:expr, $pool:ident => $body:expr) => {
        match &$db.pool {
            $crate::store::Pool::Postgres($pool) => $body,
            $crate::store::Pool::Sqlite($pool, _) => $body,
        }
    };
}
use on;

/// Writes: one body, type-checked against both drivers.
macro_rules! within {
    ($tx:expr, $connection:ident => $body:expr) => {
        match $tx {
            $crate::store::Tx::Postgres($connection) => $body,
            $crate::store::Tx::Sqlite($connection) => $body,
        }
    };
}
use within;

impl Db {
    /// Opens the database and brings its tables up to date.
    ///
    /// # Errors
    /// [`StoreError::Open`] says what to do.
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            return Self::open_postgres(url).await;
        }
        let Some(path) = url.strip_prefix("sqlite://") else {
            return Err(StoreError::Open {
                url: url.to_owned(),
                why: "it is neither sqlite:// nor postgres://".into(),
                hint: "write sqlite://FILE or postgres://USER@HOST/NAME in [database] url",
            });
        };
        Self::open_sqlite(url, PathBuf::from(path)).await
    }

    async fn open_sqlite(url: &str, path: PathBuf) -> Result<Self, StoreError> {
        let failed = |why: String, hint| StoreError::Open { url: url.to_owned(), why, hint };
        const WRITABLE: &str = "give the host a folder that it may write, with --data";
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|error| failed(error.to_string(), WRITABLE))?;
        }
        let lock = File::create(path.with_added_extension("lock")).map_err(|error| failed(error.to_string(), WRITABLE))?;
        lock.try_lock()
            .map_err(|_| failed("another host is using it".into(), "stop the other one, or give this one its own --data"))?;
        let options = SqliteConnectOptions::new()
            .filename(&path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(Duration::from_secs(5));
        let opened = |error: sqlx::Error| failed(error.to_string(), "is it a SQLite file of this program?");
        let pool = SqlitePoolOptions::new().max_connections(4).connect_with(options.clone()).await.map_err(opened)?;
        sqlx::migrate!("../migrations/sqlite").run(&pool).await.map_err(|error| {
            failed(error.to_string(), "it was made by another version: restore a backup, or start with a new --data")
        })?;
        let writer = writer::Writer::open(&options).await.map_err(opened)?;
        let db = Self { pool: Pool::Sqlite(pool, writer), _lock: Some(Arc::new(lock)) };
        // The lock proves that whoever held a lease is gone.
        leases::void(&db).await?;
        Ok(db)
    }

    async fn open_postgres(url: &str) -> Result<Self, StoreError> {
        let shown = reqwest::Url::parse(url).map_or_else(
            |_| "postgres://…".to_owned(),
            |mut parsed| {
                let _ = parsed.set_password(None);
                parsed.to_string()
            },
        );
        let failed = |why: String, hint| StoreError::Open { url: shown.clone(), why, hint };
        let options = PgConnectOptions::from_str(url).map_err(|error| failed(error.to_string(), "check [database] url"))?;
        let pool = PgPoolOptions::new()
            .max_connections(16)
            .acquire_timeout(Duration::from_secs(10))
            .connect_with(options)
            .await
            .map_err(|error| failed(error.to_string(), "is PostgreSQL running there, and may this user connect?"))?;
        sqlx::migrate!("../migrations/postgres")
            .run(&pool)
            .await
            .map_err(|error| failed(error.to_string(), "it was made by another version, or the user may not create tables"))?;
        Ok(Self { pool: Pool::Postgres(pool), _lock: None })
    }

    /// Runs `job` in a transaction and answers when it is on disk. An error of the job rolls back what it did, and only that.
    ///
    /// # Errors
    /// The job's own, or that of the commit.
    pub async fn write<T, J>(&self, job: J) -> Result<T, StoreError>
    where
        T: Send + 'static,
        J: for<'t, 'c> FnOnce(&'t mut Tx<'c>) -> BoxFuture<'t, Result<T, StoreError>> + Send + 'static,
    {
        match &self.pool {
            Pool::Sqlite(_, writer) => writer.write(job).await,
            Pool::Postgres(pool) => {
                let mut transaction = pool.begin().await?;
                let written = job(&mut Tx::Postgres(&mut transaction)).await?;
                transaction.commit().await?;
                Ok(written)
            }
        }
    }

    /// Whether it can be written now.
    ///
    /// # Errors
    /// What the driver says.
    pub async fn ping(&self) -> Result<(), StoreError> {
        const SQL: &str = "update task set lease = lease where id = ''";

        self.write(|tx| {
            Box::pin(async move {
                within!(tx, connection => sqlx::query(SQL).execute(&mut **connection).await.map(|_| ()))?;
                Ok(())
            })
        })
        .await
    }
}
