//! The way to tools: one server that speaks MCP over Streamable HTTP, or several, as their operator named them.
//!
//! It knows what a call is sent to, whether it was sent, and what came back. It decides nothing: classes and grants are policy, and
//! it never sends a call that nobody granted.

mod catalogue;
mod line;
mod notices;
mod server;
mod wire;

use policy::call::ToolCall;
use policy::class::{Class, Facts, Hints, Rules};
use policy::judge::Granted;
use policy::pattern::Patterns;
use policy::task::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use catalogue::{Known, Tool};

use crate::config::Mcp;
use crate::egress::{Client, EgressError};
use crate::id;
use server::Server;

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

impl Observation {
    /// Whether a recorded answer of a tool says that it failed by itself.
    #[must_use]
    pub fn says_it_failed(answer: &Value) -> bool {
        answer.get("is_error").and_then(Value::as_bool).unwrap_or_default()
    }
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

/// A server in trouble, and which one.
#[derive(Debug, thiserror::Error)]
#[error("{trouble}")]
pub struct Failed {
    /// Its address: the name by which tasks wait for it.
    pub at: String,
    /// What happened.
    pub trouble: Trouble,
}

/// The servers, and what their operator says of their tools.
pub struct Gateway {
    servers: Vec<Server>,
    rules: Rules,
    /// Where rules are written, for refusals.
    file: String,
}

impl Gateway {
    /// The servers of the configuration; `file` is where it is written. Nothing is asked yet.
    ///
    /// # Errors
    /// [`EgressError::NotAllowed`] if `client` may not reach one.
    pub fn new(mcp: &Mcp, file: &str, client: Client) -> Result<Self, EgressError> {
        let prefixes: Vec<&str> = mcp.servers().map(|(_, server)| server.prefix.as_str()).collect();
        let server = |(name, server): (&str, &crate::config::mcp::Server)| {
            // What begins like a tool of somebody else is theirs.
            let longer = |prefix: &&&str| prefix.len() > server.prefix.len() && prefix.starts_with(&server.prefix);
            let others = prefixes.iter().filter(longer).map(ToString::to_string).collect();
            Server::new((name, others), server, mcp.call_s, client.clone())
        };
        let mut servers: Vec<Server> = mcp.servers().map(server).collect::<Result<_, _>>()?;
        // Whoever has the longest prefix knows best whose a tool is.
        servers.sort_by_key(|server| std::cmp::Reverse(server.prefix.len()));
        Ok(Self {
            servers,
            // Compiled once before, when the configuration was checked.
            rules: Rules::compile(&mcp.rules).unwrap_or_default(),
            file: file.to_owned(),
        })
    }

    /// Where the operator's rules are written.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The server that a tool belongs to: the first that has it, else the first that could.
    fn server(&self, tool: &str) -> Option<&Server> {
        let has = |server: &&Server| server.known().is_some_and(|known| known.tool(tool).is_some());
        self.servers.iter().find(has).or_else(|| self.servers.iter().find(|server| server.may_have(tool)))
    }

    /// Its address.
    #[must_use]
    pub fn at(&self, tool: &str) -> Option<&str> {
        self.server(tool).map(|server| server.url.as_str())
    }

    /// What the class of a call follows from; `hints` are what its server says of the tool.
    #[must_use]
    pub fn facts(&self, tool: &str, arguments: &Value, hints: Hints, floor: Class, tainted: bool) -> Facts<'_> {
        let rule = self.rules.of(tool, arguments);
        let undoes = rule.and_then(|rule| rule.undo.as_ref()?.of(arguments)).is_some();
        let trusted = self.server(tool).is_some_and(|server| server.trusted);
        Facts { rule, hints, trusted, floor, tainted, undoes }
    }

    /// The tools that were last heard of; none before the first look.
    #[must_use]
    pub fn known(&self) -> Known {
        Known::of(self.servers.iter().filter_map(Server::known))
    }

