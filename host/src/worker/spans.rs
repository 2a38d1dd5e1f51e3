//! The spans of leases and hops: what a lease waited for, how long it held, and how each run ended.

use opentelemetry::trace::SpanKind;
use policy::task::Timestamp;
use policy::tier::Labelled;

use crate::store::hops::Hop as Row;
use crate::store::tasks::{Leased, Task};
use crate::telemetry::shown;
use crate::telemetry::trace::{Place, Span, Traces, fact, what};

/// Where the root span of a task stands.
fn root(task: &Task) -> Place {
    let stored = task.traceparent.as_deref().and_then(Place::named);
    stored.unwrap_or_else(|| Place::of(&task.trace_id, &what::request(&task.id)))
}

/// Where the span of a run stands.
pub(super) fn of_run(leased: &Leased, hop: u32, run: u32) -> Place {
    root(&leased.task).with(&what::run(&leased.task.id, hop, run))
}

/// The wait before a lease: in the queue, or for a server that was away.
pub(super) fn waited(traces: &Traces, leased: &Leased, now: Timestamp) {
    let task = &leased.task;
    traces.record(|| Span {
        at: root(task).with(&what::wait(&task.id, leased.lease)),
        below: Some(root(task)),
        name: match (&task.waits_for, task.parked_at) {
            (Some(_), Some(_)) => "wait for a backend",
            (Some(_), None) => "wait for a person",
            (None, _) => "wait in the queue",
        }
        .into(),
        kind: SpanKind::Internal,
        began: task.waiting_since,
        ended: now,
        facts: vec![fact("homeaiops.task.id", task.id.clone())],
        error: None,
    });
}

/// A lease that has ended.
pub(super) fn held(traces: &Traces, leased: &Leased, host: &str, (began, ended): (Timestamp, Timestamp)) {
    traces.record(|| lease(leased, leased.lease, host, (began, ended)));
}

fn lease(leased: &Leased, number: i64, host: &str, (began, ended): (Timestamp, Timestamp)) -> Span {
    let task = &leased.task;
    Span {
        at: root(task).with(&what::lease(&task.id, number)),
        below: Some(root(task)),
        name: "lease".into(),
        kind: SpanKind::Consumer,
        began,
        ended,
        facts: vec![
            fact("homeaiops.task.id", task.id.clone()),
            fact("homeaiops.lease", number),
            fact("homeaiops.host", host.to_owned()),
        ],
        error: None,
    }
}

/// What is known of a run.
pub(super) struct Run<'r> {
    pub(super) agent: &'r str,
    pub(super) hop: u32,
    pub(super) run: u32,
    pub(super) lease: i64,
    pub(super) digest: &'r str,
    pub(super) version: &'r str,
    pub(super) outcome: &'static str,
    /// Why it did not end well, as a log line may show it.
    pub(super) error: Option<String>,
}

/// A run that has ended.
pub(super) fn ran(traces: &Traces, leased: &Leased, run: &Run<'_>, (began, ended): (Timestamp, Timestamp)) {
    let task = &leased.task;
    traces.record(|| Span {
        at: of_run(leased, run.hop, run.run),
        below: Some(root(task).with(&what::lease(&task.id, run.lease))),
        name: format!("invoke_agent {}", run.agent),
        kind: SpanKind::Internal,
        began,
        ended,
        facts: vec![
            fact("gen_ai.operation.name", "invoke_agent"),
            fact("gen_ai.agent.id", run.digest.to_owned()),
            fact("gen_ai.agent.version", run.version.to_owned()),
            fact("gen_ai.agent.name", run.agent.to_owned()),
            fact("gen_ai.conversation.id", shown(&Labelled::new(task.label, task.conversation_id.clone()))),
            fact("homeaiops.task.id", task.id.clone()),
            fact("homeaiops.hop", i64::from(run.hop)),
            fact("homeaiops.run", i64::from(run.run)),
            fact("homeaiops.outcome", run.outcome),
        ],
        error: run.error.clone(),
    });
}

const GONE: &str = "the host that worked on it is gone";

/// A lease that a crash swallowed. Its last run goes on under the next one, and is reported by whoever ends it.
pub(super) fn lost_lease(traces: &Traces, leased: &Leased, number: i64, (began, now): (Timestamp, Timestamp)) {
    traces.record(|| Span { error: Some(GONE.to_owned()), ..lease(leased, number, "", (began, now)) });
}

/// A run that was broken off for good: its task was cancelled, or it gave up on its server.
pub(super) fn cut(traces: &Traces, leased: &Leased, row: &Row, now: Timestamp) {
    let began = row.started_at.unwrap_or(leased.task.waiting_since);
    let run = Run {
        agent: &row.agent,
        hop: row.seq,
        run: row.run,
        lease: row.lease,
        digest: row.digest.as_deref().unwrap_or_default(),
        version: row.version.as_deref().unwrap_or_default(),
        outcome: "interrupted",
        error: row.error.as_ref().map(shown),
    };
    ran(traces, leased, &run, (began, now));
}
