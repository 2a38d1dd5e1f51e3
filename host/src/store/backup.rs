//! A copy of a SQLite database, taken while a host works on it: as it is at one instant, checked, and never half a file.

use std::fs::File;
use std::path::{Path, PathBuf};

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection};

/// A copy that was not made.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// There is nothing to copy.
    #[error("there is no database yet at {}: nothing to copy", .0.display())]
    NoDatabase(PathBuf),
    /// The file is there already.
    #[error("{} is there already: name a new file; a backup replaces nothing", .0.display())]
    Exists(PathBuf),
    /// A file or folder of the copy cannot be used.
    #[error("{} cannot be written: {why}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system says.
        why: std::io::Error,
    },
    /// The database cannot be read, or not be copied.
    #[error("the database cannot be copied: {0}")]
    Copy(#[from] sqlx::Error),
    /// The copy is not sound.
    #[error("the copy is not sound, and was thrown away: {0}")]
    Unsound(String),
}

/// What was copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copied {
    /// Size of the copy.
    pub bytes: u64,
    /// Tasks in it.
    pub tasks: i64,
}

/// Copies the database in `from` to the new file `to`, for nobody but its owner to read. What is at `to` afterwards is whole.
///
/// # Errors
/// [`BackupError`]; then there is nothing at `to`.
pub async fn copy(from: &Path, to: &Path) -> Result<Copied, BackupError> {
    const COPY: &str = "vacuum into $1";

    if !from.exists() {
        return Err(BackupError::NoDatabase(from.to_owned()));
    }
    if to.symlink_metadata().is_ok() {
        return Err(BackupError::Exists(to.to_owned()));
    }
    let failed = |why: std::io::Error| BackupError::File { path: to.to_owned(), why };
    let to = std::path::absolute(to).map_err(failed)?;
    let folder = to.parent().unwrap_or(Path::new("/"));
    // Empty, of mode 0600, beside its place, and gone again if anything below fails.
    let copy = tempfile::Builder::new().prefix(".backup-").tempfile_in(folder).map_err(failed)?;
    let mut source = reader(from).await?;
    sqlx::query(COPY).bind(copy.path().display().to_string()).execute(&mut source).await?;
    source.close().await?;
    let tasks = sound(copy.path()).await?;
    copy.as_file().sync_all().map_err(failed)?;
    let bytes = copy.as_file().metadata().map_err(failed)?.len();
    copy.persist_noclobber(&to).map_err(|error| failed(error.error))?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
    Ok(Copied { bytes, tasks })
}

/// Reads without the lock of a host.
async fn reader(file: &Path) -> sqlx::Result<SqliteConnection> {
    SqliteConnectOptions::new().filename(file).create_if_missing(false).read_only(true).connect().await
}

/// The number of tasks in a copy that is whole.
async fn sound(copy: &Path) -> Result<i64, BackupError> {
    const CHECK: &str = "pragma integrity_check(1)";
    const COUNT: &str = "select count(*) from task";

    let mut connection = reader(copy).await?;
    let said: String = sqlx::query_scalar(CHECK).fetch_one(&mut connection).await?;
    if said != "ok" {
        return Err(BackupError::Unsound(said));
    }
    let tasks = sqlx::query_scalar(COUNT).fetch_one(&mut connection).await?;
    connection.close().await?;
    Ok(tasks)
}
