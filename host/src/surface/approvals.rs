//! `GET /approvals` and `POST /approvals/{id}`: what waits for a person, and what that person says. For operators.

use std::collections::BTreeMap;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State as Shared};
use axum::http::StatusCode;
use policy::approval::{Follows, Question, Refused};
use policy::task::{ApprovalStatus, Reaction, Role, Status};
use policy::tier::{Clearance, Labelled};
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
use crate::sink::Kind;
use crate::store::approvals::{self, Approval, Filter};
use crate::store::tasks;
use crate::store::verdicts::{self, Heard, Verdict};

/// Most questions of one answer.
const MOST: i64 = 1000;
const FIELDS: &str = "send {\"reaction\": \"approve\" | \"reject\" | \"defer\"}; of a call that may have happened \"retry\" | \"done\" | \"fail\", and \
     with `done` the `result` of the call";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    status: Option<String>,
    limit: Option<i64>,
    after: Option<String>,
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
    const HINT: &str = "status (open, decided, closed, all), limit and after narrow the list";
    operators_only(&caller)?;
    let Query(wanted) = wanted.map_err(|rejection| schema(rejection.body_text(), HINT))?;
    let status = match wanted.status.as_deref() {
        None => Some(ApprovalStatus::Open),
        Some("all") => None,
        Some(word) => Some(ApprovalStatus::named(word).ok_or_else(|| schema(format!("there is no status `{word}`"), HINT))?),
    };
    let limit = wanted.limit.unwrap_or(MOST).clamp(1, MOST);
    let found = approvals::list(&state.world.db, Filter { status, after: wanted.after, limit, ..Filter::default() }).await?;
    let view = View::of(&caller);
    let full = i64::try_from(found.len()).unwrap_or(MOST) == limit;
    let next = found.last().filter(|_| full).map(|last| last.id.clone());
    Ok(Json(api::Approvals { approvals: found.into_iter().map(|one| shown(one, view)).collect(), next }))
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
    if approval.kind == approvals::CALL {
        let reaction = reaction(&said)?;
        let (actor, channel) = (caller.requester.clone(), caller.name.clone());
        heard(&state, &approval, verdicts::Said { reaction, actor, channel, link: None, at: id::now() }).await?;
        return Ok(Json(shown(found(&state, &id).await?, View::of(&caller))));
    }
    let verdict = verdict(said, &approval, &caller)?;
    let (db, failed) = (&state.world.db, matches!(verdict, Verdict::Fail { .. }));
    let (outbox, task) = (&state.world.outbox, &approval.at.task);
    let mut told = if failed { outbox.tell(Kind::DeadLetter, task, "") } else { Vec::new() };
    if failed && approval.role == Role::Household.as_str() {
        told.extend(outbox.tell_household(task, Status::Failed));
    }
    let first = approval.status == ApprovalStatus::Open
        && verdicts::decide(db, id.clone(), verdict, (caller.requester.clone(), told), id::now()).await?;
    if !first {
        return Err(decided(&found(&state, &id).await?));
    }
    let decided = found(&state, &id).await?;
    tell(&state, &decided, failed).await?;
    Ok(Json(shown(decided, View::of(&caller))))
}

/// Takes a word on a question before a call, and tells whoever waits for it.
pub(super) async fn heard(state: &State, approval: &Approval, said: verdicts::Said) -> Result<Follows, ApiError> {
    let refused = |status, code, message: String, hint: &str| Err(ApiError::new(status, code, message, hint));
    let (id, by, channel, reaction) = (&approval.id, said.actor.clone(), said.channel.clone(), said.reaction);
    match verdicts::hear(&state.world.db, id.clone(), said).await? {
        Heard::Counts(follows) => {
            let (task_id, word) = (&approval.at.task, reaction.as_str());
            tracing::info!(
                event = "approval_decided",
                task_id,
                by,
                channel,
                reaction = word,
                call = approval.at.reference(),
                "{by} said `{word}` through {channel} to call {} of task {task_id}",
                approval.at.reference()
            );
            state.world.db.bell().changed(task_id);
            state.world.db.bell().ring();
            Ok(follows)
        }
        Heard::Refused(why @ Refused::Lapsed) => refused(
            StatusCode::GONE,
            "lapsed",
            format!("approval `{id}`: {why}; nothing was done"),
            "ask for it again with a new task",
        ),
        Heard::Refused(why @ Refused::SameChannel(_)) => {
            let hint = "class D takes two words: say it through another channel, such as a link of another sink, or another token";
            refused(StatusCode::CONFLICT, "same_channel", format!("approval `{id}`: {why}"), hint)
        }
        Heard::Refused(why @ Refused::Deferred) => {
            refused(StatusCode::CONFLICT, "deferred_out", format!("approval `{id}`: {why}"), "approve it, or reject it")
        }
        Heard::Refused(why @ Refused::NotAsked(_)) => Err(schema(format!("reaction: {why}"), FIELDS)),
        Heard::Spent => {
            refused(StatusCode::CONFLICT, "spent", "the link was used before".into(), "see the task for what came of it")
        }
        Heard::NotOpen => Err(decided(&found(state, id).await?)),
    }
}

