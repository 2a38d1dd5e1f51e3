//! `POST /tasks/{id}/undo`: a task of its own that undoes the last thing which a task did and nobody has undone yet. What undoes a call
//! is what its rule said when it was consented to, or says now; the errand-runner makes it, classed and asked about like any other.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State as Shared};
use axum::http::StatusCode;
use policy::approval::Undoer;
use policy::call::{Call, ToolCall};
use policy::class::{Class, Hints};
use policy::next::ERRANDS;
use policy::tier::{Clearance, Tier};
use serde_json::{Value, json};

use super::State;
use super::auth::operators_only;
use super::error::ApiError;
use super::tasks::visible;
use crate::gateway::Observation;
use crate::ingress::{self, Caller, Request};
use crate::store::approvals::{self, Approval};
use crate::store::journal::{self, Entry, Position};
use crate::store::tasks::{self, Task};
use crate::store::{Db, idempotency};
use crate::{api, envelope, id};

/// Under whose name the keys of undoing stand.
const KEYS: &str = "undo";

/// A call that undoes another.
struct Undoes {
    /// The `ref` of the other.
    reference: String,
    tool: String,
    arguments: Value,
}

/// Starts the task.
pub(super) async fn start(
    Shared(state): Shared<State>,
    caller: Caller,
    id: Result<Path<String>, PathRejection>,
) -> Result<(StatusCode, Json<api::Accepted>), ApiError> {
    operators_only(&caller)?;
    let Path(id) = id?;
    let db = &state.world.db;
    let task = visible(db, &caller, &id).await?;
    let (entries, questions) = (journal::timeline(db, &id).await?, approvals::of(db, &id).await?);
    for entry in entries.iter().rev().filter(|entry| happened(entry)) {
        let Some(undo) = undoes(&state, entry, &questions) else { continue };
        return match before(db, &id, &undo).await? {
            // It was undone: then what came before it.
            Before::Undone => continue,
            Before::UnderWay(task) => Ok(accepted(api::Accepted {
                task_id: task.id,
                status: "duplicate".into(),
                conversation_id: task.conversation_id,
                trace_id: task.trace_id,
            })),
            Before::Never(key) => {
                let bytes = errand(&id, &undo, (&task.conversation_id, entry.label.tier), &key);
                let request =
                    Request { envelope: envelope::parse(bytes.as_bytes())?, body: id::digest(bytes.as_bytes()), traceparent: None };
                // Whoever asks: a call is undone once.
                let started = state.ingress.accept(&Caller { name: KEYS.into(), ..caller }, request).await?;
                let status = if started.duplicate { "duplicate" } else { "accepted" }.into();
                let ingress::Accepted { task_id, conversation_id, trace_id, .. } = started;
                Ok(accepted(api::Accepted { task_id, status, conversation_id, trace_id }))
            }
        };
    }
    let hint = "only calls whose [[mcp.rules]] entry has an `undo` can be undone, and each once: see the task's timeline";
    Err(ApiError::new(StatusCode::CONFLICT, "nothing_to_undo", format!("task `{id}` has done nothing that can be undone"), hint))
}

fn accepted(accepted: api::Accepted) -> (StatusCode, Json<api::Accepted>) {
    (StatusCode::ACCEPTED, Json(accepted))
}

/// The task that makes the call.
fn errand(id: &str, undo: &Undoes, (conversation, tier): (&str, Tier), key: &str) -> String {
    let errand = json!({
        "call": { "tool": undo.tool, "arguments": undo.arguments, "why": format!("undoes call {} of task {id}", undo.reference) },
        "verify": null, "undo": null, "action_class": Class::C.as_str(), "finding_path": null,
    });
    json!({
        "task_id": format!("undo-{id}-{}", undo.reference),
        "source": "cli",
        "content": errand.to_string(),
        "intent": "action",
        "target_agent": ERRANDS,
        "conversation_id": conversation,
        "data_tier": tier.as_str(),
        "idempotency_key": key,
    })
    .to_string()
}

/// What became of earlier wishes to undo a call.
enum Before {
    /// It was undone.
    Undone,
    /// Somebody is at it.
    UnderWay(Box<Task>),
    /// None came to anything; the key of the next.
    Never(String),
}

async fn before(db: &Db, id: &str, undo: &Undoes) -> Result<Before, ApiError> {
    // Somebody who was told no so often has an answer.
    const MOST: usize = 100;

    let mut key = String::new();
    for nth in 1..=MOST {
        key = format!("undo {id} {} {nth}", undo.reference);
        let Some(task) = idempotency::task(db, KEYS, &key).await? else { break };
        let Some(task) = tasks::find(db, &task).await?.filter(|task| task.forgotten_at.is_none()) else {
            return Ok(Before::Undone);
        };
        if task.finished_at.is_none() {
            return Ok(Before::UnderWay(Box::new(task)));
        }
        let made = |entry: &Entry| happened(entry) && call(entry).is_some_and(|call| call.tool == undo.tool);
        if journal::timeline(db, &task.id).await?.iter().any(made) {
            return Ok(Before::Undone);
        }
    }
    Ok(Before::Never(key))
}

/// Whether an entry is a call of a tool that did something: it succeeded, and was no rehearsal.
fn happened(entry: &Entry) -> bool {
    let answer = entry.answer.as_ref().and_then(|answer| answer.open(Clearance::OPERATOR).ok());
    let failed = answer.is_some_and(Observation::says_it_failed);
    let rehearsed = || {
        let Some(call) = call(entry) else { return true };
        let said = |name| match call.arguments.get(name) {
            Some(Value::String(word)) => !["", "none", "false"].contains(&word.to_lowercase().as_str()),
            Some(value) => !matches!(value, Value::Null | Value::Bool(false)),
            None => false,
        };
        ["dry_run", "dryRun"].into_iter().any(said)
    };
    entry.kind == ToolCall::KIND && entry.state == "done" && !failed && !rehearsed()
}

fn call(entry: &Entry) -> Option<ToolCall> {
    serde_json::from_value(entry.request.open(Clearance::OPERATOR).ok()?.clone()).ok()
}

/// What undoes a call that was made, if anything does.
fn undoes(state: &State, entry: &Entry, questions: &[Approval]) -> Option<Undoes> {
    let at = |question: &&Approval| {
        let Position { hop, run, seq, .. } = &question.at;
        (*hop, *run, *seq) == (entry.hop, entry.run, entry.seq)
    };
    let reference = format!("{}.{}.{}", entry.hop, entry.run, entry.seq);
    let recorded = questions.iter().rev().find(at).and_then(|question| question.question.as_ref()?.open(Clearance::OPERATOR).ok());
    if let Some(undo) = recorded.and_then(|question| question.undo.as_ref()).filter(|undo| undo.by == Undoer::Rule) {
        let (tool, arguments) = undo.text.split_once(' ')?;
        return Some(Undoes { reference, tool: tool.to_owned(), arguments: serde_json::from_str(arguments).ok()? });
    }
    let call = call(entry)?;
    let facts = state.world.gateway.as_ref()?.facts(&call.tool, &call.arguments, Hints::default(), Class::A, false);
    let (tool, arguments) = facts.rule?.undo.as_ref()?.of(&call.arguments)?;
    Some(Undoes { reference, tool, arguments })
}
