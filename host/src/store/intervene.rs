//! What a person decides about a task that is under way or over: cancel, retry, edit, discard. Each is a compare-and-set on its
//! status, so that of two who decide at once only one does.

use policy::task::{ErrorCode, Timestamp};
use policy::tier::{Label, Tier};

use super::deliveries::{self, New};
use super::effects::{self, Edit};
use super::journal::Position;
use super::{Db, StoreError, approvals, hops, ledger, on, within};

/// Ends a task that has not ended, and voids its lease: whoever works on it can commit nothing more. `told` is who hears of it. `false`,
/// and nothing has changed, if it has ended already.
pub async fn cancel(db: &Db, id: String, why: String, told: Vec<New>, now: Timestamp) -> Result<bool, StoreError> {
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
                approvals::close(tx, &id, now).await?;
                ledger::assume_orphaned(tx, now).await?;
                deliveries::put(tx, &told, now).await?;
            }
            Ok(ended)
        })
    })
    .await
}

/// Whether what must not be done twice may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consent {
    /// Nobody has said so.
    Missing,
    /// The operator has said so.
    Given,
}

/// SQL: whether a task may start anew at hops from `$from` on: none of their effects forbids it, or `$consent` is 1.
macro_rules! may_start {
    ($consent:literal, $from:literal) => {
        concat!(
            "(",
            $consent,
            " = 1 or not exists (select 1 from journal where journal.task = task.id and journal.hop >= ",
            $from,
            " and journal.effect = 'once' and journal.state in ('started', 'done')))"
        )
    };
}

/// SQL: a task is as if its present hop had never been tried.
macro_rules! anew {
    () => {
        "update task set status = 'pending', run_at = $2, attempts = 0, crashes = 0, output = null, error_code = null, \
         error_message = null, waits_for = null, parked_at = null, backend = null, troubles = 0, trouble_at = null, \
         waiting_since = $2, started_at = null, finished_at = null, expires_at = null, discarded_at = null"
    };
}

/// Puts a task that did not end well back in the queue, as if its last hop had never been tried; one that waits for a server tries
/// it now. The operator's word outweighs the time to live: a task that is retried does not expire any more. `false`, and nothing
/// has changed, if it is in no such state, or its content is forgotten, or its last hop has done what must not be done twice and
/// there is no consent.
pub async fn retry(db: &Db, id: String, consent: Consent, now: Timestamp) -> Result<bool, StoreError> {
    const ENDED: &str = concat!(
        anew!(),
        " where id = $1 and status in ('failed', 'expired', 'cancelled') and forgotten_at is null and ",
        may_start!("$3", "(select max(seq) from hop where hop.task = task.id)")
    );
    const LAST: &str = "select max(seq) from hop where task = $1";
    const HOP: &str = "update hop set status = 'pending', error = null, finished_at = null \
         where task = $1 and seq = $2 and status in ('failed', 'running', 'parked')";
    const WAITING: &str = "update task set run_at = $2 where id = $1 and status = 'awaiting_backend'";

    db.write(move |tx| {
        Box::pin(async move {
            let again = within!(tx, connection => sqlx::query(ENDED).bind(&id).bind(now.0).bind(given(consent))
                .execute(&mut **connection).await.map(|done| done.rows_affected() == 1))?;
            if again {
                let last: i64 = within!(tx, connection => sqlx::query_scalar(LAST).bind(&id).fetch_one(&mut **connection).await)?;
                within!(tx, connection => sqlx::query(HOP).bind(&id).bind(last).execute(&mut **connection).await.map(|_| ()))?;
                effects::allow_all(tx, &id, last).await?;
                approvals::close(tx, &id, now).await?;
                return Ok(true);
            }
            Ok(within!(tx, connection => sqlx::query(WAITING).bind(&id).bind(now.0)
                .execute(&mut **connection).await.map(|done| done.rows_affected() == 1))?)
        })
    })
    .await
}

fn given(consent: Consent) -> i64 {
    i64::from(consent == Consent::Given)
}

/// Lets a dead letter start anew from its first agent, with another content. What it did before stays where it is, and the new
/// hops follow it. `false`, and nothing has changed, if it is no dead letter, or is forgotten, or has done what must not be done
/// twice and there is no consent.
pub async fn edit(db: &Db, id: String, content: String, by: String, consent: Consent, now: Timestamp) -> Result<bool, StoreError> {
    const BEFORE: &str = "select content, label, tainted, lease, (select max(seq) from hop where hop.task = task.id), \
         (select agent from hop where hop.task = task.id order by seq limit 1) from task \
         where id = $1 and status = 'failed' and discarded_at is null";
    const ANEW: &str = concat!(
        anew!(),
        ", content = $4, first_hop = $5 where id = $1 and status = 'failed' and discarded_at is null and forgotten_at is null and ",
        may_start!("$3", "task.first_hop")
    );

    type Before = (String, String, i64, i64, i64, String);
    db.write(move |tx| {
        Box::pin(async move {
            let before: Option<Before> = within!(tx, connection => sqlx::query_as(BEFORE).bind(&id)
                .fetch_optional(&mut **connection).await)?;
            let Some((was, tier, tainted, lease, last, first)) = before else { return Ok(false) };
            let begins = last + 1;
            let edited = within!(tx, connection => sqlx::query(ANEW).bind(&id).bind(now.0).bind(given(consent)).bind(&content)
                .bind(begins).execute(&mut **connection).await.map(|done| done.rows_affected() == 1))?;
            if edited {
                let hop = u32::try_from(begins).unwrap_or(u32::MAX);
                let label = Label { tier: Tier::named(&tier).unwrap_or(Tier::Restricted), tainted: tainted != 0 };
                effects::allow_all(tx, &id, 0).await?;
                hops::insert(tx, &id, hop, &first, label).await?;
                let at = Position { task: id, hop, run: 0, seq: 0 };
                effects::edited(tx, Edit { at, lease, was: &was, by: &by, label: (&tier, tainted) }, now).await?;
            }
            Ok(edited)
        })
    })
    .await
}

/// Takes a dead letter from the list; it stays failed. `false` if it is none.
pub async fn discard(db: &Db, id: String, now: Timestamp) -> Result<bool, StoreError> {
    const SQL: &str = "update task set discarded_at = $2 where id = $1 and status = 'failed' and discarded_at is null";

    db.write(move |tx| {
        Box::pin(async move {
            Ok(within!(tx, connection => sqlx::query(SQL).bind(&id).bind(now.0)
                .execute(&mut **connection).await.map(|done| done.rows_affected() == 1))?)
        })
    })
    .await
}

/// How many dead letters there are.
pub async fn dead(db: &Db) -> Result<i64, StoreError> {
    const SQL: &str = "select count(*) from task where status = 'failed' and discarded_at is null";

    Ok(on!(db, pool => sqlx::query_scalar(SQL).fetch_one(pool).await)?)
}
