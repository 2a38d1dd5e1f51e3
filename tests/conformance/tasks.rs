//! Leases, fences, and what is committed together.

use host::envelope;
use host::store::artefacts::Artefact;
use host::store::idempotency::{self, Key};
use host::store::journal::{self, Closing, Opening, Position, Write, Written};
use host::store::leases::{self, Expired, Settlement, Waits};
use host::store::tasks::{self, Leased, New};
use host::store::{Db, StoreError, hops};
use policy::call::Effect;
use policy::task::{ErrorCode, Role, Timestamp};
use policy::tier::{Label, Tier};
use serde_json::{Value, json};

use super::on_every_store;

on_every_store![
    a_task_is_leased_once,
    an_old_lease_changes_nothing,
    an_old_lease_writes_no_journal_and_starts_no_hop,
    a_release_lowers_no_label,
    a_parked_task_comes_back_in_its_time,
    a_failed_run_is_counted_and_a_parked_one_is_not,
    age_outweighs_priority_in_the_end,
    a_lapsed_task_is_never_leased,
    a_lease_that_ran_out_is_given_back,
    a_key_stands_for_its_first_body,
    a_job_that_fails_takes_nobody_with_it,
    writes_that_wait_are_all_answered,
];

pub(super) const SERVER: &str = "http://127.0.0.1:1";

pub(super) fn new(id: &str, more: Value) -> New {
    let mut sent = json!({ "task_id": "t", "source": "test", "content": "hi" });
    sent.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    New {
        id: id.into(),
        token: "test".into(),
        requester: "rob".into(),
        role: Role::Operator,
        conversation_id: id.into(),
        trace_id: "1".repeat(32),
        traceparent: String::new(),
        first: "triager".into(),
        envelope: envelope::parse(sent.to_string().as_bytes()).unwrap(),
    }
}

pub(super) async fn enqueue(db: &Db, id: &str, more: Value, now: i64) -> Result<(), StoreError> {
    let new = new(id, more);
    db.write(move |tx| Box::pin(async move { tasks::insert(tx, new, Timestamp(now)).await })).await
}

/// Ends what has lapsed.
pub(super) async fn expire(db: &Db, now: i64) -> Result<Vec<Expired>, StoreError> {
    db.write(move |tx| Box::pin(async move { leases::expire(tx, Timestamp(now)).await })).await
}

pub(super) async fn lease(db: &Db, now: i64, until: i64) -> Result<Option<Leased>, StoreError> {
    leases::lease(db, Timestamp(now), Timestamp(until)).await
}

pub(super) async fn settle(db: &Db, leased: &Leased, how: Settlement, now: i64) -> Result<bool, StoreError> {
    let (id, lease) = (leased.task.id.clone(), leased.lease);
    db.write(move |tx| {
        Box::pin(async move { leases::settle(tx, (&id, lease), Some(Label::of(Tier::Internal)), how, Timestamp(now)).await })
    })
    .await
}

pub(super) fn park(at: i64) -> Settlement {
    Settlement::Park {
        at: Timestamp(at),
        said: "the model".into(),
        waits: Waits::Server { url: SERVER.into(), troubles: 1, trouble_at: None },
    }
}

/// Writes under a lease; whether it is held.
pub(super) async fn write(db: &Db, lease: i64, writes: Vec<Write>) -> Result<bool, StoreError> {
    Ok(journal::write(db, "", lease, writes).await? == Written::Yes)
}

/// Writes an intent.
pub(super) async fn intend(db: &Db, opening: Opening, artefact: Option<Artefact>) -> Result<bool, StoreError> {
    write(db, opening.lease, vec![Write::Intent(opening, artefact, None)]).await
}

/// Writes a call with its answer.
pub(super) async fn record(db: &Db, opening: Opening, closing: Closing) -> Result<bool, StoreError> {
    write(db, opening.lease, vec![Write::Entry(opening, closing)]).await
}

/// Starts the next run of the first hop of a task under that lease; its number.
pub(super) async fn start(db: &Db, leased: &Leased, now: i64) -> Result<Option<u32>, StoreError> {
    let at = Timestamp(now);
    let run = hops::of(db, &leased.task.id).await?[0].run + 1;
    let place = Position { task: leased.task.id.clone(), hop: 1, run, seq: 0 };
    let input = Opening {
        at: place.clone(),
        lease: leased.lease,
        kind: "run.input",
        fingerprint: "of the input".into(),
        request: "{}".into(),
        label: Label::of(Tier::Internal),
        effect: Effect::None,
        started_at: at,
    };
    let closing = Closing {
        state: "done",
        answer: "null".into(),
        tries: "[]".into(),
        destination: None,
        label: Label::of(Tier::Internal),
        usage: None,
        bill: None,
        wrote: None,
        finished_at: at,
    };
    let begins = Write::Start { at: place, digest: "digest".into(), started_at: at };
    Ok(write(db, leased.lease, vec![begins, Write::Entry(input, closing)]).await?.then_some(run))
}

