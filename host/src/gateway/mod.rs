//! The way to tools: one server that speaks MCP over Streamable HTTP, as its operator named it.
//!
//! It knows what a call is sent to, whether it was sent, and what came back. It decides nothing: classes and grants are policy, and
//! it never sends a call that nobody granted.

mod catalogue;
mod line;
mod wire;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use policy::call::ToolCall;
use policy::class::{Class, Facts, Hints, Rules};
use policy::judge::Granted;
use policy::task::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::time::Instant;

pub use catalogue::{Catalogue, Tool};

use crate::config::Mcp;
use crate::egress::health::{Failing, Health};
use crate::egress::{Client, EgressError};
use crate::id;
use catalogue::Shelf;
use line::{Broke, Line};

/// What a tool answered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation {
    /// Its words; what is no text is named.
    pub text: String,
    /// Its structured result, as JSON.
    pub data: Option<String>,
    /// Whether it failed by itself.
    pub is_error: bool,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// The server failed a moment ago and is left alone: nothing was sent.
    #[error("{0}")]
    Resting(String),
    /// The server is not reached, or turned the call away: nothing was done.
    #[error("{0}")]
    Away(String),
    /// It was sent, and its answer never came: what was done is unknown.
    #[error("{0}")]
    Silent(String),
}

/// The server and what is known of it.
pub struct Gateway {
    url: String,
    trusted: bool,
    rules: Rules,
    /// Where rules are written, for refusals.
    file: String,
    client: Client,
    call: Duration,
    line: Line,
    shelf: Shelf,
    health: Health,
    /// It served after it had failed, and nobody has said so yet.
    back: AtomicBool,
}

impl Gateway {
    /// The gateway of the configuration; `file` is where it is written. Nothing is asked yet.
    ///
    /// # Errors
    /// [`EgressError::NotAllowed`] if `client` may not reach it.
    pub fn new(mcp: &Mcp, file: &str, client: Client) -> Result<Self, EgressError> {
        let line = Line::new(&mcp.url, mcp.token.clone(), client.bare(&mcp.url)?);
        Ok(Self {
            url: mcp.url.clone(),
            trusted: mcp.trusted,
            // Compiled once before, when the configuration was checked.
            rules: Rules::compile(&mcp.rules).unwrap_or_default(),
            file: file.to_owned(),
            client,
            call: Duration::from_secs(mcp.call_s),
            line,
            shelf: Shelf::default(),
            health: Health::default(),
            back: AtomicBool::new(false),
        })
    }

    /// Its address: the name by which tasks wait for it.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Where the operator's rules are written.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// What the class of a call follows from; `hints` are what its server says of the tool.
    #[must_use]
    pub fn facts(&self, tool: &str, arguments: &Value, hints: Hints, floor: Class, tainted: bool) -> Facts<'_> {
        Facts { rule: self.rules.of(tool, arguments), hints, trusted: self.trusted, floor, tainted }
    }

    /// The tools that were last heard of; none before the first look.
    #[must_use]
    pub fn known(&self) -> Option<Arc<Catalogue>> {
        self.shelf.known()
    }

    /// Makes sure that the catalogue is known, and not old; a tool that it lacks may have come since.
    ///
    /// # Errors
    /// [`Trouble`] if it was never read and cannot be now. One that was read is never forgotten for a failure.
    pub async fn look(&self, wanted: Option<&str>) -> Result<(), Trouble> {
        let known = self.shelf.known();
        if known.as_ref().is_some_and(|known| self.shelf.serves(known, wanted)) {
            return Ok(());
        }
        let read = self.bounded(self.line.tools(), true).await;
        match (read, known) {
            (Ok(tools), _) => {
                self.shelf.put(tools);
                Ok(())
            }
            (Err(trouble), Some(_)) => {
                tracing::warn!(event = "catalogue_old", at = self.url, "the tools of {} cannot be read anew: {trouble}", self.url);
                Ok(())
            }
            (Err(trouble), None) => Err(trouble),
        }
    }

    /// Calls the tool. `key` goes with the call, for a receiver that knows calls again; `again` says that making it twice does no harm.
    ///
    /// # Errors
    /// [`Trouble`].
    pub async fn call(&self, granted: &Granted<ToolCall>, key: &str, again: bool) -> Result<Observation, Trouble> {
        let call = granted.call();
        let arguments = call.arguments.as_object().cloned().unwrap_or_else(Map::new);
        self.bounded(self.line.call(&call.tool, arguments, key, again), again).await
    }

    /// One request in its time, if the server is worth asking.
    async fn bounded<T>(&self, asked: impl Future<Output = Result<T, Broke>>, again: bool) -> Result<T, Trouble> {
        if !self.health.admits(Instant::now()) {
            return Err(Trouble::Resting(format!("the tool gateway at {} failed a moment ago, and is tried again soon", self.url)));
        }
        let silent = |_| Err(Broke::Sent(format!("no answer came within {} s", self.call.as_secs())));
        let ended = tokio::time::timeout(self.call, asked).await.unwrap_or_else(silent);
        let (how, trouble) = match ended {
            Ok(answer) => {
                if self.health.served(id::now()) {
                    self.back.store(true, Ordering::SeqCst);
                }
                return Ok(answer);
            }
            Err(Broke::Lost(said) | Broke::NotSent(said)) => (Failing::Away, Trouble::Away(self.about(&said))),
            Err(Broke::Sent(said)) if again => (Failing::Wrong, Trouble::Away(self.about(&said))),
            Err(Broke::Sent(said)) => (Failing::Wrong, Trouble::Silent(self.about(&said))),
        };
        self.health.failed(how, Instant::now());
        Err(trouble)
    }

    fn about(&self, said: &str) -> String {
        format!("the tool gateway at {}: {said}", self.url)
    }

    /// Whether it serves again after it failed: once for each time.
    #[must_use]
    pub fn is_back(&self) -> bool {
        self.back.swap(false, Ordering::SeqCst)
    }

    /// Whether it served any call of this host since then.
    #[must_use]
    pub fn served_since(&self, since: Timestamp) -> bool {
        self.health.served_since(since)
    }

    /// Whether it answers at all, whatever it says.
    pub async fn answers(&self) -> bool {
        let Ok(request) = self.client.get(&self.url) else { return false };
        // Only the head: the body of a server that takes this for a subscription never ends.
        request.timeout(Duration::from_secs(2)).header(reqwest::header::ACCEPT, "text/event-stream").send().await.is_ok()
    }
}
