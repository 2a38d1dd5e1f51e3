//! Entries of a run that are not on disk yet. They share a commit with whatever must be on disk next (design §3.9): the intent of an
//! effect, a priced result, the outcome; and without any of these they are written a moment later, so that a crash during a long
//! wait loses nothing.
//!
//! Must never be the only place of what cannot be repeated: that is committed at once.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;

use super::Stop;
use crate::store::journal::{self, Write, Written};
use crate::store::ledger::OverCap;
use crate::store::{Db, StoreError};

/// How long an entry waits for company.
const LINGER: Duration = Duration::from_millis(20);

/// What a run has to say and has not said yet: a cheap handle.
#[derive(Clone)]
pub struct Draft {
    db: Db,
    task: Arc<str>,
    lease: i64,
    /// Whether any of it will be on disk.
    kept: bool,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    writes: Vec<Write>,
    /// Whether somebody will write them without being asked.
    timed: bool,
    /// Why nothing more is written: an earlier entry was not.
    broken: Option<Stop>,
}

impl Draft {
    /// Nothing yet, under that lease.
    #[must_use]
    pub fn new(db: Db, task: &str, lease: i64) -> Self {
        Self { db, task: task.into(), lease, kept: true, state: Arc::default() }
    }

    /// That of a rehearsal: nothing of it is ever written down.
    #[must_use]
    pub fn thrown_away(db: Db) -> Self {
        Self { kept: false, ..Self::new(db, "", 0) }
    }

    /// Keeps an entry for the next commit.
    ///
    /// # Errors
    /// [`Stop`] if an earlier one could not be written.
    pub async fn note(&self, write: Write) -> Result<(), Stop> {
        if !self.kept {
            return Ok(());
        }
        let mut state = self.state.lock().await;
        if let Some(stop) = &state.broken {
            return Err(stop.clone());
        }
        state.writes.push(write);
        if !std::mem::replace(&mut state.timed, true) {
            let later = self.clone();
            tokio::spawn(async move {
                tokio::time::sleep(LINGER).await;
                // Who asks next is told what went wrong.
                let _ = later.flush().await;
            });
        }
        Ok(())
    }

    /// Commits what waits together with these. A cap that does not allow one of their reservations is answered, and then all but
    /// the intents is committed.
    ///
    /// # Errors
    /// [`Stop`] if it is not on disk.
    pub async fn commit(&self, more: Vec<Write>) -> Result<Option<OverCap>, Stop> {
        if !self.kept {
            return Ok(None);
        }
        let mut state = self.state.clone().lock_owned().await;
        if let Some(stop) = &state.broken {
            return Err(stop.clone());
        }
        let mut writes = std::mem::take(&mut state.writes);
        writes.extend(more);
        if writes.is_empty() {
            return Ok(None);
        }
        let (db, task, lease) = (self.db.clone(), self.task.clone(), self.lease);
        // A run whose wall clock ends meanwhile is dropped: what it has begun to write is written all the same.
        let written = tokio::spawn(async move {
            let stop = match journal::write(&db, &task, lease, writes).await {
                Ok(Written::Yes) => return Ok(None),
                Ok(Written::Over(cap)) => return Ok(Some(cap)),
                Ok(Written::Taken) => Stop::LeaseLost,
                Err(error) => Stop::Store(error.to_string()),
            };
            state.broken = Some(stop.clone());
            Err(stop)
        });
        written.await.unwrap_or_else(|error| Err(Stop::Store(error.to_string())))
    }

    async fn flush(&self) -> Result<(), Stop> {
        self.state.lock().await.timed = false;
        self.commit(Vec::new()).await.map(|_| ())
    }

    /// What waits, for whoever commits it with the outcome.
    ///
    /// # Errors
    /// [`StoreError`] if an earlier entry could not be written: there is no outcome to commit then.
    pub async fn take(&self) -> Result<Vec<Write>, StoreError> {
        let mut state = self.state.lock().await;
        match &state.broken {
            None => Ok(std::mem::take(&mut state.writes)),
            Some(Stop::LeaseLost) => Err(StoreError::Taken),
            Some(stop) => Err(StoreError::Commit(stop.to_string())),
        }
    }
}
