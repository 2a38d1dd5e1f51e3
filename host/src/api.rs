//! The JSON of the contract: what HTTP answers and `hai` reads.

use std::collections::BTreeMap;

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
    pub approvals: Option<Vec<Approval>>,
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
    /// The agent's own word for that component.
    pub version: Option<String>,
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

/// The answer of `GET /approvals`: the oldest first.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Approvals {
    /// The questions.
    pub approvals: Vec<Approval>,
    /// `after` of the next page, if there may be one.
    #[serde(default)]
    pub next: Option<String>,
}

/// A question to a person. What concerns the call itself is for operators.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the contract and of `store::approvals::Approval`")]
pub struct Approval {
    pub id: String,
    pub task_id: String,
    /// `call`: a call may not be made before somebody consents to it. `ambiguous`: a call may or may not have happened.
    pub kind: String,
    pub status: String,
    pub agent: Option<String>,
    #[serde(rename = "ref")]
    pub reference: Option<String>,
    pub call: Option<String>,
    /// As it would be sent, or was.
    pub request: Option<Value>,
    pub called_at: Option<String>,
    /// Why it is made, in its agent's words; of an ambiguous call, what is asked.
    pub why: Option<String>,
    /// C or D, or B of a wish of the household.
    #[serde(default)]
    pub class: Option<String>,
    /// Why it has that class.
    #[serde(default)]
    pub because: Option<String>,
    #[serde(default)]
    pub undo: Option<String>,
    /// Who says how it is undone: `rule`, or `agent`, which only claims it.
    #[serde(default)]
    pub undo_by: Option<String>,
    #[serde(default)]
    pub cost_usd: Option<f64>,
    /// On whose behalf, and what they are to the house.
    #[serde(default)]
    pub requester: Option<String>,
    #[serde(default)]
    pub role: Option<String>,
    /// How many people's words it takes, each through another channel.
    #[serde(default)]
    pub needs: Option<usize>,
    /// Who has said yes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub yes: Vec<Yes>,
    /// What each reaction means.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub answers: BTreeMap<String, String>,
    pub reaction: Option<String>,
    pub result: Option<Value>,
    pub actor: Option<String>,
    pub created_at: String,
    /// When it lapses.
    #[serde(default)]
    pub expires_at: Option<String>,
    /// Put off until then.
    #[serde(default)]
    pub silent_until: Option<String>,
    pub decided_at: Option<String>,
}

/// Somebody's consent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Yes {
    /// Who.
    pub actor: String,
    /// Through which channel.
    pub channel: String,
}

/// The answer of `POST /approval`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Heard {
    /// The task.
    pub task_id: String,
    /// `approved`, `another_needed`, `rejected`, `deferred`, `retried`, `edited` or `discarded`.
    pub status: String,
}

/// A page of dead letters, newest first.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Letters {
    /// The letters.
    pub letters: Vec<Letter>,
    /// `before` of the next page, if there may be one.
    pub next: Option<String>,
}

/// A task that failed, and what it has done already.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Letter {
    /// The task.
    #[serde(flatten)]
    pub task: Task,
    /// What has happened, or may have, in order.
    pub effects: Vec<Effect>,
}

/// An effect of a task.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Effect {
    /// The `ref` of its call.
    #[serde(rename = "ref")]
    pub reference: String,
    /// Whose call.
    pub agent: String,
    /// `interface.function`.
    pub kind: String,
    /// Where it went.
    pub destination: Option<String>,
    /// `done`, or `unknown`: it may or may not have happened.
    pub state: String,
    /// Whether doing it again does no harm.
    pub repeatable: bool,
    /// Whether it is an effect of the failed hop, which a retry does again.
    pub again: bool,
    /// When the call was made.
    pub at: String,
    /// As sent; only of one letter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Value>,
}

/// The answer of `GET /outbox`: newest first.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Deliveries {
    /// The messages.
    pub deliveries: Vec<Delivery>,
}

/// A message for people: not what it says.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of `store::deliveries::Seen`")]
pub struct Delivery {
    pub id: String,
    pub sink: String,
    pub kind: String,
    pub task_id: Option<String>,
    pub status: String,
    pub attempts: i64,
    pub error: Option<String>,
    pub created_at: String,
    pub ended_at: Option<String>,
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
