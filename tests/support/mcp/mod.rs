//! Tool servers that speak MCP over Streamable HTTP on loopback. [`Counting`] is ours: it counts what really happened, knows the
//! key of each call, and fails on purpose. The real ones are in `real`.
//!
//! ```ignore
//! let tools = Counting::start().await;
//! let host = ground.setup(&model).await.and(&tools.config()).and("[grants.caller]\ntools = [\"*\"]\n").start().await;
//! …
//! assert_eq!(tools.counted(), [json!({ "tool": "count", "arguments": { "n": 1 }, "key": "…" })]);
//! ```
//!
//! Its tools: `count` (an effect that must not happen twice), `count_once` (one whose receiver knows keys again), `peek` (looks),
//! `wipe` (says itself that it is destructive, and counts as an effect), `large` (answers so many bytes), `errs` (its own error), and two that do their work
//! first: `hangs` (answers when released) and `cuts` (never answers: the connection ends). The guest `caller` calls what its task
//! says.

pub mod client;
pub mod real;

use std::collections::{BTreeSet, VecDeque};
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::door::{Door, Gate};

/// The newest revision that it speaks; a client that asks for another gets this one.
const REVISION: &str = "2025-11-25";
/// Where the host puts the key of a call.
const KEY: &str = "homeaiops/idempotency-key";
/// Tools on a page of the catalogue: few, so that there are several pages.
const PAGE: usize = 3;

/// What happens to one `tools/call`, whatever its tool. Without an order it goes well.
#[derive(Clone, Debug)]
pub enum Order {
    /// As the tool does.
    Well,
    /// An error of the server before any work.
    Status(u16),
    /// The work is done, and the answer waits until released.
    Hang,
    /// The work is done, and the connection ends in the middle of the answer.
    Cut,
}

/// A tool server under the test's control.
pub struct Counting {
    url: String,
    script: Arc<Script>,
}

struct Script {
    gate: Gate,
    orders: Mutex<VecDeque<Order>>,
    /// Effects, in order.
    counted: watch::Sender<Vec<Value>>,
    /// Every `tools/call`, in order.
    called: watch::Sender<Vec<Value>>,
    /// How many `hangs` may end.
    released: watch::Sender<bool>,
    sessions: Mutex<BTreeSet<String>>,
    /// What the catalogue answers instead of tools.
    listing: Mutex<Option<u16>>,
    listed: watch::Sender<u32>,
    token: Mutex<Option<String>>,
    /// Tools that came later.
    learnt: watch::Sender<Vec<String>>,
    faults: Mutex<Vec<String>>,
}

