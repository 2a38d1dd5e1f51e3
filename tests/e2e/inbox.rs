//! The door: what it takes, what it turns away, and with which code.

use serde_json::{Value, json};

use crate::support::ground::{Ground, on_both_grounds};

on_both_grounds![
    each_refusal_has_its_code_a_hint_and_a_count,
    a_repeated_key_answers_the_first_task,
    a_callers_trace_is_continued,
    urgent_tasks_go_first,
    tasks_are_listed_newest_first_and_page_by_page,
    a_full_queue_turns_away_until_there_is_room,
];

fn envelope(more: Value) -> String {
    let mut envelope = json!({ "task_id": "t", "source": "test", "content": "hi" });
    envelope.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    envelope.to_string()
}

async fn each_refusal_has_its_code_a_hint_and_a_count(ground: Ground) {
    let host = ground.bare().await.start().await;
    for (body, status, code) in [
        (envelope(json!({ "content": " " })), 422, "content_blank"),
        (envelope(json!({ "task_id": "" })), 422, "task_id_blank"),
        (envelope(json!({ "ttl_seconds": -1 })), 422, "ttl_nonpositive"),
        (envelope(json!({ "idempotency_key": "" })), 422, "idempotency_key_blank"),
        (envelope(json!({ "target_agent": "butler" })), 422, "unknown_target_agent"),
        (envelope(json!({ "requester": "renee" })), 422, "household_intent_missing"),
        (envelope(json!({ "requester": "renee", "intent": "bug" })), 403, "household_intent_blocked"),
        (envelope(json!({ "requester": "stranger" })), 403, "requester_not_allowed"),
        (envelope(json!({ "surprise": 1 })), 422, "schema"),
        (String::new(), 422, "schema"),
        ("{".into(), 422, "schema"),
        (envelope(json!({ "content": "x".repeat(1024 * 1024 + 1) })), 413, "too_large"),
        (envelope(json!({ "content": "x".repeat(2 * 1024 * 1024) })), 413, "too_large"),
    ] {
        let (answered, answer) = host.post("/inbox", body.clone()).await;
        let shown: String = body.chars().take(80).collect();
        assert_eq!((answered, answer["error"]["code"].as_str()), (status, Some(code)), "{shown}: {answer}");
        assert!(!answer["error"]["hint"].as_str().unwrap().is_empty());
    }
    let (_, metrics) = host.get("/metrics").await;
    let metrics = metrics.as_str().unwrap();
    assert!(metrics.contains("langgraph_inbox_envelope_rejected_total{reason=\"content_blank\"} 1"), "{metrics}");
    let (_, tasks) = host.get("/tasks").await;
    assert_eq!(tasks["tasks"], json!([]), "nothing was kept");
}

async fn a_repeated_key_answers_the_first_task(ground: Ground) {
    let model = ground.model().await;
    let host = ground.setup(&model).await.start().await;
    let body = envelope(json!({ "idempotency_key": "k", "task_id": "one" }));
    let (_, first) = host.post("/inbox", body).await;
    let again = envelope(json!({ "idempotency_key": "k", "task_id": "two" }));
    let (status, repeat) = host.post("/inbox", again).await;
    assert_eq!((status, repeat["status"].as_str()), (202, Some("duplicate")));
    assert_eq!(repeat["task_id"], first["task_id"]);
    assert_eq!(repeat["trace_id"], first["trace_id"]);
    let other = envelope(json!({ "idempotency_key": "k", "content": "something else" }));
    let (status, answer) = host.post("/inbox", other).await;
    assert_eq!((status, answer["error"]["code"].as_str()), (409, Some("idempotency_key_reused")));
    let (_, tasks) = host.get("/tasks").await;
    assert_eq!(tasks["tasks"].as_array().unwrap().len(), 1);
}

