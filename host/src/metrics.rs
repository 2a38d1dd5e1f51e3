//! Every metric's name, type and labels, in one table. Labels never hold content.

use std::sync::OnceLock;

use metrics::{counter, gauge, histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

/// The names, without prefix. `langgraph` is the default prefix, so that dashboards of the pipeline being rebuilt go on working.
pub mod name {
    /// Model calls, by agent, group, model, outcome and trigger.
    pub const CALLS: &str = "calls_total";
    /// Tokens, by agent, group, model and direction.
    pub const TOKENS: &str = "tokens_total";
    /// Money, by agent, group and model.
    pub const COST: &str = "cost_usd_total";
    /// Duration of model calls, by agent, group and model.
    pub const LLM_SECONDS: &str = "llm_duration_seconds";
    /// Where the router sent calls, by agent, decision and reason.
    pub const ROUTER: &str = "router_decision_total";
    /// Requests turned away at the door, by reason.
    pub const REJECTED: &str = "inbox_envelope_rejected_total";
    /// Tasks that are not ended, by status and priority.
    pub const DEPTH: &str = "queue_depth";
    /// From when a task was due to its lease.
    pub const CLAIM_SECONDS: &str = "queue_claim_latency_seconds";
    /// From the first lease to the end, by agent of the last hop and status.
    pub const TASK_SECONDS: &str = "task_duration_seconds";
    /// Ended tasks, by source and status.
    pub const TASKS: &str = "tasks_total";
    /// Refusals, by agent and rule.
    pub const DENIED: &str = "denied_total";
    /// Secrets of the host that were found in what a run asked or was told, and replaced, by agent.
    pub const SECRETS: &str = "secrets_masked_total";
    /// Duration of host calls, by kind.
    pub const HOST_CALL_SECONDS: &str = "host_call_duration_seconds";
    /// Bytes of arguments and results written to the journal.
    pub const JOURNAL_BYTES: &str = "journal_bytes_total";
    /// From the request for an instance to its first instruction.
    pub const INSTANCE_SECONDS: &str = "instance_start_seconds";
    /// Files that were looked at and may not serve, by agent.
    pub const AGENTS_REJECTED: &str = "agent_rejected_total";
    /// 1 for each agent that serves, by agent and digest.
    pub const LOADED: &str = "agent_loaded";
    /// 1 if the last call to a group's server was answered, by group.
    pub const BACKEND_UP: &str = "backend_up";
    /// Calls of tools, by agent, tool and outcome.
    pub const TOOL_CALLS: &str = "tool_calls_total";
    /// Duration of calls of tools, by tool.
    pub const TOOL_SECONDS: &str = "tool_duration_seconds";
    /// Runs that were resumed, by result.
    pub const REPLAYS: &str = "replays_total";
    /// Tasks that wait for a person.
    pub const AWAITING: &str = "awaiting_approval_tasks";
    /// For how long the first of them has waited; 0 if none does.
    pub const AWAITING_SECONDS: &str = "awaiting_approval_oldest_age_seconds";
    /// Dead letters: tasks that failed and were not discarded.
    pub const DEAD_SIZE: &str = "dlq_size";
    /// Tasks that became dead letters, by code.
    pub const DEAD: &str = "dlq_total";
    /// Messages for people, by sink and outcome (`sent`, `failed`, `dead`).
    pub const DELIVERIES: &str = "delivery_total";
    /// Messages for people that wait, by sink.
    pub const OUTBOX: &str = "outbox_pending";
    /// Tokens of links that were refused, by reason.
    pub const TOKENS_REFUSED: &str = "approval_token_refused_total";
    /// Tasks that wait for a person, by whether that is longer than five minutes.
    pub const PAUSED: &str = "paused_threads";
    /// Calls under way, by group.
    pub const BACKEND_INFLIGHT: &str = "backend_inflight";
}

const SECONDS: [f64; 14] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 1800.0];
const FAST: [f64; 10] = [1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 5e-3, 2.5e-2, 0.1];

/// Starts recording; what `/metrics` renders. A second start in one process (`agent dev`) keeps the first.
///
/// # Errors
/// If something else records already in this process.
pub fn install(prefix: &'static str) -> Result<PrometheusHandle, BuildError> {
    if let Some(started) = RENDERED.get() {
        return Ok(started.clone());
    }
    PREFIX.get_or_init(|| prefix);
    let rendered = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("instance_start_seconds".into()), &FAST)?
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS)?
        .install_recorder()?;
    Ok(RENDERED.get_or_init(|| rendered).clone())
}

static PREFIX: OnceLock<&'static str> = OnceLock::new();
static RENDERED: OnceLock<PrometheusHandle> = OnceLock::new();

fn full(name: &str) -> String {
    format!("{}_{name}", PREFIX.get().copied().unwrap_or("langgraph"))
}

/// Labels of one sample.
pub type Labels<'a> = &'a [(&'static str, &'a str)];

fn labels(pairs: Labels<'_>) -> Vec<metrics::Label> {
    pairs.iter().map(|(key, value)| metrics::Label::new(*key, (*value).to_owned())).collect()
}

/// Adds to a counter.
pub fn count(name: &str, by: u64, pairs: Labels<'_>) {
    counter!(full(name), labels(pairs)).increment(by);
}

/// Sets a gauge.
pub fn set(name: &str, value: f64, pairs: Labels<'_>) {
    gauge!(full(name), labels(pairs)).set(value);
}

/// Adds to a gauge.
pub fn shift(name: &str, by: f64, pairs: Labels<'_>) {
    gauge!(full(name), labels(pairs)).increment(by);
}

/// Adds to a histogram.
pub fn observe(name: &str, seconds: f64, pairs: Labels<'_>) {
    histogram!(full(name), labels(pairs)).record(seconds);
}
