//! What crashes, outages and nonsense do to a task: nothing that a person would notice twice.

use serde_json::json;

use crate::support::Setup;
use crate::support::fake::Order;
use crate::support::ground::{Ground, on_both_grounds};

on_both_grounds![
    a_kill_while_a_hop_waits_for_the_model_loses_nothing,
    nonsense_is_repaired_once,
    nonsense_twice_fails_with_what_was_said,
    a_failed_run_is_tried_again_as_often_as_the_envelope_says,
    a_server_in_trouble_parks_the_task_and_burns_no_attempt,
    a_server_that_says_nothing_is_given_up_on,
    a_reporter_without_a_model_still_reports,
    a_drain_gives_running_hops_their_time_and_leases_nothing_more,
    a_paused_house_leases_nothing_until_the_file_is_gone,
    a_task_whose_time_has_passed_never_executes,
];

async fn a_kill_while_a_hop_waits_for_the_model_loses_nothing(ground: Ground) {
    for waiting_hop in [1, 2, 3] {
        let model = ground.model().await;
        model.order((1..waiting_hop).map(|_| Order::Well).chain([Order::Hang]));
        let host = ground.setup(&model).await.start().await;
        let id = host.submit(json!({})).await;
        for _ in 0..waiting_hop {
            model.asked().await;
        }
        let setup = host.kill().await;
        model.release();

        let host = setup.start().await;
        let task = host.task(&id, "done").await;
        assert_eq!(host.notes("inbox/drafts"), [format!("note-{id}.md")], "one note");
        assert_eq!(task["attempts"], 0, "a crash is no failed run");
        assert_eq!(task["hops"].as_array().unwrap().len(), 3);
        assert_eq!(task["hops"][waiting_hop - 1]["run"], 1, "the run went on");
        assert_eq!(model.heard().len(), 4, "only the call without an answer was made again");
    }
}

async fn nonsense_is_repaired_once(ground: Ground) {
    let model = ground.model().await;
    model.order([Order::Say("{\"target_agent\": \"the moon\"}".into())]);
    let host = ground.setup(&model).await.start().await;
    let task = host.done(json!({})).await;
    assert_eq!(task["attempts"], 0);
    let asked = model.heard();
    assert_eq!(asked.len(), 4, "one more than without nonsense");
    let repair = asked[1]["messages"].as_array().unwrap();
    assert_eq!(repair[2]["content"], "{\"target_agent\": \"the moon\"}", "the model sees what it said");
    assert!(repair[3]["content"].as_str().unwrap().starts_with("That does not fit:"), "and what is wrong with it");
}

async fn nonsense_twice_fails_with_what_was_said(ground: Ground) {
    let model = ground.model().await;
    model.order([Order::Say("lovely weather".into()), Order::Say("still lovely".into())]);
    let host = ground.setup(&model).await.start().await;
    let id = host.submit(json!({ "retry_policy": { "max_attempts": 1 } })).await;
    let task = host.task(&id, "failed").await;
    assert_eq!(task["error"]["code"], "attempts_exhausted");
    let message = task["error"]["message"].as_str().unwrap();
    assert!(message.contains("It said: still lovely"), "{message}");
    assert_eq!(model.heard().len(), 2);
    host.logged("task_failed").await;
}

async fn a_failed_run_is_tried_again_as_often_as_the_envelope_says(ground: Ground) {
    let model = ground.model().await;
    model.order((0..4).map(|_| Order::Say("no".into())));
    let host = ground.setup(&model).await.start().await;
    let task = host.done(json!({ "retry_policy": { "max_attempts": 3 } })).await;
    assert_eq!(task["hops"][0]["run"], 3);
    assert_eq!(model.heard().len(), 4 + 3);
}

