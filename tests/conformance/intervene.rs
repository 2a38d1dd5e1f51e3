//! Cancel, retry and forget: what is committed, and for whom it is too late.

use host::store::artefacts::{self, Artefact, Wrote};
use host::store::intervene::Consent;
use host::store::journal::{self, Closing, Opening, Position};
use host::store::leases::{self, Settlement};
use host::store::tasks::{self, Leased};
use host::store::{Db, StoreError, forget, hops, intervene};
use policy::call::Effect;
use policy::task::{ErrorCode, Outcome, Timestamp};
use policy::tier::{Clearance, Label, Labelled, Tier};
use serde_json::json;

use super::on_every_store;
use super::tasks::{done, enqueue, expire, intend, lease, park, record, settle, start};

on_every_store![
    a_cancelled_task_takes_nothing_more_from_its_worker,
    whatever_has_not_ended_can_be_cancelled,
    only_what_did_not_end_well_is_tried_again,
    a_retry_starts_the_last_hop_anew,
    a_retry_outweighs_the_time_to_live,
    a_retry_ends_the_wait_for_a_server,
    only_an_ended_task_is_forgotten,
    a_forgotten_task_keeps_its_numbers_and_no_words,
    a_forgotten_task_is_told_to_nobody_and_not_tried_again,
];

fn failed() -> Settlement {
    Settlement::Failed { code: ErrorCode::AttemptsExhausted, message: "the lemon message".into() }
}

async fn cancel(db: &Db, id: &str, at: i64) -> Result<bool, StoreError> {
    intervene::cancel(db, id.into(), "enough".into(), Vec::new(), Timestamp(at)).await
}

async fn retry(db: &Db, id: &str, at: i64) -> Result<bool, StoreError> {
    intervene::retry(db, id.into(), Consent::Missing, Timestamp(at)).await
}

async fn forgotten(db: &Db, id: &str, at: i64) -> Result<bool, StoreError> {
    forget::forget(db, id.into(), Timestamp(at)).await
}

async fn status(db: &Db, id: &str) -> Result<&'static str, StoreError> {
    Ok(tasks::find(db, id).await?.unwrap().status.as_str())
}

fn words(text: &Labelled<String>) -> &str {
    text.open(Clearance::OPERATOR).unwrap()
}

fn opening(leased: &Leased, seq: u32) -> Opening {
    Opening {
        at: Position { task: leased.task.id.clone(), hop: 1, run: 1, seq },
        lease: leased.lease,
        kind: "vault.write",
        fingerprint: "the print".into(),
        request: json!({ "path": "a lemon.md" }).to_string(),
        label: Label::of(Tier::Internal),
        effect: Effect::None,
        started_at: Timestamp(3),
    }
}

async fn a_cancelled_task_takes_nothing_more_from_its_worker(db: Db) -> Result<(), StoreError> {
    enqueue(&db, "A", json!({}), 0).await?;
    let leased = lease(&db, 1, 9).await?.unwrap();
    assert_eq!(start(&db, &leased, 2).await?, Some(1));
    assert!(cancel(&db, "A", 3).await?);
    assert!(!leases::beat(&db, "A".into(), leased.lease, Timestamp(99)).await?);
    assert!(!intend(&db, opening(&leased, 1), None).await?);
    assert!(!settle(&db, &leased, done(), 4).await?);
    let task = tasks::find(&db, "A").await?.unwrap();
    let (code, message) = task.error.unwrap();
    assert_eq!((task.status.as_str(), task.finished_at, code.as_str()), ("cancelled", Some(Timestamp(3)), "cancelled"));
    assert_eq!(words(&message), "enough");
    let hop = hops::of(&db, "A").await?.remove(0);
    assert_eq!((hop.status.as_str(), words(&hop.error.unwrap()), hop.finished_at), ("failed", "cancelled", Some(Timestamp(3))));
    assert!(retry(&db, "A", 5).await?, "and even when it is worked on again");
    assert!(lease(&db, 6, 99).await?.unwrap().lease > leased.lease);
    assert!(!settle(&db, &leased, done(), 7).await?);
    Ok(())
}

async fn whatever_has_not_ended_can_be_cancelled(db: Db) -> Result<(), StoreError> {
    for (at, how) in [None, Some(park(50))].into_iter().enumerate() {
        let id = format!("T{at}");
        enqueue(&db, &id, json!({}), 0).await?;
        if let Some(how) = how {
            let leased = lease(&db, 1, 9).await?.unwrap();
            assert!(settle(&db, &leased, how, 2).await?);
        }
        assert!(cancel(&db, &id, 3).await?);
        assert!(!cancel(&db, &id, 4).await?, "once");
        let task = tasks::find(&db, &id).await?.unwrap();
        assert_eq!((task.finished_at, task.waits_for.is_none()), (Some(Timestamp(3)), true));
        assert!(lease(&db, 60, 99).await?.is_none());
    }
    enqueue(&db, "done", json!({}), 0).await?;
    let leased = lease(&db, 1, 9).await?.unwrap();
    assert!(settle(&db, &leased, done(), 2).await?);
    assert!(!cancel(&db, "done", 3).await?);
    assert!(!cancel(&db, "nothing", 3).await?);
    assert_eq!(status(&db, "done").await?, "done");
    Ok(())
}

