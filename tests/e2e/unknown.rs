//! A call that may or may not have happened: the task asks, and a person answers.

use serde_json::{Value, json};

use super::access::token;
use super::cli::output;
use super::hai::{hai, parsed};
use super::replay::tampered;
use crate::support::fake::{Model, Order};
use crate::support::ground::{Ground, on_both_grounds};
use crate::support::{Host, guests};

on_both_grounds![
    a_call_that_may_have_happened_is_asked_about_and_made_again_on_the_word_retry,
    on_the_word_done_the_run_goes_on_as_if_it_had_been_answered,
    on_the_word_fail_the_task_is_a_dead_letter_that_says_what_may_have_happened,
    a_household_learns_that_it_waits_and_not_for_which_call,
    a_cancelled_task_asks_nothing_more,
];

const GRANT: &str = "[grants.writes]\nmodels = [\"local-p40\"]\nvault_write = [\"**\"]\n";

/// A host whose task has written a file of which nobody knows any more whether it was written.
async fn asking(ground: Ground) -> (Model, String, Host) {
    asking_for(ground, json!({}), "").await
}

async fn asking_for(ground: Ground, more: Value, config: &str) -> (Model, String, Host) {
    let model = ground.model().await;
    model.order([Order::Hang]);
    let setup = ground.setup(&model).await.and(GRANT).and(config);
    let agents = guests::with(&["writes"], setup.folder.path());
    let mut host = setup.agents(agents).start().await;
    host.token = (!config.is_empty()).then(|| "secret of boss".to_owned());
    let mut task = json!({ "target_agent": "writes" });
    task.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let id = host.submit(task).await;
    model.asked().await;
    let token = host.token.clone();
    let setup = host.kill().await;
    // As if the writing were no writing but a call that nobody may repeat, and the host had died in its middle.
    let sql = "update journal set effect = 'once', state = 'started', answer = null, finished_at = null where kind = 'vault.write'";
    tampered(ground, &setup, sql).await;
    let mut host = setup.start().await;
    host.token = token;
    let waiting = host.task(&id, "awaiting_approval").await;
    assert_eq!(waiting["hops"][0]["status"], "parked");
    (model, id, host)
}

/// The one open question.
async fn question(host: &Host) -> Value {
    let (status, open) = host.get("/approvals").await;
    assert_eq!((status, open["approvals"].as_array().map(Vec::len)), (200, Some(1)), "{open}");
    open["approvals"][0].clone()
}

async fn answer(host: &Host, id: &Value, said: Value) -> (u16, Value) {
    host.post(&format!("/approvals/{}", id.as_str().unwrap()), said.to_string()).await
}

async fn a_call_that_may_have_happened_is_asked_about_and_made_again_on_the_word_retry(ground: Ground) {
    let (model, id, host) = asking(ground).await;
    let asked = question(&host).await;
    assert_eq!((&asked["task_id"], &asked["kind"], &asked["status"]), (&json!(id), &json!("ambiguous"), &json!("open")));
    assert_eq!((&asked["agent"], &asked["call"], &asked["ref"]), (&json!("writes"), &json!("vault.write"), &json!("1.1.1")));
    assert_eq!(asked["request"]["body"], "one\n", "as sent");
    assert!(asked["why"].as_str().unwrap().contains("may or may not have happened"), "{asked}");
    assert!(asked["answers"]["retry"].is_string() && asked["answers"]["fail"].is_string());
    let task = host.get(&format!("/tasks/{id}")).await.1;
    assert_eq!(task["approvals"], json!([asked]));
    assert!(task["waits_for"].as_str().unwrap().contains("may or may not have happened"), "{task}");
    let (_, metrics) = host.get("/metrics").await;
    assert!(metrics.as_str().unwrap().contains("langgraph_awaiting_approval_tasks 1"), "{metrics}");
    assert!(metrics.as_str().unwrap().contains("langgraph_awaiting_approval_oldest_age_seconds"), "{metrics}");

    for (id, said, expected) in [
        (&json!("01NOTHING"), json!({ "reaction": "retry" }), "404 not_found"),
        (&asked["id"], json!({ "reaction": "approve" }), "422 schema"),
        (&asked["id"], json!({ "reaction": "retry", "result": 1 }), "422 schema"),
        (&asked["id"], json!({ "reaction": "done", "result": "a file" }), "422 result"),
        (&asked["id"], json!({ "reaction": "done", "surprise": 1 }), "422 schema"),
    ] {
        let (status, refused) = answer(&host, id, said.clone()).await;
        assert_eq!(format!("{status} {}", refused["error"]["code"].as_str().unwrap()), expected, "{said} {refused}");
    }
    model.release();
    let (code, said, complained) = output(hai(&host).args(["answer", asked["id"].as_str().unwrap(), "retry", "--json"])).await;
    assert_eq!(code, Some(0), "{complained}");
    let decided = parsed(&said);
    assert_eq!((&decided["status"], &decided["reaction"], &decided["actor"]), (&json!("decided"), &json!("retry"), &json!("rob")));
    let task = host.task(&id, "done").await;
    assert_eq!((&task["hops"][0]["run"], &task["attempts"]), (&json!(1), &json!(0)), "the run went on");
    assert_eq!(host.notes("inbox/drafts"), [format!("note-{id}.md")]);
    let wrote: Vec<&Value> = task["timeline"].as_array().unwrap().iter().filter(|call| call["kind"] == "vault.write").collect();
    assert_eq!((wrote.len(), &wrote[0]["state"]), (1, &json!("done")));
    let (status, late) = answer(&host, &asked["id"], json!({ "reaction": "fail" })).await;
    assert_eq!((status, &late["error"]["code"]), (409, &json!("already_decided")), "{late}");
    assert!(late["error"]["message"].as_str().unwrap().contains("by rob with `retry`"), "{late}");
    assert_eq!(host.get("/approvals").await.1["approvals"], json!([]));
    assert_eq!(host.get("/approvals?status=all").await.1["approvals"][0]["id"], asked["id"]);
}

