//! The tables and their history: which changes a database has had, and which it still needs. Looking changes nothing.

use std::collections::BTreeMap;
use std::path::Path;
use std::str::FromStr;

use sqlx::migrate::{Migrate, MigrateError, Migrator};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection};

use super::{StoreError, sqlite_file, without_password};

pub(super) static SQLITE: Migrator = sqlx::migrate!("../migrations/sqlite");
pub(super) static POSTGRES: Migrator = sqlx::migrate!("../migrations/postgres");

/// Where sqlx keeps the history.
const HISTORY: &str = "_sqlx_migrations";

/// One change of the tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migration {
    /// Its number.
    pub version: i64,
    /// What it brings; empty for one that this version does not know.
    pub name: String,
    /// Whether this database has had it.
    pub state: State,
}

/// Where a change of the tables stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It was applied as it stands here.
    Applied,
    /// It is to be applied.
    Pending,
    /// Something else was applied under its number.
    Differs,
    /// It began and did not end.
    Broken,
    /// A newer version of this program applied it.
    Newer,
}

impl State {
    /// For tables and JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Pending => "pending",
            Self::Differs => "differs",
            Self::Broken => "broken",
            Self::Newer => "newer",
        }
    }
}

/// What the database at `url` has had and needs, by number; `None` if there is no database yet.
///
/// # Errors
/// If it cannot be read.
pub async fn standing(url: &str) -> Result<Option<Vec<Migration>>, StoreError> {
    let failed = |error: MigrateError| StoreError::Open {
        url: without_password(url),
        why: if let MigrateError::Execute(cause) = &error { cause.to_string() } else { error.to_string() },
        hint: "is it a database of this program, and does it answer?",
    };
    let all = match sqlite_file(url)? {
        Some(path) if !path.exists() => return Ok(None),
        Some(path) => compared(&SQLITE, sqlite(&path).await.map_err(failed)?),
        None => compared(&POSTGRES, postgres(url).await.map_err(failed)?),
    };
    Ok(Some(all))
}

/// What a database has had: checksums by number, and the number of a change that did not end.
#[derive(Default)]
struct History {
    applied: BTreeMap<i64, Vec<u8>>,
    broken: Option<i64>,
}

async fn history(connection: &mut impl Migrate) -> Result<History, MigrateError> {
    let broken = connection.dirty_version(HISTORY).await?;
    let applied = connection.list_applied_migrations(HISTORY).await?;
    Ok(History { applied: applied.into_iter().map(|one| (one.version, one.checksum.to_vec())).collect(), broken })
}

/// Reads beside a running host. A file that nobody has open is read as it lies there: even a reader would leave files beside it.
pub(super) async fn beside(path: &Path) -> sqlx::Result<SqliteConnection> {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    let open = Path::new(&log).exists();
    SqliteConnectOptions::new().filename(path).create_if_missing(false).read_only(true).immutable(!open).connect().await
}

async fn sqlite(path: &Path) -> Result<History, MigrateError> {
    const SQL: &str = "select exists (select 1 from sqlite_master where type = 'table' and name = $1)";

    let mut connection = beside(path).await?;
    let begun: bool = sqlx::query_scalar(SQL).bind(HISTORY).fetch_one(&mut connection).await?;
    let history = if begun { history(&mut connection).await? } else { History::default() };
    connection.close().await?;
    Ok(history)
}

async fn postgres(url: &str) -> Result<History, MigrateError> {
    const SQL: &str = "select to_regclass($1) is not null";

    let mut connection = PgConnection::connect_with(&PgConnectOptions::from_str(url)?).await?;
    let begun: bool = sqlx::query_scalar(SQL).bind(HISTORY).fetch_one(&mut connection).await?;
    let history = if begun { history(&mut connection).await? } else { History::default() };
    connection.close().await?;
    Ok(history)
}

fn compared(known: &Migrator, history: History) -> Vec<Migration> {
    let History { mut applied, broken } = history;
    let mut all: Vec<Migration> = Vec::new();
    for migration in known.iter() {
        let state = match applied.remove(&migration.version) {
            _ if broken == Some(migration.version) => State::Broken,
            None => State::Pending,
            Some(checksum) if checksum == *migration.checksum => State::Applied,
            Some(_) => State::Differs,
        };
        all.push(Migration { version: migration.version, name: migration.description.to_string(), state });
    }
    all.extend(applied.into_keys().map(|version| Migration { version, name: String::new(), state: State::Newer }));
    all
}
