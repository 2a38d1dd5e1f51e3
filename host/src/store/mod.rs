//! All SQL. Nothing above knows which database there is.
//!
//! SQLite is written by one connection that groups commits; PostgreSQL by a transaction each. A statement is written once and
//! checked against both drivers by `on!` and `within!`.

mod bell;
mod postgres;
mod sqlite;
mod writer;

pub mod approvals;
pub mod artefacts;
pub mod backends;
pub mod backup;
pub mod beside;
pub mod components;
pub mod deliveries;
pub mod editions;
pub mod effects;
pub mod forget;
pub mod bench;
pub mod hops;
pub mod idempotency;
pub mod intervene;
pub mod journal;
pub mod leases;
pub mod ledger;
pub mod links;
pub mod migrations;
pub mod revoked;
pub mod tasks;
pub mod todos;
pub mod verdicts;

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use futures::future::BoxFuture;
use sqlx::postgres::{PgConnection, PgPool};
use sqlx::sqlite::{SqliteConnection, SqlitePool};

use crate::id;
pub use bell::Bell;

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
    /// It was opened to be looked at.
    #[error("the database was opened to read only: nothing is written to it")]
    ReadOnly,
    /// Somebody else has the task: what was begun is undone.
    #[error("another worker has the task")]
    Taken,
    /// A row holds what this version cannot read.
    #[error("the database holds something unreadable: {0}")]
    Unreadable(String),
}

impl From<serde_json::Error> for StoreError {
    fn from(error: serde_json::Error) -> Self {
        Self::Unreadable(error.to_string())
    }
}

/// The file of a SQLite database; `None` for PostgreSQL.
///
/// # Errors
/// [`StoreError::Open`] if the URL names neither.
pub fn sqlite_file(url: &str) -> Result<Option<PathBuf>, StoreError> {
    if url.starts_with("postgres://") || url.starts_with("postgresql://") {
        return Ok(None);
    }
    let path = url.strip_prefix("sqlite://").map(PathBuf::from);
    path.map(Some).ok_or_else(|| StoreError::Open {
        url: without_password(url),
        why: "it is neither sqlite:// nor postgres://".into(),
        hint: "write sqlite://FILE or postgres://USER@HOST/NAME in [database] url",
    })
}

/// The URL of a database, as people may see it.
#[must_use]
pub fn without_password(url: &str) -> String {
    if url.starts_with("sqlite://") {
        return url.to_owned();
    }
    reqwest::Url::parse(url).map_or_else(
        |_| "a URL that cannot be read".to_owned(),
        |mut parsed| {
            let _ = parsed.set_password(None);
            // A password may stand among the parameters too.
            parsed.set_query(None);
            parsed.to_string()
        },
    )
}

/// The database: a cheap handle.
#[derive(Clone)]
pub struct Db {
    pool: Pool,
    bell: Bell,
    host: String,
    held: Held,
}

/// What shows that this host lives, as long as any handle does.
#[derive(Clone)]
enum Held {
    /// The lock on a SQLite file: one host at a time.
    Lock { _file: Arc<File> },
    /// A session of a shared database.
    Presence(Arc<postgres::Presence>),
    /// Nothing: it is no host, and only reads.
    Nothing,
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
        match sqlite_file(url)? {
            Some(path) => sqlite::open(url, &path).await,
            None => postgres::open(url).await,
        }
    }

    /// Opens the database to read only, beside the hosts that work on it or without one: takes no lock, changes no table, and
    /// leaves every lease to its holder.
    ///
    /// # Errors
    /// [`StoreError::Open`] if there is none yet, or if another version of this program made it.
    pub async fn reading(url: &str) -> Result<Self, StoreError> {
        let failed = |why: &str, hint| StoreError::Open { url: without_password(url), why: why.to_owned(), hint };
        let standing = migrations::standing(url).await?;
        let standing = standing.ok_or_else(|| failed("there is none yet", "name another with --data or --database"))?;
        if standing.iter().any(|one| one.state != migrations::State::Applied) {
            return Err(failed("its tables are not those of this version", "see `host migrate --check`"));
        }
        match sqlite_file(url)? {
            Some(path) => sqlite::reading(url, &path).await,
            None => postgres::reading(url).await,
        }
    }

    /// Whether it was opened to read only.
    #[must_use]
    pub fn only_reads(&self) -> bool {
        matches!(self.held, Held::Nothing)
    }

    /// What tells of changes.
    #[must_use]
    pub fn bell(&self) -> &Bell {
        &self.bell
    }

    /// The name of this host on its leases.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
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
        if self.only_reads() {
            return Err(StoreError::ReadOnly);
        }
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
        // A statement that changes nothing would succeed on a full disk.
        const SQL: &str = "update pulse set at = $1";

        self.write(|tx| {
            Box::pin(async move {
                within!(tx, connection => sqlx::query(SQL).bind(id::now().0).execute(&mut **connection).await.map(|_| ()))?;
                Ok(())
            })
        })
        .await
    }
}
