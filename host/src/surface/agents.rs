//! `GET /agents` and `GET /agents/{id}`: who serves, with what, and which files do not.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State as Shared};
use policy::task::Timestamp;
use serde_json::{Value, json};

use super::State;
use super::auth::operators_only;
use super::error::ApiError;
use crate::fleet::Agent;
use crate::id::rfc3339;
use crate::ingress::Caller;
use crate::store::{StoreError, editions, revoked};

/// Every agent, and every file that is none.
pub(super) async fn list(Shared(state): Shared<State>, caller: Caller) -> Result<Json<Value>, ApiError> {
    operators_only(&caller)?;
    let agents: Vec<Value> = state.fleet.agents().iter().map(|agent| shown(&state, agent)).collect();
    let revoked: Vec<Value> = revoked::all(&state.world.db)
        .await?
        .into_iter()
        .map(|one| json!({ "digest": one.digest, "at": rfc3339(Timestamp(one.at)), "reason": one.reason }))
        .collect();
    Ok(Json(json!({ "agents": agents, "rejected": rejected(&state), "revoked": revoked })))
}

/// Looks at the folder again, and says what changed.
pub(super) async fn reload(Shared(state): Shared<State>, caller: Caller) -> Result<Json<Value>, ApiError> {
    operators_only(&caller)?;
    // Whoever asked may be gone before it is done.
    let fleet = state.fleet.clone();
    let reloading = tokio::spawn(async move { fleet.reload().await });
    let changes = reloading.await.unwrap_or_else(|error| Err(StoreError::Commit(error.to_string())))?;
    let changed: Vec<Value> =
        changes.into_iter().map(|change| json!({ "agent": change.agent, "from": change.from, "to": change.to })).collect();
    Ok(Json(json!({ "changed": changed, "rejected": rejected(&state) })))
}

fn rejected(state: &State) -> Vec<Value> {
    let rejected = state.fleet.rejected().into_iter();
    rejected.map(|rejected| json!({ "file": rejected.file, "complaints": rejected.complaints })).collect()
}

/// One agent, with the components that served before.
pub(super) async fn show(
    Shared(state): Shared<State>,
    caller: Caller,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<Value>, ApiError> {
    operators_only(&caller)?;
    let Path(id) = id?;
    let agent = state.fleet.agent(&id).ok_or_else(|| ApiError::not_found("agent", &id))?;
    let editions: Vec<Value> = editions::of(&state.world.db, &id)
        .await?
        .into_iter()
        .map(|one| {
            let (active, at) = (one.active == 1, rfc3339(Timestamp(one.at)));
            json!({ "digest": one.digest, "version": one.version, "serves": active, "since": at })
        })
        .collect();
    let mut answer = shown(&state, &agent);
    if let Some(object) = answer.as_object_mut() {
        object.insert("editions".into(), editions.into());
    }
    Ok(Json(answer))
}

fn shown(state: &State, agent: &Agent) -> Value {
    let manifest = &agent.manifest;
    let checked = state.fleet.checked(&manifest.id).map(|checked| {
        let (at, digest) = (rfc3339(checked.at), checked.digest);
        json!({ "at": at, "digest": digest, "accepted": checked.complaints.is_empty(), "complaints": checked.complaints, "notes": checked.notes })
    });
    json!({
        "manifest": manifest,
        "grant": state.config.grants.get(&manifest.id),
        "grant_at": agent.grant.at(),
        "digest": agent.digest,
        "loaded_at": rfc3339(agent.loaded_at),
        "last_validation": checked,
    })
}