async fn a_server_in_trouble_parks_the_task_and_burns_no_attempt(ground: Ground) {
    let trouble = [Order::Status(500), Order::Status(429), Order::Cut, Order::Garbage, Order::Page];
    let model = ground.model().await;
    let host = ground.setup(&model).await.start().await;
    let mut tasks = Vec::new();
    for order in trouble {
        model.order([order.clone()]);
        let id = host.submit(json!({ "target_agent": "note-maker", "retry_policy": { "max_attempts": 1 } })).await;
        let parked = host.task(&id, "awaiting_backend").await;
        assert!(parked["waits_for"].as_str().unwrap().contains("backend unavailable: group `local-p40`"), "{order:?}: {parked}");
        // Another task is served: the server is well, and each of these is soon tried again.
        host.done(json!({ "target_agent": "note-maker" })).await;
        tasks.push(id);
    }
    for id in tasks {
        assert_eq!(host.task(&id, "done").await["attempts"], 0);
    }
    assert_eq!(host.events("task_parked").len(), 5);
    assert_eq!(host.notes("inbox/drafts").len(), 10);
}

async fn a_server_that_says_nothing_is_given_up_on(ground: Ground) {
    let model = ground.model().await;
    model.order([Order::Hang]);
    let setup = ground.setup(&model).await;
    let config = setup.config.replace("concurrency = 8\n", "concurrency = 8\nfirst_token_s = 3\n");
    let host = Setup { config, ..setup }.start().await;
    let id = host.submit(json!({ "target_agent": "note-maker" })).await;
    let parked = host.task(&id, "awaiting_backend").await;
    assert!(parked["waits_for"].as_str().unwrap().contains("it said nothing in time"), "{parked}");
    host.task(&id, "done").await;
}

async fn a_reporter_without_a_model_still_reports(ground: Ground) {
    let model = ground.model().await;
    model.order([Order::Well, Order::Say("no".into()), Order::Say("no".into())]);
    let host = ground.setup(&model).await.start().await;
    let task = host.done(json!({ "target_agent": "note-maker" })).await;
    assert!(task["output"].as_str().unwrap().starts_with("Drafted the note"), "{task}");
}

async fn a_drain_gives_running_hops_their_time_and_leases_nothing_more(ground: Ground) {
    let model = ground.model().await;
    model.order([Order::Hang]);
    let setup = ground.setup(&model).await.and("[server]\nin_flight = 1\n");
    let host = setup.start().await;
    let first = host.submit(json!({ "target_agent": "note-maker" })).await;
    model.asked().await;
    let second = host.submit(json!({ "target_agent": "note-maker" })).await;
    host.terminate().await;
    // The hop ends once the model answers; only then may the host.
    model.release();
    let (code, setup, log) = host.ended().await;
    assert_eq!(code, Some(0), "{log:?}");
    assert!(log.iter().any(|line| line.contains("task_completed") && line.contains(&first)), "{log:?}");
    assert!(!log.iter().any(|line| line.contains("task_leased") && line.contains(&second)), "{log:?}");
    let host = setup.start().await;
    host.task(&second, "done").await;
}

async fn a_paused_house_leases_nothing_until_the_file_is_gone(ground: Ground) {
    let model = ground.model().await;
    let setup = ground.setup(&model).await;
    std::fs::create_dir_all(setup.vault().join("_meta")).unwrap();
    std::fs::write(setup.vault().join("_meta/PAUSED"), "").unwrap();
    let host = setup.start().await;
    let id = host.submit(json!({})).await;
    let (_, ready) = host.get("/readyz").await;
    assert!(ready["degraded"].to_string().contains("PAUSED"), "{ready}");
    assert_eq!(host.task(&id, "pending").await["started_at"], json!(null));
    std::fs::remove_file(host.setup.vault().join("_meta/PAUSED")).unwrap();
    host.task(&id, "done").await;
}

async fn a_task_whose_time_has_passed_never_executes(ground: Ground) {
    let model = ground.model().await;
    let setup = ground.setup(&model).await;
    std::fs::create_dir_all(setup.vault().join("_meta")).unwrap();
    std::fs::write(setup.vault().join("_meta/PAUSED"), "").unwrap();
    let host = setup.start().await;
    let id = host.submit(json!({ "ttl_seconds": 1 })).await;
    let task = host.task(&id, "expired").await;
    assert_eq!(task["error"]["code"], "ttl_expired");
    assert_eq!(model.heard().len(), 0);
}
