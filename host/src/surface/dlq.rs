//! `/dlq`: the dead letters, each with what it has done already, and what may become of it. For operators.

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State as Shared};
use axum::http::StatusCode;
use policy::task::Status;
use policy::tier::Clearance;
use serde::Deserialize;

use super::State;
use super::auth::operators_only;
use super::body::{self, schema};
use super::error::ApiError;
use super::intervene::now as as_it_stands;
use super::tasks::{View, shown, whole};
use crate::id::{self, rfc3339};
use crate::ingress::Caller;
use crate::store::effects::{self, Happened};
use crate::store::intervene::{self, Consent};
use crate::store::tasks::{self, Filter, Task};
use crate::store::{Db, StoreError, hops};
use crate::{api, envelope};

const FIELDS: &str = "send nothing, or {\"content\": \"…\", \"again\": true}";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    limit: Option<i64>,
    before: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wish {
    pub(super) content: Option<String>,
    #[serde(default)]
    pub(super) again: bool,
}

/// A page of dead letters, newest first.
pub(super) async fn list(
    Shared(state): Shared<State>,
    caller: Caller,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Json<api::Letters>, ApiError> {
    const MOST: i64 = 200;
    operators_only(&caller)?;
    let Query(wanted) = wanted.map_err(|rejection| schema(rejection.body_text(), "limit and before narrow the list"))?;
    let (db, view) = (&state.world.db, View::of(&caller));
    let limit = wanted.limit.unwrap_or(50).clamp(1, MOST);
    let mut letters = Vec::new();
    for task in tasks::list(db, Filter { dead: true, before: wanted.before, limit, ..Filter::default() }).await? {
        letters.push(api::Letter { effects: happened(db, &task, Depth::Outline).await?, task: shown(db, &task, view).await? });
    }
    let full = i64::try_from(letters.len()).unwrap_or(MOST) == limit;
    let next = letters.last().filter(|_| full).map(|letter| letter.task.task_id.clone());
    Ok(Json(api::Letters { letters, next }))
}

/// One dead letter, with what each of its effects asked for.
pub(super) async fn show(
    Shared(state): Shared<State>,
    caller: Caller,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<api::Letter>, ApiError> {
    let db = &state.world.db;
    let task = letter(&state, &caller, id).await?;
    let effects = happened(db, &task, Depth::Whole).await?;
    Ok(Json(api::Letter { effects, task: whole(db, &task, View::of(&caller)).await? }))
}

/// Tries the failed hop anew, or with another content the whole task.
pub(super) async fn retry(
    Shared(state): Shared<State>,
    caller: Caller,
    id: Result<Path<String>, PathRejection>,
    body: Body,
) -> Result<Json<api::Task>, ApiError> {
    let task = letter(&state, &caller, id).await?;
    let wish: Wish = body::read(body, FIELDS).await?.unwrap_or_default();
    let id = task.id.clone();
    tried_again(&state, &caller.requester, task, wish).await?;
    as_it_stands(&state, &caller, &id).await
}

/// Lets a dead letter try again, for that person.
pub(super) async fn tried_again(state: &State, by: &str, task: Task, wish: Wish) -> Result<(), ApiError> {
    let db = &state.world.db;
    let Wish { content, again } = wish;
    if task.forgotten_at.is_some() {
        let message = format!("task `{}` cannot be tried again: what it asked is forgotten", task.id);
        return Err(ApiError::new(StatusCode::CONFLICT, "not_retryable", message, "send a new task"));
    }
    let consent = if again { Consent::Given } else { Consent::Missing };
    let (id, now) = (task.id.clone(), id::now());
    let edited = content.is_some();
    let retried = match content {
        Some(content) => {
            envelope::sensible(&content)?;
            intervene::edit(db, id.clone(), content, by.to_owned(), consent, now).await?
        }
        None => intervene::retry(db, id.clone(), consent, now).await?,
    };
    if !retried {
        let task = waiting(state, &id).await?;
        return Err(already_happened(db, &task, edited).await?);
    }
    let (trace_id, event) = (&task.trace_id, if edited { "task_edited" } else { "task_retried" });
    tracing::info!(event, task_id = id, trace_id, by, again, "dead letter {id} is tried again for {by}");
    db.bell().changed(&id);
    db.bell().ring();
    Ok(())
}

/// Takes a letter from the list.
pub(super) async fn discard(
    Shared(state): Shared<State>,
    caller: Caller,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<api::Task>, ApiError> {
    let task = letter(&state, &caller, id).await?;
    discarded(&state, &caller.requester, &task).await?;
    as_it_stands(&state, &caller, &task.id).await
}

/// Takes a letter from the list, for that person.
pub(super) async fn discarded(state: &State, by: &str, task: &Task) -> Result<(), ApiError> {
    if !intervene::discard(&state.world.db, task.id.clone(), id::now()).await? {
        return Err(ApiError::not_found("dead letter", &task.id));
    }
    let (task_id, trace_id) = (&task.id, &task.trace_id);
    tracing::info!(event = "letter_discarded", task_id, trace_id, by, "dead letter {task_id} was discarded by {by}");
    Ok(())
}

/// The dead letter of that id.
async fn letter(state: &State, caller: &Caller, id: Result<Path<String>, PathRejection>) -> Result<Task, ApiError> {
    operators_only(caller)?;
    let Path(id) = id?;
    waiting(state, &id).await
}

/// The dead letter of that id, if it is one still.
pub(super) async fn waiting(state: &State, id: &str) -> Result<Task, ApiError> {
    let task = tasks::find(&state.world.db, id).await?;
    let dead = task.filter(|task| task.status == Status::Failed && task.discarded_at.is_none());
    dead.ok_or_else(|| ApiError::not_found("dead letter", id))
}

/// Whether what was asked for is told too.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    Outline,
    Whole,
}

/// What a task has done, or may have, and what of it a retry would do again.
pub(super) async fn happened(db: &Db, task: &Task, depth: Depth) -> Result<Vec<api::Effect>, StoreError> {
    let last = hops::of(db, &task.id).await?.last().map(|hop| hop.seq);
    let told = |effect: Happened| {
        let request = effect.request.open(Clearance::OPERATOR).ok().cloned();
        api::Effect {
            reference: format!("{}.{}.{}", effect.hop, effect.run, effect.seq),
            again: Some(effect.hop) == last,
            agent: effect.agent,
            kind: effect.kind,
            destination: effect.destination,
            state: if effect.known { "done" } else { "unknown" }.into(),
            repeatable: effect.repeatable,
            at: rfc3339(effect.at),
            request: request.filter(|_| depth == Depth::Whole),
        }
    };
    Ok(effects::of(db, &task.id).await?.into_iter().map(told).collect())
}

/// Why a task is not tried again by a bare word: what it did must not be done twice.
pub(super) async fn already_happened(db: &Db, task: &Task, edited: bool) -> Result<ApiError, StoreError> {
    let all = happened(db, task, Depth::Outline).await?;
    let once: Vec<String> = all
        .into_iter()
        .filter(|effect| !effect.repeatable && (edited || effect.again))
        .map(|effect| format!("{} {} of {} ({})", effect.reference, effect.kind, effect.agent, effect.state))
        .collect();
    let message = match once.as_slice() {
        [] => format!("task `{}` cannot be tried again now: what it asked is forgotten, or somebody was faster", task.id),
        some => format!("task `{}` has done, or may have done, what a retry would do again: {}", task.id, some.join(", ")),
    };
    let hint = "look whether that does harm; then say {\"again\": true} (`--again`)";
    Ok(ApiError::new(StatusCode::CONFLICT, "already_happened", message, hint))
}
