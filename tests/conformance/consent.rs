//! Questions before calls, the words that answer them, the links that carry words, and the messages that carry links.

use host::store::approvals::{self, Before};
use host::store::deliveries::{self, Became, New, TURN};
use host::store::journal::{self, Opening, Position, Write, Written};
use host::store::leases::{self, Settlement};
use host::store::verdicts::{self, Heard, Said};
use host::store::{Db, StoreError, forget, hops, links, tasks};
use policy::approval::{self, Binding, Follows, Question, Refused, Undoer, Undoing};
use policy::call::Effect;
use policy::class::Class;
use policy::task::{Reaction, Timestamp};
use policy::tier::{Clearance, Label, Tier};
use serde_json::json;

use super::on_every_store;
use super::tasks::{enqueue, lease, start};

on_every_store![
    a_question_is_kept_whole_until_it_is_forgotten,
    words_come_one_after_the_other_and_the_first_counts,
    a_consent_is_used_up_once,
    a_no_is_the_answer_of_its_call,
    what_nobody_answers_lapses_and_what_must_not_does_not,
    people_are_reminded_twice_and_not_while_it_is_put_off,
    a_link_works_once_and_for_one_thing,
    a_message_is_taken_by_one_and_tried_until_it_is_sent,
];

const HOUR: i64 = 3_600_000;
const TTL: i64 = 24 * HOUR;

fn label() -> Label {
    Label { tier: Tier::Internal, tainted: true }
}

fn question(agent: &str, class: Class, usd: u64) -> Question {
    Question {
        class,
        because: "the rule says so".into(),
        why: "the moon is full".into(),
        undo: Some(Undoing { by: Undoer::Rule, text: "undo {}".into() }),
        usd_micros: Some(usd * 1_000_000),
        binding: Binding { fingerprint: "the print".into(), agent: agent.into(), digest: "the digest".into(), label: label() },
    }
}

fn opening(task: &str, lease: i64) -> Opening {
    Opening {
        at: Position { task: task.into(), hop: 1, run: 1, seq: 1 },
        lease,
        kind: "tools.call",
        fingerprint: "the print".into(),
        request: json!({ "tool": "count", "arguments": {} }).to_string(),
        label: label(),
        effect: Effect::None,
        started_at: Timestamp(3),
    }
}

/// A task that waits for an answer to that question; the question's id.
async fn asked(db: &Db, id: &str, question: Question) -> Result<String, StoreError> {
    enqueue(db, id, json!({}), 0).await?;
    let leased = lease(db, 1, 9).await?.unwrap();
    assert_eq!((leased.task.id.as_str(), start(db, &leased, 2).await?), (id, Some(1)));
    let (task, number) = (id.to_owned(), leased.lease);
    assert_eq!(journal::write(db, id, number, vec![Write::Asked(opening(id, number))]).await?, Written::Yes);
    db.write(move |tx| {
        Box::pin(async move {
            let how = Settlement::Ask { waits_for: "a word".into() };
            assert!(leases::settle(tx, (&task, number), Some(label()), how, Timestamp(4)).await?);
            hops::park(tx, &task).await?;
            let expires_at = approval::lapses(&question, Timestamp(4), TTL);
            let remind_at = approval::reminder(Timestamp(4), Timestamp(4));
            let before = || Before { question: &question, expires_at, remind_at };
            let at = Position::cited(&task, "1.1.1")?;
            let asked = approvals::ask(tx, &at, Some(before()), Timestamp(4)).await?;
            assert_eq!(approvals::ask(tx, &at, Some(before()), Timestamp(5)).await?, None, "once");
            Ok(asked.unwrap())
        })
    })
    .await
}

fn said(reaction: Reaction, channel: &str, at: i64) -> Said {
    Said { reaction, actor: "rob".into(), channel: channel.into(), link: None, at: Timestamp(at) }
}

async fn status(db: &Db, id: &str) -> Result<&'static str, StoreError> {
    Ok(tasks::find(db, id).await?.unwrap().status.as_str())
}

