//! Agents change while the host works: by a file, a signal, a request, a command beside it.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use futures::StreamExt;
use serde_json::{Value, json};
use tokio::process::Command;

use super::cli::output;
use crate::support::fake::{Order, Protocol};
use crate::support::ground::{Ground, Store, on_both_grounds};
use crate::support::{Host, guests};

on_both_grounds![
    a_changed_file_serves_and_what_runs_goes_on_with_its_own,
    an_agent_goes_back_and_stays_back,
    a_file_that_fails_leaves_the_one_that_served,
];

const GRANTS: &str =
    "[grants.scripted]\nmodels = [\"local-p40\"]\nvault_read = [\"**\"]\nvault_write = [\"**\"]\ntools = [\"*\"]\n";

fn edition(name: &str) -> (Vec<u8>, String) {
    let bytes = std::fs::read(guests::corpus().join(name)).unwrap();
    let digest = host::id::digest(&bytes);
    (bytes, digest)
}

/// As `agent build` does: aside, then in place.
fn put(folder: &Path, name: &str, bytes: &[u8]) {
    let aside = folder.join(format!(".{name}"));
    std::fs::write(&aside, bytes).unwrap();
    std::fs::rename(aside, folder.join(name)).unwrap();
}

async fn serving(ground: Ground) -> (crate::support::fake::Model, Host) {
    let model = ground.model().await;
    let setup = ground.setup(&model).await.and(GRANTS);
    let agents = guests::with(&["scripted"], setup.folder.path());
    (model, setup.agents(agents).start().await)
}

