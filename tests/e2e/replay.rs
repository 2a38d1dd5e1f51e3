//! A run that was interrupted goes on where it was: what it had been answered is not asked again.

use serde_json::json;
use sqlx::Connection;

use crate::support::fake::{Model, Order};
use crate::support::ground::{Ground, Store, on_both_grounds};
use crate::support::{Setup, guests};

on_both_grounds![
    a_killed_run_goes_on_and_asks_nothing_twice,
    a_run_that_waited_for_a_server_goes_on,
    a_drained_run_goes_on_after_the_restart,
    a_run_that_asks_for_something_else_than_before_fails_and_says_so,
    a_run_goes_on_with_its_own_component_when_the_file_is_gone,
    a_run_whose_input_cannot_be_read_starts_anew,
];

/// The note-maker's first answer does not fit, so that it asks twice.
fn asks_twice() -> [Order; 2] {
    [Order::Say("no note".into()), Order::Hang]
}

/// A host that was killed while its note-maker waited for its second answer.
async fn killed_midway(ground: Ground) -> (Model, String, Setup) {
    let model = ground.model().await;
    model.order(asks_twice());
    let host = ground.setup(&model).await.start().await;
    let id = host.submit(json!({ "target_agent": "note-maker" })).await;
    model.heard_so_many(2).await;
    host.journaled(&id, "1.1.1").await;
    let setup = host.kill().await;
    (model, id, setup)
}

async fn a_killed_run_goes_on_and_asks_nothing_twice(ground: Ground) {
    let (model, id, setup) = killed_midway(ground).await;
    let host = setup.start().await;
    model.release();
    let task = host.task(&id, "done").await;
    let heard = model.heard();
    assert_eq!(heard.len(), 4, "nonsense once; the repair twice, since its answer was lost; the report");
    assert_eq!(heard[1], heard[2], "the same question, word by word");
    let refs: Vec<&str> = task["timeline"].as_array().unwrap().iter().map(|entry| entry["ref"].as_str().unwrap()).collect();
    assert_eq!(refs, ["1.1.0", "1.1.1", "1.1.2", "1.1.3", "2.1.0", "2.1.1"], "one run of each hop");
    assert_eq!(host.events("hop_start")[0]["replays"], 1);
    assert_eq!(host.notes("inbox/drafts"), [format!("note-{id}.md")]);
    let (_, metrics) = host.get("/metrics").await;
    assert!(metrics.as_str().unwrap().contains("langgraph_replays_total{result=\"resumed\"} 1"), "{metrics}");
}

async fn a_run_that_waited_for_a_server_goes_on(ground: Ground) {
    let model = ground.model().await;
    model.order([Order::Say("no note".into()), Order::Status(500)]);
    let host = ground.setup(&model).await.start().await;
    let id = host.submit(json!({ "target_agent": "note-maker" })).await;
    let parked = host.task(&id, "awaiting_backend").await;
    assert_eq!(parked["hops"][0]["status"], "parked");
    let task = host.task(&id, "done").await;
    assert_eq!(model.heard().len(), 4, "the first answer was kept");
    assert_eq!((&task["hops"][0]["run"], &task["attempts"]), (&json!(1), &json!(0)));
}

async fn a_drained_run_goes_on_after_the_restart(ground: Ground) {
    let model = ground.model().await;
    model.order(asks_twice());
    let host = ground.setup(&model).await.and("[server]\ndrain_s = 0\n").start().await;
    let id = host.submit(json!({ "target_agent": "note-maker" })).await;
    model.heard_so_many(2).await;
    host.journaled(&id, "1.1.1").await;
    host.terminate().await;
    let (_, setup, _) = host.ended().await;
    let host = setup.start().await;
    model.release();
    host.task(&id, "done").await;
    assert_eq!(model.heard().len(), 4);
}

async fn a_run_that_asks_for_something_else_than_before_fails_and_says_so(ground: Ground) {
    let (model, id, setup) = killed_midway(ground).await;
    // As if the same component had asked something else: its journal says so.
    tampered(ground, &setup, "update journal set fingerprint = 'another' where seq = 1").await;
    let host = setup.start().await;
    let task = host.task(&id, "failed").await;
    assert_eq!(task["error"]["code"], "replay_divergence");
    let message = task["error"]["message"].as_str().unwrap();
    assert!(message.contains("call 1.1.1 was `model.complete` (another)"), "{message}");
    assert_eq!(model.heard().len(), 2, "nothing was asked");
}

async fn a_run_goes_on_with_its_own_component_when_the_file_is_gone(ground: Ground) {
    let model = ground.model().await;
    model.order(asks_twice());
    let setup = ground.setup(&model).await;
    let agents = guests::with(&[], setup.folder.path());
    let host = setup.agents(agents.clone()).start().await;
    let id = host.submit(json!({ "target_agent": "note-maker" })).await;
    model.heard_so_many(2).await;
    host.journaled(&id, "1.1.1").await;
    let setup = host.kill().await;
    std::fs::remove_file(agents.join("note-maker.wasm")).unwrap();
    let host = setup.start().await;
    model.release();
    let task = host.task(&id, "done").await;
    assert_eq!((&task["hops"][0]["run"], model.heard().len()), (&json!(1), 4));
    let (_, shown) = host.get("/agents").await;
    let serving: Vec<&str> =
        shown["agents"].as_array().unwrap().iter().map(|one| one["manifest"]["id"].as_str().unwrap()).collect();
    assert_eq!(serving, ["reporter", "triager"], "nothing new is started with it");
}

async fn a_run_whose_input_cannot_be_read_starts_anew(ground: Ground) {
    let (model, id, setup) = killed_midway(ground).await;
    // As another version would have written it.
    tampered(ground, &setup, "update journal set request = '{\"words\":[]}' where seq = 0").await;
    let host = setup.start().await;
    model.release();
    let task = host.task(&id, "done").await;
    assert_eq!((&task["hops"][0]["run"], &task["attempts"]), (&json!(2), &json!(0)));
    host.logged("run_not_resumed").await;
}

/// Changes the database of a host that is not running.
pub(crate) async fn tampered(ground: Ground, setup: &Setup, sql: &'static str) {
    match ground.store {
        Store::Sqlite => {
            let url = format!("sqlite://{}", setup.folder.path().join("data/host.db").display());
            let mut connection = sqlx::SqliteConnection::connect(&url).await.unwrap();
            sqlx::query(sql).execute(&mut connection).await.unwrap();
        }
        Store::Postgres => {
            let mut connection = sqlx::PgConnection::connect(setup.database.as_ref().unwrap()).await.unwrap();
            sqlx::query(sql).execute(&mut connection).await.unwrap();
        }
    }
}
