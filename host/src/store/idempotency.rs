//! Which key stands for which task, for ever.

use policy::task::Timestamp;

use super::{Db, StoreError, Tx, forget, on, within};

/// What a key stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    /// Nothing yet: it now stands for the new task.
    New,
    /// This task, posted with the same body.
    Same(String),
    /// Some task, posted with another body.
    Other,
    /// A task with the same body that is no longer kept.
    Gone,
}

/// Claims `key` of `token` for `task`, or says what it stands for already.
pub async fn claim(tx: &mut Tx<'_>, (token, key): (&str, &str), body: &str, task: &str, now: Timestamp) -> Result<Key, StoreError> {
    // A key whose task was forgotten stands there as its digest.
    const CLAIM: &str = "insert into idempotency (token, key, body, task, created_at) select $1, $2, $3, $4, $5 \
         where not exists (select 1 from idempotency where token = $1 and key = $6) on conflict (token, key) do nothing";

    let claimed = within!(tx, connection => sqlx::query(CLAIM).bind(token).bind(key).bind(body).bind(task).bind(now.0).bind(forget::digest(key))
        .execute(&mut **connection).await.map(|done| done.rows_affected() == 1))?;
    if claimed {
        return Ok(Key::New);
    }
    let row = within!(tx, connection => sqlx::query_as(HELD).bind(token).bind(key).bind(forget::digest(key)).fetch_one(&mut **connection).await)?;
    Ok(meaning(row, body))
}

/// What `key` of `token` stands for already, if it does.
pub async fn held(db: &Db, token: &str, key: &str, body: &str) -> Result<Option<Key>, StoreError> {
    let row = on!(db, pool => sqlx::query_as(HELD).bind(token).bind(key).bind(forget::digest(key)).fetch_optional(pool).await)?;
    Ok(row.map(|row| meaning(row, body)))
}

/// The task for which `key` of `token` stands, whatever its body was.
pub async fn task(db: &Db, token: &str, key: &str) -> Result<Option<String>, StoreError> {
    const SQL: &str = "select task from idempotency where token = $1 and key in ($2, $3)";

    Ok(on!(db, pool => sqlx::query_scalar(SQL).bind(token).bind(key).bind(forget::digest(key)).fetch_optional(pool).await)?)
}

const HELD: &str = "select idempotency.body, idempotency.task, task.id from idempotency \
     left join task on task.id = idempotency.task where idempotency.token = $1 and idempotency.key in ($2, $3)";

/// A row: the first body, its task, and the task's id again if it is still kept.
fn meaning((first, task, kept): (String, String, Option<String>), body: &str) -> Key {
    match kept {
        _ if first != body => Key::Other,
        Some(_) => Key::Same(task),
        None => Key::Gone,
    }
}
