//! A task as it goes: what a client sees of it, live and afterwards, and what a household does not.

use serde_json::{Value, json};

use super::access::guarded;
use crate::support::events::Event;
use crate::support::fake::Order;
use crate::support::ground::{Ground, on_both_grounds};

on_both_grounds![
    a_task_is_seen_as_it_goes,
    a_client_that_comes_back_misses_nothing_and_sees_nothing_twice,
    a_parked_task_says_for_what_it_waits,
    a_household_sees_who_works_and_no_machinery,
    a_drain_ends_the_streams,
];

async fn a_task_is_seen_as_it_goes(ground: Ground) {
    let model = ground.model().await;
    model.order([Order::Hang]);
    let host = ground.setup(&model).await.start().await;
    let id = host.submit(json!({})).await;
    model.asked().await;
    let mut events = host.events_of(&id, None).await;
    // While the first hop waits for its model, it is seen to.
    events.until(|event| event.name == "hop").await;
    model.release();
    events.until(|event| event.name == "done").await;
    let told: Vec<String> = events.seen.iter().map(|event| event.told()).collect();
    let hops: Vec<&String> = told.iter().filter(|line| line.starts_with("hop")).collect();
    assert_eq!(
        hops,
        [
            "hop triager running",
            "hop triager done",
            "hop note-maker running",
            "hop note-maker done",
            "hop reporter running",
            "hop reporter done"
        ]
    );
    assert!(told.contains(&"call vault.write done".to_owned()), "{told:?}");
    assert!(told.contains(&"call model.complete started".to_owned()), "{told:?}");
    assert!(events.seen.iter().any(|event| event.name == "token" && event.data["text"].as_str().is_some()), "{told:?}");
    let done = &events.seen.last().unwrap().data;
    assert_eq!((done["status"].as_str(), done["task_id"].as_str()), (Some("done"), Some(id.as_str())));
    assert!(done["output"].as_str().unwrap().contains("Note drafted"));

    let mut again = host.events_of(&id, None).await;
    again.until(|event| event.name == "done").await;
    // That a call began is of the moment; what came of it lasts.
    let lasting = |line: &String| (line.starts_with("hop") || line.starts_with("call")) && !line.ends_with("started");
    let retold: Vec<String> = again.seen.iter().map(Event::told).filter(lasting).collect();
    assert_eq!(retold, told.into_iter().filter(lasting).collect::<Vec<_>>(), "a finished task tells the same again");
}

async fn a_client_that_comes_back_misses_nothing_and_sees_nothing_twice(ground: Ground) {
    let model = ground.model().await;
    model.order([Order::Well, Order::Hang]);
    let host = ground.setup(&model).await.start().await;
    let id = host.submit(json!({})).await;
    model.asked().await;
    model.asked().await;
    let mut before = host.events_of(&id, None).await;
    let last = before.until(|event| event.told() == "hop note-maker running").await.id.clone();
    drop(before);
    // The host restarts meanwhile: what an id means does not change.
    let host = host.kill().await.start().await;
    model.release();
    host.task(&id, "done").await;
    let mut after = host.events_of(&id, last.as_deref()).await;
    after.until(|event| event.name == "done").await;
    let told: Vec<String> = after.seen.iter().map(|event| event.told()).filter(|line| line.starts_with("hop")).collect();
    assert_eq!(told, ["hop note-maker done", "hop reporter running", "hop reporter done"]);
    let (status, _) = host.get_after(&format!("/tasks/{id}/events"), "done").await;
    assert_eq!(status, 204, "there is nothing to come back for");
}

async fn a_parked_task_says_for_what_it_waits(ground: Ground) {
    let model = ground.model().await;
    model.away(true);
    let host = ground.setup(&model).await.start().await;
    let id = host.submit(json!({ "target_agent": "note-maker" })).await;
    let mut events = host.events_of(&id, None).await;
    let parked = events.until(|event| event.data["status"] == "awaiting_backend").await;
    assert!(parked.data["waits_for"].as_str().unwrap().contains("backend unavailable"), "{:?}", parked.data);
}

async fn a_household_sees_who_works_and_no_machinery(ground: Ground) {
    let (_model, mut host) = guarded(ground).await;
    host.token = Some("secret of kitchen".into());
    let (_, accepted) = host
        .post("/inbox", json!({ "task_id": "t", "source": "voice", "content": "dim the light", "intent": "action" }).to_string())
        .await;
    let id = accepted["task_id"].as_str().unwrap();
    let mut events = host.events_of(id, None).await;
    events.until(|event| event.name == "done").await;
    assert!(events.seen.iter().all(|event| !matches!(event.name.as_str(), "call" | "token")), "{:?}", events.seen);
    assert!(events.seen.iter().any(|event| event.told() == "hop reporter done"));
    assert_eq!(events.seen.last().unwrap().data["timeline"], Value::Null);
    host.token = Some("secret of boss".into());
    let theirs = host.submit(json!({ "source": "cli" })).await;
    host.token = Some("secret of kitchen".into());
    assert_eq!(host.get(&format!("/tasks/{theirs}/events")).await.0, 404, "nor that it exists");
}

async fn a_drain_ends_the_streams(ground: Ground) {
    let model = ground.model().await;
    model.order([Order::Hang]);
    let host = ground.setup(&model).await.start().await;
    let id = host.submit(json!({ "target_agent": "note-maker" })).await;
    let mut events = host.events_of(&id, None).await;
    events.until(|event| event.name == "hop").await;
    host.terminate().await;
    model.release();
    events.end().await;
    let (code, _, log) = host.ended().await;
    assert_eq!(code, Some(0), "{log:?}");
}
