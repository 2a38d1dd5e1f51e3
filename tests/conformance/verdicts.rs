//! What people decide about work that stopped: questions, dead letters, crashes, revoked components.

use host::store::approvals::{self, Filter};
use host::store::beside::{Beside, Use};
use host::store::intervene::{self, Consent};
use host::store::journal::{self, Closing, Opening, Position, Write};
use host::store::leases::{self, Settlement};
use host::store::tasks::{self, Leased};
use host::store::verdicts::{self, Verdict};
use host::store::{Db, StoreError, effects, forget, hops, revoked};
use policy::call::Effect;
use policy::task::{ApprovalStatus, ErrorCode, Timestamp};
use policy::tier::{Clearance, Label, Tier};
use serde_json::json;

use super::on_every_store;
use super::tasks::{done, enqueue, expire, intend, lease, record, settle, start};

on_every_store![
    a_question_is_asked_once_and_answered_once,
    on_retry_the_call_may_be_made_again_and_on_done_it_is_answered,
    a_task_that_is_given_up_fails_with_its_hop,
    a_task_that_ends_closes_its_questions,
    an_answer_is_forgotten_with_its_task,
    what_happened_once_forbids_a_retry_until_it_is_allowed,
    an_edited_task_starts_behind_what_it_did,
    a_discarded_letter_is_on_no_list,
    ten_crashes_in_a_row_are_counted_and_an_answer_begins_anew,
];

/// A task whose first hop has sent a call that must not be sent twice, and heard nothing; it asks, unless `how` settles it.
async fn sent(db: &Db, id: &str, how: Settlement) -> Result<(), StoreError> {
    enqueue(db, id, json!({ "ttl_seconds": 1 }), 0).await?;
    let leased = lease(db, 1, 9).await?.unwrap();
    assert_eq!((leased.task.id.as_str(), start(db, &leased, 2).await?), (id, Some(1)));
    assert!(intend(db, call(&leased, 1, Effect::Once), None).await?);
    let asks = matches!(how, Settlement::Ask { .. });
    let (task, number) = (id.to_owned(), leased.lease);
    let settled = db.write(move |tx| {
        Box::pin(async move {
            let label = Label::of(Tier::Internal);
            let held = leases::settle(tx, (&task, number), Some(label), how, Timestamp(4)).await?;
            if asks {
                hops::park(tx, &task).await?;
                approvals::ask(tx, &Position::cited(&task, "1.1.1")?, None, Timestamp(4)).await?;
                approvals::ask(tx, &Position::cited(&task, "1.1.1")?, None, Timestamp(5)).await?;
            } else {
                hops::end(tx, (&task, 1), Err("it fell"), label, Timestamp(4)).await?;
            }
            Ok(held)
        })
    });
    assert!(settled.await?);
    Ok(())
}

fn asks() -> Settlement {
    Settlement::Ask { waits_for: "a word".into() }
}

fn failed() -> Settlement {
    Settlement::Failed { code: ErrorCode::AgentTrapped, message: "it fell".into() }
}

fn call(leased: &Leased, seq: u32, effect: Effect) -> Opening {
    Opening {
        at: Position { task: leased.task.id.clone(), hop: 1, run: 1, seq },
        lease: leased.lease,
        kind: "vault.write",
        fingerprint: "the print".into(),
        // Longer than what stands in a row.
        request: json!({ "path": "a.md", "body": "x".repeat(70_000) }).to_string(),
        label: Label::of(Tier::Internal),
        effect,
        started_at: Timestamp(3),
    }
}

fn answered(at: i64) -> Closing {
    Closing {
        state: "done",
        answer: "null".into(),
        tries: "[]".into(),
        destination: Some("vault".into()),
        label: Label::of(Tier::Internal),
        usage: None,
        bill: None,
        wrote: None,
        finished_at: Timestamp(at),
    }
}

async fn open(db: &Db) -> Result<Vec<approvals::Approval>, StoreError> {
    approvals::list(db, Filter { status: Some(ApprovalStatus::Open), limit: 9, ..Filter::default() }).await
}