async fn a_callers_trace_is_continued(ground: Ground) {
    let model = ground.model().await;
    let host = ground.setup(&model).await.start().await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let request = host.request(reqwest::Method::POST, "/inbox").header("traceparent", format!("00-{trace}-00f067aa0ba902b7-01"));
    let own = "11111111111111111111111111111111";
    let answer: Value = request.body(envelope(json!({ "trace_id": own }))).send().await.unwrap().json().await.unwrap();
    assert_eq!(answer["trace_id"], trace, "the header wins");
    let (_, answer) = host.post("/inbox", envelope(json!({ "trace_id": own }))).await;
    assert_eq!(answer["trace_id"], own);
    let (_, answer) = host.post("/inbox", envelope(json!({}))).await;
    assert_eq!(answer["trace_id"].as_str().unwrap().len(), 32);
}

async fn urgent_tasks_go_first(ground: Ground) {
    let model = ground.model().await;
    let setup = ground.setup(&model).await.and("[server]\nin_flight = 1\n");
    std::fs::create_dir_all(setup.vault().join("_meta")).unwrap();
    std::fs::write(setup.vault().join("_meta/PAUSED"), "").unwrap();
    let host = setup.start().await;
    let mut ids = Vec::new();
    for priority in ["low", "normal", "urgent", "high"] {
        ids.push(host.submit(json!({ "priority": priority, "target_agent": "note-maker" })).await);
    }
    std::fs::remove_file(host.setup.vault().join("_meta/PAUSED")).unwrap();
    for id in &ids {
        host.task(id, "done").await;
    }
    let leased: Vec<Value> = host.events("task_leased").into_iter().map(|line| line["task_id"].clone()).collect();
    assert_eq!(leased, [2, 3, 1, 0].map(|at: usize| json!(ids[at])));
}

async fn tasks_are_listed_newest_first_and_page_by_page(ground: Ground) {
    let model = ground.model().await;
    let host = ground.setup(&model).await.start().await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(host.done(json!({})).await["task_id"].clone());
    }
    let (_, page) = host.get("/tasks?limit=2&status=done&agent=note-maker").await;
    let listed: Vec<&Value> = page["tasks"].as_array().unwrap().iter().map(|task| &task["task_id"]).collect();
    assert_eq!(listed, [&ids[2], &ids[1]]);
    let (_, rest) = host.get(&format!("/tasks?limit=2&before={}", page["next"].as_str().unwrap())).await;
    assert_eq!(rest["tasks"][0]["task_id"], ids[0]);
    assert_eq!(rest["next"], json!(null));
    let (status, answer) = host.get("/tasks?status=sleeping").await;
    assert_eq!((status, answer["error"]["code"].as_str()), (422, Some("schema")));
    let (status, answer) = host.get("/tasks?stats=done").await;
    assert_eq!((status, answer["error"]["code"].as_str()), (422, Some("schema")), "{answer}");
    let (status, answer) = host.get("/tasks/01ARZ3NDEKTSV4RRFFQ69G5FAV").await;
    assert_eq!((status, answer["error"]["code"].as_str()), (404, Some("not_found")));
    let (status, answer) = host.get("/console").await;
    assert_eq!((status, answer["error"]["code"].as_str()), (404, Some("not_found")));
}

async fn a_full_queue_turns_away_until_there_is_room(ground: Ground) {
    let model = ground.model().await;
    let mut setup = ground.setup(&model).await.and("[server]\nmax_waiting = 1\n");
    setup.variables.insert("HOST_SERVER__MAX_WAITING", "2".into());
    std::fs::create_dir_all(setup.vault().join("_meta")).unwrap();
    std::fs::write(setup.vault().join("_meta/PAUSED"), "").unwrap();
    let host = setup.start().await;
    let waiting = [host.submit(json!({ "idempotency_key": "first" })).await, host.submit(json!({})).await];
    let (status, answer) = host.post("/inbox", envelope(json!({}))).await;
    assert_eq!((status, answer["error"]["code"].as_str()), (429, Some("rate_limited")));
    let again =
        json!({ "task_id": "mine", "source": "test", "content": "note: the hose clamp is loose", "idempotency_key": "first" });
    let (status, answer) = host.post("/inbox", again.to_string()).await;
    assert_eq!((status, answer["task_id"].as_str()), (202, Some(waiting[0].as_str())), "a repeat is no new task");
    std::fs::remove_file(host.setup.vault().join("_meta/PAUSED")).unwrap();
    for id in waiting {
        host.task(&id, "done").await;
    }
    host.submit(json!({})).await;
}
