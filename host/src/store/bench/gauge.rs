//! What was written to a database's log between two moments: commits that changed something, and bytes.
//!
//! PostgreSQL counts for itself: transactions that wrote have a number, and the log has a position. Both are the server's, so
//! whoever else writes there is counted too. SQLite's log is a file whose format is documented (walformat.html, fileformat2.html
//! §4): each page written is a frame, and the frame that ends a commit says so. A read transaction is held open meanwhile, which
//! keeps a checkpoint from starting the log over. Pages that a checkpoint copies into the database file later are not counted.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use sqlx::postgres::PgConnection;

use super::Line;
use crate::store::StoreError;

/// What was written.
#[derive(Clone, Copy, Debug)]
pub struct Written {
    /// Transactions that changed something.
    pub commits: u64,
    /// Bytes of the write-ahead log.
    pub bytes: u64,
}

/// A measurement under way.
pub struct Gauge {
    line: Line,
    file: PathBuf,
    begun: Mark,
}

/// A moment in the life of a log.
#[derive(Clone, Copy)]
struct Mark {
    /// SQLite: how often the log was started over. PostgreSQL: the next transaction's number.
    number: u64,
    /// SQLite: frames in the log. PostgreSQL: bytes ever written.
    length: u64,
}

impl Gauge {
    /// Begins to measure. On SQLite something must have been written since the file was opened.
    ///
    /// # Errors
    /// What the database or the system says.
    pub async fn start(url: &str) -> Result<Self, StoreError> {
        const SNAPSHOT: &str = "select count(*) from task";

        let mut line = Line::open(url).await?;
        let file = PathBuf::from(url.strip_prefix("sqlite://").unwrap_or_default());
        let begun = match &mut line {
            Line::Sqlite(reader) => {
                sqlx::query("begin").execute(&mut *reader).await?;
                sqlx::query(SNAPSHOT).execute(&mut *reader).await?;
                log_of(&file)?
            }
            Line::Postgres(connection) => position(connection).await?,
        };
        Ok(Self { line, file, begun })
    }

    /// Ends it.
    ///
    /// # Errors
    /// What the database or the system says, and if the log cannot be told apart.
    pub async fn stop(mut self) -> Result<Written, StoreError> {
        match &mut self.line {
            Line::Sqlite(_) => {
                let mut log = Log::of(&self.file).map_err(unreadable)?;
                // It may start over once, with the first write after the beginning, if all of it was in the file by then.
                let from = match u64::from(log.number).wrapping_sub(self.begun.number) & u64::from(u32::MAX) {
                    0 => self.begun.length,
                    1 => 0,
                    _ => {
                        return Err(StoreError::Unreadable(
                            "the log of the database was started over while it was measured".into(),
                        ));
                    }
                };
                let (frames, commits) = log.frames(from).map_err(unreadable)?;
                Ok(Written { commits, bytes: frames.saturating_sub(from) * log.frame })
            }
            Line::Postgres(connection) => {
                let ended = position(connection).await?;
                Ok(Written {
                    commits: ended.number.saturating_sub(self.begun.number),
                    bytes: ended.length.saturating_sub(self.begun.length),
                })
            }
        }
    }
}

async fn position(connection: &mut PgConnection) -> Result<Mark, StoreError> {
    const SQL: &str = "select pg_snapshot_xmax(pg_current_snapshot())::text::bigint, \
         pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint";

    let (number, length): (i64, i64) = sqlx::query_as(SQL).fetch_one(connection).await?;
    Ok(Mark { number: number.unsigned_abs(), length: length.unsigned_abs() })
}

/// Bytes before the first frame.
const LOG_HEADER: u64 = 32;
/// Bytes before each page.
const FRAME_HEADER: u64 = 24;

fn unreadable(error: std::io::Error) -> StoreError {
    StoreError::Unreadable(format!("the log of the database cannot be measured: {error}"))
}

/// The log of a database file. Its index (`-shm`) must never be opened here: closing it would drop the locks of every connection that
/// this process has.
struct Log {
    file: File,
    /// The first salt: one more with each time that the log is started over.
    number: u32,
    salt: [u8; 8],
    frame: u64,
}

impl Log {
    fn of(database: &Path) -> std::io::Result<Self> {
        let mut name = database.as_os_str().to_owned();
        name.push("-wal");
        let mut file = File::open(PathBuf::from(name))?;
        let (mut page, mut salt) = ([0; 4], [0; 8]);
        file.seek(SeekFrom::Start(8))?;
        file.read_exact(&mut page)?;
        file.seek(SeekFrom::Start(16))?;
        file.read_exact(&mut salt)?;
        let number = u32::from_be_bytes(*salt.first_chunk::<4>().unwrap_or(&[0; 4]));
        Ok(Self { file, number, salt, frame: FRAME_HEADER + u64::from(u32::from_be_bytes(page)) })
    }

    /// Frames since it was last started over, and those from `from` on that end a commit: their header holds the size of the database
    /// after it. What is left of earlier times carries another salt.
    fn frames(&mut self, from: u64) -> std::io::Result<(u64, u64)> {
        let (mut frames, mut commits) = (0, 0);
        let all = self.file.metadata()?.len().saturating_sub(LOG_HEADER) / self.frame;
        while frames < all {
            let mut header = [0; 16];
            self.file.seek(SeekFrom::Start(LOG_HEADER + frames * self.frame))?;
            self.file.read_exact(&mut header)?;
            let [_, _, _, _, s0, s1, s2, s3, salt @ ..] = header;
            if salt != self.salt {
                break;
            }
            commits += u64::from(frames >= from && [s0, s1, s2, s3] != [0; 4]);
            frames += 1;
        }
        Ok((frames, commits))
    }
}

fn log_of(database: &Path) -> Result<Mark, StoreError> {
    let mut log = Log::of(database).map_err(unreadable)?;
    let (length, _) = log.frames(0).map_err(unreadable)?;
    Ok(Mark { number: log.number.into(), length })
}
