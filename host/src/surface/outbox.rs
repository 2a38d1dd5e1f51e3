//! `GET /outbox` and `POST /outbox/{id}/retry`: messages for people that wait, and those that were given up. For operators.

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State as Shared};
use serde::Deserialize;

use super::State;
use super::auth::operators_only;
use super::body::schema;
use super::error::ApiError;
use crate::api;
use crate::id::{self, rfc3339};
use crate::ingress::Caller;
use crate::store::deliveries::{self, Seen};
use policy::task::Timestamp;

/// Most messages of one answer.
const MOST: i64 = 200;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    status: Option<String>,
    task: Option<String>,
}

/// Messages, newest first: those that were given up, unless another status is wanted, or those of one task.
pub(super) async fn list(
    Shared(state): Shared<State>,
    caller: Caller,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Json<api::Deliveries>, ApiError> {
    const HINT: &str = "status (pending, sent, dropped, dead) or task narrows the list";
    operators_only(&caller)?;
    let Query(wanted) = wanted.map_err(|rejection| schema(rejection.body_text(), HINT))?;
    let status = wanted.status.as_deref();
    if let Some(word) = status.filter(|word| !["pending", "sent", "dropped", "dead"].contains(word)) {
        return Err(schema(format!("there is no status `{word}`"), HINT));
    }
    let db = &state.world.db;
    let found = match &wanted.task {
        Some(task) => deliveries::of(db, task).await?,
        None => deliveries::list(db, status.unwrap_or("dead"), MOST).await?,
    };
    Ok(Json(api::Deliveries { deliveries: found.into_iter().map(shown).collect() }))
}

/// Tries one that was given up again.
pub(super) async fn retry(
    Shared(state): Shared<State>,
    caller: Caller,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<api::Delivery>, ApiError> {
    operators_only(&caller)?;
    let Path(id) = id?;
    let db = &state.world.db;
    if !deliveries::again(db, id.clone(), id::now()).await? {
        return Err(ApiError::not_found("dead letter of the outbox", &id));
    }
    state.world.outbox.ring();
    let found = deliveries::find(db, &id).await?;
    found.map(|one| Json(shown(one))).ok_or_else(|| ApiError::not_found("message", &id))
}

fn shown(one: Seen) -> api::Delivery {
    api::Delivery {
        id: one.id,
        sink: one.sink,
        kind: one.kind,
        task_id: Some(one.task).filter(|task| !task.is_empty()),
        status: one.status,
        attempts: one.attempts,
        error: one.error,
        created_at: rfc3339(Timestamp(one.created_at)),
        ended_at: one.ended_at.map(|at| rfc3339(Timestamp(at))),
    }
}
