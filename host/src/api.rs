//! The JSON of the contract: what HTTP answers and `hai` reads.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The answer of `POST /inbox`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Accepted {
    /// The task.
    pub task_id: String,
    /// `accepted` or `duplicate`.
    pub status: String,
    /// The conversation it belongs to.
    pub conversation_id: String,
    /// Its trace.
    pub trace_id: String,
}

/// A task.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the contract and of `store::tasks::Task`")]
pub struct Task {
    pub task_id: String,
    pub client_task_id: String,
    pub status: String,
    pub content: String,
    pub source: String,
    pub origin: Option<String>,
    pub requester: String,
    pub intent: Option<String>,
    pub priority: String,
    pub destructive: Option<bool>,
    pub data_tier: String,
    pub label: String,
    pub target_agent: Option<String>,
    pub conversation_id: String,
    pub trace_id: String,
    pub attempts: u32,
    pub created_at: String,
    pub started_at: Option<String>,
    pub finished_at: Option<String>,
    pub duration_s: Option<f64>,
    pub output: Option<String>,
    pub error: Option<TaskError>,
    pub waits_for: Option<String>,
    #[serde(default)]
    pub waiting_since: Option<String>,
    pub cost_usd: f64,
    pub served_groups: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forgotten_at: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hops: Option<Vec<Hop>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artefacts: Option<Vec<Artefact>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approvals: Option<Vec<Value>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeline: Option<Vec<Event>>,
}

/// Why a task did not end well.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TaskError {
    /// Stable.
    pub code: String,
    /// For people.
    pub message: String,
}

/// One run of one agent.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the contract and of `store::hops::Hop`")]
pub struct Hop {
    pub seq: u32,
    pub agent: String,
    pub digest: Option<String>,
    pub status: String,
    pub run: u32,
    pub outcome: Option<Value>,
    pub error: Option<String>,
    pub started_at: Option<String>,
    pub duration_ms: Option<i64>,
}

/// A file that a task wrote.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Artefact {
    /// Relative to the vault's root.
    pub path: String,
    /// Its label.
    pub tier: String,
}

/// One entry of the journal.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of `store::journal::Entry`")]
pub struct Event {
    #[serde(rename = "ref")]
    pub reference: String,
    pub hop: u32,
    pub run: u32,
    pub seq: u32,
    pub kind: String,
    pub state: String,
    pub destination: Option<String>,
    pub tries: Value,
    pub tier: String,
    pub model: Option<String>,
    pub input_tokens: Option<u64>,
    pub output_tokens: Option<u64>,
    pub started_at: String,
    pub duration_ms: Option<i64>,
    /// Why it was refused or failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<Value>,
    /// As sent; only with `?full=1`, for operators.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Value>,
    /// As answered; only with `?full=1`, for operators.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<Value>,
}

/// A page of tasks, newest first.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Page {
    /// The tasks.
    pub tasks: Vec<Task>,
    /// `before` of the next page, if there may be one.
    pub next: Option<String>,
}

/// The answer of `GET /todos`: newest first.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Todos {
    /// The todos.
    pub todos: Vec<Todo>,
}

/// Something that a person wants to remember.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Todo {
    /// Its id.
    pub id: String,
    /// What is to be done.
    pub body: String,
    /// `open`, `done` or `dropped`.
    pub status: String,
    /// Who wrote it down.
    pub created_by: String,
    /// By which it is found.
    pub tags: Vec<String>,
    /// The caller's own.
    pub metadata: Map<String, Value>,
    /// When it was written down.
    pub created_at: String,
    /// When it was last changed.
    pub updated_at: String,
    /// When it left `open`.
    pub closed_at: Option<String>,
}
