//! The first trace of the pipeline that is rebuilt: a request becomes a note, through three agents.

use serde_json::json;

use crate::support::Host;
use crate::support::ground::{Ground, on_every_ground};

on_every_ground![a_request_becomes_a_note, a_target_agent_skips_triage, a_conversation_goes_on];

async fn a_request_becomes_a_note(ground: Ground) {
    let model = ground.model().await;
    let host = ground.setup(&model).await.start().await;
    let id = host.submit(json!({ "task_id": "stage1-smoke", "content": "note to self: the hose clamp is loose" })).await;
    let task = host.task(&id, "done").await;
    host.logged("task_completed").await;
    host.logged("task_enqueued").await;

    assert_eq!(
        host.story(&id, &["task_leased", "hop_start", "hop_end", "task_completed", "task_failed"]),
        [
            "task_leased",
            "hop_start triager",
            "hop_end triager",
            "hop_start note-maker",
            "hop_end note-maker",
            "hop_start reporter",
            "hop_end reporter",
            "task_completed",
        ]
    );
    let told: Vec<_> =
        task["hops"].as_array().unwrap().iter().map(|hop| (hop["agent"].as_str(), hop["outcome"]["kind"].as_str())).collect();
    assert_eq!(
        told,
        [(Some("triager"), Some("handoff")), (Some("note-maker"), Some("answer")), (Some("reporter"), Some("answer"))]
    );
    assert_eq!(task["client_task_id"], "stage1-smoke");
    assert_eq!(task["attempts"], 0);
    assert_eq!(task["served_groups"], json!(["local-p40", "local-spark"]));
    assert_eq!(task["cost_usd"], 0.0);
    assert!(task["duration_s"].as_f64().unwrap() > 0.0);
    the_note_is_there(&host, &id, &task);
    the_timeline_holds_prompts_and_counts(&task);
    assert_eq!(model.heard().len(), 3);
}

fn the_note_is_there(host: &Host, id: &str, task: &serde_json::Value) {
    let path = format!("inbox/drafts/note-{id}.md");
    assert_eq!(task["artefacts"], json!([{ "path": path, "tier": "internal" }]));
    let note = host.note(&path);
    let keys: Vec<&str> =
        note.lines().skip(1).take_while(|line| *line != "---").map(|line| line.split(':').next().unwrap()).collect();
    assert_eq!(
        keys,
        ["task_id", "source", "domain", "intent", "proposed_location", "new_vs_append", "status", "agent", "digest", "tier"]
    );
    assert!(note.contains("# Loose hose clamp\n\nThe hose clamp is loose.\n"), "{note}");
    let output = task["output"].as_str().unwrap();
    assert!(output.starts_with("**Note drafted: loose hose clamp**"), "{output}");
    assert!(output.contains(&format!("obsidian://open?vault=vault&file=inbox%2Fdrafts%2Fnote-{id}.md")), "{output}");
    assert_eq!(host.notes("inbox/drafts").len(), 1, "nothing else is left in the folder");
}

fn the_timeline_holds_prompts_and_counts(task: &serde_json::Value) {
    let timeline = task["timeline"].as_array().unwrap();
    let kinds: Vec<_> = timeline.iter().map(|entry| (entry["hop"].as_u64().unwrap(), entry["kind"].as_str().unwrap())).collect();
    assert_eq!(
        kinds,
        [
            (1, "run.input"),
            (1, "model.complete"),
            (2, "run.input"),
            (2, "model.complete"),
            (2, "vault.write"),
            (3, "run.input"),
            (3, "model.complete"),
        ]
    );
    assert!(timeline.iter().all(|entry| entry["state"] == "done"));
    let asked = &timeline[1];
    assert_eq!((asked["input_tokens"].as_u64(), asked["output_tokens"].as_u64()), (Some(42), Some(7)));
    assert_eq!(asked["tries"], json!([{ "destination": "local-p40", "reason": "local_default", "outcome": "answered" }]));
    assert!(asked["request"]["messages"][1]["text"].as_str().unwrap().contains("the hose clamp is loose"));
    let colleagues = &asked["request"]["schema"]["properties"]["target_agent"]["enum"];
    assert_eq!(*colleagues, json!(["note-maker"]), "those whom requests are for, and nobody who could not look");
}

async fn a_target_agent_skips_triage(ground: Ground) {
    let model = ground.model().await;
    let host = ground.setup(&model).await.start().await;
    let task = host.done(json!({ "target_agent": "note-maker" })).await;
    let agents: Vec<&str> = task["hops"].as_array().unwrap().iter().map(|hop| hop["agent"].as_str().unwrap()).collect();
    assert_eq!(agents, ["note-maker", "reporter"]);
}

async fn a_conversation_goes_on(ground: Ground) {
    let model = ground.model().await;
    let host = ground.setup(&model).await.start().await;
    let first = host.done(json!({ "conversation_id": "c1", "content": "note: the first thing" })).await;
    let second = host.done(json!({ "conversation_id": "c1", "content": "note: the second thing" })).await;
    let told = second["timeline"][0]["request"]["conversation"].to_string();
    assert!(told.contains("note: the first thing") && told.contains("Note drafted"), "{told}");
    assert_eq!(first["timeline"][0]["request"]["conversation"], json!([]));
}
