//! `POST /tasks/{id}/cancel`, `/retry` and `/forget`: what a person decides about a task. Each answers the task as it is then.

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State as Shared};
use axum::http::StatusCode;
use policy::task::{Role, Status};
use policy::tier::Labelled;
use serde::Deserialize;

use super::State;
use super::auth::operators_only;
use super::body::{self, schema};
use super::dlq::already_happened;
use super::error::ApiError;
use super::tasks::{View, in_full, visible};
use crate::ingress::Caller;
use crate::metrics::{self, name};
use crate::store::intervene::Consent;
use crate::store::tasks::Task;
use crate::store::{forget as forgetting, intervene};
use crate::{api, id, telemetry};

/// Longest reason, in characters.
const MOST_REASON: usize = 1000;

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    reason: Option<String>,
    /// What must not be done twice may be.
    #[serde(default)]
    again: bool,
}

/// What the person wants, with a reason if they gave one.
async fn wish(body: Body) -> Result<Wish, ApiError> {
    const HINT: &str = "send nothing, or {\"reason\": \"…\"}; a retry may have \"again\": true";
    let wish: Wish = body::read(body, HINT).await?.unwrap_or_default();
    let reason = wish.reason.filter(|reason| !reason.trim().is_empty());
    match reason {
        Some(text) if text.chars().count() > MOST_REASON || text.contains('\0') => {
            Err(schema(format!("reason: at most {MOST_REASON} characters, none of them NUL"), HINT))
        }
        reason => Ok(Wish { reason, ..wish }),
    }
}

fn conflict(code: &'static str, task: &Task, said: &str, hint: &str) -> ApiError {
    let (id, status) = (&task.id, task.status.as_str());
    ApiError::new(StatusCode::CONFLICT, code, format!("task `{id}` is {status}: {said}"), hint)
}

/// What the log may show of a reason.
fn why(task: &Task, reason: Option<&String>) -> String {
    reason.map(|reason| telemetry::shown(&Labelled::new(task.label, reason.clone()))).unwrap_or_default()
}

/// The task as it stands now.
pub(super) async fn now(state: &State, caller: &Caller, id: &str) -> Result<Json<api::Task>, ApiError> {
    let db = &state.world.db;
    let task = visible(db, caller, id).await?;
    Ok(Json(in_full(db, &task, View::of(caller), false).await?))
}

/// Ends a task that has not ended.
pub(super) async fn cancel(
    Shared(state): Shared<State>,
    caller: Caller,
    id: Result<Path<String>, PathRejection>,
    body: Body,
) -> Result<Json<api::Task>, ApiError> {
    let db = &state.world.db;
    let Path(id) = id?;
    let Wish { reason, .. } = wish(body).await?;
    let task = visible(db, &caller, &id).await?;
    let message = reason.clone().unwrap_or_else(|| format!("cancelled by {}", caller.requester));
    // Whoever calls off their own wish knows it.
    let told = match (task.role, caller.role) {
        (Role::Household, Role::Operator | Role::System) => state.world.outbox.tell_household(&id, Status::Cancelled),
        (Role::Household, Role::Household) | (Role::Operator | Role::System, _) => Vec::new(),
    };
    if !intervene::cancel(db, id.clone(), message, told, id::now()).await? {
        let ended = visible(db, &caller, &id).await?;
        return Err(conflict("already_ended", &ended, "there is nothing to cancel", "see what it ended with, or retry it"));
    }
    let (trace_id, by, why) = (&task.trace_id, &caller.requester, why(&task, reason.as_ref()));
    tracing::info!(event = "task_cancelled", task_id = id, trace_id, by, why, "task {id} was cancelled by {by}");
    metrics::count(name::TASKS, 1, &[("source", &task.sent.source), ("status", "cancelled")]);
    db.bell().withdraw(&id);
    state.world.outbox.ring();
    now(&state, &caller, &id).await
}

/// Puts a task that did not end well back in the queue, or ends its wait for a server.
pub(super) async fn retry(
    Shared(state): Shared<State>,
    caller: Caller,
    id: Result<Path<String>, PathRejection>,
    body: Body,
) -> Result<Json<api::Task>, ApiError> {
    let db = &state.world.db;
    let Path(id) = id?;
    let Wish { reason, again } = wish(body).await?;
    let task = visible(db, &caller, &id).await?;
    let consent = if again { Consent::Given } else { Consent::Missing };
    if again {
        operators_only(&caller)?;
    }
    if !intervene::retry(db, id.clone(), consent, id::now()).await? {
        let task = visible(db, &caller, &id).await?;
        if caller.role == Role::Operator && task.forgotten_at.is_none() && ended_badly(&task) {
            return Err(already_happened(db, &task, false).await?);
        }
        let (said, hint) = match task.forgotten_at {
            Some(_) => ("what it asked is forgotten", "send a new task"),
            None if ended_badly(&task) => ("it has done what must not be done twice", "the operator decides whether it may be"),
            None => ("only what failed, expired, was cancelled or waits for a server is tried again", "see GET /tasks/ID"),
        };
        return Err(conflict("not_retryable", &task, said, hint));
    }
    let (trace_id, by, why) = (&task.trace_id, &caller.requester, why(&task, reason.as_ref()));
    tracing::info!(event = "task_retried", task_id = id, trace_id, by, why, "task {id} is tried again for {by}");
    db.bell().changed(&id);
    db.bell().ring();
    now(&state, &caller, &id).await
}

fn ended_badly(task: &Task) -> bool {
    matches!(task.status, Status::Failed | Status::Expired | Status::Cancelled)
}

/// Replaces what was said in a task that has ended by digests of it. Asked again, it changes nothing, but sees to it again that
/// the old bytes are gone.
pub(super) async fn forget(
    Shared(state): Shared<State>,
    caller: Caller,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<api::Task>, ApiError> {
    operators_only(&caller)?;
    let db = &state.world.db;
    let Path(id) = id?;
    visible(db, &caller, &id).await?;
    let changed = forgetting::forget(db, id.clone(), id::now()).await?;
    let task = visible(db, &caller, &id).await?;
    if task.forgotten_at.is_none() {
        return Err(conflict("not_ended", &task, "only what has ended can be forgotten", "cancel it first"));
    }
    if changed {
        let (trace_id, by) = (&task.trace_id, &caller.requester);
        tracing::info!(event = "task_forgotten", task_id = id, trace_id, by, "task {id} was forgotten for {by}");
    }
    if !forgetting::erase(db).await? {
        let message = "the task is forgotten, but its old bytes are still in the database's log, which something reads";
        let hint = "is a backup running? Forget it again when it is through";
        return Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "not_yet_erased", message, hint));
    }
    now(&state, &caller, &id).await
}
