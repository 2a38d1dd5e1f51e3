//! The second and third traces of the pipeline that is rebuilt, against a real tool server whose state is a file: an agent looks, finds,
//! proposes; a person is asked and says yes; the file changes once; it is looked at again, and reported; and it can be undone.

use serde_json::{Value, json};

use super::approvals::{question, say};
use crate::support::fake::{Model, Order};
use crate::support::ground::{Ground, on_both_grounds};
use crate::support::mcp::real::{Real, done};
use crate::support::ntfy::{Ntfy, press};
use crate::support::{Host, Setup, guests};

on_both_grounds![
    a_finding_becomes_a_change_that_is_asked_about_made_once_and_verified,
    what_fails_in_its_rehearsal_is_not_asked_about,
    an_undo_that_was_denied_can_be_asked_for_again,
    what_is_denied_is_reported_as_not_done,
    a_kill_between_consent_and_effect_makes_the_change_once,
    a_kill_between_effect_and_record_asks_whether_it_happened,
    a_tool_that_destroys_is_not_offered_to_those_who_look,
    an_answer_that_rests_on_nothing_says_so,
    a_rejection_is_taken_up_by_the_supervisor,
];

const RULES: &str = "[[mcp.rules]]\ntools = \"kubectl_scale\"\nclass = \"C\"\nuntrusted = false\n\
    undo = { tool = \"kubectl_scale\", args = { name = \"{/name}\", replicas = 1 } }\n";
/// It can rehearse, and a rehearsal needs no word.
const REHEARSES: &str =
    "[[mcp.rules]]\ntools = \"kubectl_scale\"\nargs = { \"/dry_run\" = [\"true\"] }\nclass = \"A\"\nuntrusted = false\n";

async fn setup(ground: Ground, model: &Model, house: &Real) -> Setup {
    let mcp = format!("[mcp]\nurl = \"{}\"\n{REHEARSES}{RULES}", house.url());
    // The grants that ship, but for the one name that this house calls otherwise.
    ground.setup(model).await.and(&mcp).agents(guests::shipped())
}

pub(super) fn step(looks: Value, enough: bool) -> Order {
    Order::Say(json!({ "thought": "what runs there?", "looks": looks, "enough": enough }).to_string())
}

pub(super) fn look(tool: &str, arguments: Value) -> Value {
    json!({ "tool": tool, "arguments": arguments.to_string() })
}

/// What the model of the engineer says: it looks at the deployments, then proposes to scale one.
fn proposes() -> [Order; 3] {
    proposes_in_hop(1)
}

fn proposes_in_hop(hop: u32) -> [Order; 3] {
    let finding = json!({
        "summary": "jellyfin needs a second replica.", "diagnosis": "It runs with one replica.", "proposed_action": "Scale it to 2.",
        "action_class": "C", "handoff_target": "errand-runner", "affected_resources": ["deployment media/jellyfin"], "references": [],
        "rollback": "kubectl scale deployment jellyfin --replicas=1",
        "call": { "tool": "kubectl_scale", "arguments": "{\"name\":\"jellyfin\",\"replicas\":2}", "why": "one replica is too few",
            "undo": "{\"tool\":\"kubectl_scale\",\"arguments\":{\"name\":\"jellyfin\",\"replicas\":1}}" },
        "verify": { "tool": "kubectl_get_deployments", "arguments": "{\"namespace\":\"media\"}" },
        "cites": [{ "ref": format!("{hop}.1.3"), "subject": "jellyfin", "claim": "it runs with one replica" }],
    });
    [
        step(json!([look("kubectl_get_deployments", json!({ "namespace": "apps" }))]), false),
        step(json!([]), true),
        Order::Say(finding.to_string()),
    ]
}

fn asks() -> Value {
    json!({ "target_agent": "homelab-engineer", "content": "jellyfin stutters in the evening", "retry_policy": { "max_attempts": 1 } })
}

fn replicas(folder: &tempfile::TempDir) -> Value {
    let state: Value = serde_json::from_str(&std::fs::read_to_string(folder.path().join("state.json")).unwrap()).unwrap();
    state["deployments"]["jellyfin"].clone()
}