pub(super) async fn found(state: &State, id: &str) -> Result<Approval, ApiError> {
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

fn reaction(said: &Said) -> Result<Reaction, ApiError> {
    Reaction::named(&said.reaction).ok_or_else(|| {
        let known: Vec<&str> = Reaction::ALL.iter().map(|word| word.as_str()).collect();
        schema(format!("reaction: `{}` is none of {}", said.reaction, known.join(", ")), FIELDS)
    })
}

/// What was said, if it can be said of that call.
fn verdict(said: Said, approval: &Approval, caller: &Caller) -> Result<Verdict, ApiError> {
    let reaction = reaction(&said)?;
    if said.result.is_some() && reaction != Reaction::Done {
        return Err(schema(format!("result: only `done` has one, not `{}`", reaction.as_str()), FIELDS));
    }
    let result = |due: String| ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "result", format!("result: {due}"), FIELDS);
    Ok(match reaction {
        Reaction::Approve | Reaction::Reject | Reaction::Defer => {
            let message =
                format!("reaction: `{}` is no answer to whether a call has happened: retry, done or fail are", reaction.as_str());
            return Err(schema(message, FIELDS));
        }
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
    let open = |value: &Labelled<Value>| value.open(Clearance::OPERATOR).ok().cloned();
    let asked = operator.and_then(|()| approval.question.as_ref()?.open(Clearance::OPERATOR).ok().cloned());
    let ambiguous = || {
        format!(
            "the host lost sight of `{call}` of {} (call {reference}) after it was sent: it may or may not have happened, \
             and doing it twice may do harm",
            approval.agent
        )
    };
    #[expect(clippy::cast_precision_loss, reason = "micro-dollars of one call")]
    let cost_usd = asked.as_ref().and_then(|asked| asked.usd_micros).map(|usd| usd as f64 / 1e6);
    let undo = asked.as_ref().and_then(|asked| asked.undo.clone());
    api::Approval {
        why: operator.map(|()| asked.as_ref().map_or_else(ambiguous, |asked| asked.why.clone())),
        class: asked.as_ref().map(|asked| asked.class.as_str().into()),
        because: asked.as_ref().map(|asked| asked.because.clone()),
        needs: asked.as_ref().map(Question::needs),
        undo_by: undo.as_ref().map(|undo| undo.by.as_str().into()),
        undo: undo.map(|undo| undo.text),
        cost_usd,
        requester: operator.map(|()| approval.requester),
        role: operator.map(|()| approval.role),
        yes: match view.operator {
            true => approval.yes.into_iter().map(|(actor, channel)| api::Yes { actor, channel }).collect(),
            false => Vec::new(),
        },
        answers: operator.map(|()| answers(&approval.kind, &call)).unwrap_or_default(),
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
        expires_at: approval.expires_at.map(rfc3339),
        silent_until: approval.silent_until.map(rfc3339),
        decided_at: approval.decided_at.map(rfc3339),
    }
}

/// What each answer means.
fn answers(kind: &str, call: &str) -> BTreeMap<String, String> {
    let done = || match told(call, None) {
        Ok(_) => "it happened: the run goes on as if it had been answered".to_owned(),
        Err(due) => due,
    };
    let all = match kind {
        approvals::CALL => [
            (Reaction::Approve, "it is made, once, exactly as it stands here".to_owned()),
            (Reaction::Reject, "it is not made, and its agent is told so".into()),
            (Reaction::Defer, "nobody is reminded for 4 hours, and it lapses 4 hours later".into()),
        ],
        _ => [
            (Reaction::Retry, "it did not happen, or twice does no harm: it is sent again, under the same key".into()),
            (Reaction::Done, done()),
            (Reaction::Fail, "nobody knows, or it must not go on: the task becomes a dead letter".into()),
        ],
    };
    all.into_iter().map(|(reaction, meaning)| (reaction.as_str().to_owned(), meaning)).collect()
}
