//! A narrow way into a database that a host may be using: one connection, which takes no part in the work. It voids no lease,
//! changes no table, and leaves no file behind.

use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use futures::future::BoxFuture;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection};

use super::migrations::{self, State};
use super::{StoreError, Tx, sqlite_file, without_password};

/// What the connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Only to look.
    Look,
    /// For one small change: SQLite lets one program write at a time, and the others wait for it.
    Change,
}

/// An open way in.
pub enum Beside {
    /// The file.
    Sqlite(Box<SqliteConnection>),
    /// The server.
    Postgres(Box<PgConnection>),
}

impl Beside {
    /// Opens it; `None` if there is no database yet.
    ///
    /// # Errors
    /// [`StoreError::Open`], also for a database whose tables are of another version.
    pub async fn open(url: &str, what_for: Use) -> Result<Option<Self>, StoreError> {
        let failed = |why: String, hint| StoreError::Open { url: without_password(url), why, hint };
        let Some(standing) = migrations::standing(url).await? else { return Ok(None) };
        if standing.iter().any(|one| one.state != State::Applied) {
            let hint = "start the host of this version once, or run `host migrate`";
            return Err(failed("its tables are not those of this version".into(), hint));
        }
        let opened = match sqlite_file(url)? {
            Some(path) => sqlite(&path, what_for).await.map(|connection| Self::Sqlite(Box::new(connection))),
            None => postgres(url).await.map(|connection| Self::Postgres(Box::new(connection))),
        };
        opened.map(Some).map_err(|error| failed(error.to_string(), "does it answer, and may this user use it?"))
    }

    /// For statements; each is committed by itself.
    pub fn tx(&mut self) -> Tx<'_> {
        match self {
            Self::Sqlite(connection) => Tx::Sqlite(connection),
            Self::Postgres(connection) => Tx::Postgres(connection),
        }
    }

    /// Some statements, committed together or not at all.
    ///
    /// # Errors
    /// What the job says, or the driver.
    pub async fn write<T, J>(&mut self, job: J) -> Result<T, StoreError>
    where
        J: for<'t, 'c> FnOnce(&'t mut Tx<'c>) -> BoxFuture<'t, Result<T, StoreError>>,
    {
        match self {
            Self::Sqlite(connection) => {
                // At once for writing: a host that writes meanwhile is waited for, not run into.
                let mut transaction = connection.begin_with("begin immediate").await?;
                let written = job(&mut Tx::Sqlite(&mut transaction)).await?;
                transaction.commit().await?;
                Ok(written)
            }
            Self::Postgres(connection) => {
                let mut transaction = connection.begin().await?;
                let written = job(&mut Tx::Postgres(&mut transaction)).await?;
                transaction.commit().await?;
                Ok(written)
            }
        }
    }

    /// Closes it.
    ///
    /// # Errors
    /// What the driver says.
    pub async fn close(self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(connection) => connection.close().await?,
            Self::Postgres(connection) => connection.close().await?,
        }
        Ok(())
    }
}

async fn sqlite(path: &Path, what_for: Use) -> sqlx::Result<SqliteConnection> {
    match what_for {
        Use::Look => migrations::beside(path).await,
        Use::Change => {
            let options = SqliteConnectOptions::new().filename(path).create_if_missing(false);
            options.busy_timeout(Duration::from_secs(30)).connect().await
        }
    }
}

async fn postgres(url: &str) -> sqlx::Result<PgConnection> {
    PgConnection::connect_with(&PgConnectOptions::from_str(url)?).await
}