async fn a_question_is_kept_whole_until_it_is_forgotten(db: Db) -> Result<(), StoreError> {
    let asks = question("triager", Class::C, 3);
    let id = asked(&db, "A", asks.clone()).await?;
    let found = approvals::find(&db, &id).await?.unwrap();
    assert!(found.question.as_ref().unwrap().open(Clearance(Tier::Public)).is_err(), "it carries its label");
    assert_eq!(found.question.unwrap().open(Clearance::OPERATOR).ok(), Some(&asks));
    assert_eq!((found.expires_at, found.kind.as_str()), (Some(Timestamp(4 + TTL)), approvals::CALL));
    assert!(matches!(verdicts::hear(&db, id.clone(), said(Reaction::Reject, "cli", 5)).await?, Heard::Counts(_)));
    let leased = lease(&db, 6, 99).await?.unwrap();
    assert!(super::tasks::settle(&db, &leased, super::tasks::done(), 7).await?);
    assert!(forget::forget(&db, "A".into(), Timestamp(8)).await?);
    let found = approvals::find(&db, &id).await?.unwrap().question.unwrap();
    let found = found.open(Clearance::OPERATOR).ok().unwrap();
    assert_eq!((found.why.as_str(), found.because.as_str(), &found.undo), ("", "", &None), "and then its words are gone");
    Ok(())
}

async fn words_come_one_after_the_other_and_the_first_counts(db: Db) -> Result<(), StoreError> {
    let id = asked(&db, "A", question("triager", Class::D, 0)).await?;
    let hear = async |reaction, channel, at| verdicts::hear(&db, id.clone(), said(reaction, channel, at)).await;
    assert_eq!(hear(Reaction::Approve, "ntfy", 5).await?, Heard::Counts(Follows::Another));
    assert_eq!(hear(Reaction::Approve, "ntfy", 6).await?, Heard::Refused(Refused::SameChannel("ntfy".into())));
    assert_eq!((status(&db, "A").await?, approvals::consent(&db, &opening("A", 1).at).await?), ("awaiting_approval", None));
    // Many at once, through other channels: one of them counts.
    let words = (0..8).map(|n| {
        let reaction = if n % 2 == 0 { Reaction::Approve } else { Reaction::Reject };
        verdicts::hear(&db, id.clone(), said(reaction, &format!("c{n}"), 7))
    });
    let heard = futures::future::try_join_all(words).await?;
    assert_eq!(heard.iter().filter(|heard| matches!(heard, Heard::Counts(_))).count(), 1, "{heard:?}");
    assert_eq!(heard.iter().filter(|heard| **heard == Heard::NotOpen).count(), 7, "{heard:?}");
    assert_eq!(status(&db, "A").await?, "pending");
    assert_eq!(hear(Reaction::Defer, "cli", 8).await?, Heard::NotOpen);
    Ok(())
}

async fn a_consent_is_used_up_once(db: Db) -> Result<(), StoreError> {
    let asks = question("triager", Class::C, 0);
    let id = asked(&db, "A", asks.clone()).await?;
    assert_eq!(verdicts::hear(&db, id.clone(), said(Reaction::Approve, "cli", 5)).await?, Heard::Counts(Follows::Approved));
    let leased = lease(&db, 6, 99).await?.unwrap();
    let (found, given) = approvals::consent(&db, &opening("A", leased.lease).at).await?.unwrap();
    assert!(found == id && given.allows(&asks.binding, Class::C, false) && !given.allows(&asks.binding, Class::C, true));
    let sends = || {
        let sent = Opening { effect: Effect::Once, ..opening("A", leased.lease) };
        journal::write(&db, "A", leased.lease, vec![Write::Spend(id.clone(), Timestamp(7)), Write::Intent(sent, None, None)])
    };
    assert_eq!(sends().await?, Written::Yes);
    assert_eq!(sends().await?, Written::Taken, "a second call under it is not sent");
    let (_, given) = approvals::consent(&db, &opening("A", leased.lease).at).await?.unwrap();
    assert!(!given.allows(&asks.binding, Class::C, false) && given.allows(&asks.binding, Class::C, true), "it is that call's own");
    Ok(())
}

