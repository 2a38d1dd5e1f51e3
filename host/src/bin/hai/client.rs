//! Requests, the token, and what the host's answers mean here.

use std::time::Duration;

use eventsource_stream::{Event, EventStreamError, Eventsource};
use futures::{Stream, StreamExt};
use host::api::{Accepted, Approval, Approvals, Letter, Letters, Page, Task};
use host::egress::{self, EgressError};
use reqwest::{RequestBuilder, Response, Url};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::error::Error;
use crate::settings::Settings;
use host::api::{Todo, Todos};

/// Largest answer that is read, in bytes.
const MOST: usize = 256 * 1024 * 1024;
/// Time for a whole answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// A stream of events that says nothing for so long is dead: a living one has comment lines.
const SILENCE: Duration = Duration::from_secs(90);
/// The longest page that a host gives out.
const PAGE: usize = 200;

/// Which tasks to list.
#[derive(Default)]
pub(crate) struct Filter<'f> {
    /// Only of that status.
    pub(crate) status: Option<&'f str>,
    /// Only of that agent.
    pub(crate) agent: Option<&'f str>,
    /// Only of that surface.
    pub(crate) source: Option<&'f str>,
    /// At most so many.
    pub(crate) limit: usize,
}

/// A host, as `hai` sees it.
pub(crate) struct Client {
    http: egress::Client,
    /// What it goes by.
    pub(crate) settings: Settings,
}

impl Client {
    /// The host of the settings.
    pub(crate) fn new(settings: Settings) -> Result<Self, Error> {
        // Whoever types an address knows where it leads.
        let http = egress::Client::new(std::iter::once(settings.endpoint.value.as_str()), &["*".to_owned()]);
        Ok(Self { http: http.map_err(|error| Error::Usage(error.to_string()))?, settings })
    }

    /// Where it is, for people.
    pub(crate) fn endpoint(&self) -> String {
        self.settings.endpoint.value.as_str().trim_end_matches('/').to_owned()
    }

    /// Adds a task.
    pub(crate) async fn add(&self, envelope: &Value) -> Result<Accepted, Error> {
        self.post(&["inbox"], envelope).await
    }

    /// One task; with every call in full, if wanted.
    pub(crate) async fn task(&self, id: &str, full: bool) -> Result<Task, Error> {
        let full: &[(&str, &str)] = if full { &[("full", "1")] } else { &[] };
        self.get(&["tasks", id], full).await
    }

    /// Tasks, newest first: as many pages as it takes.
    pub(crate) async fn tasks(&self, filter: &Filter<'_>) -> Result<Page, Error> {
        let mut all = Page { tasks: Vec::new(), next: None };
        loop {
            let limit = filter.limit.saturating_sub(all.tasks.len()).min(PAGE).to_string();
            let before = all.next.take();
            let narrowed =
                [("status", filter.status), ("agent", filter.agent), ("source", filter.source), ("before", before.as_deref())];
            let mut query = vec![("limit", limit.as_str())];
            query.extend(narrowed.into_iter().filter_map(|(key, value)| Some((key, value?))));
            let page: Page = self.get(&["tasks"], &query).await?;
            all.tasks.extend(page.tasks);
            all.next = page.next;
            if all.next.is_none() || all.tasks.len() >= filter.limit {
                return Ok(all);
            }
        }
    }

    /// `cancel`, `retry` or `forget`.
    pub(crate) async fn steer(&self, id: &str, how: &str, reason: Option<&str>, again: bool) -> Result<Task, Error> {
        let mut body = Map::new();
        body.extend(reason.map(|reason| ("reason".to_owned(), json!(reason))));
        body.extend(again.then(|| ("again".to_owned(), json!(true))));
        self.post(&["tasks", id, how], &Value::Object(body)).await
    }