async fn a_finding_becomes_a_change_that_is_asked_about_made_once_and_verified(ground: Ground) {
    let folder = tempfile::tempdir().unwrap();
    let (model, house, ntfy) = (ground.model().await, Real::house(folder.path(), true).await, Ntfy::start().await);
    let host = setup(ground, &model, &house).await.and(&ntfy.config()).start().await;
    model.order(proposes());
    let id = host.submit(asks()).await;
    let waits = host.task(&id, "awaiting_approval").await;
    let agents: Vec<&str> = waits["hops"].as_array().unwrap().iter().map(|hop| hop["agent"].as_str().unwrap()).collect();
    assert_eq!(agents, ["homelab-engineer", "errand-runner"]);
    let note = host.note(&format!("inbox/drafts/homelab-{id}.md"));
    for line in ["kind: homelab-finding", "action_class: C", "handoff_target: errand-runner", "target_repo: home-ops"] {
        assert!(note.contains(line), "{line}: {note}");
    }
    assert_eq!((replicas(&folder), done(folder.path()).len()), (json!(1), 0), "nothing happens before a person says so");
    let push = ntfy.messages(1).await.remove(0);
    assert_eq!(push["title"], "Errand runner needs approval");
    assert!(push["message"].as_str().unwrap().contains("one replica is too few"), "{push}");
    assert_eq!(press(&push, "Approve", &host.base).await.0, 200);
    let task = host.task(&id, "done").await;
    assert_eq!(done(folder.path()), [json!({ "scale": "jellyfin", "replicas": 2 })], "once");
    assert_eq!(replicas(&folder), 2);
    let ran = &task["hops"][1]["outcome"];
    let text = ran["text"].as_str().unwrap();
    assert!(text.starts_with("Executed `kubectl_scale`."), "{text}");
    assert!(text.contains("A dry run went through before."), "{text}");
    assert!(text.contains("Afterwards [2.1.") && text.contains("\"jellyfin\":2"), "what was looked at after the write: {text}");
    assert!(!task["output"].as_str().unwrap().contains("Not backed"), "{}", task["output"]);
    // The report's own words are the fake model's; that it was told of the result is what can be seen.
    assert!(model.heard().last().unwrap().to_string().contains("Executed `kubectl_scale`"));

    // What was done can be undone: by a task that is asked about like any other.
    let (status, undo) = host.post(&format!("/tasks/{id}/undo"), "").await;
    assert_eq!(status, 202, "{undo}");
    let undo = undo["task_id"].as_str().unwrap().to_owned();
    host.task(&undo, "awaiting_approval").await;
    let asked = question(&host).await;
    assert_eq!(asked["request"], json!({ "tool": "kubectl_scale", "arguments": { "name": "jellyfin", "replicas": 1 } }));
    assert_eq!(say(&host, &asked["id"], "approve").await.0, 200);
    host.task(&undo, "done").await;
    assert_eq!((replicas(&folder), done(folder.path()).len()), (json!(1), 2));
    let (status, again) = host.post(&format!("/tasks/{id}/undo"), "").await;
    assert_eq!((status, &again["error"]["code"]), (409, &json!("nothing_to_undo")), "{again}");
}

async fn what_fails_in_its_rehearsal_is_not_asked_about(ground: Ground) {
    let folder = tempfile::tempdir().unwrap();
    let (model, house) = (ground.model().await, Real::house(folder.path(), true).await);
    let host = setup(ground, &model, &house).await.start().await;
    model.order(proposes().map(|order| {
        let Order::Say(said) = &order else { return order };
        let (there, nowhere) =
            ("{\\\"name\\\":\\\"jellyfin\\\",\\\"replicas\\\":2}", "{\\\"name\\\":\\\"emby\\\",\\\"replicas\\\":2}");
        Order::Say(said.replace(there, nowhere))
    }));
    let task = host.done(asks()).await;
    let ran = &task["hops"][1]["outcome"];
    let result: Value = serde_json::from_str(ran["data"].as_str().unwrap()).unwrap();
    assert_eq!(result["outcome"], "preflight-failed", "{ran}");
    assert!(ran["text"].as_str().unwrap().contains("there is no deployment emby"), "{ran}");
    assert_eq!(
        (done(folder.path()).len(), host.get("/approvals?status=all").await.1["approvals"].as_array().unwrap().len()),
        (0, 0)
    );
}