/// Waits until that component serves as `scripted`, or nobody does.
async fn serves(host: &Host, digest: Option<&str>) {
    let reached = async {
        loop {
            let (status, agent) = host.get("/agents/scripted").await;
            if digest.map_or(status == 404, |digest| agent["digest"] == digest) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let reached = tokio::time::timeout(crate::support::PATIENCE, reached).await;
    reached.unwrap_or_else(|_| panic!("{digest:?} does not serve: {:?}", host.log()));
}

fn script() -> Value {
    json!({ "target_agent": "scripted", "content": "[[\"model\"]]" })
}

fn worked(task: &Value) -> &str {
    task["hops"][0]["digest"].as_str().unwrap()
}

async fn a_changed_file_serves_and_what_runs_goes_on_with_its_own(ground: Ground) {
    let (model, host) = serving(ground).await;
    let ((_, first), (next, second)) = (edition("scripted.wasm"), edition("rescripted.wasm"));
    model.order([Order::Hang]);
    let running = host.submit(script()).await;
    model.asked().await;
    put(&host.setup.agents, "scripted.wasm", &next);
    serves(&host, Some(&second)).await;
    let after = host.done(script()).await;
    assert_eq!(worked(&after), second);
    assert_eq!(after["hops"][0]["version"], "1");
    model.release();
    assert_eq!(worked(&host.task(&running, "done").await), first, "it was not exchanged under its work");
    let (_, shown) = host.get("/agents/scripted").await;
    let editions: Vec<(&str, bool)> =
        shown["editions"].as_array().unwrap().iter().map(|one| (one["digest"].as_str().unwrap(), one["serves"] == true)).collect();
    assert_eq!(editions, [(second.as_str(), true), (first.as_str(), false)]);
    let (_, metrics) = host.get("/metrics").await;
    let loaded = |digest: &str, value: u8| format!("langgraph_agent_loaded{{agent=\"scripted\",digest=\"{digest}\"}} {value}\n");
    assert!(metrics.as_str().unwrap().contains(&loaded(&first, 0)) && metrics.as_str().unwrap().contains(&loaded(&second, 1)));

    std::fs::remove_file(host.setup.agents.join("scripted.wasm")).unwrap();
    serves(&host, None).await;
}

async fn an_agent_goes_back_and_stays_back(ground: Ground) {
    let (_model, host) = serving(ground).await;
    let ((_, first), (next, second)) = (edition("scripted.wasm"), edition("rescripted.wasm"));
    put(&host.setup.agents, "scripted.wasm", &next);
    serves(&host, Some(&second)).await;
    let (code, said, complained) = output(&mut host.setup.command(&["agents", "rollback", "scripted"])).await;
    assert!(code == Some(0) && said.contains(&first), "{said} {complained}");
    serves(&host, Some(&first)).await;
    assert_eq!(worked(&host.done(script()).await), first);

    let host = host.kill().await.start().await;
    serves(&host, Some(&first)).await;
    let (_, ready) = host.get("/readyz").await;
    assert!(ready["degraded"].to_string().contains("agent file scripted.wasm"), "{ready}");
    let (_, shown) = host.get("/agents").await;
    assert!(shown["rejected"].to_string().contains(&format!("`host agents rollback scripted {second}`")), "{shown}");
    let (code, said, complained) = output(&mut host.setup.command(&["agents", "rollback", "scripted", &second[..12]])).await;
    assert!(code == Some(0) && said.contains(&second), "{said} {complained}");
    serves(&host, Some(&second)).await;
    let (code, _, complained) = output(&mut host.setup.command(&["agents", "rollback", "nobody"])).await;
    assert!(code == Some(1) && complained.contains("no component has ever served as `nobody`"), "{complained}");
}

async fn a_file_that_fails_leaves_the_one_that_served(ground: Ground) {
    let (_model, host) = serving(ground).await;
    let (whole, first) = edition("scripted.wasm");
    put(&host.setup.agents, "scripted.wasm", &whole[..whole.len() / 2]);
    host.logged("agent_rejected").await;
    let (status, answer) = host.post("/agents/reload", "").await;
    assert_eq!((status, &answer["changed"]), (200, &json!([])), "{answer}");
    assert!(answer["rejected"].to_string().contains("is no valid component"), "{answer}");
    let (status, ready) = host.get("/readyz").await;
    assert_eq!((status, ready["degraded"].to_string().contains("agent file scripted.wasm")), (200, true), "{ready}");
    assert_eq!(worked(&host.done(script()).await), first);
    let (_, shown) = host.get("/agents/scripted").await;
    let found = &shown["last_validation"];
    assert_eq!((&shown["digest"], &found["accepted"]), (&json!(first), &json!(false)), "{shown}");
    assert!(found["complaints"].to_string().contains("is no valid component"), "{shown}");
    let (_, metrics) = host.get("/metrics").await;
    assert!(metrics.as_str().unwrap().contains("langgraph_agent_rejected_total{agent=\"scripted\"}"));
    // Also for whoever starts with it.
    let host = host.kill().await.start().await;
    assert_eq!(worked(&host.done(script()).await), first);
    put(&host.setup.agents, "scripted.wasm", &whole);
    let whole_again = async {
        while host.get("/readyz").await.1["degraded"].to_string().contains("agent file") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(crate::support::PATIENCE, whole_again).await.expect("the file is whole again");
}

#[tokio::test]
async fn a_hangup_looks_again_and_ends_nothing() {
    let setup = crate::support::Setup::bare();
    let agents = guests::with(&[], setup.folder.path());
    let host = setup.agents(agents).start().await;
    let id = host.id().to_string();
    for _ in 0..3 {
        assert!(Command::new("kill").args(["-HUP", &id]).status().await.unwrap().success());
    }
    let (status, answer) = host.post("/agents/reload", "").await;
    assert_eq!((status, answer), (200, json!({ "changed": [], "rejected": [] })));
}

/// Agents are exchanged under load, again and again, and no task fails. `SWAP_TASKS` says how many; more run in `.ci/deep`.
#[tokio::test]
async fn no_task_fails_while_its_agent_is_exchanged() {
    let tasks: usize = host::config::variable("SWAP_TASKS").map_or(150, |count| count.parse().expect("SWAP_TASKS is a number"));
    let (_model, host) = serving(Ground { store: Store::Sqlite, protocol: Protocol::Ollama }).await;
    let editions = [edition("rescripted.wasm"), edition("scripted.wasm")];
    let (swaps, all_in) = (Cell::new(0), Cell::new(false));
    let swapping = async {
        for (bytes, digest) in editions.iter().cycle() {
            put(&host.setup.agents, "scripted.wasm", bytes);
            serves(&host, Some(digest)).await;
            swaps.set(swaps.get() + 1);
            if all_in.get() && swaps.get() >= 4 {
                return;
            }
        }
    };
    let working = async {
        let mut worked = BTreeSet::new();
        let done = futures::stream::iter(0..tasks).map(|_| host.done(script())).buffer_unordered(64);
        let mut done = std::pin::pin!(done);
        while let Some(task) = done.next().await {
            worked.insert(self::worked(&task).to_owned());
        }
        all_in.set(true);
        worked
    };
    let ((), worked) = futures::join!(swapping, working);
    assert_eq!(worked.len(), 2, "both worked, in {} exchanges", swaps.get());
}
