//! Writing it: what a run has to say in one transaction, under a lease that is held.

use super::{Closing, Opening, Write, Written, payload};
use crate::store::ledger::{self, Bill, Reserved};
use crate::store::{Db, StoreError, Tx, approvals, artefacts, hops, within};

/// Writes all of it, or nothing if the lease is not held any more. If a cap does not allow a reservation, everything is written but
/// the intents.
///
/// # Errors
/// [`StoreError`], and nothing is written.
pub async fn write(db: &Db, task: &str, lease: i64, writes: Vec<Write>) -> Result<Written, StoreError> {
    let written = db.write(move |tx| Box::pin(async move { within(tx, lease, writes).await })).await;
    let written = match written {
        Err(StoreError::Taken) => return Ok(Written::Taken),
        written => written?,
    };
    db.bell.changed(task);
    Ok(written)
}

/// The same as a part of a transaction, which fails with [`StoreError::Taken`] if the lease is not held any more.
pub(crate) async fn within(tx: &mut Tx<'_>, lease: i64, writes: Vec<Write>) -> Result<Written, StoreError> {
    // Reservations first: those that a cap does not allow take the intents with them, and nothing else.
    let reservations = writes.iter().filter_map(|write| match write {
        Write::Intent(opening, _, Some(reservation)) => Some((&opening.at, opening.started_at, reservation)),
        Write::Start { .. }
        | Write::Resume(_)
        | Write::Intent(..)
        | Write::Asked(_)
        | Write::Spend(..)
        | Write::Entry(..)
        | Write::Bill(..) => None,
    });
    let (mut written, mut reserved) = (Written::Yes, Vec::new());
    for (at, now, reservation) in reservations {
        match ledger::reserve(tx, at, lease, reservation, now).await? {
            Reserved::Yes => reserved.push((at, now)),
            Reserved::Over(cap) => {
                written = Written::Over(cap);
                break;
            }
        }
    }
    if written != Written::Yes {
        for (at, now) in reserved {
            ledger::settle(tx, at, lease, (&Bill::Released, now), None).await?;
        }
    }
    for write in writes {
        let held = match write {
            Write::Start { at, digest, started_at } => hops::start(tx, &at, lease, &digest, started_at).await?,
            Write::Resume(at) => hops::resume(tx, &at, lease).await?,
            Write::Intent(..) if written != Written::Yes => true,
            Write::Intent(opening, artefact, _) => {
                if let Some(artefact) = artefact {
                    artefacts::intend(tx, artefact).await?;
                }
                put(tx, &opening, "started", None).await?
            }
            Write::Asked(opening) => put(tx, &opening, "asked", None).await?,
            Write::Spend(..) if written != Written::Yes => true,
            Write::Spend(approval, now) => approvals::spend(tx, &approval, now).await?,
            Write::Entry(opening, closing) => entry(tx, lease, opening, closing).await?,
            Write::Bill(at, bill, now) => ledger::settle(tx, &at, lease, (&bill, now), None).await?,
        };
        if !held {
            // What was written before it must not stand alone.
            return Err(StoreError::Taken);
        }
    }
    Ok(written)
}

/// An entry, with the file that it wrote and the money that it used.
async fn entry(tx: &mut Tx<'_>, lease: i64, opening: Opening, closing: Closing) -> Result<bool, StoreError> {
    if !put(tx, &opening, closing.state, Some(&closing)).await? {
        return Ok(false);
    }
    if let Some(file) = &closing.wrote {
        artefacts::wrote(tx, &opening.at.task, file, closing.finished_at).await?;
    }
    match &closing.bill {
        Some(bill) => ledger::settle(tx, &opening.at, lease, (bill, closing.finished_at), closing.usage.as_ref()).await,
        None => Ok(true),
    }
}

/// Writes an entry as part of a transaction.
async fn put(tx: &mut Tx<'_>, opening: &Opening, state: &str, closing: Option<&Closing>) -> Result<bool, StoreError> {
    const SQL: &str = "insert into journal (task, hop, run, seq, lease, kind, fingerprint, state, request, answer, tries, \
         destination, tier, tainted, model, input_tokens, output_tokens, usd_micros, started_at, finished_at, effect) \
         select $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21 \
         where exists (select 1 from task where id = $1 and lease = $5 and status = 'running') \
         on conflict (task, hop, run, seq) do update set lease = excluded.lease, effect = excluded.effect, state = excluded.state, answer = excluded.answer, \
         tries = excluded.tries, destination = excluded.destination, tier = excluded.tier, tainted = excluded.tainted, \
         model = excluded.model, input_tokens = excluded.input_tokens, output_tokens = excluded.output_tokens, \
         usd_micros = excluded.usd_micros, finished_at = excluded.finished_at \
         where journal.state in ('started', 'asked') and journal.fingerprint = excluded.fingerprint and journal.lease <= excluded.lease";

    let label = closing.map_or(opening.label, |closing| closing.label);
    let usage = closing.and_then(|closing| closing.usage.as_ref());
    let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let at = &opening.at;
    let request = payload::put(tx, &at.task, &opening.request).await?;
    let answer = match closing {
        Some(closing) => Some(payload::put(tx, &at.task, &closing.answer).await?),
        None => None,
    };
    Ok(within!(tx, connection => sqlx::query(SQL)
        .bind(&at.task)
        .bind(i64::from(at.hop))
        .bind(i64::from(at.run))
        .bind(i64::from(at.seq))
        .bind(opening.lease)
        .bind(opening.kind)
        .bind(&opening.fingerprint)
        .bind(state)
        .bind(request.as_ref())
        .bind(answer.as_deref())
        .bind(closing.map_or("[]", |closing| closing.tries.as_str()))
        .bind(closing.and_then(|closing| closing.destination.as_deref()))
        .bind(label.tier.as_str())
        .bind(i64::from(label.tainted))
        .bind(usage.map(|usage| usage.model.as_str()))
        .bind(usage.map(|usage| number(usage.input)))
        .bind(usage.map(|usage| number(usage.output)))
        .bind(usage.map(|usage| number(usage.usd_micros)))
        .bind(opening.started_at.0)
        .bind(closing.map(|closing| closing.finished_at.0))
        .bind(opening.effect.as_str())
        .execute(&mut **connection)
        .await
        .map(|done| done.rows_affected() == 1))?)
}
