//! The line to the server: the official MCP SDK over our one HTTP client. Made when it is first needed, and again after it broke.
//!
//! Its errors say one thing above all: whether a request may have been sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use policy::class::Hints;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ClientCapabilities, ClientConfig, ContentBlock, Implementation,
    JsonObject, PaginatedRequestParams, ProtocolVersion, RequestMetaObject, ResourceContents,
};
use rmcp::service::{ClientInitializeError, ClientLifecycleMode, ClientServiceExt, Peer, RoleClient, RunningService, ServiceError};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::common::client_side_sse::ExponentialBackoff;
use rmcp::transport::streamable_http_client::{StreamableHttpClientTransportConfig, StreamableHttpError};
use serde_json::Value;
use tokio::sync::Mutex;

use super::notices::{self, Ears};
use super::wire::Wire;
use super::{Observation, Tool};

/// Time to reach a server and agree on a revision.
const GREETING: Duration = Duration::from_secs(15);
/// Most pages and tools of a catalogue.
const MOST_PAGES: usize = 200;
const MOST_TOOLS: usize = 10_000;
/// Most bytes of one message: what is longer is no answer.
const MOST_BYTES: usize = 16 * 1024 * 1024;
/// Calls under way at once on one line.
const AT_ONCE: usize = 256;
/// Where a call's idempotency key travels.
const KEY: &str = "homeaiops/idempotency-key";

type Session = RunningService<RoleClient, Ears>;

/// Why a request has no answer.
#[derive(Debug)]
pub(super) enum Broke {
    /// Nothing was done, and on another session it may be: this one is lost.
    Lost(String),
    /// Nothing was done: not reached, not let in, turned away.
    NotSent(String),
    /// It may have been done.
    Sent(String),
}

/// How one request ended on one session.
enum Ended<T> {
    Answered(T),
    /// The server answers that the request is wrong.
    Refused(String),
    Broke(Broke),
}

pub(super) struct Line {
    url: String,
    token: Option<String>,
    http: reqwest::Client,
    session: Mutex<Option<Arc<Session>>>,
    /// Set by a server that has other tools now.
    stale: Arc<AtomicBool>,
}

impl Line {
    pub(super) fn new(url: &str, token: Option<String>, http: reqwest::Client) -> Self {
        Self { url: url.to_owned(), token, http, session: Mutex::default(), stale: Arc::default() }
    }

    /// Whether the server has said that its tools are others now; once for each time.
    pub(super) fn has_changed(&self) -> bool {
        self.stale.swap(false, Ordering::SeqCst)
    }

    /// What the server said of its tools has not been followed yet.
    pub(super) fn changed(&self) {
        self.stale.store(true, Ordering::SeqCst);
    }

    /// Every tool, all pages. `sent` becomes true when the server is asked.
    pub(super) async fn tools(&self, sent: &AtomicBool) -> Result<Vec<Tool>, Broke> {
        let listed = self.asked((true, sent), |peer| Box::pin(all_pages(peer))).await?;
        let (tools, whole) = listed.map_err(|said| Broke::Sent(format!("its catalogue cannot be read: {said}")))?;
        if !whole {
            let (url, read) = (&self.url, tools.len());
            tracing::warn!(event = "catalogue_cut", url, read, "{url} lists more tools than are read: {read} are known");
        }
        Ok(tools)
    }

    /// Calls a tool. What the server says against it is an observation like any other: nobody knows which of both it means.
    /// `key` goes with it; `again` says that making it twice does no harm; `sent` becomes true when it leaves.
    pub(super) async fn call(
        &self,
        tool: &str,
        arguments: JsonObject,
        (key, again): (&str, bool),
        sent: &AtomicBool,
    ) -> Result<Observation, Broke> {
        let mut params = CallToolRequestParams::new(tool.to_owned()).with_arguments(arguments);
        let mut meta = RequestMetaObject::new();
        meta.insert(KEY.to_owned(), Value::from(key));
        params.meta = Some(meta);
        let called = self.asked((again, sent), move |peer| {
            let params = params.clone();
            Box::pin(async move { peer.call_tool_once(params).await })
        });
        Ok(match called.await? {
            Ok(CallToolResponse::Complete(result)) => observed(result),
            Ok(_) => told_off("the tool asks for something in return (input, or to be waited for), which this host does not serve"),
            Err(said) => told_off(&said),
        })
    }

