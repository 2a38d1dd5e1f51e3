//! SQLite's one writer: whatever waits is committed together, so that many runs share one flush.
//!
//! Each job in company has a savepoint of its own: one that fails takes nobody with it. Nobody is answered before the commit.

use futures::future::BoxFuture;
use sqlx::Connection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use tokio::sync::{mpsc, oneshot};

use super::{StoreError, Tx};

/// Jobs in one commit. Bounds how long the first of them waits.
const MOST: usize = 128;

/// A handle to the writer; it ends when the last handle is dropped.
#[derive(Clone)]
pub(super) struct Writer {
    jobs: mpsc::Sender<Job>,
}

type Job = Box<dyn for<'t, 'c> FnOnce(&'t mut Tx<'c>) -> BoxFuture<'t, Ended> + Send>;

/// What a job did, and how to tell who waits for it once the commit is through (`None`) or has failed.
struct Ended {
    succeeded: bool,
    tell: Box<dyn FnOnce(Option<String>) + Send>,
}

impl Writer {
    pub(super) async fn open(options: &SqliteConnectOptions) -> sqlx::Result<Self> {
        let connection = SqliteConnection::connect_with(options).await?;
        let (jobs, waiting) = mpsc::channel(MOST * 8);
        tokio::spawn(run(connection, waiting));
        Ok(Self { jobs })
    }

    /// For a database that is only read: a writer that has ended.
    pub(super) fn none() -> Self {
        Self { jobs: mpsc::channel(1).0 }
    }

    pub(super) async fn write<T, J>(&self, job: J) -> Result<T, StoreError>
    where
        T: Send + 'static,
        J: for<'t, 'c> FnOnce(&'t mut Tx<'c>) -> BoxFuture<'t, Result<T, StoreError>> + Send + 'static,
    {
        let gone = |_| StoreError::Commit("the transaction could not begin, or the writer has ended: see the log".into());
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |tx| {
            Box::pin(async move {
                let result = job(tx).await;
                Ended {
                    succeeded: result.is_ok(),
                    tell: Box::new(move |failed| {
                        // A caller that has gone away does not need its answer.
                        let _ = answer.send(failed.map_or(result, |why| Err(StoreError::Commit(why))));
                    }),
                }
            })
        });
        self.jobs.send(job).await.map_err(|error| gone(error.to_string()))?;
        answered.await.map_err(|error| gone(error.to_string()))?
    }
}

async fn run(mut connection: SqliteConnection, mut waiting: mpsc::Receiver<Job>) {
    while let Some(first) = waiting.recv().await {
        let mut group = vec![first];
        while group.len() < MOST
            && let Ok(job) = waiting.try_recv()
        {
            group.push(job);
        }
        let mut done = Vec::with_capacity(group.len());
        let failed = commit(&mut connection, group, &mut done).await.err().map(|error| error.to_string());
        if let Some(error) = &failed {
            tracing::error!(event = "store_unavailable", error, "a group of writes was not committed: {error}");
            // The transaction may or may not be open still; a second failure here says nothing new.
            let _ = sqlx::query("rollback").execute(&mut connection).await;
        }
        for ended in done {
            (ended.tell)(failed.clone());
        }
    }
}

async fn commit(connection: &mut SqliteConnection, group: Vec<Job>, done: &mut Vec<Ended>) -> sqlx::Result<()> {
    // Each command wakes the connection's thread and waits for it, so there are as few as can be: a job alone is undone with its
    // transaction, one savepoint's end is sent with the next one's beginning, and the commit ends the last.
    let jobs = group.len();
    let begin = if jobs == 1 { "begin immediate" } else { "begin immediate; savepoint job" };
    sqlx::query(begin).execute(&mut *connection).await?;
    for (before, job) in group.into_iter().enumerate() {
        let ended = job(&mut Tx::Sqlite(connection)).await;
        let succeeded = ended.succeeded;
        done.push(ended);
        if !succeeded && jobs == 1 {
            sqlx::query("rollback").execute(&mut *connection).await?;
            return Ok(());
        }
        if !succeeded {
            // The savepoint stays, for the next job.
            sqlx::query("rollback to job").execute(&mut *connection).await?;
        } else if before + 1 < jobs {
            sqlx::query("release job; savepoint job").execute(&mut *connection).await?;
        }
    }
    sqlx::query("commit").execute(&mut *connection).await?;
    Ok(())
}
