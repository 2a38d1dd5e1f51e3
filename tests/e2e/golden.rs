//! The even-numbered golden scenarios of the pipeline that is rebuilt (`homeaiops.md`, appendix B), for the agents that there are. What
//! their models say is scripted here, as a good model says it or as a bad one does; what is judged is what the agents and the host make of
//! it: that they look first, ask before they act, keep to what they were asked, and say what nobody saw.

use serde_json::{Value, json};

use super::approvals::question;
use super::errands::{look, step};
use crate::support::fake::{Model, Order};
use crate::support::ground::{Ground, on_both_grounds};
use crate::support::mcp::real::{Real, done};
use crate::support::{Host, guests};

on_both_grounds![
    hle_002_a_suspended_thing_is_looked_into_and_not_resumed,
    hle_004_a_question_of_design_is_answered_without_acting,
    obs_002_a_forecast_cites_the_query_that_it_rests_on,
    obs_004_a_silence_is_asked_about_with_its_matchers_and_its_window,
    rep_002_several_results_are_grouped_and_none_is_lost,
    rep_004_a_report_of_nothing_says_so,
    a_model_that_never_has_enough_is_stopped_and_nothing_seen_is_lost,
];

pub(super) async fn host(ground: Ground, model: &Model, house: &Real) -> Host {
    let rules = "[[mcp.rules]]\ntools = \"grafana_create_silence\"\nclass = \"C\"\nundo = { tool = \"grafana_delete_silence\", args = { name = \"{/name}\" } }\n";
    let setup = ground.setup(model).await.and(&format!("[mcp]\nurl = \"{}\"\n{rules}", house.url()));
    setup.agents(guests::shipped()).start().await
}

pub(super) fn asks(agent: &str, content: &str) -> Value {
    json!({ "target_agent": agent, "content": content, "retry_policy": { "max_attempts": 1 } })
}

pub(super) fn homelab(more: &Value) -> Order {
    let mut finding = json!({
        "summary": "s", "diagnosis": "d", "proposed_action": "p", "action_class": "A", "handoff_target": "user",
        "affected_resources": [], "references": [], "rollback": "", "call": null, "verify": null, "cites": [],
    });
    finding.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    Order::Say(finding.to_string())
}

pub(super) fn observability(more: &Value) -> Order {
    let mut finding = json!({
        "summary": "s", "flood_mode": "none", "mute_mode": "none", "proposed_change": "p", "blast_radius": "one panel",
        "positive_verification": "the query answers", "rollback": "delete it", "affected_resources": [], "references": [],
        "has_for_clause": true, "routing_target": "zulip", "alert_volume_delta": "same", "action_class": "A", "handoff_target": "user",
        "recovery_path_touched": false, "call": null, "verify": null, "cites": [],
    });
    finding.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    Order::Say(finding.to_string())
}

async fn hle_002_a_suspended_thing_is_looked_into_and_not_resumed(ground: Ground) {
    let folder = tempfile::tempdir().unwrap();
    let (model, house) = (ground.model().await, Real::house(folder.path(), true).await);
    let host = host(ground, &model, &house).await;
    model.order([
        step(json!([look("kubectl_get_events", json!({ "namespace": "flux-system" }))]), true),
        homelab(&json!({
            "summary": "The Kustomization was suspended on purpose: leave it until its owner says so.", "action_class": "B",
            "cites": [{ "ref": "1.1.3", "subject": "jellyfin", "claim": "its events say why" }],
        })),
    ]);
    let task = host.done(asks("homelab-engineer", "the Kustomization media is suspended, looks stale")).await;
    let hops: Vec<&str> = task["hops"].as_array().unwrap().iter().map(|hop| hop["agent"].as_str().unwrap()).collect();
    assert_eq!(hops, ["homelab-engineer", "reporter"], "it proposes, and nobody resumes anything");
    assert_eq!(done(folder.path()).len(), 0);
    assert!(task["hops"][0]["outcome"]["text"].as_str().unwrap().starts_with("The Kustomization was suspended on purpose"));
    assert!(!task["output"].as_str().unwrap().contains("Not backed"), "{}", task["output"]);
}

async fn hle_004_a_question_of_design_is_answered_without_acting(ground: Ground) {
    let folder = tempfile::tempdir().unwrap();
    let (model, house) = (ground.model().await, Real::house(folder.path(), true).await);
    let host = host(ground, &model, &house).await;
    // A bad model: it wants to act, and names no exact call.
    model.order([
        step(json!([look("kubectl_get_deployments", json!({ "namespace": "photos" }))]), true),
        homelab(&json!({ "summary": "Longhorn, with the backup labels.", "handoff_target": "errand-runner", "action_class": "C" })),
    ]);
    let task = host.done(asks("homelab-engineer", "where should the PVC of the photo library live? It cannot be replaced")).await;
    let text = task["hops"][0]["outcome"]["text"].as_str().unwrap();
    assert!(text.contains("Longhorn") && text.contains("Nothing was handed to `errand-runner`"), "{text}");
    assert_eq!((task["hops"].as_array().unwrap().len(), done(folder.path()).len()), (2, 0));
}

