//! What a host tells of a task while it runs. Reads what is there; a kind or field that is not known here is passed over, so that
//! an older shell can watch a newer host.

use host::api::Task;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// One event.
pub(crate) enum News {
    /// Where the task stands.
    Status(Status),
    /// A hop began or ended.
    Hop(Hop),
    /// A host call began or ended.
    Call(Call),
    /// A model says something.
    Token(Token),
    /// The task has ended; nothing comes after it.
    Done(Box<Task>),
    /// Something newer than this program.
    Unknown,
}

#[derive(Deserialize)]
pub(crate) struct Status {
    pub(crate) status: String,
    #[serde(default)]
    pub(crate) waits_for: Option<String>,
}

impl Status {
    /// Whether the task is a row in the queue that waits for somebody or something.
    pub(crate) fn is_parked(&self) -> bool {
        matches!(self.status.as_str(), "awaiting_approval" | "awaiting_backend")
    }
}

#[derive(Deserialize)]
pub(crate) struct Hop {
    pub(crate) seq: u32,
    pub(crate) agent: String,
    #[serde(default)]
    pub(crate) run: u32,
    pub(crate) status: String,
    #[serde(default)]
    pub(crate) outcome: Option<String>,
    #[serde(default)]
    pub(crate) started_at: Option<String>,
    #[serde(default)]
    pub(crate) duration_ms: Option<i64>,
}

#[derive(Deserialize)]
pub(crate) struct Call {
    pub(crate) hop: u32,
    pub(crate) agent: String,
    pub(crate) kind: String,
    pub(crate) state: String,
    #[serde(default)]
    pub(crate) destination: Option<String>,
    #[serde(default)]
    pub(crate) output_tokens: Option<u64>,
    #[serde(default)]
    pub(crate) refusal: Option<Value>,
}

#[derive(Deserialize)]
pub(crate) struct Token {
    pub(crate) hop: u32,
    /// Pieces so far of this model call.
    pub(crate) tokens: u64,
}

impl News {
    /// Reads an event.
    pub(crate) fn read(event: &eventsource_stream::Event) -> Result<Self, String> {
        fn data<T: DeserializeOwned>(event: &eventsource_stream::Event) -> Result<T, String> {
            serde_json::from_str(&event.data).map_err(|error| format!("its event `{}` makes no sense: {error}", event.event))
        }
        Ok(match event.event.as_str() {
            "status" => Self::Status(data(event)?),
            "hop" => Self::Hop(data(event)?),
            "call" => Self::Call(data(event)?),
            "token" => Self::Token(data(event)?),
            "done" => Self::Done(data(event)?),
            _ => Self::Unknown,
        })
    }
}