    /// Asks once; and once more on a new line, if the old one was stale and asking twice does no harm. The inner error is the server's.
    async fn asked<T>(
        &self,
        (again, sent): (bool, &AtomicBool),
        ask: impl Fn(Peer<RoleClient>) -> BoxFuture<'static, Result<T, ServiceError>>,
    ) -> Result<Result<T, String>, Broke> {
        let mut tried = false;
        loop {
            let (session, fresh) = self.session().await?;
            sent.store(true, Ordering::SeqCst);
            let broke = match sorted(ask(session.peer().clone()).await) {
                Ended::Answered(answer) => return Ok(Ok(answer)),
                Ended::Refused(said) => return Ok(Err(said)),
                Ended::Broke(broke) => broke,
            };
            self.forget(&session).await;
            let worth_it = match broke {
                Broke::Lost(_) => true,
                Broke::Sent(_) => again,
                Broke::NotSent(_) => false,
            };
            if fresh || tried || !worth_it {
                return Err(broke);
            }
            tried = true;
        }
    }

    /// The session, and whether it was made just now.
    async fn session(&self) -> Result<(Arc<Session>, bool), Broke> {
        let mut kept = self.session.lock().await;
        if let Some(session) = kept.as_ref().filter(|session| !session.is_closed() && !session.peer().is_transport_closed()) {
            return Ok((session.clone(), false));
        }
        let late = |_| Err(Broke::NotSent(format!("it did not agree on a session within {} s", GREETING.as_secs())));
        let session = Arc::new(tokio::time::timeout(GREETING, self.greet()).await.unwrap_or_else(late)?);
        notices::follow(session.peer(), self.stale.clone()).await;
        *kept = Some(session.clone());
        Ok((session, true))
    }

    /// Agrees on a revision: the newest that both speak. A server that answers the newer greeting with something that is none of both is
    /// an old one too.
    async fn greet(&self) -> Result<Session, Broke> {
        let lifecycle = ClientLifecycleMode::Auto {
            preferred_versions: vec![ProtocolVersion::V_2026_07_28],
            legacy_version: Some(ProtocolVersion::LATEST_WITH_INITIALIZE),
        };
        let old = match self.greeted(lifecycle).await {
            Ok(session) => return Ok(session),
            Err(ClientInitializeError::ExpectedInitResult(_) | ClientInitializeError::ExpectedInitResponse(_)) => {
                self.greeted(ClientLifecycleMode::Initialize).await
            }
            Err(error) => Err(error),
        };
        old.map_err(|error| Broke::NotSent(greeting_failed(&error)))
    }

    async fn greeted(&self, lifecycle: ClientLifecycleMode) -> Result<Session, ClientInitializeError> {
        let mut patience = ExponentialBackoff::default();
        patience.max_times = Some(3);
        let mut config = StreamableHttpClientTransportConfig::with_uri(self.url.clone())
            .max_concurrent_requests(AT_ONCE)
            .max_sse_event_size(MOST_BYTES)
            // A lost session is ours to notice: what was under way on it is not known to have failed.
            .reinit_on_expired_session(false);
        config.retry_config = Arc::new(patience);
        config.auth_header.clone_from(&self.token);
        let transport = StreamableHttpClientTransport::with_client(Wire(self.http.clone()), config);
        let name = Implementation::new("homeaiops-host", env!("CARGO_PKG_VERSION"));
        let we =
            ClientConfig::new(ClientCapabilities::default(), name).with_protocol_version(ProtocolVersion::LATEST_WITH_INITIALIZE);
        Ears { we, stale: self.stale.clone() }.serve_with_lifecycle(transport, lifecycle).await
    }

    /// Lets go of a session that broke; others may have a new one by now.
    async fn forget(&self, broken: &Arc<Session>) {
        let mut kept = self.session.lock().await;
        if kept.as_ref().is_some_and(|session| Arc::ptr_eq(session, broken)) {
            *kept = None;
        }
    }
}

