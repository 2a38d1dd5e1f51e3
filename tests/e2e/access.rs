//! Who may ask: tokens, roles, surfaces, and pages of other sites.

use serde_json::json;
use sha2::{Digest, Sha256};

use crate::support::fake::Model;
use crate::support::ground::{Ground, on_both_grounds};
use crate::support::{Host, Setup};

on_both_grounds![a_token_opens_the_door_and_its_role_bounds_what_is_asked, a_household_sees_its_own_tasks_without_the_machinery,];

pub(crate) fn token(name: &str, role: &str, sources: &str) -> String {
    let digest: String = Sha256::digest(format!("secret of {name}")).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("[[auth.tokens]]\nname = \"{name}\"\nsha256 = \"{digest}\"\nrole = \"{role}\"\nsources = {sources}\n")
}

pub(super) async fn guarded(ground: Ground) -> (Model, Host) {
    guarded_with(ground, "").await
}

/// A host with tokens, and more configuration.
pub(super) async fn guarded_with(ground: Ground, more: &str) -> (Model, Host) {
    let model = ground.model().await;
    let mut setup = ground
        .setup(&model)
        .await
        .and(more)
        .and(&token("boss", "operator", "[]"))
        .and(&token("kitchen", "household", "[\"voice\"]"))
        .and("[[auth.tokens]]\nname = \"named\"\nenv = \"HAI_TEST_TOKEN\"\nrole = \"operator\"\n");
    setup.variables.insert("HAI_TEST_TOKEN", "from the environment".into());
    (model, setup.start().await)
}

fn ask(more: serde_json::Value) -> String {
    let mut envelope = json!({ "task_id": "t", "source": "voice", "content": "dim the light", "intent": "action" });
    envelope.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    envelope.to_string()
}

async fn a_token_opens_the_door_and_its_role_bounds_what_is_asked(ground: Ground) {
    let (_model, mut host) = guarded(ground).await;
    for (token, body, expected) in [
        (None, ask(json!({})), "401 unauthenticated"),
        (Some("wrong"), ask(json!({})), "401 unauthenticated"),
        (Some("secret of kitchen"), ask(json!({})), "202"),
        (Some("secret of kitchen"), ask(json!({ "requester": "renee" })), "202"),
        (Some("secret of kitchen"), ask(json!({ "requester": "rob" })), "403 requester_not_allowed"),
        (Some("secret of kitchen"), ask(json!({ "source": "cli" })), "403 source_not_allowed"),
        (Some("secret of kitchen"), ask(json!({ "intent": "bug" })), "403 household_intent_blocked"),
        (Some("secret of boss"), ask(json!({ "source": "cli", "requester": "renee" })), "202"),
        (Some("from the environment"), ask(json!({ "source": "cli" })), "202"),
    ] {
        host.token = token.map(str::to_owned);
        let (status, answer) = host.post("/inbox", body.clone()).await;
        let said = format!("{status} {}", answer["error"]["code"].as_str().unwrap_or_default());
        assert_eq!(said.trim(), expected, "{token:?} {body}: {answer}");
    }
    host.token = None;
    for open in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(host.get(open).await.0, 200, "{open} needs no token");
    }
    for closed in ["/tasks", "/agents"] {
        assert_eq!(host.get(closed).await.0, 401, "{closed} needs one");
    }
}

async fn a_household_sees_its_own_tasks_without_the_machinery(ground: Ground) {
    let (_model, mut host) = guarded(ground).await;
    host.token = Some("secret of boss".into());
    let theirs = host.done(json!({ "source": "cli", "content": "the operator's own business" })).await["task_id"].clone();
    host.token = Some("secret of kitchen".into());
    let (_, accepted) = host.post("/inbox", ask(json!({}))).await;
    let id = accepted["task_id"].as_str().unwrap();
    let task = host.task(id, "done").await;
    assert!(task["output"].as_str().unwrap().contains("Note drafted"));
    assert_eq!(task["hops"][0]["outcome"], "handoff", "how it ended, not what was said inside");
    assert_eq!(task["timeline"], json!([]), "no journal, even with ?full=1");
    let (status, _) = host.get(&format!("/tasks/{}", theirs.as_str().unwrap())).await;
    assert_eq!(status, 404);
    let (_, page) = host.get("/tasks").await;
    assert_eq!(page["tasks"].as_array().unwrap().len(), 1);
    assert_eq!(host.get("/agents").await.0, 403);
}

#[tokio::test]
async fn a_page_of_another_site_cannot_use_a_host_without_tokens() {
    let host = Setup::bare().start().await;
    let response = host.request(reqwest::Method::GET, "/metrics").header("host", "evil.example").send().await.unwrap();
    assert_eq!(response.status(), 403, "not even the open ones");
    for (header, value, status, code) in [
        ("host", "evil.example", 403, "foreign_host"),
        ("origin", "https://evil.example", 403, "foreign_origin"),
        ("origin", "null", 403, "foreign_origin"),
        ("origin", "http://localhost:3000", 403, "foreign_origin"),
        ("origin", &host.base, 200, ""),
        ("authorization", "Bearer ignored", 200, ""),
    ] {
        let response = host.request(reqwest::Method::GET, "/tasks").header(header, value).send().await.unwrap();
        let answered = response.status().as_u16();
        let answer: serde_json::Value = response.json().await.unwrap();
        assert_eq!((answered, answer["error"]["code"].as_str().unwrap_or_default()), (status, code), "{header}: {value}");
    }
}
