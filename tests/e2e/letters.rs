//! Dead letters: what failed says what it has done by then, and is tried again, edited or discarded.

use serde_json::{Value, json};

use super::cli::output;
use super::hai::{hai, parsed};
use super::replay::tampered;
use crate::support::fake::{Model, Order};
use crate::support::ground::{Ground, on_both_grounds};
use crate::support::{Host, Setup, guests};

on_both_grounds![
    what_must_not_be_done_twice_makes_a_failed_hop_a_dead_letter,
    an_edited_letter_starts_anew_and_keeps_what_it_was,
    a_discarded_letter_leaves_the_list_and_stays_failed,
    a_task_on_which_ten_hosts_died_is_given_up,
];

const GRANT: &str = "[grants.writes]\nmodels = [\"local-p40\"]\nvault_write = [\"**\"]\n";

async fn house(ground: Ground, model: &Model) -> Setup {
    let setup = ground.setup(model).await.and(GRANT);
    let agents = guests::with(&["writes"], setup.folder.path());
    setup.agents(agents)
}

async fn letters(host: &Host) -> Vec<Value> {
    let (status, page) = host.get("/dlq").await;
    assert_eq!(status, 200, "{page}");
    page["letters"].as_array().unwrap().clone()
}

/// A host whose task wrote a file, which counts as what must not be done twice, and then gave up.
async fn gave_up(ground: Ground) -> (Model, String, Host) {
    let model = ground.model().await;
    model.order([Order::Hang]);
    let host = house(ground, &model).await.start().await;
    let id = host.submit(json!({ "target_agent": "writes", "content": "write, then give up" })).await;
    model.asked().await;
    let setup = host.kill().await;
    // Its answer need not have been on disk yet.
    let sql = "update journal set effect = 'once', state = 'done', answer = 'null', destination = 'vault', finished_at = started_at \
         where kind = 'vault.write'";
    tampered(ground, &setup, sql).await;
    let host = setup.start().await;
    model.release();
    let task = host.task(&id, "failed").await;
    assert_eq!((&task["attempts"], &task["hops"][0]["run"]), (&json!(1), &json!(1)), "it was not tried again by itself");
    assert_eq!(task["error"]["code"], "attempts_exhausted");
    assert!(task["error"]["message"].as_str().unwrap().contains("must not be done twice; last: I give up"), "{task:#}");
    (model, id, host)
}