async fn only_what_did_not_end_well_is_tried_again(db: Db) -> Result<(), StoreError> {
    enqueue(&db, "A", json!({}), 0).await?;
    assert!(!retry(&db, "A", 1).await?, "it is in the queue already");
    let leased = lease(&db, 1, 9).await?.unwrap();
    assert!(!retry(&db, "A", 1).await?, "it is being worked on");
    assert!(settle(&db, &leased, failed(), 2).await?);
    assert!(retry(&db, "A", 3).await?);
    let leased = lease(&db, 3, 9).await?.unwrap();
    assert!(settle(&db, &leased, done(), 4).await?);
    assert!(!retry(&db, "A", 5).await?, "it is done");
    assert!(!retry(&db, "nothing", 5).await?);
    assert_eq!(status(&db, "A").await?, "done");
    Ok(())
}

async fn a_retry_starts_the_last_hop_anew(db: Db) -> Result<(), StoreError> {
    enqueue(&db, "A", json!({}), 0).await?;
    let leased = lease(&db, 1, 9).await?.unwrap();
    let number = leased.lease;
    let ended = db.write(move |tx| {
        Box::pin(async move {
            let label = Label::of(Tier::Internal);
            hops::end(tx, ("A", 1), Ok(&answer()), label, Timestamp(2)).await?;
            hops::insert(tx, "A", 2, "reporter", label).await?;
            hops::end(tx, ("A", 2), Err("it said no"), label, Timestamp(2)).await?;
            leases::settle(tx, ("A", number), Some(label), failed(), Timestamp(2)).await
        })
    });
    assert!(ended.await?);
    assert!(retry(&db, "A", 7).await?);
    let task = tasks::find(&db, "A").await?.unwrap();
    assert_eq!((task.status.as_str(), task.attempts, task.finished_at), ("pending", 0, None));
    assert!(task.error.is_none() && task.output.is_none());
    let hops = hops::of(&db, "A").await?;
    assert_eq!((hops[0].status.as_str(), hops[1].status.as_str()), ("done", "pending"), "what is done stays done");
    assert!(hops[1].error.is_none());
    assert_eq!(leases::look(&db, Timestamp(7)).await?.next, Some(Timestamp(7)), "it is due at once");
    Ok(())
}

async fn a_retry_outweighs_the_time_to_live(db: Db) -> Result<(), StoreError> {
    enqueue(&db, "A", json!({ "ttl_seconds": 1 }), 0).await?;
    assert_eq!(expire(&db, 1000).await?.len(), 1);
    assert!(retry(&db, "A", 2000).await?);
    assert_eq!(expire(&db, 3000).await?.len(), 0);
    assert_eq!(lease(&db, 9000, 9900).await?.unwrap().task.id, "A");
    Ok(())
}

async fn a_retry_ends_the_wait_for_a_server(db: Db) -> Result<(), StoreError> {
    enqueue(&db, "A", json!({}), 0).await?;
    let leased = lease(&db, 1, 9).await?.unwrap();
    assert!(settle(&db, &leased, park(5000), 2).await?);
    assert!(lease(&db, 10, 99).await?.is_none());
    assert!(retry(&db, "A", 10).await?);
    assert_eq!(lease(&db, 10, 99).await?.unwrap().task.id, "A");
    Ok(())
}

fn answer() -> Outcome {
    serde_json::from_value(json!({
        "kind": "answer", "text": "a lemon", "data": "\"lemon\"", "wrote": ["a lemon.md"],
        "citations": [
            { "ref": "1.1.1", "subject": "lemon", "claim": "the lemon is sour" },
            { "ref": "lemon", "subject": "", "claim": "" },
        ],
    }))
    .unwrap()
}

/// A task that said "lemon" wherever something can be said, and is done.
async fn sour(db: &Db, id: &'static str) -> Result<(), StoreError> {
    enqueue(db, id, json!({ "content": "one lemon", "user": "lemon", "zulip_user_id": 7, "conversation_id": "c" }), 0).await?;
    let leased = lease(db, 1, 9).await?.unwrap();
    assert_eq!(start(db, &leased, 2).await?, Some(1));
    let closing = |wrote| Closing {
        state: "done",
        answer: json!({ "text": "lemon" }).to_string(),
        tries: "[]".into(),
        destination: Some("vault".into()),
        label: Label::of(Tier::Internal),
        usage: Some(journal::Usage { model: "fake:7b".into(), input: 42, output: 7, usd_micros: 9 }),
        bill: None,
        wrote,
        finished_at: Timestamp(4),
    };
    assert!(record(db, opening(&leased, 1), closing(None)).await?);
    let artefact = |path: &str, sha256: &str| Artefact {
        task: id.into(),
        path: path.into(),
        sha256: sha256.into(),
        hop: 1,
        agent: "note-maker".into(),
        digest: "digest".into(),
        tier: Tier::Internal,
    };
    for (seq, path, sha256) in [(2, "a lemon.md", "one"), (3, "a lemon.md", "two"), (4, "b lemon.md", "one")] {
        assert!(intend(db, opening(&leased, seq), Some(artefact(path, sha256))).await?);
        let wrote = Wrote { path: path.into(), sha256: sha256.into() };
        assert!(record(db, opening(&leased, seq), closing(Some(wrote))).await?);
    }
    // A call that was never answered.
    assert!(intend(db, opening(&leased, 5), None).await?);
    let number = leased.lease;
    let ended = db.write(move |tx| {
        Box::pin(async move {
            let label = Label::of(Tier::Internal);
            hops::end(tx, (id, 1), Ok(&answer()), label, Timestamp(5)).await?;
            hops::insert(tx, id, 2, "reporter", label).await?;
            hops::end(tx, (id, 2), Err("no lemon"), label, Timestamp(5)).await?;
            let how = Settlement::Done { output: "a lemon it is".into() };
            leases::settle(tx, (id, number), Some(label), how, Timestamp(5)).await
        })
    });
    assert!(ended.await?);
    Ok(())
}

