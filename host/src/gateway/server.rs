//! One server: its line, what is known of its tools, and how it does. A prefix stands before the names of its tools, if it has one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use policy::task::Timestamp;
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::catalogue::{Catalogue, Shelf};
use super::line::{Broke, Line};
use super::{Observation, Tool, Trouble};
use crate::config::mcp::Server as Config;
use crate::egress::health::{Failing, Health};
use crate::egress::{Client, EgressError};
use crate::id;

pub(super) struct Server {
    pub(super) name: String,
    pub(super) url: String,
    pub(super) prefix: String,
    /// Longer prefixes of other servers: tools that begin so are none of its own.
    others: Vec<String>,
    pub(super) trusted: bool,
    client: Client,
    call: Duration,
    line: Line,
    shelf: Shelf,
    health: Health,
    /// It served after it had failed, and nobody has said so yet.
    back: AtomicBool,
}

impl Server {
    pub(super) fn new(
        (name, others): (&str, Vec<String>),
        config: &Config,
        call_s: u64,
        client: Client,
    ) -> Result<Self, EgressError> {
        Ok(Self {
            name: name.to_owned(),
            url: config.url.clone(),
            prefix: config.prefix.clone(),
            others,
            trusted: config.trusted,
            line: Line::new(&config.url, config.token.clone(), client.bare(&config.url)?),
            client,
            call: Duration::from_secs(call_s),
            shelf: Shelf::default(),
            health: Health::default(),
            back: AtomicBool::new(false),
        })
    }

    /// Whether a tool of that name could be one of its own.
    pub(super) fn may_have(&self, tool: &str) -> bool {
        tool.starts_with(&self.prefix) && !self.others.iter().any(|other| tool.starts_with(other))
    }

    /// The tools that were last heard of.
    pub(super) fn known(&self) -> Option<Arc<Catalogue>> {
        self.shelf.known()
    }

    /// Makes sure that the catalogue is known, and not old; a tool that it lacks may have come since.
    pub(super) async fn look(&self, wanted: Option<&str>) -> Result<(), Trouble> {
        let known = self.shelf.known();
        let changed = self.line.has_changed();
        if known.as_ref().is_some_and(|known| !changed && self.shelf.serves(known, wanted)) {
            return Ok(());
        }
        let sent = AtomicBool::new(false);
        match (self.bounded((self.line.tools(&sent), &sent), true).await, known) {
            (Ok(tools), _) => {
                let named = |tool: Tool| Tool { name: format!("{}{}", self.prefix, tool.name), ..tool };
                self.shelf.put(tools.into_iter().map(named).filter(|tool| self.may_have(&tool.name)).collect());
                Ok(())
            }
            (Err(trouble), Some(_)) => {
                if changed {
                    self.line.changed();
                }
                tracing::warn!(event = "catalogue_old", at = self.url, "the tools of {} cannot be read anew: {trouble}", self.url);
                Ok(())
            }
            (Err(trouble), None) => Err(trouble),
        }
    }

    /// Calls a tool of its own.
    pub(super) async fn call(
        &self,
        tool: &str,
        arguments: Map<String, Value>,
        key: &str,
        again: bool,
    ) -> Result<Observation, Trouble> {
        let own = tool.strip_prefix(&self.prefix).unwrap_or(tool);
        let sent = AtomicBool::new(false);
        self.bounded((self.line.call(own, arguments, (key, again), &sent), &sent), again).await
    }

    /// One request in its time, if the server is worth asking. `sent` says whether it has left, as far as is known.
    async fn bounded<T>(
        &self,
        (asked, sent): (impl Future<Output = Result<T, Broke>>, &AtomicBool),
        again: bool,
    ) -> Result<T, Trouble> {
        if !self.health.admits(Instant::now()) {
            return Err(Trouble::Resting(format!("the tool gateway at {} failed a moment ago, and is tried again soon", self.url)));
        }
        let silent = |_| {
            let said = format!("no answer came within {} s", self.call.as_secs());
            Err(if sent.load(Ordering::SeqCst) { Broke::Sent(said) } else { Broke::NotSent(said) })
        };
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
    pub(super) fn is_back(&self) -> bool {
        self.back.swap(false, Ordering::SeqCst)
    }

    /// Whether it served any call of this host since then.
    pub(super) fn served_since(&self, since: Timestamp) -> bool {
        self.health.served_since(since)
    }

    /// Whether it answers at all, whatever it says.
    pub(super) async fn answers(&self) -> bool {
        let Ok(request) = self.client.get(&self.url) else { return false };
        // Only the head: the body of a server that takes this for a subscription never ends.
        request.timeout(Duration::from_secs(2)).header(reqwest::header::ACCEPT, "text/event-stream").send().await.is_ok()
    }
}
