//! Opening a SQLite file: one host at a time, one writer; beside it, readers.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};

use super::{Bell, Db, Held, Pool, StoreError, leases, migrations, writer};
use crate::id;

pub(super) async fn open(url: &str, path: &Path) -> Result<Db, StoreError> {
    let failed = |why: String, hint| StoreError::Open { url: url.to_owned(), why, hint };
    const WRITABLE: &str = "give the host a folder that it may write, with --data";
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|error| failed(error.to_string(), WRITABLE))?;
    }
    let lock = File::create(path.with_added_extension("lock")).map_err(|error| failed(error.to_string(), WRITABLE))?;
    lock.try_lock()
        .map_err(|_| failed("another host is using it".into(), "stop the other one, or give this one its own --data"))?;
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        // What is deleted or replaced is overwritten: see `forget`.
        .pragma("secure_delete", "on")
        .busy_timeout(Duration::from_secs(5));
    let opened = |error: sqlx::Error| failed(error.to_string(), "is it a SQLite file of this program?");
    // A file does not go away like a server: asking each connection whether it lives would wake its thread once more for each read.
    let pool = SqlitePoolOptions::new().max_connections(4).test_before_acquire(false);
    let pool = pool.connect_with(options.clone()).await.map_err(opened)?;
    migrations::SQLITE.run(&pool).await.map_err(|error| {
        failed(error.to_string(), "it was made by another version: restore a backup, or start with a new --data")
    })?;
    let writer = writer::Writer::open(&options).await.map_err(opened)?;
    let db =
        Db { pool: Pool::Sqlite(pool, writer), bell: Bell::new(), host: id::task(), held: Held::Lock { _file: Arc::new(lock) } };
    // The lock proves that whoever held a lease is gone.
    leases::void(&db, id::now()).await?;
    Ok(db)
}

/// Opens the file beside the host that has it, or without one. It is read through its write-ahead log all the same: a host may
/// start meanwhile.
pub(super) async fn reading(url: &str, path: &Path) -> Result<Db, StoreError> {
    let options = SqliteConnectOptions::new().filename(path).create_if_missing(false).read_only(true);
    let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await;
    let pool = pool.map_err(|error| StoreError::Open {
        url: url.to_owned(),
        why: error.to_string(),
        hint: "is it a SQLite file of this program, in a folder that you may write?",
    })?;
    Ok(Db { pool: Pool::Sqlite(pool, writer::Writer::none()), bell: Bell::new(), host: id::task(), held: Held::Nothing })
}