async fn decide(db: &Db, id: &str, verdict: Verdict) -> Result<bool, StoreError> {
    verdicts::decide(db, id.into(), verdict, ("rob".into(), Vec::new()), Timestamp(9)).await
}

async fn status(db: &Db, id: &str) -> Result<&'static str, StoreError> {
    Ok(tasks::find(db, id).await?.unwrap().status.as_str())
}

async fn a_question_is_asked_once_and_answered_once(db: Db) -> Result<(), StoreError> {
    sent(&db, "A", asks()).await?;
    assert_eq!((status(&db, "A").await?, hops::of(&db, "A").await?[0].status.as_str()), ("awaiting_approval", "parked"));
    assert!(lease(&db, 50, 99).await?.is_none(), "it waits however long it takes");
    assert_eq!(approvals::waiting(&db).await?, (1, Some(Timestamp(4))));
    let questions = open(&db).await?;
    let [question] = questions.as_slice() else { panic!("{}", questions.len()) };
    assert_eq!(
        (question.call.as_str(), question.agent.as_str(), question.at.reference().as_str()),
        ("vault.write", "triager", "1.1.1")
    );
    assert_eq!(question.request.open(Clearance::OPERATOR).unwrap()["path"], "a.md");
    let answers = [decide(&db, &question.id, Verdict::Retry), decide(&db, &question.id, Verdict::Retry)];
    let answers: Vec<bool> = futures::future::try_join_all(answers).await?;
    assert_eq!(answers.iter().filter(|first| **first).count(), 1, "one of two who decide at once");
    let decided = approvals::find(&db, &question.id).await?.unwrap();
    assert_eq!(
        (decided.status, decided.actor.as_deref(), decided.decided_at),
        (ApprovalStatus::Decided, Some("rob"), Some(Timestamp(9)))
    );
    assert!(open(&db).await?.is_empty());
    assert_eq!(lease(&db, 9, 99).await?.unwrap().task.id, "A", "due at once");
    Ok(())
}

async fn on_retry_the_call_may_be_made_again_and_on_done_it_is_answered(db: Db) -> Result<(), StoreError> {
    for (id, verdict, answer, effect) in [
        ("A", Verdict::Retry, None, Effect::Repeatable),
        ("B", Verdict::Done { answer: "null".into() }, Some("null"), Effect::Once),
    ] {
        sent(&db, id, asks()).await?;
        let question = open(&db).await?.remove(0);
        assert!(decide(&db, &question.id, verdict).await?);
        let behind = journal::behind(&db, &question.at).await?.unwrap();
        let past = &behind.calls[&1];
        assert_eq!((past.answer.as_deref(), past.effect), (answer, effect), "{id}");
        assert!(lease(&db, 9, 99).await?.is_some());
    }
    Ok(())
}

async fn a_task_that_is_given_up_fails_with_its_hop(db: Db) -> Result<(), StoreError> {
    sent(&db, "A", asks()).await?;
    let question = open(&db).await?.remove(0);
    assert!(decide(&db, &question.id, Verdict::Fail { message: "no more".into() }).await?);
    let task = tasks::find(&db, "A").await?.unwrap();
    assert_eq!((task.status.as_str(), task.error.unwrap().0.as_str()), ("failed", "approval_denied"));
    assert_eq!(hops::of(&db, "A").await?[0].status, "failed");
    assert_eq!(intervene::dead(&db).await?, 1);
    let happened = effects::of(&db, "A").await?;
    assert_eq!((happened.len(), happened[0].known, happened[0].repeatable), (1, false, false));
    Ok(())
}

