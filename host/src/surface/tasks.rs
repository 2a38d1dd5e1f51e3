//! `GET /tasks` and `GET /tasks/{id}`: what a caller may see of them. Household members see their household's tasks, up to
//! `internal`, and none of the machinery.

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State as Shared};
use axum::http::StatusCode;
use policy::task::{Role, Status, Timestamp};
use policy::tier::{Clearance, Labelled, Withheld};
use serde::Deserialize;

use super::State;
use super::error::ApiError;
use crate::api;
use crate::id::rfc3339;
use crate::ingress::Caller;
use crate::store::tasks::{Filter, Task};
use crate::store::{Db, StoreError, approvals, artefacts, hops, journal, ledger, tasks};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    status: Option<String>,
    source: Option<String>,
    agent: Option<String>,
    limit: Option<i64>,
    before: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Depth {
    full: Option<u8>,
}

/// What a caller may see.
#[derive(Clone, Copy)]
pub(super) struct View {
    /// Of content.
    clearance: Clearance,
    /// Of the machinery: errors in full, outcomes, the journal.
    pub(super) operator: bool,
}

impl View {
    pub(super) fn of(caller: &Caller) -> Self {
        match caller.role {
            Role::Operator => Self { clearance: Clearance::OPERATOR, operator: true },
            Role::Household | Role::System => Self { clearance: Clearance::HOUSEHOLD, operator: false },
        }
    }

    pub(super) fn open(self, text: &Labelled<String>) -> String {
        text.open(self.clearance).cloned().unwrap_or_else(|withheld| withheld.to_string())
    }

    /// For what a task waits.
    pub(super) fn waits_for(self, task: &Task) -> Option<String> {
        let instead = if task.status == Status::AwaitingApproval { "an answer of the operator" } else { "a server of the house" };
        task.waits_for().map(|text| self.inside(text, instead))
    }

    /// Errors name paths, servers and what agents said among themselves.
    pub(super) fn inside(self, text: &Labelled<String>, instead: &str) -> String {
        if self.operator { self.open(text) } else { instead.to_owned() }
    }
}

/// A page of tasks, newest first.
pub(super) async fn list(
    Shared(state): Shared<State>,
    caller: Caller,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Json<api::Page>, ApiError> {
    const MOST: i64 = 200;
    let Query(wanted) = wanted?;
    let view = View::of(&caller);
    if let Some(word) = wanted.status.as_deref().filter(|word| Status::named(word).is_none()) {
        let known: Vec<&str> = Status::ALL.iter().map(|status| status.as_str()).collect();
        let message = format!("status `{word}` is none of {}", known.join(", "));
        return Err(ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "schema", message, "leave it out for every status"));
    }
    let limit = wanted.limit.unwrap_or(50).clamp(1, MOST);
    let filter = Filter {
        status: wanted.status,
        source: wanted.source,
        agent: wanted.agent,
        dead: false,
        role: (!view.operator).then_some(caller.role.as_str()),
        before: wanted.before,
        limit,
    };
    let mut page = Vec::new();
    for task in tasks::list(&state.world.db, filter).await? {
        page.push(shown(&state.world.db, &task, view).await?);
    }
    let full = i64::try_from(page.len()).unwrap_or(MOST) == limit;
    let next = page.last().filter(|_| full).map(|task| task.task_id.clone());
    Ok(Json(api::Page { tasks: page, next }))
}

/// One task with its hops, its files and its timeline.
pub(super) async fn show(
    Shared(state): Shared<State>,
    caller: Caller,
    id: Result<Path<String>, PathRejection>,
    depth: Result<Query<Depth>, QueryRejection>,
) -> Result<Json<api::Task>, ApiError> {
    let db = &state.world.db;
    let view = View::of(&caller);
    let Path(id) = id?;
    let full = view.operator && depth?.0.full.is_some_and(|full| full != 0);
    let task = visible(db, &caller, &id).await?;
    Ok(Json(in_full(db, &task, view, full).await?))
}

/// A task with everything that belongs to it; with `full`, prompts and answers as sent.
pub(super) async fn in_full(db: &Db, task: &Task, view: View, full: bool) -> Result<api::Task, StoreError> {
    let mut answer = whole(db, task, view).await?;
    let timeline = if view.operator { journal::timeline(db, &task.id).await? } else { Vec::new() };
    answer.timeline = Some(timeline.into_iter().map(|entry| event(entry, full)).collect());
    Ok(answer)
}

/// The task of that id, if the caller may know of it.
pub(super) async fn visible(db: &Db, caller: &Caller, id: &str) -> Result<Task, ApiError> {
    let task = tasks::find(db, id).await?.filter(|task| View::of(caller).operator || task.role == caller.role);
    task.ok_or_else(|| ApiError::not_found("task", id))
}

