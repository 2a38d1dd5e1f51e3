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
use policy::tier::Clearance;
use serde_json::{Value, json};

use super::State;
use super::auth::operators_only;
use super::error::ApiError;
use super::tasks::visible;
use crate::ingress::{Caller, Request};
use crate::store::approvals::{self, Approval};
use crate::store::journal::{self, Entry, Position};
use crate::{api, envelope, id};

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
    let done = |entry: &&Entry| entry.kind == ToolCall::KIND && entry.state == "done";
    for entry in entries.iter().rev().filter(done) {
        let Some(undo) = undoes(&state, entry, &questions) else { continue };
        let errand = json!({
            "call": { "tool": undo.tool, "arguments": undo.arguments, "why": format!("undoes call {} of task {id}", undo.reference) },
            "verify": null, "undo": null, "action_class": Class::C.as_str(), "finding_path": null,
        });
        let bytes = json!({
            "task_id": format!("undo-{id}-{}", undo.reference),
            "source": "cli",
            "content": errand.to_string(),
            "intent": "action",
            "target_agent": ERRANDS,
            "conversation_id": task.conversation_id,
            "data_tier": entry.label.tier.as_str(),
            "idempotency_key": format!("undo {id} {}", undo.reference),
        });
        let bytes = bytes.to_string();
        let request =
            Request { envelope: envelope::parse(bytes.as_bytes())?, body: id::digest(bytes.as_bytes()), traceparent: None };
        let accepted = state.ingress.accept(&caller, request).await?;
        if accepted.duplicate {
            // It was undone before: then what came before it.
            continue;
        }
        let (task_id, conversation_id, trace_id) = (accepted.task_id, accepted.conversation_id, accepted.trace_id);
        return Ok((StatusCode::ACCEPTED, Json(api::Accepted { task_id, status: "accepted".into(), conversation_id, trace_id })));
    }
    let hint = "only calls whose [[mcp.rules]] entry has an `undo` can be undone, and each once: see the task's timeline";
    Err(ApiError::new(StatusCode::CONFLICT, "nothing_to_undo", format!("task `{id}` has done nothing that can be undone"), hint))
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
    let call: ToolCall = serde_json::from_value(entry.request.open(Clearance::OPERATOR).ok()?.clone()).ok()?;
    let facts = state.world.gateway.as_ref()?.facts(&call.tool, &call.arguments, Hints::default(), Class::A, false);
    let (tool, arguments) = facts.rule?.undo.as_ref()?.of(&call.arguments)?;
    Some(Undoes { reference, tool, arguments })
}