async fn a_task_that_ends_closes_its_questions(db: Db) -> Result<(), StoreError> {
    sent(&db, "A", asks()).await?;
    let question = open(&db).await?.remove(0);
    assert!(intervene::cancel(&db, "A".into(), "enough".into(), Vec::new(), Timestamp(5)).await?);
    assert_eq!(approvals::find(&db, &question.id).await?.unwrap().status, ApprovalStatus::Closed);
    assert!(!decide(&db, &question.id, Verdict::Retry).await?);
    assert_eq!(status(&db, "A").await?, "cancelled");

    sent(&db, "B", asks()).await?;
    let question = open(&db).await?.remove(0);
    let expired = expire(&db, 1000).await?.remove(0);
    assert_eq!((expired.id.as_str(), expired.error_code.as_str()), ("B", "approval_expired"));
    assert!(!decide(&db, &question.id, Verdict::Done { answer: "null".into() }).await?);
    assert_eq!((status(&db, "B").await?, open(&db).await?.len()), ("expired", 0));
    Ok(())
}

async fn an_answer_is_forgotten_with_its_task(db: Db) -> Result<(), StoreError> {
    sent(&db, "A", asks()).await?;
    let question = open(&db).await?.remove(0);
    assert!(decide(&db, &question.id, Verdict::Done { answer: "\"a lemon\"".into() }).await?);
    assert!(intervene::cancel(&db, "A".into(), "enough".into(), Vec::new(), Timestamp(10)).await?);
    assert!(forget::forget(&db, "A".into(), Timestamp(11)).await?);
    let forgotten = approvals::find(&db, &question.id).await?.unwrap();
    let result = forgotten.result.unwrap().open(Clearance::OPERATOR).unwrap().to_string();
    assert!(result.contains("sha256:") && !result.contains("lemon"), "{result}");
    Ok(())
}

async fn what_happened_once_forbids_a_retry_until_it_is_allowed(db: Db) -> Result<(), StoreError> {
    sent(&db, "A", failed()).await?;
    assert!(effects::unrepeatable(&db, "A", 1).await? && !effects::unrepeatable(&db, "A", 2).await?);
    assert!(!intervene::retry(&db, "A".into(), Consent::Missing, Timestamp(5)).await?);
    assert_eq!(status(&db, "A").await?, "failed", "nothing has changed");
    assert!(intervene::retry(&db, "A".into(), Consent::Given, Timestamp(6)).await?);
    assert!(!effects::unrepeatable(&db, "A", 1).await?, "it may be done again now");
    let leased = lease(&db, 6, 99).await?.unwrap();
    assert!(settle(&db, &leased, failed(), 7).await?);
    assert!(intervene::retry(&db, "A".into(), Consent::Missing, Timestamp(8)).await?, "and nothing more was done since");
    Ok(())
}

async fn an_edited_task_starts_behind_what_it_did(db: Db) -> Result<(), StoreError> {
    let edit = |consent| intervene::edit(&db, "A".into(), "better".into(), "rob".into(), consent, Timestamp(6));
    sent(&db, "A", failed()).await?;
    assert!(!edit(Consent::Missing).await?);
    assert!(edit(Consent::Given).await?);
    assert!(!edit(Consent::Given).await?, "it is no dead letter any more");
    let task = tasks::find(&db, "A").await?.unwrap();
    assert_eq!((task.content.open(Clearance::OPERATOR).unwrap().as_str(), task.first_hop, task.attempts), ("better", 2, 0));
    let chain: Vec<(u32, String, String)> =
        hops::of(&db, "A").await?.into_iter().map(|hop| (hop.seq, hop.agent, hop.status)).collect();
    assert_eq!(chain, [(1, "triager".into(), "failed".into()), (2, "triager".into(), "pending".into())]);
    let timeline = journal::timeline(&db, "A").await?;
    let note = timeline.iter().find(|entry| entry.kind == "task.edit").unwrap();
    assert_eq!(note.request.open(Clearance::OPERATOR).unwrap(), &json!({ "by": "rob", "content_was": "hi" }));
    assert!(journal::calls(&db, "A", 2).await?.is_empty(), "a note is no call");
    let leased = lease(&db, 6, 99).await?.unwrap();
    let at = Position { task: "A".into(), hop: 2, run: 1, seq: 0 };
    let begins = Write::Start { at, digest: "digest".into(), started_at: Timestamp(7) };
    assert_eq!(journal::write(&db, "A", leased.lease, vec![begins]).await?, journal::Written::Yes);
    Ok(())
}

