//! What crosses the border has its bounds, whatever a guest says of itself.

use serde_json::json;

use super::{answer, host_on};
use crate::support::ground::Ground;

pub(super) async fn what_is_too_large_is_not_even_copied(ground: Ground) {
    let (_model, host) = host_on(ground, &["bellows", "steady"]).await;
    for (what, code, why) in [
        ("text", "limit_exceeded", "border = 192 KiB"),
        ("list", "limit_exceeded", "border = 192 KiB"),
        ("outcome", "limit_exceeded", "border = 192 KiB"),
        ("bytes", "agent_trapped", "invalid utf-8"),
    ] {
        let envelope = json!({ "target_agent": "bellows", "content": what, "retry_policy": { "max_attempts": 1 } });
        let id = host.submit(envelope).await;
        let neighbour = host.submit(json!({ "target_agent": "steady" })).await;
        let ended = host.task(&id, "failed").await;
        assert_eq!(ended["error"]["code"], code, "{what}: {ended}");
        assert!(ended["error"]["message"].as_str().unwrap().contains(why), "{what}: {ended}");
        host.task(&neighbour, "done").await;
    }
}

pub(super) async fn nobody_signs_with_anothers_name(ground: Ground) {
    let (_model, host) = host_on(ground, &["forges"]).await;
    let task = host.done(json!({ "target_agent": "forges" })).await;
    let told = answer(&task);
    assert!(!told.contains("WRITTEN") && told.ends_with("honest: true"), "{told}");
    let note = host.note(task["artefacts"][0]["path"].as_str().unwrap());
    let front = note.split("---\n").nth(1).unwrap();
    assert!(front.contains("agent: forges\n") && front.contains("tier: internal\n") && !front.contains("rob"), "{note}");
}