async fn what_must_not_be_done_twice_makes_a_failed_hop_a_dead_letter(ground: Ground) {
    let (_model, id, host) = gave_up(ground).await;
    let letter = letters(&host).await.remove(0);
    assert_eq!((&letter["task_id"], &letter["error"]["code"]), (&json!(id), &json!("attempts_exhausted")));
    let effect = &letter["effects"][0];
    assert_eq!((&effect["ref"], &effect["agent"], &effect["kind"]), (&json!("1.1.1"), &json!("writes"), &json!("vault.write")));
    assert_eq!((&effect["state"], &effect["repeatable"], &effect["again"]), (&json!("done"), &json!(false), &json!(true)));
    assert!(effect["at"].is_string() && effect["destination"] == "vault" && effect.get("request").is_none(), "{effect}");
    // The task is over when it is on disk; it is counted after that, and then told.
    host.logged("task_failed").await;
    let (_, metrics) = host.get("/metrics").await;
    assert!(metrics.as_str().unwrap().contains("langgraph_dlq_size 1"), "{metrics}");
    assert!(metrics.as_str().unwrap().contains("langgraph_dlq_total{code=\"attempts_exhausted\"} 1"), "{metrics}");

    for path in [format!("/dlq/{id}/retry"), format!("/tasks/{id}/retry")] {
        let (status, refused) = host.post(&path, "").await;
        assert_eq!((status, &refused["error"]["code"]), (409, &json!("already_happened")), "{refused}");
        assert!(refused["error"]["message"].as_str().unwrap().contains("1.1.1 vault.write of writes (done)"), "{refused}");
    }
    let (code, said, _) = output(hai(&host).args(["dlq", "show", &id])).await;
    assert_eq!(code, Some(0));
    for part in ["must not be done twice", "vault.write", "inbox/drafts/note-", "may do it AGAIN", "retry", "--again"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let (code, _, complained) = output(hai(&host).args(["dlq", "retry", &id])).await;
    assert!(code == Some(1) && complained.contains("--again"), "{complained}");
    let (code, said, complained) = output(hai(&host).args(["dlq", "retry", &id, "--again", "--json"])).await;
    assert_eq!((code, &parsed(&said)["status"]), (Some(0), &json!("pending")), "{complained}");
    // Now it is the operator's doing: it fails as often as its retry policy says.
    let task = host.task(&id, "failed").await;
    assert_eq!(task["hops"][0]["run"], 4, "{task:#}");
}

async fn an_edited_letter_starts_anew_and_keeps_what_it_was(ground: Ground) {
    let (_model, id, host) = gave_up(ground).await;
    let path = format!("/dlq/{id}/retry");
    for (body, expected) in [
        (json!({ "content": " " }), "422 content_blank"),
        (json!({ "contents": "x" }), "422 schema"),
        (json!({ "content": "write it" }), "409 already_happened"),
    ] {
        let (status, refused) = host.post(&path, body.to_string()).await;
        assert_eq!(format!("{status} {}", refused["error"]["code"].as_str().unwrap()), expected, "{refused}");
    }
    let (code, _, complained) = output(hai(&host).args(["dlq", "edit", &id, "write it", "--again"])).await;
    assert_eq!(code, Some(0), "{complained}");
    let task = host.task(&id, "done").await;
    assert_eq!(task["content"], "write it");
    let hops: Vec<&str> = task["hops"].as_array().unwrap().iter().map(|hop| hop["agent"].as_str().unwrap()).collect();
    assert_eq!(hops, ["writes", "writes", "reporter"], "what it did before stays");
    let edit = task["timeline"].as_array().unwrap().iter().find(|entry| entry["kind"] == "task.edit").unwrap();
    assert_eq!(edit["request"], json!({ "by": "rob", "content_was": "write, then give up" }));
    let handed = &task["timeline"].as_array().unwrap().iter().find(|entry| entry["ref"] == "2.1.0").unwrap()["request"]["handed"];
    assert_eq!(handed, &json!([]), "nobody hands over what was done for the old content");
    assert!(letters(&host).await.is_empty());
    assert_eq!(host.events("task_edited").len(), 1);
}

async fn a_discarded_letter_leaves_the_list_and_stays_failed(ground: Ground) {
    let model = ground.model().await;
    model.order((0..4).map(|_| Order::Say("no".into())));
    let host = house(ground, &model).await.start().await;
    let mut ids = Vec::new();
    for _ in 0..2 {
        let id = host.submit(json!({ "retry_policy": { "max_attempts": 1 } })).await;
        host.task(&id, "failed").await;
        ids.push(id);
    }
    let (_, page) = host.get("/dlq?limit=1").await;
    assert_eq!((&page["letters"][0]["task_id"], &page["next"]), (&json!(ids[1]), &json!(ids[1])), "newest first");
    let (_, page) = host.get(&format!("/dlq?limit=1&before={}", ids[1])).await;
    assert_eq!((&page["letters"][0]["task_id"], &page["letters"][0]["effects"]), (&json!(ids[0]), &json!([])));
    let (code, said, _) = output(hai(&host).args(["dlq", "ls"])).await;
    assert!(code == Some(0) && ids.iter().all(|id| said.contains(id)) && said.contains("nothing"), "{said}");

    let (code, said, complained) = output(hai(&host).args(["dlq", "discard", &ids[0]])).await;
    assert!(code == Some(0) && said.contains("is discarded"), "{complained}");
    assert_eq!(letters(&host).await.len(), 1);
    assert_eq!(host.get(&format!("/tasks/{}", ids[0])).await.1["status"], "failed");
    for path in [format!("/dlq/{}/discard", ids[0]), format!("/dlq/{}/retry", ids[0]), "/dlq/nothing/retry".into()] {
        let (status, refused) = host.post(&path, "").await;
        assert_eq!((status, &refused["error"]["code"]), (404, &json!("not_found")), "{refused}");
    }
    assert_eq!(host.post(&format!("/tasks/{}/retry", ids[0]), "").await.0, 200, "by its own name it can still be tried again");
    host.task(&ids[0], "done").await;
    assert_eq!(host.post(&format!("/dlq/{}/retry", ids[1]), "").await.0, 200, "what has changed nothing needs no second word");
    host.task(&ids[1], "done").await;
    assert!(letters(&host).await.is_empty());
}

async fn a_task_on_which_ten_hosts_died_is_given_up(ground: Ground) {
    let model = ground.model().await;
    model.order([Order::Hang]);
    let host = house(ground, &model).await.start().await;
    let id = host.submit(json!({ "target_agent": "note-maker" })).await;
    model.asked().await;
    let setup = host.kill().await;
    tampered(ground, &setup, "update task set crashes = 9").await;
    let host = setup.start().await;
    let task = host.task(&id, "failed").await;
    assert_eq!(task["error"]["code"], "attempts_exhausted");
    let message = task["error"]["message"].as_str().unwrap();
    assert!(message.contains("died 10 times in a row"), "{message}");
    assert_eq!((&task["hops"][0]["status"], model.heard().len()), (&json!("failed"), 1));
    assert_eq!(letters(&host).await[0]["task_id"], json!(id));
    model.release();
    assert_eq!(host.post(&format!("/dlq/{id}/retry"), "").await.0, 200);
    host.task(&id, "done").await;
}