async fn on_the_word_done_the_run_goes_on_as_if_it_had_been_answered(ground: Ground) {
    let (model, id, host) = asking(ground).await;
    let asked = question(&host).await;
    // Whoever writes it now did not hear the operator.
    std::fs::remove_file(host.setup.vault().join(format!("inbox/drafts/note-{id}.md"))).unwrap();
    model.release();
    let (status, decided) = answer(&host, &asked["id"], json!({ "reaction": "done" })).await;
    assert_eq!((status, &decided["reaction"]), (200, &json!("done")), "{decided}");
    let task = host.task(&id, "done").await;
    assert!(task["hops"][0]["outcome"]["text"].as_str().unwrap().contains("the file: ok"), "{task:#}");
    assert!(host.notes("inbox/drafts").is_empty(), "it was not written again");
    let call = &task["timeline"][1];
    assert_eq!((&call["state"], &call["tries"][0]["reason"]), (&json!("done"), &json!("a person said that it had happened")));
}

async fn on_the_word_fail_the_task_is_a_dead_letter_that_says_what_may_have_happened(ground: Ground) {
    let (_model, id, host) = asking(ground).await;
    let (code, said, complained) = output(hai(&host).args(["awaiting"])).await;
    assert_eq!(code, Some(0), "{complained}");
    let asked = question(&host).await["id"].as_str().unwrap().to_owned();
    assert!(said.contains(&id) && said.contains(&format!("hai answer {asked} retry")), "{said}");
    let (code, _, complained) = output(hai(&host).args(["answer", &asked, "done", "--result", "a file"])).await;
    assert_eq!(code, Some(2), "{complained}");
    let (code, _, complained) = output(hai(&host).args(["answer", &asked, "done", "--result", "\"a file\""])).await;
    assert!(code == Some(1) && complained.contains("`vault.write` answers nothing"), "{complained}");
    let (code, said, _) = output(hai(&host).args(["answer", &asked, "fail"])).await;
    assert!(code == Some(0) && said.contains(&format!("hai dlq show {id}")), "{said}");

    let task = host.get(&format!("/tasks/{id}")).await.1;
    assert_eq!((&task["status"], &task["error"]["code"]), (&json!("failed"), &json!("approval_denied")));
    let message = task["error"]["message"].as_str().unwrap();
    assert!(message.contains("call 1.1.1 (vault.write) may or may not have happened, and rob gave the task up"), "{message}");
    let (_, page) = host.get("/dlq").await;
    let effects = &page["letters"][0]["effects"];
    assert_eq!((&page["letters"][0]["task_id"], &effects[0]["state"]), (&json!(id), &json!("unknown")), "{page}");
    let (_, metrics) = host.get("/metrics").await;
    assert!(metrics.as_str().unwrap().contains("langgraph_dlq_total{code=\"approval_denied\"} 1"), "{metrics}");
}

async fn a_household_learns_that_it_waits_and_not_for_which_call(ground: Ground) {
    let tokens = token("boss", "operator", "[]") + &token("kitchen", "household", "[]");
    let household = json!({ "requester": "renee", "intent": "action" });
    let (_model, id, mut host) = asking_for(ground, household, &tokens).await;
    host.token = Some("secret of kitchen".into());
    let (status, task) = host.get(&format!("/tasks/{id}")).await;
    assert_eq!((status, &task["waits_for"]), (200, &json!("an answer of the operator")));
    let asked = &task["approvals"][0];
    assert_eq!((&asked["kind"], &asked["status"]), (&json!("ambiguous"), &json!("open")));
    for inside in ["agent", "call", "ref", "request", "why", "answers", "called_at"] {
        assert_eq!(asked[inside], json!(null), "{inside}");
    }
    assert_eq!(host.get("/approvals").await.0, 403);
    assert_eq!(answer(&host, &asked["id"], json!({ "reaction": "retry" })).await.0, 403);
    assert_eq!(host.get("/dlq").await.0, 403);
}

async fn a_cancelled_task_asks_nothing_more(ground: Ground) {
    let (_model, id, host) = asking(ground).await;
    let asked = question(&host).await;
    assert_eq!(host.post(&format!("/tasks/{id}/cancel"), "").await.0, 200);
    assert_eq!(host.get("/approvals").await.1["approvals"], json!([]));
    let (status, late) = answer(&host, &asked["id"], json!({ "reaction": "retry" })).await;
    assert_eq!((status, &late["error"]["code"]), (409, &json!("already_decided")), "{late}");
    let (status, refused) = host.post(&format!("/tasks/{id}/retry"), "").await;
    assert_eq!((status, &refused["error"]["code"]), (409, &json!("already_happened")), "{refused}");
    assert!(refused["error"]["message"].as_str().unwrap().contains("1.1.1 vault.write of writes (unknown)"), "{refused}");
    assert_eq!(host.post(&format!("/tasks/{id}/retry"), json!({ "again": true }).to_string()).await.0, 200);
}
