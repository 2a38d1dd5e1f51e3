//! `GET /approvals` and `POST /approvals/{id}`: what waits for a person, and what that person says. For operators.

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State as Shared};
use axum::http::StatusCode;
use policy::task::{ApprovalStatus, Reaction};
use serde::Deserialize;
use serde_json::Value;

use super::State;
use super::auth::operators_only;
use super::body::{self, schema};
use super::error::ApiError;
use super::tasks::View;
use crate::api;
use crate::capability::told;
use crate::id::{self, rfc3339};
use crate::ingress::Caller;
use crate::metrics::{self, name};
use crate::store::approvals::{self, Approval, Filter, Verdict};
use crate::store::tasks;

/// Most questions of one answer.
const MOST: i64 = 1000;
const FIELDS: &str = "send {\"reaction\": \"retry\" | \"done\" | \"fail\"}, and with `done` the `result` of the call";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    status: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    reaction: String,
    result: Option<Value>,
}

/// Questions, the oldest first; open ones unless another status is wanted.
pub(super) async fn list(
    Shared(state): Shared<State>,
    caller: Caller,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Json<api::Approvals>, ApiError> {
    const HINT: &str = "status (open, decided, closed, all) narrows the list";
    operators_only(&caller)?;
    let Query(wanted) = wanted.map_err(|rejection| schema(rejection.body_text(), HINT))?;
    let status = match wanted.status.as_deref() {
        None => Some(ApprovalStatus::Open),
        Some("all") => None,
        Some(word) => Some(ApprovalStatus::named(word).ok_or_else(|| schema(format!("there is no status `{word}`"), HINT))?),
    };
    let found = approvals::list(&state.world.db, Filter { status, limit: MOST, ..Filter::default() }).await?;
    let view = View::of(&caller);
    Ok(Json(api::Approvals { approvals: found.into_iter().map(|one| shown(one, view)).collect() }))
}

/// Answers a question; the question as it is then.
pub(super) async fn answer(
    Shared(state): Shared<State>,
    caller: Caller,
    id: Result<Path<String>, PathRejection>,
    body: Body,
) -> Result<Json<api::Approval>, ApiError> {
    operators_only(&caller)?;
    let Path(id) = id?;
    let said: Said = body::read(body, FIELDS).await?.ok_or_else(|| schema("the body is empty", FIELDS))?;
    let approval = found(&state, &id).await?;
    let verdict = verdict(said, &approval, &caller)?;
    let (db, failed) = (&state.world.db, matches!(verdict, Verdict::Fail { .. }));
    let first = approval.status == ApprovalStatus::Open
        && approvals::decide(db, id.clone(), verdict, caller.requester.clone(), id::now()).await?;
    if !first {
        return Err(decided(&found(&state, &id).await?));
    }
    let decided = found(&state, &id).await?;
    tell(&state, &decided, failed).await?;
    Ok(Json(shown(decided, View::of(&caller))))
}

async fn found(state: &State, id: &str) -> Result<Approval, ApiError> {
    approvals::find(&state.world.db, id).await?.ok_or_else(|| ApiError::not_found("approval", id))
}

/// Whoever waits for the task, and the log.
async fn tell(state: &State, approval: &Approval, failed: bool) -> Result<(), ApiError> {
    let db = &state.world.db;
    let (task_id, reaction) = (&approval.at.task, approval.reaction.map_or("", Reaction::as_str));
    let (by, call) = (approval.actor.as_deref().unwrap_or_default(), approval.at.reference());
    let task = tasks::find(db, task_id).await?;
    let (trace_id, source) = task.map(|task| (task.trace_id, task.sent.source)).unwrap_or_default();
    tracing::info!(
        event = "approval_decided",
        task_id,
        trace_id,
        by,
        call,
        reaction,
        "{by} answered `{reaction}` for call {call} of task {task_id}"
    );
    if failed {
        let code = policy::task::ErrorCode::ApprovalDenied.as_str();
        tracing::error!(event = "task_failed", task_id, trace_id, agent = approval.agent, code, "task {task_id} failed: {code}");
        metrics::count(name::TASKS, 1, &[("source", &source), ("status", "failed")]);
        metrics::count(name::DEAD, 1, &[("code", code)]);
    }
    db.bell().changed(task_id);
    db.bell().ring();
    Ok(())
}

/// What was said, if it can be said of that call.
fn verdict(said: Said, approval: &Approval, caller: &Caller) -> Result<Verdict, ApiError> {
    let reaction = Reaction::named(&said.reaction).ok_or_else(|| {
        let known: Vec<&str> = Reaction::ALL.iter().map(|word| word.as_str()).collect();
        schema(format!("reaction: `{}` is none of {}", said.reaction, known.join(", ")), FIELDS)
    })?;
    if said.result.is_some() && reaction != Reaction::Done {
        return Err(schema(format!("result: only `done` has one, not `{}`", reaction.as_str()), FIELDS));
    }
    let result = |due: String| ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "result", format!("result: {due}"), FIELDS);
    Ok(match reaction {
        Reaction::Retry => Verdict::Retry,
        Reaction::Done => Verdict::Done { answer: told(&approval.call, said.result).map_err(result)? },
        Reaction::Fail => Verdict::Fail {
            message: format!(
                "call {} ({}) may or may not have happened, and {} gave the task up",
                approval.at.reference(),
                approval.call,
                caller.requester
            ),
        },
    })
}