async fn obs_002_a_forecast_cites_the_query_that_it_rests_on(ground: Ground) {
    let folder = tempfile::tempdir().unwrap();
    let (model, house) = (ground.model().await, Real::house(folder.path(), true).await);
    let host = host(ground, &model, &house).await;
    let query = "predict_linear(kubelet_volume_stats_available_bytes[6h], 4*24*3600) < 0";
    model.order([
        step(json!([look("grafana_query_prometheus", json!({ "expr": query }))]), true),
        observability(&json!({
            "summary": "The volume is full in four days.",
            "cites": [{ "ref": "1.1.3", "subject": "predict_linear", "claim": "the forecast is negative" }],
        })),
    ]);
    let task = host.done(asks("observability-operator", "warn me when a PVC fills up within four days")).await;
    let note = host.note(&format!("inbox/drafts/observability-{}.md", task["task_id"].as_str().unwrap()));
    for part in ["kind: observability-finding", "has_for_clause: true", "routing_target: zulip", "Flood mode", "Mute mode", query] {
        assert!(note.contains(part), "{part}: {note}");
    }
    assert!(!task["output"].as_str().unwrap().contains("Not backed"), "{}", task["output"]);
}

async fn obs_004_a_silence_is_asked_about_with_its_matchers_and_its_window(ground: Ground) {
    let folder = tempfile::tempdir().unwrap();
    let (model, house) = (ground.model().await, Real::house(folder.path(), true).await);
    let host = host(ground, &model, &house).await;
    let silence = json!({ "name": "node-3", "matchers": "node=\"node-3\"", "hours": 2 });
    model.order([
        step(json!([look("grafana_query_prometheus", json!({ "expr": "up{node=\"node-3\"}" }))]), true),
        observability(&json!({
            "summary": "Silence node-3 for two hours.", "action_class": "C", "handoff_target": "errand-runner",
            "call": { "tool": "grafana_create_silence", "arguments": silence.to_string(), "why": "the node is being serviced", "undo": "" },
        })),
    ]);
    let id = host.submit(asks("observability-operator", "I service node-3 for two hours, keep it quiet")).await;
    host.task(&id, "awaiting_approval").await;
    let asked = question(&host).await;
    assert_eq!(
        asked["request"],
        json!({ "tool": "grafana_create_silence", "arguments": silence }),
        "scoped to that node and window"
    );
    assert_eq!((&asked["class"], &asked["undo_by"], done(folder.path()).len()), (&json!("C"), &json!("rule"), 0));
}

async fn rep_002_several_results_are_grouped_and_none_is_lost(ground: Ground) {
    let model = ground.model().await;
    let host = ground.setup(&model).await.start().await;
    let content = "- jellyfin was restarted\n- the access point in the attic is on channel 36\n- plex was scaled to 1\n\
        - drafted: ticking water heater\n- drafted: winter tyres\n- grafana was updated\n* the backup of the photos failed\n";
    // A model that is not quite right: it puts one into two groups, knows one that there is not, and forgets the one that matters.
    let groups = json!([
        { "heading": "Cluster", "lines": [1, 3, 6] },
        { "heading": "Network", "lines": [2, 3] },
        { "heading": "Notes", "lines": [4, 5, 99] },
    ]);
    model.order([Order::Say(json!({ "headline": "Seven things happened", "groups": groups }).to_string())]);
    let task = host.done(asks("reporter", content)).await;
    assert_eq!(
        task["output"],
        "**Seven things happened**\n\n**Cluster** (3)\n- jellyfin was restarted\n- plex was scaled to 1\n- grafana was updated\n\n\
         **Network** (1)\n- the access point in the attic is on channel 36\n\n\
         **Notes** (2)\n- drafted: ticking water heater\n- drafted: winter tyres\n\n**Else** (1)\n- the backup of the photos failed"
    );
    // Without a model it is a plain list, and whole.
    model.order((0..4).map(|_| Order::Say("no".into())));
    let task = host.done(asks("reporter", content)).await;
    let output = task["output"].as_str().unwrap();
    assert!(output.starts_with("**7 results**") && output.matches("\n- ").count() == 7, "{output}");
}

async fn rep_004_a_report_of_nothing_says_so(ground: Ground) {
    let folder = tempfile::tempdir().unwrap();
    let (model, house) = (ground.model().await, Real::house(folder.path(), true).await);
    let host = host(ground, &model, &house).await;
    // Its model breaks down twice: there is no finding, and nothing is invented.
    model.order([
        Order::Say("I would rather not".into()),
        Order::Say("no".into()),
        Order::Say("no".into()),
        Order::Say("no".into()),
    ]);
    let task = host.done(asks("homelab-engineer", "is everything all right?")).await;
    assert!(task["output"].as_str().unwrap().starts_with("**Nothing was looked at**"), "{}", task["output"]);
    let text = task["hops"][0]["outcome"]["text"].as_str().unwrap();
    assert!(text.contains("No finding was written"), "{text}");
}

async fn a_model_that_never_has_enough_is_stopped_and_nothing_seen_is_lost(ground: Ground) {
    let folder = tempfile::tempdir().unwrap();
    let (model, house) = (ground.model().await, Real::house(folder.path(), true).await);
    let host = host(ground, &model, &house).await;
    model.order((0..8).map(|n| step(json!([look("kubectl_get_events", json!({ "namespace": format!("n{n}") }))]), false)));
    model.order([homelab(&json!({ "summary": "They all say the same." }))]);
    let task = host.done(asks("homelab-engineer", "what happens in the cluster?")).await;
    let (last, looks) = {
        let heard = model.heard();
        let looks = task["timeline"].as_array().unwrap().iter().filter(|entry| entry["kind"] == "tools.call").count();
        (heard[8].to_string(), looks)
    };
    assert_eq!(looks, 8, "eight steps, and no ninth");
    assert!((0..8).all(|n| last.contains(&format!("n{n}"))), "everything that was seen is there for the answer: {last}");
    assert!(task["hops"][0]["outcome"]["text"].as_str().unwrap().contains("They all say the same."));
}