async fn only_an_ended_task_is_forgotten(db: Db) -> Result<(), StoreError> {
    enqueue(&db, "A", json!({}), 0).await?;
    assert!(!forgotten(&db, "A", 1).await?);
    assert_eq!(words(&tasks::find(&db, "A").await?.unwrap().content), "hi");
    assert!(cancel(&db, "A", 2).await?);
    assert!(forgotten(&db, "A", 3).await?);
    assert!(!forgotten(&db, "A", 4).await?, "twice is once");
    let task = tasks::find(&db, "A").await?.unwrap();
    assert_eq!((task.status.as_str(), task.forgotten_at), ("cancelled", Some(Timestamp(3))));
    let (code, message) = task.error.unwrap();
    assert_eq!((code.as_str(), words(&message).starts_with("sha256:")), ("cancelled", true));
    assert!(!forgotten(&db, "nothing", 5).await?);
    Ok(())
}

async fn a_forgotten_task_keeps_its_numbers_and_no_words(db: Db) -> Result<(), StoreError> {
    sour(&db, "A").await?;
    assert!(forgotten(&db, "A", 9).await?);
    let task = tasks::find(&db, "A").await?.unwrap();
    assert_eq!(words(&task.content), format!("sha256:{}", host::id::digest(b"one lemon")));
    assert!(words(&task.output.unwrap()).starts_with("sha256:"));
    assert!(task.client_task_id.starts_with("sha256:") && task.conversation_id.starts_with("sha256:"), "names are words too");
    assert_eq!((task.finished_at, task.label.tier), (Some(Timestamp(5)), Tier::Internal));

    let hops = hops::of(&db, "A").await?;
    let outcome = serde_json::to_value(hops[0].outcome.as_ref().unwrap().open(Clearance::OPERATOR).unwrap()).unwrap();
    assert_eq!(
        (hops[0].agent.as_str(), hops[0].digest.as_deref(), &outcome["kind"]),
        ("triager", Some("digest"), &json!("answer"))
    );
    assert_eq!(outcome["citations"], json!([{ "ref": "1.1.1", "subject": "", "claim": "" }]));
    assert!(!outcome.to_string().contains("lemon"), "{outcome}");
    assert!(words(hops[1].error.as_ref().unwrap()).starts_with("sha256:"));

    let timeline = journal::timeline(&db, "A").await?;
    let request = timeline[1].request.open(Clearance::OPERATOR).unwrap();
    assert!(request.as_str().unwrap().starts_with("sha256:"));
    assert!(timeline[1].answer.as_ref().unwrap().open(Clearance::OPERATOR).unwrap().is_string());
    assert!(timeline.last().unwrap().answer.is_none());
    assert_eq!(timeline[1].usage.as_ref().map(|usage| (usage.input, usage.usd_micros)), Some((42, 9)));
    assert_eq!(journal::served(&db, "A").await?, ["vault"]);
    let files = artefacts::of(&db, "A").await?;
    assert!(files.len() == 2 && files.iter().all(|(path, _)| path.starts_with("sha256:")), "{files:?}");
    Ok(())
}

async fn a_forgotten_task_is_told_to_nobody_and_not_tried_again(db: Db) -> Result<(), StoreError> {
    sour(&db, "A").await?;
    enqueue(&db, "C", json!({}), 10).await?;
    let later = tasks::Task { conversation_id: "A".into(), ..tasks::find(&db, "C").await?.unwrap() };
    assert_eq!(tasks::conversation(&db, &later, 9).await?.len(), 1);
    assert!(forgotten(&db, "A", 11).await?);
    assert_eq!(tasks::conversation(&db, &later, 9).await?.len(), 0);
    assert!(cancel(&db, "C", 12).await?);
    assert!(forgotten(&db, "C", 13).await?);
    assert!(!retry(&db, "C", 14).await?, "nobody knows what it asked");
    assert_eq!(status(&db, "C").await?, "cancelled");
    Ok(())
}