pub(super) fn done() -> Settlement {
    Settlement::Done { output: "ok".into() }
}

async fn a_task_is_leased_once(db: Db) -> Result<(), StoreError> {
    enqueue(&db, "A", json!({}), 0).await?;
    let leased = lease(&db, 1, 9).await?.unwrap();
    assert_eq!((leased.task.id.as_str(), leased.task.started_at), ("A", Some(Timestamp(1))));
    assert!(lease(&db, 2, 9).await?.is_none());
    assert_eq!(hops::of(&db, "A").await?[0].agent, "triager");
    Ok(())
}

async fn an_old_lease_changes_nothing(db: Db) -> Result<(), StoreError> {
    enqueue(&db, "A", json!({}), 0).await?;
    let old = lease(&db, 1, 9).await?.unwrap();
    assert!(settle(&db, &old, Settlement::Release { at: Timestamp(0) }, 2).await?);
    let new = lease(&db, 3, 9).await?.unwrap();
    assert!(new.lease > old.lease);
    assert!(!settle(&db, &old, Settlement::Failed { code: ErrorCode::Denied, message: "stale".into() }, 4).await?);
    assert!(!leases::beat(&db, "A".into(), old.lease, Timestamp(99)).await?);
    assert!(leases::beat(&db, "A".into(), new.lease, Timestamp(99)).await?);
    assert!(settle(&db, &new, done(), 5).await?);
    assert!(!settle(&db, &new, done(), 6).await?, "an ended task stays ended");
    let task = tasks::find(&db, "A").await?.unwrap();
    assert_eq!((task.status.as_str(), task.finished_at), ("done", Some(Timestamp(5))));
    Ok(())
}

async fn an_old_lease_writes_no_journal_and_starts_no_hop(db: Db) -> Result<(), StoreError> {
    enqueue(&db, "A", json!({}), 0).await?;
    let old = lease(&db, 1, 9).await?.unwrap();
    assert!(settle(&db, &old, Settlement::Release { at: Timestamp(0) }, 2).await?);
    let new = lease(&db, 3, 9).await?.unwrap();
    let opening = |lease: &Leased| Opening {
        at: Position { task: "A".into(), hop: 1, run: 1, seq: 1 },
        lease: lease.lease,
        kind: "vault.write",
        fingerprint: "f".into(),
        request: "{}".into(),
        label: Label::of(Tier::Internal),
        effect: Effect::None,
        started_at: Timestamp(3),
    };
    assert!(!intend(&db, opening(&old), None).await?);
    assert_eq!(start(&db, &old, 4).await?, None);
    assert_eq!(start(&db, &new, 4).await?, Some(1));
    assert!(intend(&db, opening(&new), None).await?);
    let kinds: Vec<String> = journal::timeline(&db, "A").await?.into_iter().map(|entry| entry.kind).collect();
    assert_eq!(kinds, ["run.input", "vault.write"]);
    Ok(())
}

async fn a_release_lowers_no_label(db: Db) -> Result<(), StoreError> {
    enqueue(&db, "A", json!({ "data_tier": "public" }), 0).await?;
    let leased = lease(&db, 1, 9).await?.unwrap();
    let lease = leased.lease;
    let risen = Label { tier: Tier::Restricted, tainted: true };
    let advanced = db.write(move |tx| Box::pin(async move { leases::advance(tx, ("A", lease), risen).await }));
    assert!(advanced.await?);
    let released = db.write(move |tx| {
        let how = Settlement::Release { at: Timestamp(0) };
        Box::pin(async move { leases::settle(tx, ("A", lease), None, how, Timestamp(2)).await })
    });
    assert!(released.await?);
    assert_eq!(tasks::find(&db, "A").await?.unwrap().label, risen);
    Ok(())
}

async fn a_parked_task_comes_back_in_its_time(db: Db) -> Result<(), StoreError> {
    enqueue(&db, "A", json!({}), 0).await?;
    let leased = lease(&db, 1, 9).await?.unwrap();
    assert!(settle(&db, &leased, park(50), 2).await?);
    assert_eq!(tasks::find(&db, "A").await?.unwrap().status.as_str(), "awaiting_backend");
    assert!(lease(&db, 49, 99).await?.is_none());
    let look = leases::look(&db, Timestamp(49)).await?;
    assert_eq!((look.ready, look.next), (false, Some(Timestamp(50))));
    assert_eq!(lease(&db, 50, 99).await?.unwrap().task.started_at, Some(Timestamp(1)), "the first start counts");
    Ok(())
}