async fn a_discarded_letter_is_on_no_list(db: Db) -> Result<(), StoreError> {
    sent(&db, "A", failed()).await?;
    let dead =
        async || tasks::list(&db, tasks::Filter { dead: true, limit: 9, ..tasks::Filter::default() }).await.map(|all| all.len());
    assert_eq!((dead().await?, intervene::dead(&db).await?), (1, 1));
    assert!(intervene::discard(&db, "A".into(), Timestamp(5)).await?);
    assert!(!intervene::discard(&db, "A".into(), Timestamp(6)).await?);
    assert_eq!((dead().await?, intervene::dead(&db).await?, status(&db, "A").await?), (0, 0, "failed"));
    assert!(!intervene::edit(&db, "A".into(), "x".into(), "rob".into(), Consent::Given, Timestamp(7)).await?);
    assert!(intervene::retry(&db, "A".into(), Consent::Given, Timestamp(8)).await?);
    assert_eq!(tasks::find(&db, "A").await?.unwrap().discarded_at, None);
    Ok(())
}

async fn ten_crashes_in_a_row_are_counted_and_an_answer_begins_anew(db: Db) -> Result<(), StoreError> {
    enqueue(&db, "A", json!({}), 0).await?;
    let mut now = 0;
    let mut crash = async |answers: Option<u32>| {
        now += 10;
        let leased = lease(&db, now, now + 5).await?.unwrap();
        if hops::of(&db, "A").await?[0].run == 0 {
            assert_eq!(start(&db, &leased, now).await?, Some(1));
        }
        // The same call is sent each time: that is nothing new.
        let seq = answers.unwrap_or(1);
        assert!(intend(&db, call(&leased, seq, Effect::Repeatable), None).await?);
        if let Some(seq) = answers {
            assert!(record(&db, call(&leased, seq, Effect::Repeatable), answered(now)).await?);
        }
        assert_eq!(leases::rescue(&db, Timestamp(now + 6)).await?, 1);
        Ok::<_, StoreError>(tasks::find(&db, "A").await?.unwrap().crashes)
    };
    for expected in 1..=9 {
        assert_eq!(crash(None).await?, expected);
    }
    assert_eq!(crash(Some(1)).await?, 1, "something has happened");
    assert_eq!(crash(Some(2)).await?, 1);
    let leased = lease(&db, 500, 600).await?.unwrap();
    assert_eq!(leased.task.crashes, 1);
    assert!(settle(&db, &leased, Settlement::Retry { at: Timestamp(0) }, 501).await?);
    assert_eq!(tasks::find(&db, "A").await?.unwrap().crashes, 0);
    let leased = lease(&db, 502, 600).await?.unwrap();
    assert!(settle(&db, &leased, done(), 503).await?);
    Ok(())
}

#[tokio::test]
async fn a_component_is_revoked_from_beside_the_host() -> Result<(), StoreError> {
    let folder = tempfile::tempdir().unwrap();
    let sqlite = format!("sqlite://{}", folder.path().join("host.db").display());
    assert!(Beside::open(&sqlite, Use::Look).await?.is_none(), "there is none yet");
    for url in [sqlite, crate::support::postgres::database().await] {
        let db = Db::open(&url).await?;
        let mut beside = Beside::open(&url, Use::Change).await?.unwrap();
        assert!(revoked::revoke(&mut beside.tx(), "aa", "it lies", Timestamp(1)).await?);
        assert!(!revoked::revoke(&mut beside.tx(), "aa", "it is slow", Timestamp(2)).await?, "the first reason stays");
        beside.close().await?;
        let expected = [revoked::Revoked { digest: "aa".into(), at: 1, reason: "it lies".into() }];
        assert_eq!(revoked::all(&db).await?, expected);
        let mut beside = Beside::open(&url, Use::Look).await?.unwrap();
        assert_eq!(revoked::listed(&mut beside.tx()).await?, expected);
        beside.close().await?;
    }
    Ok(())
}
