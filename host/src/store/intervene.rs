//! What a person decides about a task that is under way or over: cancel, retry. Each is a compare-and-set on its status, so that of
//! two who decide at once only one does.

use policy::task::{ErrorCode, Timestamp};

use super::{Db, StoreError, ledger, within};

/// Ends a task that has not ended, and voids its lease: whoever works on it can commit nothing more. `false`, and nothing has
/// changed, if it has ended already.
pub async fn cancel(db: &Db, id: String, why: String, now: Timestamp) -> Result<bool, StoreError> {
    const TASK: &str = "update task set status = 'cancelled', finished_at = $2, error_code = $3, error_message = $4, \
         waits_for = null, parked_at = null, backend = null, troubles = 0, trouble_at = null, lease = lease + 1, owner = null, lease_until = null \
         where id = $1 and status in ('pending', 'running', 'awaiting_approval', 'awaiting_backend')";
    const HOP: &str = "update hop set status = 'failed', error = 'cancelled', finished_at = $2 where task = $1 and status in ('running', 'parked')";

    db.write(move |tx| {
        Box::pin(async move {
            let ended = within!(tx, connection => sqlx::query(TASK).bind(&id).bind(now.0).bind(ErrorCode::Cancelled.as_str())
                .bind(&why).execute(&mut **connection).await.map(|done| done.rows_affected() == 1))?;
            if ended {
                within!(tx, connection => sqlx::query(HOP).bind(&id).bind(now.0)
                    .execute(&mut **connection).await.map(|_| ()))?;
                ledger::assume_orphaned(tx, now).await?;
            }
            Ok(ended)
        })
    })
    .await
}

/// Puts a task that did not end well back in the queue, as if its last hop had never been tried; one that waits for a server tries
/// it now. The operator's word outweighs the time to live: a task that is retried does not expire any more. `false`, and nothing
/// has changed, if it is in no such state, or its content is forgotten.
pub async fn retry(db: &Db, id: String, now: Timestamp) -> Result<bool, StoreError> {
    const ENDED: &str = "update task set status = 'pending', run_at = $2, attempts = 0, output = null, error_code = null, \
         error_message = null, waits_for = null, parked_at = null, backend = null, troubles = 0, trouble_at = null, waiting_since = $2, started_at = null, finished_at = null, \
         expires_at = null \
         where id = $1 and status in ('failed', 'expired', 'cancelled') and forgotten_at is null";
    const HOP: &str = "update hop set status = 'pending', error = null, finished_at = null \
         where task = $1 and seq = (select max(seq) from hop where task = $1) and status in ('failed', 'running', 'parked')";
    const WAITING: &str = "update task set run_at = $2 where id = $1 and status = 'awaiting_backend'";

    db.write(move |tx| {
        Box::pin(async move {
            let again = within!(tx, connection => sqlx::query(ENDED).bind(&id).bind(now.0)
                .execute(&mut **connection).await.map(|done| done.rows_affected() == 1))?;
            if again {
                within!(tx, connection => sqlx::query(HOP).bind(&id).execute(&mut **connection).await.map(|_| ()))?;
                return Ok(true);
            }
            Ok(within!(tx, connection => sqlx::query(WAITING).bind(&id).bind(now.0)
                .execute(&mut **connection).await.map(|done| done.rows_affected() == 1))?)
        })
    })
    .await
}