/// A task with its hops and its files, and without its timeline.
pub(super) async fn whole(db: &Db, task: &Task, view: View) -> Result<api::Task, StoreError> {
    let mut answer = shown(db, task, view).await?;
    answer.hops = Some(hops::of(db, &task.id).await?.into_iter().map(|hop| hop_shown(hop, view)).collect());
    answer.approvals = Some(approvals::of(db, &task.id).await?.into_iter().map(|one| super::approvals::shown(one, view)).collect());
    let path = |path, tier| if view.clearance.admits(tier) { path } else { Withheld.to_string() };
    let artefacts = artefacts::of(db, &task.id).await?.into_iter();
    answer.artefacts =
        Some(artefacts.map(|(name, tier)| api::Artefact { path: path(name, tier), tier: tier.as_str().into() }).collect());
    Ok(answer)
}

pub(super) async fn shown(db: &Db, task: &Task, view: View) -> Result<api::Task, StoreError> {
    let (usd_micros, served_groups) = (ledger::cost(db, &task.id).await?, journal::served(db, &task.id).await?);
    #[expect(clippy::cast_precision_loss, reason = "milliseconds and micro-dollars of one task")]
    let (duration_s, cost_usd) =
        (task.finished_at.zip(task.started_at).map(|(end, start)| end.since(start) as f64 / 1000.0), usd_micros as f64 / 1e6);
    Ok(api::Task {
        task_id: task.id.clone(),
        client_task_id: task.client_task_id.clone(),
        status: task.status.as_str().into(),
        content: view.open(&task.content),
        source: task.sent.source.clone(),
        origin: task.sent.origin.clone(),
        requester: task.requester.clone(),
        intent: task.sent.intent.clone(),
        priority: task.sent.priority.as_str().into(),
        destructive: task.sent.destructive,
        data_tier: task.data_tier.as_str().into(),
        label: task.label.tier.as_str().into(),
        target_agent: task.sent.target_agent.clone(),
        conversation_id: task.conversation_id.clone(),
        trace_id: task.trace_id.clone(),
        attempts: task.attempts,
        created_at: rfc3339(task.created_at),
        started_at: task.started_at.map(rfc3339),
        finished_at: task.finished_at.map(rfc3339),
        duration_s,
        output: task.output.as_ref().map(|text| view.open(text)),
        error: task.error.as_ref().map(|(code, message)| api::TaskError {
            code: code.clone(),
            message: view.inside(
                message,
                match task.status {
                    Status::Cancelled => "it was cancelled",
                    Status::Pending
                    | Status::Running
                    | Status::AwaitingApproval
                    | Status::AwaitingBackend
                    | Status::Done
                    | Status::Failed
                    | Status::Expired => "it could not be done; the operator sees why",
                },
            ),
        }),
        waiting_since: task.waits_for().map(|_| rfc3339(task.parked_at.unwrap_or(task.waiting_since))),
        waits_for: view.waits_for(task),
        cost_usd,
        served_groups,
        forgotten_at: task.forgotten_at.map(rfc3339),
        hops: None,
        artefacts: None,
        approvals: None,
        timeline: None,
    })
}

/// What an agent said to the next one is for operators; how its hop ended is for everybody.
fn hop_shown(hop: hops::Hop, view: View) -> api::Hop {
    let opened = hop.outcome.as_ref().and_then(|outcome| outcome.open(Clearance::OPERATOR).ok());
    let outcome = opened.and_then(|outcome| match view.operator {
        true => serde_json::to_value(outcome).ok(),
        false => Some(outcome.kind().into()),
    });
    api::Hop {
        seq: hop.seq,
        outcome,
        error: hop.error.filter(|_| view.operator).map(|error| view.open(&error)),
        started_at: hop.started_at.map(rfc3339),
        duration_ms: hop.finished_at.zip(hop.started_at).map(|(end, start)| end.since(start)),
        agent: hop.agent,
        digest: hop.digest,
        version: hop.version,
        status: hop.status,
        run: hop.run,
    }
}

/// One entry of the journal, for operators.
fn event(entry: journal::Entry, full: bool) -> api::Event {
    let refused = matches!(entry.state.as_str(), "denied" | "failed");
    let answer = entry.answer.as_ref().and_then(|answer| answer.open(Clearance::OPERATOR).ok().cloned());
    let request = entry.request.open(Clearance::OPERATOR).ok().cloned();
    let since = |end: Timestamp| end.since(entry.started_at);
    api::Event {
        reference: format!("{}.{}.{}", entry.hop, entry.run, entry.seq),
        hop: entry.hop,
        run: entry.run,
        seq: entry.seq,
        kind: entry.kind,
        state: entry.state,
        destination: entry.destination,
        tries: entry.tries,
        tier: entry.label.tier.as_str().into(),
        model: entry.usage.as_ref().map(|usage| usage.model.clone()),
        input_tokens: entry.usage.as_ref().map(|usage| usage.input),
        output_tokens: entry.usage.as_ref().map(|usage| usage.output),
        duration_ms: entry.finished_at.map(since),
        started_at: rfc3339(entry.started_at),
        refusal: answer.clone().filter(|_| refused),
        request: request.filter(|_| full),
        answer: answer.filter(|_| full),
    }
}
