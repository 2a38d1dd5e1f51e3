//! Where a secret turns up: nowhere that is not cleared for it.

use serde_json::json;

use super::access::guarded_with;
use super::traces::sends_to;
use crate::support::Setup;
use crate::support::collector::Collector;
use crate::support::fake::Order;
use crate::support::ground::{Ground, on_both_grounds};

on_both_grounds![
    restricted_content_is_in_no_log_line_and_no_metric,
    restricted_content_reaches_no_span_no_event_and_no_answer_of_a_household,
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

async fn restricted_content_reaches_no_span_no_event_and_no_answer_of_a_household(ground: Ground) {
    let collector = Collector::over_http().await;
    let (model, mut host) = guarded_with(ground, &sends_to(&collector, "http")).await;
    model.order([Order::Say(CANARY.into()), Order::Say(CANARY.into())]);
    let body = |more: serde_json::Value| {
        let content = format!("the safe's code is {CANARY}");
        let mut body = json!({ "task_id": "t", "source": "voice", "intent": "question", "content": content, "data_tier": "restricted",
            "conversation_id": CANARY, "retry_policy": { "max_attempts": 1 } });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body.to_string()
    };
    host.token = Some("secret of kitchen".into());
    for (wrong, code) in [
        (json!({ "requester": "rob" }), "requester_not_allowed"),
        (json!({ "target_agent": "nobody" }), "unknown_target_agent"),
        (json!({ "surprise": true }), "schema"),
        (json!({ "source": "cli" }), "source_not_allowed"),
    ] {
        let (_, answer) = host.post("/inbox", body(wrong)).await;
        assert_eq!(answer["error"]["code"], code, "{answer}");
        assert!(!answer.to_string().contains(CANARY), "{answer}");
    }
    // One that fails with the model's words in its error, one that goes well.
    for ending in ["failed", "done"] {
        let (_, accepted) = host.post("/inbox", body(json!({}))).await;
        let id = accepted["task_id"].as_str().unwrap();
        let mut events = host.events_of(id, None).await;
        events.until(|event| event.name == "done").await;
        let seen: Vec<String> = events.seen.iter().map(|event| event.data.to_string()).collect();
        assert!(!seen.concat().replace(&format!("\"conversation_id\":\"{CANARY}\""), "").contains(CANARY), "{seen:?}");
        let task = host.task(id, ending).await;
        assert_eq!(task["content"], "[restricted]");
        let (_, page) = host.get("/tasks").await;
        assert_eq!(page["tasks"][0]["content"], "[restricted]");
    }
    collector.until(|lines| lines.iter().filter(|line| line.contains("\"lease\"")).count() == 2).await;
    let told: Vec<String> = collector.lines().into_iter().chain(host.log()).filter(|line| line.contains(CANARY)).collect();
    assert_eq!(told, Vec::<String>::new());
    assert!(collector.lines().concat().contains("[restricted]"), "a span says that something is left out");
    let (_, metrics) = host.get("/metrics").await;
    assert!(!metrics.as_str().unwrap().contains(CANARY));
    host.token = Some("secret of boss".into());
    let (_, page) = host.get("/tasks").await;
    assert!(page["tasks"][0]["content"].as_str().unwrap().contains(CANARY), "the operator sees it");
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