    /// The questions that wait for an answer: as many pages as it takes.
    pub(crate) async fn questions(&self) -> Result<Vec<Approval>, Error> {
        let mut all = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let query: Vec<(&str, &str)> = after.as_deref().map(|after| ("after", after)).into_iter().collect();
            let page: Approvals = self.get(&["approvals"], &query).await?;
            all.extend(page.approvals);
            after = page.next;
            if after.is_none() {
                return Ok(all);
            }
        }
    }

    /// Answers a question.
    pub(crate) async fn answer(&self, id: &str, said: &Value) -> Result<Approval, Error> {
        self.post(&["approvals", id], said).await
    }

    /// Starts a task that undoes another.
    pub(crate) async fn undo(&self, id: &str) -> Result<Accepted, Error> {
        self.post(&["tasks", id, "undo"], &serde_json::json!({})).await
    }

    /// Dead letters, newest first: as many pages as it takes.
    pub(crate) async fn letters(&self, limit: usize) -> Result<Letters, Error> {
        let mut all = Letters { letters: Vec::new(), next: None };
        loop {
            let page = limit.saturating_sub(all.letters.len()).min(PAGE).to_string();
            let before = all.next.take();
            let query = [("limit", Some(page.as_str())), ("before", before.as_deref())];
            let query: Vec<(&str, &str)> = query.into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
            let page: Letters = self.get(&["dlq"], &query).await?;
            all.letters.extend(page.letters);
            all.next = page.next;
            if all.next.is_none() || all.letters.len() >= limit {
                return Ok(all);
            }
        }
    }

    /// One dead letter.
    pub(crate) async fn letter(&self, id: &str) -> Result<Letter, Error> {
        self.get(&["dlq", id], &[]).await
    }

    /// `retry` or `discard`.
    pub(crate) async fn settle(&self, id: &str, how: &str, body: &Value) -> Result<Task, Error> {
        self.post(&["dlq", id, how], body).await
    }

    /// The agents, and the files that are none.
    pub(crate) async fn agents(&self) -> Result<Value, Error> {
        self.get(&["agents"], &[]).await
    }

    /// Todos of a status, with a tag if wanted.
    pub(crate) async fn todos(&self, status: &str, tag: Option<&str>) -> Result<Todos, Error> {
        let mut query = vec![("status", status), ("limit", "1000")];
        query.extend(tag.map(|tag| ("tag", tag)));
        self.get(&["todos"], &query).await
    }

    /// Adds a todo.
    pub(crate) async fn add_todo(&self, body: &str, tags: &[String]) -> Result<Todo, Error> {
        self.post(&["todos"], &json!({ "body": body, "tags": tags })).await
    }

    /// Says that a todo is done.
    pub(crate) async fn finish_todo(&self, id: &str) -> Result<Todo, Error> {
        let request = self.http.patch(self.url(&["todos", id], &[]).as_str());
        self.told(request.map(|request| request.json(&json!({ "status": "done" })))).await
    }

    /// The events of a task, those after `after` if given. The stream ends with the connection, or with why it broke.
    pub(crate) async fn events(
        &self,
        id: &str,
        after: Option<&str>,
    ) -> Result<impl Stream<Item = Result<Event, String>> + use<>, Error> {
        let request = self.http.get(self.url(&["tasks", id, "events"], &[]).as_str());
        let request = request.map(|request| {
            let request = request.header("accept", "text/event-stream");
            after.into_iter().fold(request, |request, after| request.header("last-event-id", after))
        });
        let response = match tokio::time::timeout(PATIENCE, self.sent(request)).await {
            Ok(response) => response?,
            Err(_) => return Err(self.refused(504, "", "it does not answer".into())),
        };
        let kind = response.headers().get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if !kind.starts_with("text/event-stream") {
            return Err(self.refused(200, "", format!("it answered `{kind}` where events were due")));
        }
        let bytes = tokio_stream::StreamExt::timeout(egress::capped(response, MOST), SILENCE).map(|chunk| match chunk {
            Ok(chunk) => chunk.map_err(|error| error.to_string()),
            Err(_) => Err(format!("it said nothing for {} s", SILENCE.as_secs())),
        });
        let why = |error| match error {
            EventStreamError::Transport(why) => why,
            EventStreamError::Utf8(_) | EventStreamError::Parser(_) => "it sent no events".into(),
        };
        Ok(Box::pin(bytes).eventsource().map(move |event| event.map_err(why)))
    }

    async fn get<T: DeserializeOwned>(&self, path: &[&str], query: &[(&str, &str)]) -> Result<T, Error> {
        self.told(self.http.get(self.url(path, query).as_str())).await
    }

    async fn post<T: DeserializeOwned>(&self, path: &[&str], body: &Value) -> Result<T, Error> {
        let request = self.http.post(self.url(path, &[]).as_str());
        self.told(request.map(|request| request.json(body))).await
    }

    /// The endpoint may have a path of its own; an id may hold anything.
    fn url(&self, path: &[&str], query: &[(&str, &str)]) -> Url {
        let mut url = self.settings.endpoint.value.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        url
    }

    async fn told<T: DeserializeOwned>(&self, request: Result<RequestBuilder, EgressError>) -> Result<T, Error> {
        let response = self.sent(request.map(|request| request.timeout(PATIENCE))).await?;
        let status = response.status().as_u16();
        let text = egress::text(response, MOST).await.map_err(|why| self.unreachable(why))?;
        serde_json::from_str(&text).map_err(|error| self.refused(status, "", format!("its answer makes no sense: {error}")))
    }

    /// A response that means yes.
    async fn sent(&self, request: Result<RequestBuilder, EgressError>) -> Result<Response, Error> {
        let mut request = request.map_err(|why| self.unreachable(why))?;
        if let Some(token) = &self.settings.token {
            request = request.bearer_auth(&token.value);
        }
        let response = request.send().await.map_err(|error| self.unreachable(error.without_url().into()))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let text = egress::start_of(response, MOST).await.map_err(|why| self.unreachable(why))?;
        Err(self.refused(status.as_u16(), &text, format!("it answered {status}")))
    }

    fn unreachable(&self, why: EgressError) -> Error {
        Error::Unreachable { endpoint: self.endpoint(), why }
    }

    /// What the host's error body says, or that it has none.
    fn refused(&self, status: u16, text: &str, otherwise: String) -> Error {
        let body: Value = serde_json::from_str(text).unwrap_or_default();
        let part = |key: &str| body.pointer(&format!("/error/{key}")).and_then(Value::as_str).map(str::to_owned);
        let hint = match status {
            401 if self.settings.token.is_none() => Some("it wants a token: `hai auth set-token`, or HAI_TOKEN".into()),
            401 => Some("see `hai auth show` for the token in use".into()),
            _ => part("hint"),
        };
        Error::Refused {
            endpoint: self.endpoint(),
            status,
            code: part("code").unwrap_or_default(),
            message: part("message").unwrap_or(otherwise),
            hint: hint.unwrap_or_else(|| "is that a host?".into()),
        }
    }
}