async fn a_no_is_the_answer_of_its_call(db: Db) -> Result<(), StoreError> {
    let id = asked(&db, "A", question("triager", Class::C, 0)).await?;
    assert_eq!(verdicts::hear(&db, id, said(Reaction::Reject, "cli", 5)).await?, Heard::Counts(Follows::Rejected));
    assert_eq!((status(&db, "A").await?, approvals::consent(&db, &opening("A", 1).at).await?), ("pending", None));
    let call = journal::timeline(&db, "A").await?.pop().unwrap();
    let answer = call.answer.unwrap().open(Clearance::OPERATOR).ok().cloned().unwrap();
    assert_eq!((call.state.as_str(), &answer["rule"]), ("denied", &json!("approval_denied")), "{answer}");
    Ok(())
}

async fn what_nobody_answers_lapses_and_what_must_not_does_not(db: Db) -> Result<(), StoreError> {
    let first = asked(&db, "A", question("triager", Class::C, 500)).await?;
    // Of the hop's own agent: that is who the exceptions are about.
    let dear = question("errand-runner", Class::C, 101);
    asked(&db, "B", dear).await?;
    let put_off = asked(&db, "C", question("triager", Class::C, 0)).await?;
    let deferred = verdicts::hear(&db, put_off.clone(), said(Reaction::Defer, "cli", HOUR)).await?;
    let until = Follows::Deferred { silent_until: Timestamp(5 * HOUR), expires_at: Some(Timestamp(4 + TTL + 4 * HOUR)) };
    assert_eq!((deferred, verdicts::next_lapse(&db).await?), (Heard::Counts(until), Some(Timestamp(4 + TTL))));
    let lapse = async |at| db.write(move |tx| Box::pin(async move { verdicts::lapse(tx, Timestamp(at)).await })).await;
    assert_eq!(lapse(3 + TTL).await?, []);
    let late = verdicts::hear(&db, first, said(Reaction::Approve, "cli", 4 + TTL)).await?;
    assert_eq!(late, Heard::Refused(Refused::Lapsed), "also before anybody has swept");
    let ended = lapse(4 + TTL).await?;
    assert_eq!((ended.len(), ended[0].id.as_str(), ended[0].error_code.as_str()), (1, "A", "approval_expired"));
    assert_eq!((status(&db, "A").await?, status(&db, "C").await?), ("expired", "awaiting_approval"));
    assert_eq!(lapse(400 * TTL).await?.len(), 1, "the one that was put off");
    assert_eq!(status(&db, "B").await?, "awaiting_approval", "a dear errand waits until somebody says something");
    Ok(())
}

async fn people_are_reminded_twice_and_not_while_it_is_put_off(db: Db) -> Result<(), StoreError> {
    let id = asked(&db, "A", question("triager", Class::C, 0)).await?;
    let tell = |id: &str, task: &str| vec![New { sink: "ntfy", kind: "reminder", task: task.into(), about: id.into() }];
    let remind = async |at| approvals::remind(&db, tell, Timestamp(at)).await;
    let half = HOUR / 2;
    assert_eq!((remind(3 + half).await?, remind(4 + half).await?, remind(5 + half).await?), (0, 1, 0), "once after half an hour");
    let defer = async |at| verdicts::hear(&db, id.clone(), said(Reaction::Defer, "cli", at)).await;
    assert!(matches!(defer(HOUR).await?, Heard::Counts(_)));
    assert_eq!((remind(4 + 4 * HOUR).await?, remind(5 * HOUR).await?, remind(20 * HOUR).await?), (0, 1, 0), "and once more");
    assert!(matches!(defer(21 * HOUR).await?, Heard::Counts(_)));
    assert_eq!(
        (remind(24 * HOUR).await?, remind(25 * HOUR).await?, remind(30 * HOUR).await?),
        (0, 1, 0),
        "whoever put it off is asked again"
    );
    assert_eq!(deliveries::of(&db, "A").await?.len(), 3);
    Ok(())
}