impl Counting {
    /// Starts it on a port of its own.
    pub async fn start() -> Self {
        let script = Arc::new(Script {
            gate: Gate::default(),
            orders: Mutex::default(),
            counted: watch::Sender::default(),
            called: watch::Sender::default(),
            released: watch::Sender::new(false),
            sessions: Mutex::default(),
            listing: Mutex::default(),
            listed: watch::Sender::default(),
            token: Mutex::default(),
            learnt: watch::Sender::default(),
            faults: Mutex::default(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/mcp", listener.local_addr().unwrap());
        let door = Door { listener, gate: script.gate.clone() };
        let mcp = axum::routing::post(post).get(notices).delete(end);
        let routes = axum::Router::new().route("/mcp", mcp).with_state(script.clone());
        tokio::spawn(async move { axum::serve(door, routes).await.unwrap() });
        Self { url, script }
    }

    /// Its address.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Configuration: this server, and the classes of its harmless tools. More rules may follow.
    pub fn config(&self) -> String {
        let rule = |tools: &str, more: &str| format!("[[mcp.rules]]\ntools = \"{tools}\"\nuntrusted = false\n{more}\n");
        [
            format!("[mcp]\nurl = \"{}\"\n", self.url),
            rule("{peek,large}", "class = \"A\""),
            rule("count_once", "class = \"B\"\nidempotent = true"),
            rule("{count,hangs,cuts,errs}", "class = \"B\""),
        ]
        .concat()
    }

    /// Answers the next calls like this, one order each.
    pub fn order(&self, orders: impl IntoIterator<Item = Order>) {
        self.script.orders.lock().unwrap().extend(orders);
    }

    /// Ends every hanging call, those to come too.
    pub fn release(&self) {
        self.script.released.send_replace(true);
    }

    /// From now on every connection is cut before a word, or no longer. It forgets its sessions, as a restart would.
    pub fn away(&self, away: bool) {
        self.script.sessions.lock().unwrap().clear();
        self.script.gate.away(away);
    }

    /// The sessions are lost, and connections are kept.
    pub fn forget(&self) {
        self.script.sessions.lock().unwrap().clear();
    }

    /// From now on the catalogue cannot be read, or again.
    pub fn catalogue_fails(&self, status: Option<u16>) {
        *self.script.listing.lock().unwrap() = status;
    }

    /// From now on only who has this token is let in.
    pub fn demand(&self, token: &str) {
        *self.script.token.lock().unwrap() = Some(token.to_owned());
    }

    /// It has one tool more from now on, which does nothing, and says so to whoever listens.
    pub async fn learns(&self, name: &str) {
        // Who comes later does not hear of it.
        let heard = async {
            while self.script.learnt.receiver_count() == 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(super::PATIENCE, heard).await.expect("a client listens for notices");
        self.script.learnt.send_modify(|learnt| learnt.push(name.to_owned()));
    }

    /// How often the first page of the catalogue was read.
    pub fn listed(&self) -> u32 {
        *self.script.listed.borrow()
    }

    /// Every effect so far, each with `tool`, `arguments` and `key`.
    pub fn counted(&self) -> Vec<Value> {
        self.faultless();
        self.script.counted.borrow().clone()
    }

    /// Waits until so many effects have happened.
    pub async fn counted_so_many(&self, most: usize) -> Vec<Value> {
        reached(&self.script.counted, most).await
    }

    /// Every call of a tool so far, also those that only look.
    pub fn called(&self) -> Vec<Value> {
        self.faultless();
        self.script.called.borrow().clone()
    }

    /// Waits until so many calls have come.
    pub async fn called_so_many(&self, most: usize) -> Vec<Value> {
        reached(&self.script.called, most).await
    }

    fn faultless(&self) {
        assert_eq!(*self.script.faults.lock().unwrap(), Vec::<String>::new(), "requests that a real server would refuse");
    }
}

async fn reached(list: &watch::Sender<Vec<Value>>, most: usize) -> Vec<Value> {
    let mut list = list.subscribe();
    let reached = tokio::time::timeout(super::PATIENCE, list.wait_for(|list| list.len() >= most)).await;
    reached.unwrap_or_else(|_| panic!("fewer than {most} calls")).unwrap().clone()
}

/// Every tool with its schema and annotations.
fn tools() -> Vec<Value> {
    let tool = |name: &str, says: &str, properties: Value, required: &[&str], annotations: Value| {
        json!({
            "name": name, "description": says, "annotations": annotations,
            "inputSchema": { "type": "object", "properties": properties, "required": required, "additionalProperties": false },
        })
    };
    let n = || json!({ "n": { "type": "integer", "minimum": 0 }, "note": { "type": "string" } });
    let writes = || json!({ "readOnlyHint": false, "destructiveHint": false, "idempotentHint": false });
    vec![
        tool("count", "Counts one more.", n(), &["n"], writes()),
        tool(
            "count_once",
            "Counts one more, once for each key.",
            n(),
            &["n"],
            json!({ "idempotentHint": true, "destructiveHint": false }),
        ),
        tool("cuts", "Counts one more and never answers.", n(), &["n"], writes()),
        tool("errs", "Fails by itself.", json!({}), &[], json!({})),
        tool("hangs", "Counts one more and answers when released.", n(), &["n"], writes()),
        tool(
            "large",
            "Answers so many bytes.",
            json!({ "bytes": { "type": "integer" } }),
            &["bytes"],
            json!({ "readOnlyHint": true }),
        ),
        tool("peek", "Tells how many were counted.", json!({}), &[], json!({ "readOnlyHint": true })),
        tool("wipe", "Forgets everything.", json!({}), &[], json!({ "destructiveHint": true })),
    ]
}

/// The stream on which a server speaks by itself: here, that its tools are others now.
async fn notices(State(script): State<Arc<Script>>, headers: HeaderMap) -> Response {
    if !session(&headers).is_some_and(|id| script.sessions.lock().unwrap().contains(&id)) {
        return StatusCode::NOT_FOUND.into_response();
    }
    let learnt = script.learnt.subscribe();
    let events = futures::stream::unfold(learnt, async |mut learnt| {
        learnt.changed().await.ok()?;
        let message = json!({ "jsonrpc": "2.0", "method": "notifications/tools/list_changed" });
        Some((Ok::<_, Infallible>(Bytes::from(format!("event: message\ndata: {message}\n\n"))), learnt))
    });
    ([(header::CONTENT_TYPE, "text/event-stream")], Body::from_stream(events)).into_response()
}

async fn end(State(script): State<Arc<Script>>, headers: HeaderMap) -> StatusCode {
    let known = session(&headers).is_some_and(|id| script.sessions.lock().unwrap().remove(&id));
    if known { StatusCode::OK } else { StatusCode::NOT_FOUND }
}

fn session(headers: &HeaderMap) -> Option<String> {
    Some(headers.get("mcp-session-id")?.to_str().unwrap().to_owned())
}

async fn post(State(script): State<Arc<Script>>, headers: HeaderMap, body: Bytes) -> Response {
    let said = |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let token = script.token.lock().unwrap().clone();
    if token.is_some_and(|token| said(header::AUTHORIZATION) != format!("Bearer {token}")) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let accepts = said(header::ACCEPT);
    let Ok(request) = serde_json::from_slice::<Value>(&body) else { return script.refuse("a body that is no JSON") };
    if request["jsonrpc"] != "2.0" || !accepts.contains("application/json") || !accepts.contains("text/event-stream") {
        return script.refuse(&format!("no JSON-RPC, or a client that accepts `{accepts}` only: {request}"));
    }
    let (id, method) = (request["id"].clone(), request["method"].as_str().unwrap_or_default());
    match (method, session(&headers)) {
        ("initialize", _) => {
            let mut sessions = script.sessions.lock().unwrap();
            let session = ulid::Ulid::generate().to_string();
            sessions.insert(session.clone());
            let result = json!({
                "protocolVersion": REVISION, "capabilities": { "tools": { "listChanged": true } },
                "serverInfo": { "name": "counting", "version": "1" },
            });
            ([("mcp-session-id", session)], answered(&id, result)).into_response()
        }
        (_, None) => (StatusCode::BAD_REQUEST, failed(&id, -32600, "no session")).into_response(),
        (_, Some(session)) if !script.sessions.lock().unwrap().contains(&session) => StatusCode::NOT_FOUND.into_response(),
        (_, _) if id.is_null() => StatusCode::ACCEPTED.into_response(),
        ("ping", _) => answered(&id, json!({})),
        ("tools/list", _) => script.page(&id, request["params"]["cursor"].as_str()),
        ("tools/call", _) => script.call(&id, &request["params"]).await,
        _ => failed(&id, -32601, "no such method"),
    }
}

fn answered(id: &Value, result: Value) -> Response {
    axum::Json(json!({ "jsonrpc": "2.0", "id": id, "result": result })).into_response()
}

fn failed(id: &Value, code: i32, message: &str) -> Response {
    axum::Json(json!({ "jsonrpc": "2.0", "id": id, "error": { "code": code, "message": message } })).into_response()
}

fn told(text: &str, is_error: bool) -> Value {
    json!({ "content": [{ "type": "text", "text": text }], "isError": is_error })
}

impl Script {
    fn refuse(&self, why: &str) -> Response {
        self.faults.lock().unwrap().push(why.to_owned());
        (StatusCode::BAD_REQUEST, why.to_owned()).into_response()
    }

    fn page(&self, id: &Value, cursor: Option<&str>) -> Response {
        if cursor.is_none() {
            self.listed.send_modify(|listed| *listed += 1);
        }
        if let Some(status) = *self.listing.lock().unwrap() {
            return StatusCode::from_u16(status).unwrap().into_response();
        }
        let from: usize = cursor.map_or(0, |cursor| cursor.parse().unwrap());
        let mut tools = tools();
        tools.extend(self.learnt.borrow().iter().map(|name| json!({ "name": name, "inputSchema": { "type": "object" } })));
        let mut result = json!({ "tools": tools.iter().skip(from).take(PAGE).collect::<Vec<_>>() });
        if from + PAGE < tools.len() {
            result["nextCursor"] = json!((from + PAGE).to_string());
        }
        answered(id, result)
    }

    async fn call(&self, id: &Value, params: &Value) -> Response {
        let name = params["name"].as_str().unwrap_or_default();
        let Some(tool) = tools().into_iter().find(|tool| tool["name"] == name) else {
            return self.refuse(&format!("a tool that is not in the catalogue: {name}"));
        };
        if !jsonschema::is_valid(&tool["inputSchema"], &params["arguments"]) {
            return self.refuse(&format!("arguments that the schema of `{name}` forbids: {}", params["arguments"]));
        }
        let call = json!({ "tool": name, "arguments": params["arguments"], "key": params["_meta"][KEY] });
        let order = self.orders.lock().unwrap().pop_front().unwrap_or(Order::Well);
        if let Order::Status(code) = order {
            self.called.send_modify(|called| called.push(call));
            return StatusCode::from_u16(code).unwrap().into_response();
        }
        self.work(name, &call);
        let order = match (name, order) {
            ("hangs", Order::Well) => Order::Hang,
            ("cuts", Order::Well) => Order::Cut,
            (_, order) => order,
        };
        // Last, so that whoever waits for a call finds its effect.
        self.called.send_modify(|called| called.push(call));
        let result = match name {
            "errs" => told("it broke", true),
            "large" => told(&"x".repeat(usize::try_from(params["arguments"]["bytes"].as_u64().unwrap()).unwrap()), false),
            _ => {
                let total = self.counted.borrow().len();
                let mut result = told(&format!("{total} counted"), false);
                result["structuredContent"] = json!({ "counted": total });
                result
            }
        };
        match order {
            Order::Hang => {
                let mut released = self.released.subscribe();
                let message = json!({ "jsonrpc": "2.0", "id": id, "result": result });
                // As an event stream: what takes long is answered so.
                let event = async move {
                    released.wait_for(|released| *released).await.unwrap();
                    Ok::<_, Infallible>(Bytes::from(format!("event: message\ndata: {message}\n\n")))
                };
                let body = Body::from_stream(futures::stream::once(event));
                ([(header::CONTENT_TYPE, "text/event-stream")], body).into_response()
            }
            Order::Cut => {
                let part = Err::<Bytes, _>(std::io::Error::other("cut on purpose"));
                let body = Body::from_stream(futures::stream::once(async { part }));
                ([(header::CONTENT_TYPE, "application/json")], body).into_response()
            }
            Order::Well | Order::Status(_) => answered(id, result),
        }
    }

    /// What a tool does to the world.
    fn work(&self, name: &str, call: &Value) {
        self.counted.send_if_modified(|counted| {
            let again = name == "count_once" && counted.iter().any(|former| former["key"] == call["key"]);
            let effect = matches!(name, "count" | "count_once" | "hangs" | "cuts" | "wipe") && !again;
            if effect {
                counted.push(call.clone());
            }
            effect
        });
    }
}
