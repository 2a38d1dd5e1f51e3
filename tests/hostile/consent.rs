//! Nobody talks a host into a consent that nobody gave, or into evidence for what nobody saw.

use serde_json::{Value, json};

use crate::e2e::approvals::{question, say, told};
use crate::e2e::replay::tampered;
use crate::support::ground::{Ground, on_both_grounds};
use crate::support::mcp::Counting;
use crate::support::{Host, guests};

on_both_grounds![
    a_consent_that_is_only_claimed_is_none,
    one_consent_is_one_call_and_a_no_is_a_no,
    claims_without_a_look_are_marked_as_such,
    a_row_that_was_changed_behind_its_back_consents_to_nothing,
];

async fn tempted(ground: Ground, tools: &Counting) -> Host {
    let rule = "[[mcp.rules]]\ntools = \"count\"\nuntrusted = false\nclass = \"C\"\nundo = { tool = \"count_once\" }\n";
    let config = tools.config().replacen("[[mcp.rules]]", &format!("{rule}[[mcp.rules]]"), 1);
    let grants = "[grants.insists]\ntools = [\"*\"]\n[grants.fables]\ntools = [\"*\"]\n[grants.caller]\ntools = [\"*\"]\n";
    let setup = ground.bare().await.and(&config).and(grants);
    let agents = guests::with(&["insists", "fables", "caller"], setup.folder.path());
    std::fs::remove_file(agents.join("reporter.wasm")).unwrap();
    setup.agents(agents).start().await
}

fn asks(agent: &str, content: &str) -> Value {
    json!({ "target_agent": agent, "content": content, "retry_policy": { "max_attempts": 1 } })
}

/// Its neighbour does not notice.
async fn neighbour(host: &Host) {
    let task = host.done(asks("caller", "peek")).await;
    assert!(told(&task)[0].contains("counted"), "{task}");
}

async fn a_consent_that_is_only_claimed_is_none(ground: Ground) {
    let tools = Counting::start().await;
    let host = tempted(ground, &tools).await;
    let lines = told(&host.done(asks("insists", "forges")).await);
    assert!(lines[0].contains("the arguments of `count`"), "an argument that no schema knows is refused: {lines:?}");
    assert!(lines[1].contains("approval_in_batch"), "{lines:?}");
    let id = host.submit(asks("insists", "again")).await;
    host.task(&id, "awaiting_approval").await;
    let asked = question(&host).await;
    assert!(asked["why"].as_str().unwrap().starts_with("APPROVED by rob"), "its words are shown as its words: {asked}");
    assert_eq!((&asked["status"], &asked["yes"], &asked["undo_by"]), (&json!("open"), &json!(null), &json!("rule")));
    assert_eq!(tools.counted().len(), 0);
    neighbour(&host).await;
}

async fn one_consent_is_one_call_and_a_no_is_a_no(ground: Ground) {
    let tools = Counting::start().await;
    let host = tempted(ground, &tools).await;
    let id = host.submit(asks("insists", "twice")).await;
    host.task(&id, "awaiting_approval").await;
    assert_eq!(say(&host, &question(&host).await["id"], "approve").await.0, 200);
    tools.counted_so_many(1).await;
    host.task(&id, "awaiting_approval").await;
    let second = question(&host).await;
    assert_eq!(second["request"], json!({ "tool": "count", "arguments": { "n": 1 } }), "the very same call is asked about anew");
    assert_eq!(say(&host, &second["id"], "reject").await.0, 200);
    host.task(&id, "done").await;
    // After a no, the same in other words is another question, and not a way round the no.
    let id = host.submit(asks("insists", "again")).await;
    host.task(&id, "awaiting_approval").await;
    assert_eq!(say(&host, &question(&host).await["id"], "reject").await.0, 200);
    host.task(&id, "awaiting_approval").await;
    let again = question(&host).await;
    assert_eq!(again["request"]["arguments"]["note"], "please", "{again}");
    assert_eq!(say(&host, &again["id"], "reject").await.0, 200);
    let lines = told(&host.task(&id, "done").await);
    assert!(lines.iter().all(|line| line.contains("approval_denied")), "{lines:?}");
    assert_eq!(tools.counted().len(), 1);
    neighbour(&host).await;
}

async fn claims_without_a_look_are_marked_as_such(ground: Ground) {
    let tools = Counting::start().await;
    let host = tempted(ground, &tools).await;
    let task = host.done(asks("fables", "say it")).await;
    let output = task["output"].as_str().unwrap();
    assert!(output.starts_with("**Nothing was looked at**"), "{output}");
    assert_eq!(output.matches("there is no such call").count(), 5, "{output}");
    let task = host.done(asks("fables", "peek")).await;
    let output = task["output"].as_str().unwrap();
    assert!(output.starts_with("All is well."), "{output}");
    for part in [
        "the disks are healthy (nas; cites 9.9.9: there is no such call)",
        "the tool says so (nas; cites 1.1.1: that call says nothing",
    ] {
        assert!(output.contains(part), "{part}: {output}");
    }
    assert!(!output.contains("something was counted"), "what it saw, it may say: {output}");
    neighbour(&host).await;
}

/// Somebody who can write the database changes what was asked after it was consented to: the run does not make it.
async fn a_row_that_was_changed_behind_its_back_consents_to_nothing(ground: Ground) {
    let tools = Counting::start().await;
    let host = tempted(ground, &tools).await;
    let id = host.submit(asks("insists", "again")).await;
    host.task(&id, "awaiting_approval").await;
    let asked = question(&host).await["id"].clone();
    // The fingerprint of another call, under the question that waits.
    let setup = host.kill().await;
    tampered(ground, &setup, "update approval set fingerprint = '01ff' where status = 'open'").await;
    let host = setup.start().await;
    assert_eq!(say(&host, &asked, "approve").await.0, 200);
    let waits = host.task(&id, "awaiting_approval").await;
    assert_eq!((waits["approvals"].as_array().unwrap().len(), tools.counted().len()), (2, 0), "it is asked about anew: {waits:#}");
}
