//! Alive, ready, and the metrics. Open to whoever reaches the port: none of them shows content.

use axum::Json;
use axum::extract::State as Shared;
use axum::http::StatusCode;
use futures::future::join_all;
use policy::task::Priority;
use serde_json::{Map, Value, json};

use super::State;
use crate::id;
use crate::metrics::{self, name};
use crate::store::{approvals, deliveries, intervene, tasks};

/// The process answers.
pub(super) async fn alive() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

/// 503 only if the store or the vault cannot be written or no agent serves; else 200 with what is degraded.
pub(super) async fn ready(Shared(state): Shared<State>) -> (StatusCode, Json<Value>) {
    let store = state.world.db.ping().await.err().map(|error| error.to_string());
    let vault = state.world.vault.clone();
    let vault = match tokio::task::spawn_blocking(move || vault.ping()).await {
        Ok(answer) => answer.err().map(|error| error.to_string()),
        Err(error) => Some(error.to_string()),
    };
    let gateway = async {
        match &state.world.gateway {
            Some(gateway) => gateway.states().await,
            None => Vec::new(),
        }
    };
    let (groups, servers) = futures::join!(groups(&state), gateway);
    let agents: Vec<String> = state.fleet.agents().iter().map(|agent| agent.manifest.id.clone()).collect();

    let mut degraded: Vec<Value> = Vec::new();
    degraded.extend(groups.iter().filter(|(_, answer)| *answer != "up").map(|(name, _)| json!(format!("group {name}"))));
    let named = |name: &str| if name == "mcp" { "gateway".to_owned() } else { format!("gateway {name}") };
    degraded.extend(servers.iter().filter(|(_, up)| !up).map(|(name, _)| json!(named(name))));
    degraded.extend(state.fleet.rejected().iter().map(|rejected| json!(format!("agent file {}", rejected.file))));
    if state.world.vault.paused() {
        degraded.push(json!("paused by _meta/PAUSED in the vault"));
    }
    let serves = store.is_none() && vault.is_none() && !agents.is_empty();
    let status = if serves { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let word = if serves { "ready" } else { "not_ready" };
    let state_of = |trouble: &Option<String>| if trouble.is_some() { "down" } else { "up" };
    let mut body = json!({
        "status": word,
        "degraded": degraded,
        "store": state_of(&store),
        "vault": state_of(&vault),
        "agents": agents,
        "groups": groups.into_iter().map(|(name, answer)| (name, json!(answer))).collect::<Map<_, _>>(),
    });
    if let Some(object) = body.as_object_mut() {
        object.extend(servers.iter().map(|(name, up)| (named(name), json!(if *up { "up" } else { "down" }))));
    }
    (status, Json(body))
}

async fn groups(state: &State) -> Vec<(String, &'static str)> {
    let router = &state.world.router;
    join_all(router.groups().map(|(name, group)| async move {
        let up = router.probe(group).await.is_ok();
        metrics::set(name::BACKEND_UP, f64::from(u8::from(up)), &[("group", name)]);
        (name.clone(), if up { "up" } else { "down" })
    }))
    .await
}

/// After so many milliseconds a task that waits for a person is taken for forgotten (`homeaiops.md` §8.7).
const STALE: i64 = 300_000;

/// In Prometheus' text format.
pub(super) async fn metrics(Shared(state): Shared<State>) -> String {
    if let Ok(depth) = tasks::depth(&state.world.db).await {
        for status in ["pending", "running", "awaiting_backend", "awaiting_approval"] {
            for (rank, priority) in (0_i64..).zip(Priority::ALL) {
                let count = depth.iter().find(|(s, p, _)| s == status && *p == rank).map_or(0, |(_, _, count)| *count);
                #[expect(clippy::cast_precision_loss, reason = "a number of tasks")]
                metrics::set(name::DEPTH, count as f64, &[("status", status), ("priority", priority.as_str())]);
            }
        }
    }
    if let (Ok((waiting, since)), Ok(dead)) = (approvals::waiting(&state.world.db).await, intervene::dead(&state.world.db).await) {
        let age = since.map_or(0, |since| id::now().since(since).max(0));
        #[expect(clippy::cast_precision_loss, reason = "numbers of tasks, and milliseconds of waiting")]
        let (waiting, age, dead) = (waiting as f64, age as f64 / 1000.0, dead as f64);
        metrics::set(name::AWAITING, waiting, &[]);
        metrics::set(name::AWAITING_SECONDS, age, &[]);
        metrics::set(name::DEAD_SIZE, dead, &[]);
    }
    if let Ok(pending) = deliveries::pending(&state.world.db).await {
        for sink in state.world.outbox.names() {
            let waiting = pending.iter().find(|(name, _)| name == sink.as_str()).map_or(0, |(_, count)| *count);
            #[expect(clippy::cast_precision_loss, reason = "a number of messages")]
            metrics::set(name::OUTBOX, waiting as f64, &[("sink", sink.as_str())]);
        }
    }
    if let Ok((fresh, stale)) = approvals::paused(&state.world.db, id::now().plus(-STALE)).await {
        #[expect(clippy::cast_precision_loss, reason = "numbers of tasks")]
        for (stale, count) in [("false", fresh as f64), ("true", stale as f64)] {
            metrics::set(name::PAUSED, count, &[("is_stale", stale)]);
        }
    }
    state.metrics.run_upkeep();
    state.metrics.render()
}