async fn a_failed_run_is_counted_and_a_parked_one_is_not(db: Db) -> Result<(), StoreError> {
    enqueue(&db, "A", json!({}), 0).await?;
    for (how, attempts) in [
        (Settlement::Retry { at: Timestamp(0) }, 1),
        (park(0), 1),
        (Settlement::Release { at: Timestamp(0) }, 1),
        (Settlement::Retry { at: Timestamp(0) }, 2),
    ] {
        let leased = lease(&db, 1, 9).await?.unwrap();
        assert!(settle(&db, &leased, how, 2).await?);
        assert_eq!(tasks::find(&db, "A").await?.unwrap().attempts, attempts);
    }
    Ok(())
}

async fn age_outweighs_priority_in_the_end(db: Db) -> Result<(), StoreError> {
    let minute = 60_000;
    enqueue(&db, "A", json!({ "priority": "low" }), 0).await?;
    enqueue(&db, "B", json!({ "priority": "urgent" }), 29 * minute).await?;
    enqueue(&db, "C", json!({ "priority": "urgent" }), 31 * minute).await?;
    let mut order = Vec::new();
    for at in 0..3 {
        order.push(lease(&db, 32 * minute + at, 99 * minute).await?.unwrap().task.id);
    }
    assert_eq!(order, ["B", "A", "C"]);
    Ok(())
}

async fn a_lapsed_task_is_never_leased(db: Db) -> Result<(), StoreError> {
    enqueue(&db, "A", json!({ "ttl_seconds": 1 }), 0).await?;
    assert!(lease(&db, 1000, 2000).await?.is_none());
    assert!(leases::look(&db, Timestamp(1000)).await?.lapsed);
    let expired = expire(&db, 1000).await?.remove(0);
    assert_eq!((expired.id.as_str(), expired.source.as_str(), expired.error_code.as_str()), ("A", "test", "ttl_expired"));
    assert_eq!(expire(&db, 1001).await?, []);
    assert_eq!(tasks::find(&db, "A").await?.unwrap().status.as_str(), "expired");
    Ok(())
}

async fn a_lease_that_ran_out_is_given_back(db: Db) -> Result<(), StoreError> {
    enqueue(&db, "A", json!({}), 0).await?;
    let old = lease(&db, 1, 9).await?.unwrap();
    assert_eq!(leases::rescue(&db, Timestamp(9)).await?, 0);
    assert_eq!(leases::rescue(&db, Timestamp(10)).await?, 1);
    assert!(!settle(&db, &old, done(), 11).await?);
    assert_eq!(lease(&db, 12, 20).await?.unwrap().task.attempts, 0);
    Ok(())
}

async fn a_key_stands_for_its_first_body(db: Db) -> Result<(), StoreError> {
    enqueue(&db, "A", json!({}), 0).await?;
    let claim = |token: &'static str, body: &'static str, task: &'static str| {
        db.write(move |tx| Box::pin(async move { idempotency::claim(tx, (token, "k"), body, task, Timestamp(0)).await }))
    };
    assert_eq!(claim("one", "body", "A").await?, Key::New);
    assert_eq!(claim("one", "body", "B").await?, Key::Same("A".into()));
    assert_eq!(claim("one", "other", "B").await?, Key::Other);
    assert_eq!(claim("two", "other", "gone").await?, Key::New, "each token has its own keys");
    assert_eq!(claim("two", "other", "B").await?, Key::Gone);
    Ok(())
}

async fn a_job_that_fails_takes_nobody_with_it(db: Db) -> Result<(), StoreError> {
    let bad = enqueue_then_fail(&db, "A");
    let good = enqueue(&db, "B", json!({}), 0);
    let (bad, good) = tokio::join!(bad, good);
    assert!(bad.is_err());
    good?;
    assert!(tasks::find(&db, "A").await?.is_none(), "what it did is undone");
    assert!(tasks::find(&db, "B").await?.is_some());
    Ok(())
}

async fn enqueue_then_fail(db: &Db, id: &str) -> Result<(), StoreError> {
    let new = new(id, json!({}));
    db.write(move |tx| {
        Box::pin(async move {
            tasks::insert(tx, new, Timestamp(0)).await?;
            Err(StoreError::Unreadable("on purpose".into()))
        })
    })
    .await
}

async fn writes_that_wait_are_all_answered(db: Db) -> Result<(), StoreError> {
    let ids: Vec<String> = (0..300).map(|at| format!("T{at:03}")).collect();
    let written = futures::future::join_all(ids.iter().map(|id| enqueue(&db, id, json!({}), 0))).await;
    assert!(written.iter().all(Result::is_ok));
    let listed = tasks::list(&db, tasks::Filter { limit: 1000, ..tasks::Filter::default() }).await?;
    assert_eq!(listed.len(), 300);
    Ok(())
}