async fn an_undo_that_was_denied_can_be_asked_for_again(ground: Ground) {
    let folder = tempfile::tempdir().unwrap();
    let (model, house) = (ground.model().await, Real::house(folder.path(), true).await);
    let host = setup(ground, &model, &house).await.start().await;
    model.order(proposes());
    let id = host.submit(asks()).await;
    host.task(&id, "awaiting_approval").await;
    assert_eq!(say(&host, &question(&host).await["id"], "approve").await.0, 200);
    host.task(&id, "done").await;
    let undo = async || {
        let (status, undo) = host.post(&format!("/tasks/{id}/undo"), "").await;
        assert_eq!(status, 202, "{undo}");
        (undo["task_id"].as_str().unwrap().to_owned(), undo["status"].clone())
    };
    let (first, status) = undo().await;
    assert_eq!((status, undo().await), (json!("accepted"), (first.clone(), json!("duplicate"))), "one at a time");
    host.task(&first, "awaiting_approval").await;
    assert_eq!(say(&host, &question(&host).await["id"], "reject").await.0, 200);
    host.task(&first, "done").await;
    let (second, _) = undo().await;
    assert_ne!(first, second);
    host.task(&second, "awaiting_approval").await;
    let asked = question(&host).await;
    assert_eq!(asked["request"]["arguments"], json!({ "name": "jellyfin", "replicas": 1 }), "the same call, not an earlier one");
    assert_eq!(say(&host, &asked["id"], "approve").await.0, 200);
    host.task(&second, "done").await;
    assert_eq!((replicas(&folder), host.post(&format!("/tasks/{id}/undo"), "").await.0), (json!(1), 409));
}

async fn what_is_denied_is_reported_as_not_done(ground: Ground) {
    let folder = tempfile::tempdir().unwrap();
    let (model, house) = (ground.model().await, Real::house(folder.path(), true).await);
    let host = setup(ground, &model, &house).await.start().await;
    model.order(proposes());
    let id = host.submit(asks()).await;
    host.task(&id, "awaiting_approval").await;
    assert_eq!(say(&host, &question(&host).await["id"], "reject").await.0, 200);
    let task = host.task(&id, "done").await;
    let ran = &task["hops"][1]["outcome"];
    assert!(ran["text"].as_str().unwrap().starts_with("Not executed"), "{ran}");
    let result: Value = serde_json::from_str(ran["data"].as_str().unwrap()).unwrap();
    assert_eq!(result["outcome"], "no-approval");
    assert_eq!(done(folder.path()).len(), 0);
}

/// A host that was told to stop at that point of its next effect, once a person has said yes.
async fn killed(ground: Ground, at: &str) -> (tempfile::TempDir, Real, Model, Host, String) {
    let folder = tempfile::tempdir().unwrap();
    let (model, house) = (ground.model().await, Real::house(folder.path(), true).await);
    let host = setup(ground, &model, &house).await.start().await;
    model.order(proposes());
    let id = host.submit(asks()).await;
    host.task(&id, "awaiting_approval").await;
    let mut setup = host.kill().await;
    setup.variables.insert("HOST_FAULT", at.to_owned());
    let host = setup.start().await;
    assert_eq!(say(&host, &question(&host).await["id"], "approve").await.0, 200);
    host.logged("fault_point").await;
    let mut setup = host.kill().await;
    setup.variables.remove("HOST_FAULT");
    (folder, house, model, setup.start().await, id)
}

async fn a_kill_between_consent_and_effect_makes_the_change_once(ground: Ground) {
    let (folder, _house, _model, host, id) = killed(ground, "before_intent").await;
    host.task(&id, "done").await;
    assert_eq!(done(folder.path()).len(), 1, "the consent still stands, and is used once");
}

async fn a_kill_between_effect_and_record_asks_whether_it_happened(ground: Ground) {
    let (folder, _house, _model, host, id) = killed(ground, "after_effect").await;
    let waits = host.task(&id, "awaiting_approval").await;
    assert!(waits["waits_for"].as_str().unwrap().contains("may or may not have happened"), "{waits}");
    assert_eq!(done(folder.path()).len(), 1);
    let asked = question(&host).await;
    assert_eq!(asked["kind"], "ambiguous");
    let said = json!({ "reaction": "done", "result": { "name": "jellyfin", "replicas": 2 } });
    let (status, _) = host.post(&format!("/approvals/{}", asked["id"].as_str().unwrap()), said.to_string()).await;
    assert_eq!(status, 200);
    let task = host.task(&id, "done").await;
    assert!(task["hops"][1]["outcome"]["text"].as_str().unwrap().starts_with("Executed"), "{task:#}");
    assert_eq!(done(folder.path()).len(), 1, "never twice");
}

