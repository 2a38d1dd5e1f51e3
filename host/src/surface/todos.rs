//! `/todos`: what people want to remember. For operators.

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State as Shared};
use axum::http::StatusCode;
use policy::task::TodoStatus;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::State;
use super::auth::operators_only;
use super::body::{self, schema};
use super::error::ApiError;
use crate::id::{self, rfc3339};
use crate::ingress::Caller;
use crate::store::todos::{self, Change, Filter, Todo};
use crate::{api, store::StoreError};

/// Longest body, in characters.
const MOST_BODY: usize = 10_000;
/// Most tags of one todo, and characters of one tag.
const MOST_TAGS: usize = 100;
/// Most todos of one answer.
const MOST: i64 = 1000;
const FIELDS: &str = "a todo has body (1 to 10000 characters), status (open, done, dropped), tags (texts) and metadata (an object)";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    status: Option<String>,
    tag: Option<String>,
    limit: Option<i64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct New {
    body: String,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    metadata: Map<String, Value>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Patch {
    body: Option<String>,
    status: Option<TodoStatus>,
    tags: Option<Vec<String>>,
    metadata: Option<Map<String, Value>>,
}

/// Todos, newest first; open ones unless another status is wanted.
pub(super) async fn list(
    Shared(state): Shared<State>,
    caller: Caller,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Json<api::Todos>, ApiError> {
    const HINT: &str = "status (open, done, dropped, all), tag and limit narrow the list";
    operators_only(&caller)?;
    let Query(wanted) = wanted.map_err(|rejection| schema(rejection.body_text(), HINT))?;
    let status = match wanted.status.as_deref() {
        None => Some(TodoStatus::Open),
        Some("all") => None,
        Some(word) => Some(TodoStatus::named(word).ok_or_else(|| schema(format!("there is no status `{word}`"), HINT))?),
    };
    if wanted.tag.as_ref().is_some_and(|tag| tag.contains('\0')) {
        return Err(schema("tag: no NUL characters", HINT));
    }
    let filter = Filter { status, tag: wanted.tag, limit: wanted.limit.unwrap_or(200).clamp(1, MOST) };
    let todos = todos::list(&state.world.db, filter).await?.into_iter().map(shown).collect();
    Ok(Json(api::Todos { todos }))
}

/// Writes one down.
pub(super) async fn add(
    Shared(state): Shared<State>,
    caller: Caller,
    body: Body,
) -> Result<(StatusCode, Json<api::Todo>), ApiError> {
    operators_only(&caller)?;
    let new: New = body::read(body, FIELDS).await?.ok_or_else(|| schema("the body is empty", FIELDS))?;
    sensible(Some(&new.body), Some(&new.tags))?;
    let at = id::now();
    let todo = Todo {
        id: id::task(),
        body: new.body,
        status: TodoStatus::Open,
        created_by: caller.requester,
        tags: new.tags,
        metadata: new.metadata,
        created_at: at,
        updated_at: at,
        closed_at: None,
    };
    todos::insert(&state.world.db, todo.clone()).await?;
    Ok((StatusCode::CREATED, Json(shown(todo))))
}

/// One todo.
pub(super) async fn show(
    Shared(state): Shared<State>,
    caller: Caller,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<api::Todo>, ApiError> {
    operators_only(&caller)?;
    let Path(id) = id?;
    found(todos::find(&state.world.db, &id).await, &id)
}

/// Changes what is named, and leaves the rest.
pub(super) async fn change(
    Shared(state): Shared<State>,
    caller: Caller,
    id: Result<Path<String>, PathRejection>,
    body: Body,
) -> Result<Json<api::Todo>, ApiError> {
    operators_only(&caller)?;
    let Path(id) = id?;
    let patch: Patch = body::read(body, FIELDS).await?.unwrap_or_default();
    sensible(patch.body.as_ref(), patch.tags.as_deref())?;
    let Patch { body, status, tags, metadata } = patch;
    if body.is_none() && status.is_none() && tags.is_none() && metadata.is_none() {
        let message = "there is nothing to change";
        return Err(ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "no_fields", message, FIELDS));
    }
    let change = Change { body, status, tags, metadata };
    found(todos::change(&state.world.db, id.clone(), change, id::now()).await, &id)
}

/// It will not be done; it stays on the list of dropped ones.
pub(super) async fn drop(
    Shared(state): Shared<State>,
    caller: Caller,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<api::Todo>, ApiError> {
    operators_only(&caller)?;
    let Path(id) = id?;
    let dropped = Change { status: Some(TodoStatus::Dropped), ..Change::default() };
    found(todos::change(&state.world.db, id.clone(), dropped, id::now()).await, &id)
}

fn found(todo: Result<Option<Todo>, StoreError>, id: &str) -> Result<Json<api::Todo>, ApiError> {
    todo?.map(|todo| Json(shown(todo))).ok_or_else(|| ApiError::not_found("todo", id))
}

/// Lengths, and that PostgreSQL can keep it.
fn sensible(body: Option<&String>, tags: Option<&[String]>) -> Result<(), ApiError> {
    if body.is_some_and(|body| body.trim().is_empty() || body.chars().count() > MOST_BODY || body.contains('\0')) {
        return Err(schema(format!("body: 1 to {MOST_BODY} characters, not all of them blank, none of them NUL"), FIELDS));
    }
    let bad = |tag: &String| tag.trim().is_empty() || tag.chars().count() > MOST_TAGS || tag.contains('\0');
    if tags.is_some_and(|tags| tags.len() > MOST_TAGS || tags.iter().any(bad)) {
        return Err(schema(format!("tags: at most {MOST_TAGS}, each 1 to {MOST_TAGS} characters, none of them NUL"), FIELDS));
    }
    Ok(())
}

fn shown(todo: Todo) -> api::Todo {
    api::Todo {
        id: todo.id,
        body: todo.body,
        status: todo.status.as_str().into(),
        created_by: todo.created_by,
        tags: todo.tags,
        metadata: todo.metadata,
        created_at: rfc3339(todo.created_at),
        updated_at: rfc3339(todo.updated_at),
        closed_at: todo.closed_at.map(rfc3339),
    }
}