/// The tools, and whether these are all.
async fn all_pages(peer: Peer<RoleClient>) -> Result<(Vec<Tool>, bool), ServiceError> {
    let (mut tools, mut cursor) = (Vec::new(), None);
    for _ in 0..MOST_PAGES {
        let mut params = PaginatedRequestParams::default();
        params.cursor = cursor;
        let page = peer.list_tools(Some(params)).await?;
        tools.extend(page.tools.into_iter().map(tool));
        cursor = page.next_cursor;
        if cursor.is_none() || tools.len() > MOST_TOOLS {
            break;
        }
    }
    // One that never ends is cut: what is known of it is better than nothing.
    let whole = cursor.is_none() && tools.len() <= MOST_TOOLS;
    tools.truncate(MOST_TOOLS);
    Ok((tools, whole))
}

fn tool(tool: rmcp::model::Tool) -> Tool {
    let said = tool.annotations.unwrap_or_default();
    Tool {
        name: tool.name.into_owned(),
        description: tool.description.unwrap_or_default().into_owned(),
        schema: Value::Object(tool.input_schema.as_ref().clone()),
        hints: Hints { read_only: said.read_only_hint, destructive: said.destructive_hint, idempotent: said.idempotent_hint },
    }
}

/// The answer of a tool: its texts, and the name of everything that is none.
fn observed(result: CallToolResult) -> Observation {
    let part = |block: ContentBlock| match block {
        ContentBlock::Text(text) => text.text,
        ContentBlock::Image(image) => format!("[left out: an image, {}]", image.mime_type),
        ContentBlock::Audio(audio) => format!("[left out: sound, {}]", audio.mime_type),
        ContentBlock::Resource(resource) => match resource.resource {
            ResourceContents::TextResourceContents { uri, text, .. } => format!("{uri}\n{text}"),
            ResourceContents::BlobResourceContents { uri, .. } => format!("[left out: {uri}]"),
            _ => "[left out: a kind of resource that this host does not know]".to_owned(),
        },
        ContentBlock::ResourceLink(link) => format!("{} <{}>", link.name, link.uri),
        _ => "[left out: a kind of content that this host does not know]".to_owned(),
    };
    let texts: Vec<String> = result.content.into_iter().map(part).collect();
    Observation {
        text: texts.join("\n"),
        data: result.structured_content.map(|data| data.to_string()),
        is_error: result.is_error.unwrap_or_default(),
    }
}

fn told_off(said: &str) -> Observation {
    Observation { text: said.to_owned(), data: None, is_error: true }
}

/// What an answer or error says of the request.
fn sorted<T>(ended: Result<T, ServiceError>) -> Ended<T> {
    let error = match ended {
        Ok(answer) => return Ended::Answered(answer),
        Err(ServiceError::McpError(error)) => return Ended::Refused(format!("{} ({})", error.message, error.code.0)),
        Err(error) => error,
    };
    let ServiceError::TransportSend(transport) = &error else { return Ended::Broke(Broke::Sent(error.to_string())) };
    // What it answered is content of a tier that nobody has judged yet.
    let said = match transport.error.downcast_ref::<StreamableHttpError<reqwest::Error>>() {
        Some(StreamableHttpError::UnexpectedServerResponse(_) | StreamableHttpError::Deserialize(_)) => {
            "it answered something that is no MCP".to_owned()
        }
        _ => chain(transport.error.as_ref()),
    };
    Ended::Broke(match transport.error.downcast_ref::<StreamableHttpError<reqwest::Error>>() {
        Some(StreamableHttpError::SessionExpired) => Broke::Lost(said),
        Some(StreamableHttpError::Client(error)) if error.is_connect() => Broke::NotSent(said),
        Some(StreamableHttpError::HttpStatus(status)) if status.status == 429 => Broke::NotSent(said),
        Some(
            StreamableHttpError::AuthRequired(_)
            | StreamableHttpError::InsufficientScope(_)
            | StreamableHttpError::ReservedHeaderConflict(_),
        ) => Broke::NotSent(said),
        _ => Broke::Sent(said),
    })
}

fn greeting_failed(error: &ClientInitializeError) -> String {
    if let ClientInitializeError::LegacyFallbackFailed { fallback, .. } = error { chain(fallback.as_ref()) } else { chain(error) }
}

/// An error with what it rests on: the reason is usually the last.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut said = error.to_string();
    let mut below = error.source();
    while let Some(cause) = below {
        let more = cause.to_string();
        if !said.contains(&more) {
            said = format!("{said}: {more}");
        }
        below = cause.source();
    }
    said.chars().take(500).collect()
}
