//! Forgetting a task: what was said is replaced by digests of itself, what happened stays. Ids, times, statuses, agents, digests,
//! labels, kinds, fingerprints, tokens, money and models can still be counted; no text of the task can be read any more.
//!
//! A table that comes to hold content of tasks needs a function here. Not reached are the vault's files, backups that were made
//! before, and other tasks of the same conversation, whose prompts may quote this one.

use policy::task::{Citation, Outcome, Timestamp};

use super::{Db, Pool, StoreError, Tx, within};
use crate::id;

/// Forgets a task that has ended. `false`, and nothing has changed, if it has not ended, or is forgotten already.
pub async fn forget(db: &Db, id: String, now: Timestamp) -> Result<bool, StoreError> {
    db.write(move |tx| {
        Box::pin(async move {
            let forgotten = task(tx, &id, now).await?;
            if forgotten {
                hops(tx, &id).await?;
                journal(tx, &id).await?;
                artefacts(tx, &id).await?;
                answers(tx, &id).await?;
                keys(tx, &id).await?;
            }
            Ok(forgotten)
        })
    })
    .await
}

/// Sees to it that the bytes of what was forgotten leave the disk: SQLite overwrites what it frees (`secure_delete`) and keeps old
/// pages only in its write-ahead log, which is emptied here. `false` if something still reads from that log. PostgreSQL drops old
/// rows with its own vacuum.
pub async fn erase(db: &Db) -> Result<bool, StoreError> {
    const SQL: &str = "pragma wal_checkpoint(truncate)";

    match &db.pool {
        Pool::Sqlite(pool, _) => {
            let (busy, _, _): (i64, i64, i64) = sqlx::query_as(SQL).fetch_one(pool).await?;
            Ok(busy == 0)
        }
        Pool::Postgres(_) => Ok(true),
    }
}

/// What stands for a text that is forgotten: who has the text can still tell that it is the same.
pub(super) fn digest(text: &str) -> String {
    format!("sha256:{}", id::digest(text.as_bytes()))
}

fn digest_of(text: Option<String>) -> Option<String> {
    text.map(|text| digest(&text))
}

/// An outcome without its words, of the same kind. References to the journal stay.
fn silent(outcome: Outcome) -> Outcome {
    let is_reference = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let bare = |citations: Vec<Citation>| {
        let cited = citations.into_iter().filter(|citation| is_reference(&citation.reference));
        cited.map(|Citation { reference, .. }| Citation { reference, subject: String::new(), claim: String::new() }).collect()
    };
    match outcome {
        Outcome::Answer { text, citations, .. } => {
            Outcome::Answer { text: digest(&text), data: None, citations: bare(citations), wrote: Vec::new() }
        }
        Outcome::Handoff { to, why, text, citations, .. } => {
            Outcome::Handoff { to, why: digest(&why), text: digest(&text), data: None, citations: bare(citations) }
        }
        Outcome::Reject { why, keep, .. } => Outcome::Reject { why: digest(&why), suggested: None, keep: digest(&keep) },
    }
}

/// Marks the task, which keeps everybody else from it until the end of the transaction, and silences it.
async fn task(tx: &mut Tx<'_>, id: &str, now: Timestamp) -> Result<bool, StoreError> {
    const MARK: &str = "update task set forgotten_at = $2 \
         where id = $1 and forgotten_at is null and status in ('done', 'failed', 'cancelled', 'expired') \
         returning content, output, error_message, waits_for, client_task_id, conversation_id";
    const SQL: &str = "update task set content = $2, output = $3, error_message = $4, waits_for = $5, client_task_id = $6, \
         user_name = '', zulip_user_id = null where id = $1";
    // A conversation that goes on in other tasks keeps its name.
    const ALONE: &str = "update task set conversation_id = $2 where id = $1 \
         and not exists (select 1 from task other where other.conversation_id = task.conversation_id and other.id <> task.id)";

    const ANEW: &str = "update hop set status = 'pending' where status = 'parked' \
         and task in (select id from task where conversation_id = $1 and status <> 'awaiting_approval')";

    type Texts = (String, Option<String>, Option<String>, Option<String>, String, String);
    let marked: Option<Texts> = within!(tx, connection => sqlx::query_as(MARK).bind(id).bind(now.0)
        .fetch_optional(&mut **connection).await)?;
    let Some((content, output, error, waits_for, client, conversation)) = marked else { return Ok(false) };
    within!(tx, connection => sqlx::query(SQL)
        .bind(id)
        .bind(digest(&content))
        .bind(digest_of(output))
        .bind(digest_of(error))
        .bind(digest_of(waits_for))
        .bind(digest(&client))
        .execute(&mut **connection)
        .await
        .map(|_| ()))?;
    // A run of the same conversation that waits holds what it was told of it: it starts anew.
    within!(tx, connection => sqlx::query(ANEW).bind(&conversation).execute(&mut **connection).await.map(|_| ()))?;
    within!(tx, connection => sqlx::query(ALONE).bind(id).bind(digest(&conversation))
        .execute(&mut **connection).await.map(|_| ()))?;
    Ok(true)
}

