//! Model servers that die, fail or lie for some tasks only, and a store that goes away: what waits goes on by itself.

use std::time::Instant;

use serde_json::json;

use crate::support::fake::{Model, Protocol};
use crate::support::ground::{Ground, on_both_grounds};
use crate::support::{Host, Setup, postgres};

on_both_grounds![a_dead_server_is_tried_by_one_and_everybody_goes_on_when_it_is_back];

async fn a_dead_server_is_tried_by_one_and_everybody_goes_on_when_it_is_back(ground: Ground) {
    const TASKS: usize = 20;
    let model = ground.model().await;
    model.away(true);
    let host = ground.setup(&model).await.start().await;
    let began = Instant::now();
    let mut tasks = Vec::new();
    for _ in 0..TASKS {
        tasks.push(host.submit(json!({ "target_agent": "note-maker" })).await);
    }
    for id in &tasks {
        let parked = host.task(id, "awaiting_backend").await;
        assert_eq!(parked["attempts"], 0);
        assert!(parked["waits_for"].as_str().unwrap().contains("backend unavailable"), "{parked}");
    }
    // Eight calls could be under way before the first failed; after that, one in ten seconds at most.
    let parked = model.turned_away();
    assert!(parked <= 8, "{parked} contacts for {TASKS} tasks");
    let (_, ready) = host.get("/readyz").await;
    assert!(ready["degraded"].to_string().contains("group local-p40"), "{ready}");
    let probes = model.turned_away() - parked;

    let setup = host.kill().await;
    let host = setup.start().await;
    model.away(false);
    for id in &tasks {
        host.task(id, "done").await;
    }
    let trials = model.turned_away() - parked - probes;
    assert!(u64::from(trials) <= began.elapsed().as_secs() / 10 + 1, "{trials} trials in {:?}", began.elapsed());
    assert_eq!(host.notes("inbox/drafts").len(), TASKS);
    host.logged("backend_back").await;
}

#[tokio::test]
async fn a_call_that_fails_where_others_succeed_fails_itself() {
    let model = Model::start(Protocol::Openai).await;
    model.poison("a cursed request");
    let host = Setup::with(&model).start().await;
    let cursed = host.submit(json!({ "target_agent": "note-maker", "content": "note: a cursed request" })).await;
    host.task(&cursed, "awaiting_backend").await;
    let began = Instant::now();
    // While others are served, the cursed one tries again each ten seconds.
    let failed = loop {
        host.done(json!({ "target_agent": "note-maker" })).await;
        let (_, task) = host.get(&format!("/tasks/{cursed}")).await;
        if task["status"] == "failed" {
            break task;
        }
        assert!(began.elapsed() < crate::support::PATIENCE, "{task}");
    };
    assert_eq!(failed["error"]["code"], "backend_unavailable");
    assert!(failed["error"]["message"].as_str().unwrap().contains("served others meanwhile"), "{failed}");
    assert_eq!(failed["hops"][0]["agent"], "note-maker");
}

/// `/inbox` says 503 and keeps nothing; `(status, error code)` of a post.
async fn posted(host: &Host) -> (u16, String) {
    let body = json!({ "task_id": "t", "source": "test", "content": "note: x", "target_agent": "note-maker" });
    let (status, answer) = host.post("/inbox", body.to_string()).await;
    (status, answer["error"]["code"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn a_postgres_that_goes_and_comes_back_needs_no_restart() {
    let cluster = tokio::task::spawn_blocking(postgres::Cluster::start).await.unwrap();
    let model = Model::start(Protocol::Ollama).await;
    let database = Some(postgres::fresh(&cluster.url("postgres")).await);
    let host = Setup { database, ..Setup::with(&model) }.start().await;
    let before = host.done(json!({ "target_agent": "note-maker" })).await;

    let cluster = tokio::task::spawn_blocking(move || {
        cluster.stop();
        cluster
    });
    let cluster = cluster.await.unwrap();
    assert_eq!(posted(&host).await, (503, "store_unavailable".into()));
    assert_eq!(host.get(&format!("/tasks/{}", before["task_id"].as_str().unwrap())).await.0, 503);
    assert_eq!(host.get("/readyz").await.0, 503);
    assert_eq!(host.get("/healthz").await.0, 200);
    host.logged("presence_lost").await;

    let _cluster = tokio::task::spawn_blocking(move || {
        cluster.resume();
        cluster
    })
    .await
    .unwrap();
    host.done(json!({ "target_agent": "note-maker" })).await;
    let (_, page) = host.get("/tasks").await;
    assert_eq!(page["tasks"].as_array().unwrap().len(), 2, "what was refused was not kept");
}

#[tokio::test]
async fn a_full_disk_refuses_and_recovers() {
    let model = Model::start(Protocol::Ollama).await;
    // A write beyond the limit is an error, as on a full disk, not the end of the process.
    let host = Setup::with(&model).start_without_signal("XFSZ").await;
    host.done(json!({ "target_agent": "note-maker" })).await;
    host.file_limit("4096").await;
    assert_eq!(posted(&host).await, (503, "store_unavailable".into()));
    assert_eq!(host.get("/readyz").await.0, 503);
    host.file_limit("unlimited").await;
    host.done(json!({ "target_agent": "note-maker" })).await;
    let (_, page) = host.get("/tasks").await;
    assert_eq!(page["tasks"].as_array().unwrap().len(), 2, "what was refused was not kept");
}

#[tokio::test]
async fn work_that_the_store_forsook_goes_on_when_it_is_back() {
    let cluster = tokio::task::spawn_blocking(postgres::Cluster::start).await.unwrap();
    let model = Model::start(Protocol::Openai).await;
    model.order([crate::support::fake::Order::Hang]);
    let database = Some(postgres::fresh(&cluster.url("postgres")).await);
    let host = Setup { database, ..Setup::with(&model) }.start().await;
    let id = host.submit(json!({ "target_agent": "note-maker" })).await;
    model.asked().await;
    let cluster = tokio::task::spawn_blocking(move || {
        cluster.stop();
        cluster
    })
    .await
    .unwrap();
    // The answer comes while nothing can be written down.
    model.release();
    host.logged("store_unavailable").await;
    host.logged("presence_lost").await;
    let _cluster = tokio::task::spawn_blocking(move || {
        cluster.resume();
        cluster
    })
    .await
    .unwrap();
    let task = host.task(&id, "done").await;
    assert_eq!(task["attempts"], 0);
    assert_eq!(host.notes("inbox/drafts").len(), 1);
    host.logged("presence_back").await;
}
