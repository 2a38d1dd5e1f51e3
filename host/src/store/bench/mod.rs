//! What `host bench` needs of a database: throw-away ones, bare statements to hold the host against, and what was written.
//!
//! Never touches a database that it did not make itself.

mod bare;
mod gauge;
mod scratch;

pub use bare::{Bare, Past};
pub use gauge::{Gauge, Written};
pub use scratch::Scratch;

use std::str::FromStr;

use sqlx::Connection;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};

use super::StoreError;

/// One connection, with the settings of the store's own.
enum Line {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

impl Line {
    async fn open(url: &str) -> Result<Self, StoreError> {
        let Some(file) = url.strip_prefix("sqlite://") else {
            return Ok(Self::Postgres(PgConnection::connect_with(&PgConnectOptions::from_str(url)?).await?));
        };
        let options = SqliteConnectOptions::new()
            .filename(file)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true);
        Ok(Self::Sqlite(SqliteConnection::connect_with(&options).await?))
    }
}