/// A key stays claimed for ever, by its digest.
async fn keys(tx: &mut Tx<'_>, id: &str) -> Result<(), StoreError> {
    const ALL: &str = "select token, key from idempotency where task = $1";
    const SQL: &str = "update idempotency set key = $3 where token = $1 and key = $2";

    let keys: Vec<(String, String)> = within!(tx, connection => sqlx::query_as(ALL).bind(id).fetch_all(&mut **connection).await)?;
    for (token, key) in keys {
        within!(tx, connection => sqlx::query(SQL).bind(token).bind(&key).bind(digest(&key))
            .execute(&mut **connection).await.map(|_| ()))?;
    }
    Ok(())
}

async fn hops(tx: &mut Tx<'_>, id: &str) -> Result<(), StoreError> {
    const ALL: &str = "select seq, outcome, error from hop where task = $1";
    const SQL: &str = "update hop set outcome = $3, error = $4 where task = $1 and seq = $2";

    let rows: Vec<(i64, Option<String>, Option<String>)> =
        within!(tx, connection => sqlx::query_as(ALL).bind(id).fetch_all(&mut **connection).await)?;
    for (seq, outcome, error) in rows {
        let outcome: Option<Outcome> = outcome.map(|json| serde_json::from_str(&json)).transpose()?;
        let outcome = outcome.map(|outcome| serde_json::to_string(&silent(outcome))).transpose()?;
        within!(tx, connection => sqlx::query(SQL).bind(id).bind(seq).bind(outcome).bind(digest_of(error))
            .execute(&mut **connection).await.map(|_| ()))?;
    }
    Ok(())
}

async fn journal(tx: &mut Tx<'_>, id: &str) -> Result<(), StoreError> {
    const ALL: &str = "select hop, run, seq, request, answer from journal where task = $1";
    const LONG: &str = "delete from payload where task = $1";
    const SQL: &str = "update journal set request = $5, answer = $6 where task = $1 and hop = $2 and run = $3 and seq = $4";

    let rows: Vec<(i64, i64, i64, String, Option<String>)> =
        within!(tx, connection => sqlx::query_as(ALL).bind(id).fetch_all(&mut **connection).await)?;
    within!(tx, connection => sqlx::query(LONG).bind(id).execute(&mut **connection).await.map(|_| ()))?;
    for (hop, run, seq, request, answer) in rows {
        // Both are JSON, and stay JSON. A long text stands beside its row already, under its digest.
        let silent = |text: String| match text.strip_prefix('@') {
            Some(sha256) => serde_json::to_string(&format!("sha256:{sha256}")),
            None => serde_json::to_string(&digest(&text)),
        };
        let (request, answer) = (silent(request)?, answer.map(silent).transpose()?);
        within!(tx, connection => sqlx::query(SQL).bind(id).bind(hop).bind(run).bind(seq).bind(request).bind(answer)
            .execute(&mut **connection).await.map(|_| ()))?;
    }
    Ok(())
}

/// What was asked about its calls and what they were said to have answered.
async fn answers(tx: &mut Tx<'_>, id: &str) -> Result<(), StoreError> {
    const ALL: &str = "select id, result from approval where task = $1 and result is not null";
    const SQL: &str = "update approval set result = $2 where id = $1";

    const WORDS: &str = "update approval set because = null, why = null, undo = null where task = $1";

    within!(tx, connection => sqlx::query(WORDS).bind(id).execute(&mut **connection).await.map(|_| ()))?;
    let rows: Vec<(String, String)> = within!(tx, connection => sqlx::query_as(ALL).bind(id).fetch_all(&mut **connection).await)?;
    for (approval, result) in rows {
        let result = serde_json::to_string(&digest(&result))?;
        within!(tx, connection => sqlx::query(SQL).bind(approval).bind(result).execute(&mut **connection).await.map(|_| ()))?;
    }
    Ok(())
}

/// The name of a file is content too.
async fn artefacts(tx: &mut Tx<'_>, id: &str) -> Result<(), StoreError> {
    const ALL: &str = "select distinct path from artefact where task = $1";
    const SQL: &str = "update artefact set path = $3 where task = $1 and path = $2";

    let paths: Vec<String> = within!(tx, connection => sqlx::query_scalar(ALL).bind(id).fetch_all(&mut **connection).await)?;
    for path in paths {
        within!(tx, connection => sqlx::query(SQL).bind(id).bind(&path).bind(digest(&path))
            .execute(&mut **connection).await.map(|_| ()))?;
    }
    Ok(())
}
