//! Runs that rest hold nothing: they go on where they were when it is their time.

use serde_json::json;

use crate::support::fake::Order;
use crate::support::ground::{Ground, on_both_grounds};
use crate::support::{Setup, guests};

on_both_grounds![a_long_sleep_is_a_row_and_wakes_in_time, who_waits_long_for_a_turn_waits_as_a_row,];

async fn a_long_sleep_is_a_row_and_wakes_in_time(ground: Ground) {
    let model = ground.model().await;
    let setup = ground.setup(&model).await.and("[server]\nin_flight = 1\nworkers = 1\n[grants.naps]\n[grants.steady]\n");
    let agents = guests::with(&["naps", "steady"], setup.folder.path());
    let host = setup.agents(agents).start().await;
    let id = host.submit(json!({ "target_agent": "naps", "content": "2500" })).await;
    host.logged("task_parked").await;
    let asleep = host.task(&id, "pending").await;
    assert_eq!(asleep["hops"][0]["status"], "parked", "{asleep:#}");
    // The only place is free meanwhile, and the sleeper outlives its host.
    host.done(json!({ "target_agent": "steady" })).await;
    let host = host.kill().await.start().await;
    let task = host.task(&id, "done").await;
    assert!(task["hops"][0]["outcome"].to_string().contains("true true"), "{task:#}");
    assert_eq!((&task["hops"][0]["run"], &task["attempts"]), (&json!(1), &json!(0)));
    let sleep = task["timeline"].as_array().unwrap().iter().find(|entry| entry["kind"] == "clock.sleep").unwrap();
    assert!(sleep["duration_ms"].as_i64().unwrap() >= 2500, "{sleep}");
}

async fn who_waits_long_for_a_turn_waits_as_a_row(ground: Ground) {
    let model = ground.model().await;
    model.order([Order::Hang]);
    let setup = ground.setup(&model).await;
    let config = setup.config.replace("concurrency = 8", "concurrency = 1");
    let host = Setup { config, ..setup }.start().await;
    let first = host.submit(json!({ "target_agent": "note-maker" })).await;
    model.asked().await;
    let second = host.submit(json!({ "target_agent": "note-maker" })).await;
    let waits = host.task(&second, "awaiting_backend").await;
    assert!(waits["waits_for"].as_str().unwrap().contains("busy"), "{waits:#}");
    assert_eq!(model.heard().len(), 1);
    model.release();
    host.task(&first, "done").await;
    // Long before it would have tried by itself.
    let task = host.task(&second, "done").await;
    assert_eq!((&task["hops"][0]["run"], &task["attempts"]), (&json!(1), &json!(0)));
    assert_eq!(host.get("/readyz").await.1["degraded"], json!([]), "nobody was away");
}
