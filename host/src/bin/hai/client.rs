//! Requests, token, and what the host's errors mean here.

use std::path::PathBuf;

use host::api::{Accepted, Page, Task};
use host::config::variable;
use host::egress::{self, EgressError};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Largest answer that is read, in bytes.
const MOST: usize = 256 * 1024 * 1024;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Nothing was asked yet.
    #[error("{0}")]
    Setup(String),
    /// The host is not there.
    #[error("{endpoint} does not answer: {why}; is `host serve` running there? Set HAI_ENDPOINT to another")]
    Unreachable {
        /// Where.
        endpoint: String,
        /// What the network says.
        why: EgressError,
    },
    /// The host said no.
    #[error("{message} ({hint})")]
    Refused {
        /// What it said.
        message: String,
        /// What to do.
        hint: String,
    },
}

/// `~/.config/hai/config.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    endpoint: String,
    /// A key of the contract, for commands that wait; none of today's does.
    poll_interval_s: f64,
    /// See `poll_interval_s`.
    poll_timeout_s: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { endpoint: "http://127.0.0.1:8765".into(), poll_interval_s: 1.0, poll_timeout_s: 600.0 }
    }
}

/// A host, as `hai` sees it.
pub(crate) struct Client {
    http: egress::Client,
    endpoint: String,
    token: Option<String>,
}

impl Client {
    /// The host of `HAI_ENDPOINT` or the settings file, with the token of `HAI_TOKEN` or the token file.
    pub(crate) fn from_settings() -> Result<Self, Error> {
        let folder = variable("HAI_CONFIG_DIR")
            .map(PathBuf::from)
            .or_else(|| variable("HOME").map(|home| PathBuf::from(home).join(".config/hai")));
        let read = |name: &str| folder.as_ref().and_then(|folder| std::fs::read_to_string(folder.join(name)).ok());
        let settings: Settings = toml::from_str(&read("config.toml").unwrap_or_default())
            .map_err(|error| Error::Setup(format!("config.toml of hai: {error}")))?;
        let endpoint = variable("HAI_ENDPOINT").unwrap_or(settings.endpoint).trim_end_matches('/').to_owned();
        let token = variable("HAI_TOKEN").or_else(|| read("token")).map(|token| token.trim().to_owned());
        let http = egress::Client::new(std::iter::once(endpoint.as_str())).map_err(|error| Error::Setup(error.to_string()))?;
        Ok(Self { http, endpoint, token })
    }

    /// Adds a task.
    pub(crate) async fn add(&self, envelope: &Value) -> Result<Accepted, Error> {
        let request = self.http.post(&format!("{}/inbox", self.endpoint));
        self.answer(request.map(|request| request.json(envelope))).await
    }

    /// One task.
    pub(crate) async fn task(&self, id: &str) -> Result<Task, Error> {
        self.answer(self.http.get(&format!("{}/tasks/{id}", self.endpoint))).await
    }

    /// Tasks, newest first.
    pub(crate) async fn tasks(&self, status: Option<&str>, limit: u32) -> Result<Page, Error> {
        let mut query = vec![("limit", limit.to_string())];
        query.extend(status.map(|status| ("status", status.to_owned())));
        let url = reqwest::Url::parse_with_params(&format!("{}/tasks", self.endpoint), query)
            .map_err(|error| Error::Setup(format!("endpoint `{}`: {error}", self.endpoint)))?;
        self.answer(self.http.get(url.as_str())).await
    }

    async fn answer<T: DeserializeOwned>(&self, request: Result<reqwest::RequestBuilder, EgressError>) -> Result<T, Error> {
        let unreachable = |why: EgressError| Error::Unreachable { endpoint: self.endpoint.clone(), why };
        let mut request = request.map_err(unreachable)?;
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let response = request.send().await.map_err(|error| unreachable(error.into()))?;
        let status = response.status();
        let text = egress::text(response, MOST).await.map_err(unreachable)?;
        if status.is_success() {
            return serde_json::from_str(&text).map_err(|error| refused(&text, error.to_string()));
        }
        Err(refused(&text, format!("it answered {status}")))
    }
}

/// What the host's error body says, or that it has none.
fn refused(text: &str, otherwise: String) -> Error {
    let body: Value = serde_json::from_str(text).unwrap_or_default();
    let part = |key: &str| body.pointer(&format!("/error/{key}")).and_then(Value::as_str).map(str::to_owned);
    Error::Refused { message: part("message").unwrap_or(otherwise), hint: part("hint").unwrap_or_else(|| "is that a host?".into()) }
}
