//! Who is told that something changed: workers that wait for a task to become due, and whoever watches one task.
//!
//! A hint, never the truth: whoever is woken looks at the rows, and looks now and then without being woken.

use std::sync::Arc;

use tokio::sync::{Notify, broadcast};

/// Changes that a slow watcher may be behind before it is told to look at everything.
const BEHIND: usize = 1024;

/// A cheap handle to the bell of one database.
#[derive(Clone)]
pub struct Bell {
    due: Arc<Notify>,
    abroad: Arc<Notify>,
    changed: broadcast::Sender<Arc<str>>,
    withdrawn: broadcast::Sender<Arc<str>>,
}

impl Bell {
    pub(super) fn new() -> Self {
        Self {
            due: Arc::new(Notify::new()),
            abroad: Arc::new(Notify::new()),
            changed: broadcast::Sender::new(BEHIND),
            withdrawn: broadcast::Sender::new(BEHIND),
        }
    }

    /// A task may be due: wakes a worker of this host, and hints to other hosts on the same database.
    pub fn ring(&self) {
        self.due.notify_one();
        self.abroad.notify_one();
    }

    /// Wakes a worker of this host only.
    pub fn wake(&self) {
        self.due.notify_one();
    }

    /// What a worker waits for.
    #[must_use]
    pub fn due(&self) -> Arc<Notify> {
        self.due.clone()
    }

    /// What the messenger to other hosts waits for.
    pub(super) fn abroad(&self) -> Arc<Notify> {
        self.abroad.clone()
    }

    /// Something of this task was committed.
    pub fn changed(&self, task: &str) {
        // Nobody may be watching.
        let _ = self.changed.send(task.into());
    }

    /// A task was taken from whoever works on it.
    pub fn withdraw(&self, task: &str) {
        // Nobody may be at work.
        let _ = self.withdrawn.send(task.into());
        self.changed(task);
    }

    /// Ids of tasks as they are taken from this host's workers, from now on.
    #[must_use]
    pub fn withdrawals(&self) -> broadcast::Receiver<Arc<str>> {
        self.withdrawn.subscribe()
    }

    /// Ids of tasks as they change on this host, from now on.
    #[must_use]
    pub fn changes(&self) -> broadcast::Receiver<Arc<str>> {
        self.changed.subscribe()
    }
}