    /// Makes sure that the catalogues are known in which that tool could stand, and not old.
    ///
    /// # Errors
    /// [`Failed`] if one was never read and cannot be now. One that was read is never forgotten for a failure.
    pub async fn look(&self, wanted: &str) -> Result<(), Failed> {
        for server in self.servers.iter().filter(|server| server.may_have(wanted)) {
            server.look(Some(wanted)).await.map_err(|trouble| Failed { at: server.url.clone(), trouble })?;
            if server.known().is_some_and(|known| known.tool(wanted).is_some()) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// The same, for every tool that one of these patterns could cover: a server that has none of them may be away.
    ///
    /// # Errors
    /// As [`Gateway::look`].
    pub async fn look_for(&self, patterns: &[&str]) -> Result<(), Failed> {
        let texts: Vec<String> = patterns.iter().map(ToString::to_string).collect();
        // Only prefixes are worth compiling for; what does not parse is refused where it is used.
        let compiled = || Patterns::compile(&texts).ok();
        let patterns = self.servers.iter().any(|server| !server.prefix.is_empty()).then(compiled).flatten();
        let may_have = |server: &&Server| patterns.as_ref().is_none_or(|patterns| patterns.may_begin(&server.prefix));
        for server in self.servers.iter().filter(may_have) {
            server.look(None).await.map_err(|trouble| Failed { at: server.url.clone(), trouble })?;
        }
        Ok(())
    }

    /// Calls the tool. `key` goes with the call, for a receiver that knows calls again; `again` says that making it twice does no harm.
    ///
    /// # Errors
    /// [`Failed`].
    pub async fn call(&self, granted: &Granted<ToolCall>, key: &str, again: bool) -> Result<Observation, Failed> {
        let call = granted.call();
        let arguments = call.arguments.as_object().cloned().unwrap_or_else(Map::new);
        let Some(server) = self.server(&call.tool) else {
            let trouble = Trouble::Away(format!("no server has a tool `{}`", call.tool));
            return Err(Failed { at: String::new(), trouble });
        };
        let called = server.call(&call.tool, arguments, key, again).await;
        called.map_err(|trouble| Failed { at: server.url.clone(), trouble })
    }

    /// Looks for the host itself: the structured answer of a tool of which the operator's rules say that it only looks, or its text as
    /// JSON. `None` if they do not, or if nothing comes of it.
    pub async fn look_at(&self, tool: &str, arguments: Map<String, Value>) -> Option<Value> {
        self.look(tool).await.ok()?;
        let server = self.server(tool)?;
        let hints = server.known()?.tool(tool)?.hints;
        let facts = self.facts(tool, &Value::Object(arguments.clone()), hints, Class::A, false);
        if facts.rule.is_none() || facts.judge().class != Class::A {
            let file = &self.file;
            tracing::warn!(
                event = "look_refused",
                tool,
                "`{tool}` is not class A by a rule in {file}: the host does not look with it"
            );
            return None;
        }
        let seen = server.call(tool, arguments, &id::task(), true).await.ok().filter(|seen| !seen.is_error)?;
        seen.data.as_deref().and_then(|data| serde_json::from_str(data).ok()).or_else(|| serde_json::from_str(&seen.text).ok())
    }

    /// The servers that serve again after they failed: once for each time.
    #[must_use]
    pub fn back(&self) -> Vec<String> {
        self.servers.iter().filter(|server| server.is_back()).map(|server| server.url.clone()).collect()
    }

    /// Whether one of the servers has that address.
    #[must_use]
    pub fn has(&self, url: &str) -> bool {
        self.servers.iter().any(|server| server.url == url)
    }

    /// Whether that server served any call of this host since then.
    #[must_use]
    pub fn served_since(&self, url: &str, since: Timestamp) -> bool {
        self.servers.iter().any(|server| server.url == url && server.served_since(since))
    }

    /// Whether that server answers at all, whatever it says.
    pub async fn answers(&self, url: &str) -> bool {
        match self.servers.iter().find(|server| server.url == url) {
            Some(server) => server.answers().await,
            None => false,
        }
    }

    /// Each server by name, and whether it answers.
    pub async fn states(&self) -> Vec<(&str, bool)> {
        futures::future::join_all(self.servers.iter().map(async |server| (server.name.as_str(), server.answers().await))).await
    }
}