async fn a_link_works_once_and_for_one_thing(db: Db) -> Result<(), StoreError> {
    let id = asked(&db, "A", question("triager", Class::D, 0)).await?;
    links::add(&db, id.clone(), vec!["one".into(), "two".into()]).await?;
    links::add(&db, id.clone(), vec!["one".into()]).await?;
    links::add(&db, "another".into(), vec!["other".into()]).await?;
    let hear = async |link: &str, channel: &str| {
        let word = Said { link: Some(link.into()), ..said(Reaction::Approve, channel, 5) };
        verdicts::hear(&db, id.clone(), word).await
    };
    assert_eq!(hear("other", "ntfy").await?, Heard::Spent, "that is about something else");
    assert_eq!(hear("unknown", "ntfy").await?, Heard::Spent);
    assert_eq!((links::used(&db, "one").await?, links::used(&db, "unknown").await?), (Some(false), None));
    assert_eq!(hear("one", "ntfy").await?, Heard::Counts(Follows::Another));
    assert_eq!(hear("one", "zulip").await?, Heard::Spent, "once");
    assert_eq!(hear("two", "ntfy").await?, Heard::Refused(Refused::SameChannel("ntfy".into())));
    assert_eq!(links::used(&db, "two").await?, Some(false), "a word that does not count uses up no link");
    assert_eq!(hear("two", "zulip").await?, Heard::Counts(Follows::Approved));
    assert!(links::use_up(&db, "other".into(), "another".into(), Timestamp(6)).await?);
    assert!(!links::use_up(&db, "other".into(), "another".into(), Timestamp(7)).await?);
    let made = links::secret(&db, "a key", "fresh".into()).await?;
    assert_eq!((made.as_str(), links::secret(&db, "a key", "newer".into()).await?.as_str()), ("fresh", "fresh"), "made once");
    Ok(())
}

async fn a_message_is_taken_by_one_and_tried_until_it_is_sent(db: Db) -> Result<(), StoreError> {
    let new = |task: &str, sink| New { sink, kind: "report", task: task.into(), about: String::new() };
    let rows = vec![new("A", "ntfy"), new("B", "ntfy"), new("A", "zulip")];
    db.write(move |tx| Box::pin(async move { deliveries::put(tx, &rows, Timestamp(10)).await })).await?;
    let take = async |sink, at| deliveries::take(&db, sink, Timestamp(at)).await;
    assert!(take("ntfy", 9).await?.is_none());
    assert_eq!(deliveries::next(&db, "ntfy").await?, Some(Timestamp(10)));
    let taken = futures::future::try_join_all((0..4).map(|_| deliveries::take(&db, "ntfy", Timestamp(10)))).await?;
    let mut tasks: Vec<String> = taken.iter().flatten().map(|due| due.task.clone()).collect();
    tasks.sort();
    assert_eq!(tasks, ["A", "B"], "each by one");
    // Whoever took it and died: another takes it later, and its receiver knows it by its key.
    let [first, second] = taken.into_iter().flatten().collect::<Vec<_>>().try_into().unwrap();
    let again = take("ntfy", 10 + TURN).await?.unwrap();
    assert!(again.attempts == 2 && [&first.id, &second.id].contains(&&again.id));
    deliveries::settle(&db, again.id.clone(), Became::Later(Timestamp(90_000), "down".into()), Timestamp(80_000)).await?;
    let other = take("ntfy", 10 + TURN).await?.unwrap();
    deliveries::settle(&db, other.id, Became::Sent, Timestamp(80_000)).await?;
    assert!(take("ntfy", 89_999).await?.is_none());
    let third = take("ntfy", 90_000).await?.unwrap();
    deliveries::settle(&db, third.id.clone(), Became::Dead("no such topic".into()), Timestamp(90_001)).await?;
    assert_eq!((deliveries::pending(&db).await?, deliveries::list(&db, "dead", 9).await?.len()), (vec![("zulip".into(), 1)], 1));
    assert!(deliveries::again(&db, third.id.clone(), Timestamp(91_000)).await?);
    assert!(!deliveries::again(&db, third.id.clone(), Timestamp(91_000)).await?, "it waits already");
    assert_eq!(take("ntfy", 91_000).await?.map(|due| (due.id, due.attempts)), Some((third.id, 1)));
    Ok(())
}
