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
use crate::store::revoked;

/// Every agent, and every file that is none.
pub(super) async fn list(Shared(state): Shared<State>, caller: Caller) -> Result<Json<Value>, ApiError> {
    operators_only(&caller)?;
    let agents: Vec<Value> = state.fleet.agents().map(|agent| shown(&state, agent)).collect();
    let rejected: Vec<Value> =
        state.fleet.rejected().iter().map(|rejected| json!({ "file": rejected.file, "complaints": rejected.complaints })).collect();
    let revoked: Vec<Value> = revoked::all(&state.world.db)
        .await?
        .into_iter()
        .map(|one| json!({ "digest": one.digest, "at": rfc3339(Timestamp(one.at)), "reason": one.reason }))
        .collect();
    Ok(Json(json!({ "agents": agents, "rejected": rejected, "revoked": revoked })))
}

/// One agent.
pub(super) async fn show(
    Shared(state): Shared<State>,
    caller: Caller,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<Value>, ApiError> {
    operators_only(&caller)?;
    let Path(id) = id?;
    let agent = state.fleet.agent(&id).ok_or_else(|| ApiError::not_found("agent", &id))?;
    Ok(Json(shown(&state, agent)))
}

fn shown(state: &State, agent: &Agent) -> Value {
    let manifest = &agent.manifest;
    json!({
        "manifest": manifest,
        "grant": state.config.grants.get(&manifest.id),
        "grant_at": agent.grant.at(),
        "digest": agent.digest,
        "loaded_at": rfc3339(agent.loaded_at),
    })
}
