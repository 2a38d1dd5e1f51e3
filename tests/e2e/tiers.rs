//! Where a secret turns up: nowhere that is not cleared for it.

use serde_json::json;

use crate::support::Setup;
use crate::support::fake::Order;
use crate::support::ground::{Ground, on_both_grounds};

on_both_grounds![
    restricted_content_is_in_no_log_line_and_no_metric,
    a_restricted_task_does_not_go_to_a_group_that_is_not_cleared,
    an_agent_below_the_label_does_not_run,
];

const CANARY: &str = "canary-7f3a";

async fn restricted_content_is_in_no_log_line_and_no_metric(ground: Ground) {
    let model = ground.model().await;
    // One that fails with the model's words in its error, one that goes well.
    model.order([Order::Say(format!("I say {CANARY}")), Order::Say(format!("again {CANARY}"))]);
    let host = ground.setup(&model).await.start().await;
    let content = format!("note: the safe's code is {CANARY}");
    let sealed = json!({ "content": content, "data_tier": "restricted", "retry_policy": { "max_attempts": 1 } });
    let id = host.submit(sealed.clone()).await;
    let failed = host.task(&id, "failed").await;
    assert!(failed["error"]["message"].as_str().unwrap().contains(CANARY), "the operator sees what happened");
    let task = host.done(sealed).await;
    assert_eq!(task["label"], "restricted");
    assert!(host.note(task["artefacts"][0]["path"].as_str().unwrap()).contains("tier: restricted"));

    let (_, metrics) = host.get("/metrics").await;
    assert!(!metrics.as_str().unwrap().contains(CANARY));
    let told: Vec<String> = host.log().into_iter().filter(|line| line.contains(CANARY)).collect();
    assert_eq!(told, Vec::<String>::new());
    assert!(host.log().iter().any(|line| line.contains("[restricted]")), "and the log says that something is left out");
}

async fn a_restricted_task_does_not_go_to_a_group_that_is_not_cleared(ground: Ground) {
    let model = ground.model().await;
    let setup = ground.setup(&model).await;
    let config = setup.config.replace("[inference.groups.local-p40]\n", "[inference.groups.local-p40]\nclearance = \"internal\"\n");
    let host = Setup { config, ..setup }.start().await;
    let id = host.submit(json!({ "data_tier": "restricted", "retry_policy": { "max_attempts": 1 } })).await;
    let task = host.task(&id, "failed").await;
    assert!(task["error"]["message"].as_str().unwrap().contains("clearance"), "{task}");
    assert_eq!(model.heard().len(), 0, "nothing was sent");
    assert_eq!(host.events("call_denied")[0]["rule"], "clearance");
    host.done(json!({ "data_tier": "internal" })).await;
}

async fn an_agent_below_the_label_does_not_run(ground: Ground) {
    let model = ground.model().await;
    let host = ground.setup(&model).await.and("[grants.note-maker]\nclearance = \"internal\"\n").start().await;
    let id = host.submit(json!({ "data_tier": "restricted", "target_agent": "note-maker" })).await;
    let task = host.task(&id, "failed").await;
    assert_eq!(task["error"]["code"], "denied");
    assert!(task["error"]["message"].as_str().unwrap().contains("set clearance in [grants.note-maker]"), "{task}");
}