async fn a_tool_that_destroys_is_not_offered_to_those_who_look(ground: Ground) {
    let folder = tempfile::tempdir().unwrap();
    let (model, house) = (ground.model().await, Real::house(folder.path(), true).await);
    let changes = "[[mcp.rules]]\ntools = \"kubectl_get_events\"\nclass = \"C\"\n";
    let host = setup(ground, &model, &house).await.and(changes).start().await;
    // Golden hle-006: it is asked to delete, and its model tries to by a look.
    let refuses = json!({
        "summary": "The volume is not deleted: that loses data.", "diagnosis": "nobody looked", "proposed_action": "none", "action_class": "D",
        "handoff_target": "user", "affected_resources": [], "references": [], "rollback": "", "call": null, "verify": null,
    });
    model.order([
        step(json!([look("kubectl_delete", json!({ "kind": "pvc", "name": "data" }))]), false),
        step(json!([look("kubectl_delete", json!({ "kind": "pvc", "name": "data" }))]), true),
        Order::Say(refuses.to_string()),
    ]);
    let more = json!({ "content": "delete pod and PVC of the database" });
    let mut envelope = asks();
    envelope["content"] = more["content"].clone();
    let task = host.done(envelope).await;
    assert_eq!(done(folder.path()).len(), 0);
    for prompt in model.heard().iter().take(2) {
        let text = prompt.to_string();
        let offered = |tool: &str| text.contains(&format!("- {tool} "));
        assert!(offered("kubectl_get_deployments"), "{text}");
        // The one is not granted; the other is, and changes something in this house.
        assert!(!offered("kubectl_delete") && !offered("kubectl_get_events"), "they are not among the tools to look with: {text}");
    }
    assert!(task["output"].as_str().unwrap().starts_with("**Nothing was looked at**"), "{}", task["output"]);
}

async fn an_answer_that_rests_on_nothing_says_so(ground: Ground) {
    let folder = tempfile::tempdir().unwrap();
    let (model, house) = (ground.model().await, Real::house(folder.path(), true).await);
    let host = setup(ground, &model, &house).await.start().await;
    let mut said = proposes();
    let Order::Say(finding) = &said[2] else { panic!("the finding is last") };
    let mut finding: Value = serde_json::from_str(finding).unwrap();
    finding["handoff_target"] = json!("user");
    finding["cites"] = json!([
        { "ref": "1.1.3", "subject": "jellyfin", "claim": "it runs with one replica" },
        { "ref": "1.1.3", "subject": "paperless", "claim": "paperless is down" },
    ]);
    said[2] = Order::Say(finding.to_string());
    model.order(said);
    let task = host.done(asks()).await;
    let output = task["output"].as_str().unwrap();
    assert!(output.contains("Not backed by anything that was looked at"), "{output}");
    assert!(output.contains("paperless is down (paperless; cites 1.1.3: that call says nothing about it)"), "{output}");
    assert!(!output.contains("it runs with one replica (") && !output.starts_with("**Nothing"), "{output}");
}

async fn a_rejection_is_taken_up_by_the_supervisor(ground: Ground) {
    let folder = tempfile::tempdir().unwrap();
    let (model, house) = (ground.model().await, Real::house(folder.path(), true).await);
    let host = setup(ground, &model, &house).await.start().await;
    // Sent to who only makes exact calls: it hands back, and the supervisor finds somebody who looks.
    let choice =
        json!({ "decision": "reroute", "target": "homelab-engineer", "why": "it looks", "options": [], "recommendation": "" });
    model.order([Order::Say(choice.to_string())]);
    model.order(proposes_in_hop(3));
    let mut envelope = asks();
    envelope["target_agent"] = json!("errand-runner");
    let id = host.submit(envelope).await;
    let waits = host.task(&id, "awaiting_approval").await;
    let agents: Vec<&str> = waits["hops"].as_array().unwrap().iter().map(|hop| hop["agent"].as_str().unwrap()).collect();
    assert_eq!(agents, ["errand-runner", "supervisor", "homelab-engineer", "errand-runner"]);
    assert_eq!(say(&host, &question(&host).await["id"], "approve").await.0, 200);
    host.task(&id, "done").await;
    assert_eq!(done(folder.path()).len(), 1);
}