fn decided(approval: &Approval) -> ApiError {
    let by = approval.actor.as_deref().unwrap_or("its task's end");
    let said = approval.reaction.map(|reaction| format!(" with `{}`", reaction.as_str())).unwrap_or_default();
    let at = approval.decided_at.map(|at| format!(" at {}", rfc3339(at))).unwrap_or_default();
    let message = format!("approval `{}` was {} by {by}{said}{at}", approval.id, approval.status.as_str());
    ApiError::new(StatusCode::CONFLICT, "already_decided", message, "see what became of the task: GET /tasks/ID")
}

/// A question, as much of it as a caller may see.
pub(super) fn shown(approval: Approval, view: View) -> api::Approval {
    let operator = view.operator.then_some(());
    let (reference, call) = (approval.at.reference(), approval.call);
    let open = |value: &policy::tier::Labelled<Value>| value.open(policy::tier::Clearance::OPERATOR).ok().cloned();
    api::Approval {
        why: operator.map(|()| {
            format!(
                "the host lost sight of `{call}` of {} (call {reference}) after it was sent: it may or may not have happened, \
                 and doing it twice may do harm",
                approval.agent
            )
        }),
        answers: operator.map(|()| answers(&call)),
        request: operator.and_then(|()| open(&approval.request)),
        result: operator.and_then(|()| open(approval.result.as_ref()?)),
        agent: operator.map(|()| approval.agent),
        reference: operator.map(|()| reference),
        call: operator.map(|()| call),
        called_at: operator.map(|()| rfc3339(approval.called_at)),
        actor: approval.actor.filter(|_| view.operator),
        id: approval.id,
        task_id: approval.at.task,
        kind: approval.kind,
        status: approval.status.as_str().into(),
        reaction: approval.reaction.map(|reaction| reaction.as_str().into()),
        created_at: rfc3339(approval.created_at),
        decided_at: approval.decided_at.map(rfc3339),
    }
}

/// What each answer means.
fn answers(call: &str) -> api::Answers {
    api::Answers {
        retry: "it did not happen, or twice does no harm: it is sent again, under the same key".into(),
        done: match told(call, None) {
            Ok(_) => "it happened: the run goes on as if it had been answered".into(),
            Err(due) => due,
        },
        fail: "nobody knows, or it must not go on: the task becomes a dead letter".into(),
    }
}
