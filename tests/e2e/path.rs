//! Every host call takes the one path: its nine steps, in their order, none skipped.

use serde_json::json;

use crate::support::ground::{Ground, on_both_grounds};
use crate::support::{Host, Setup, guests};

on_both_grounds![
    a_call_passes_approval_budget_and_replay_among_the_nine_steps,
    a_refused_call_stops_at_its_step_and_is_still_recorded,
];

const ALL: [&str; 9] = ["replay", "destination", "grant", "tier", "approval", "budget", "intent", "effect", "result"];

async fn traced(mut setup: Setup) -> Host {
    setup.variables.insert("RUST_LOG", "info,host::capability=trace".into());
    setup.start().await
}

/// The steps of each call of that kind, in the order of the log.
fn steps(host: &Host, kind: &str) -> Vec<String> {
    let passed = host.events("call_step").into_iter().filter(|line| line["kind"] == kind);
    passed.map(|line| line["step"].as_str().unwrap().to_owned()).collect()
}

async fn a_call_passes_approval_budget_and_replay_among_the_nine_steps(ground: Ground) {
    let model = ground.model().await;
    let host = traced(ground.setup(&model).await).await;
    host.done(json!({ "target_agent": "note-maker" })).await;
    assert_eq!(steps(&host, "vault.write"), ALL);
    assert_eq!(steps(&host, "model.complete"), [ALL, ALL].concat(), "one of the note-maker, one of the reporter");
}

async fn a_refused_call_stops_at_its_step_and_is_still_recorded(ground: Ground) {
    let model = ground.model().await;
    let setup = ground.setup(&model).await.and(
        "[grants.beyond]\nmodels = [\"local-p40\"]\nvault_read = [\"notes/*.md\"]\nvault_write = [\"inbox/drafts/note-*.md\"]\n",
    );
    let agents = guests::with(&["beyond"], setup.folder.path());
    let host = traced(setup.agents(agents)).await;
    let task = host.done(json!({ "target_agent": "beyond" })).await;
    let calls = task["timeline"].as_array().unwrap().iter().filter(|entry| entry["kind"] == "vault.read").count();
    assert_eq!(steps(&host, "vault.read"), ["replay", "destination", "grant", "result"].repeat(calls));
    let refused = task["timeline"].as_array().unwrap().iter().find(|entry| entry["kind"] == "vault.read").unwrap();
    assert_eq!(refused["state"], "denied");
    assert_eq!(refused["refusal"]["rule"], "vault_read");
}
