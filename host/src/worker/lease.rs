//! Keeps a lease while its task is worked on, and says when it is lost: before it ends by the database's clock, by our own.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};
use tokio::time::{Instant, sleep, sleep_until};

use crate::id;
use crate::store::{Db, leases};

/// How long a lease holds without a renewal, in milliseconds.
pub(super) const LENGTH: i64 = 30_000;
/// How often it is renewed.
const BEAT: Duration = Duration::from_secs(10);
/// What is kept back from a lease: nothing is sent so close to its end.
const MARGIN: Duration = Duration::from_secs(5);

/// Until when the lease is surely held.
pub(super) type Until = watch::Receiver<Instant>;

/// A future that ends when the lease is lost, and the moment until which it surely is not; `since` is before it was taken.
pub(super) fn keeper(db: Db, task: String, lease: i64, since: Instant) -> (impl Future<Output = ()>, Until) {
    let length = Duration::from_millis(LENGTH.unsigned_abs()) - MARGIN;
    let (held, until) = watch::channel(since + length);
    let mut withdrawn = db.bell().withdrawals();
    let keep = async move {
        loop {
            tokio::select! {
                () = sleep(BEAT) => {}
                () = taken(&mut withdrawn, &task) => {}
            }
            // Measured before the renewal is asked for: the database's lease can only be later.
            let asked = Instant::now();
            let beat = leases::beat(&db, task.clone(), lease, id::now().plus(LENGTH));
            tokio::select! {
                answer = beat => match answer {
                    Ok(true) => { held.send_replace(asked + length); }
                    Ok(false) => return,
                    Err(error) => tracing::warn!(event = "lease_not_renewed", task_id = task, %error, "lease not renewed: {error}"),
                },
                () = sleep_until(*held.borrow()) => return,
            }
            if Instant::now() >= *held.borrow() {
                return;
            }
        }
    };
    (keep, until)
}

/// Ends when somebody takes that task from this host, or may have.
async fn taken(withdrawn: &mut broadcast::Receiver<Arc<str>>, task: &str) {
    loop {
        match withdrawn.recv().await {
            Ok(id) if *id != *task => {}
            Ok(_) | Err(RecvError::Lagged(_)) => return,
            Err(RecvError::Closed) => return std::future::pending().await,
        }
    }
}
