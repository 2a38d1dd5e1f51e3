//! Model servers that speak the vendors' documented wire formats on loopback: strict about what they accept, able to fail on
//! purpose. What they say is scripted; that they say it as the real ones do is checked against the real ones elsewhere.

mod ollama;
mod openai;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use axum::body::{Body, Bytes};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Notify;

use super::door::{Door, Gate};

/// How one request is answered. Without an order the answer fits the schema.
#[derive(Clone, Debug)]
pub enum Order {
    /// As the schema asks.
    Well,
    /// These words, whatever the schema.
    Say(String),
    /// An error of the server.
    Status(u16),
    /// The connection ends in the middle of the answer.
    Cut,
    /// Bytes that are no protocol.
    Garbage,
    /// A page where an answer was due.
    Page,
    /// Nothing, until released.
    Hang,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Ollama,
    Openai,
}

/// A model server under the test's control.
pub struct Model {
    pub protocol: Protocol,
    url: String,
    script: Arc<Script>,
}

struct Script {
    orders: Mutex<VecDeque<Order>>,
    /// Requests as they came, and what was wrong with them.
    heard: Mutex<Vec<Value>>,
    faults: Mutex<Vec<String>>,
    asked: Notify,
    released: Notify,
    /// What requests that hold these words get, whatever the orders.
    special: Mutex<Option<(String, Order)>>,
    gate: Gate,
}

/// One message of a chat: the same in both protocols.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "read for their presence and type")]
struct Message {
    role: Role,
    content: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Role {
    System,
    User,
    Assistant,
    Tool,
}

pub const NAME: &str = "fake:7b";

impl Model {
    pub async fn start(protocol: Protocol) -> Self {
        let script = Arc::new(Script {
            orders: Mutex::default(),
            heard: Mutex::default(),
            faults: Mutex::default(),
            asked: Notify::new(),
            released: Notify::new(),
            special: Mutex::default(),
            gate: Gate::default(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let routes = match protocol {
            Protocol::Ollama => ollama::routes(script.clone()),
            Protocol::Openai => openai::routes(script.clone()),
        };
        let door = Door { listener, gate: script.gate.clone() };
        tokio::spawn(async move { axum::serve(door, routes).await.unwrap() });
        Self { protocol, url, script }
    }

    /// Answers the next requests like this, one order each.
    pub fn order(&self, orders: impl IntoIterator<Item = Order>) {
        self.script.orders.lock().unwrap().extend(orders);
    }

    /// Answers everything well again.
    pub fn forget_orders(&self) {
        self.script.orders.lock().unwrap().clear();
    }

    /// From now on every connection is cut before a word, or no longer.
    pub fn away(&self, away: bool) {
        self.script.gate.away(away);
    }

    /// Connections that were cut so.
    pub fn turned_away(&self) -> u32 {
        self.script.gate.turned_away()
    }

    /// Answers requests that hold these words with an error of the server.
    pub fn poison(&self, words: &str) {
        *self.script.special.lock().unwrap() = Some((words.to_owned(), Order::Status(500)));
    }

    /// Lets requests that hold these words wait until released.
    pub fn keep_waiting(&self, words: &str) {
        *self.script.special.lock().unwrap() = Some((words.to_owned(), Order::Hang));
    }

    /// Ends every `Hang` that has begun.
    pub fn release(&self) {
        self.script.released.notify_waiters();
    }

    /// Waits for the next request.
    pub async fn asked(&self) {
        tokio::time::timeout(super::PATIENCE, self.script.asked.notified()).await.expect("the model is asked");
    }

    /// Waits until so many requests have come in all.
    pub async fn heard_so_many(&self, most: usize) {
        while self.heard().len() < most {
            self.asked().await;
        }
    }

    /// Every request so far.
    pub fn heard(&self) -> Vec<Value> {
        assert_eq!(*self.script.faults.lock().unwrap(), Vec::<String>::new(), "requests that a real server would refuse");
        self.script.heard.lock().unwrap().clone()
    }

    /// Configuration: every shipped group is this server.
    pub fn groups(&self) -> String {
        let kind = match self.protocol {
            Protocol::Ollama => "ollama",
            Protocol::Openai => "openai",
        };
        ["local-p40", "local-spark", "local-spark-coder"]
            .map(|group| {
                format!(
                    "[inference.groups.{group}]\nkind = \"{kind}\"\nurl = \"{}\"\nmodel = \"{NAME}\"\nremote = false\nconcurrency = 8\n",
                    self.url
                )
            })
            .concat()
    }
}

impl Script {
    /// Takes a request down and says how to answer it.
    fn take(&self, request: Value) -> Order {
        let special = self.special.lock().unwrap().clone().filter(|(words, _)| request.to_string().contains(words));
        let ordered = || self.orders.lock().unwrap().pop_front().unwrap_or(Order::Well);
        let order = special.map_or_else(ordered, |(_, order)| order);
        self.heard.lock().unwrap().push(request);
        self.asked.notify_one();
        order
    }

    fn refuse(&self, why: String) -> Response {
        self.faults.lock().unwrap().push(why.clone());
        (StatusCode::BAD_REQUEST, axum::Json(json!({ "error": why }))).into_response()
    }

    /// The answer of an order: `parts` are the protocol's messages for some words.
    async fn answer(&self, order: Order, words: String, kind: &'static str, parts: impl Fn(&str) -> Vec<String>) -> Response {
        let whole = |words: &str| streamed(kind, parts(words).into_iter().map(|part| Ok(Bytes::from(part))).collect());
        match order {
            Order::Well => whole(&words),
            Order::Say(said) => whole(&said),
            Order::Status(code) => {
                let status = StatusCode::from_u16(code).unwrap();
                (status, axum::Json(json!({ "error": "on purpose" }))).into_response()
            }
            Order::Cut => {
                let first = parts(&words).swap_remove(0);
                streamed(kind, vec![Ok(Bytes::from(first)), Err(std::io::Error::other("cut on purpose"))])
            }
            Order::Garbage => streamed(kind, vec![Ok(Bytes::from_static(b"data: \xff\xfe{{{\n\n"))]),
            Order::Page => axum::response::Html("<h1>It works!</h1>").into_response(),
            Order::Hang => {
                self.released.notified().await;
                whole(&words)
            }
        }
    }
}

fn streamed(kind: &'static str, parts: Vec<Result<Bytes, std::io::Error>>) -> Response {
    // Each part is given time to leave on its own, so that a cut comes after a beginning.
    let parts = futures::stream::iter(parts).then(|part| async {
        tokio::task::yield_now().await;
        part
    });
    ([(header::CONTENT_TYPE, kind)], Body::from_stream(parts)).into_response()
}

/// Words that fit what the agents ask for.
fn words(schema: Option<&Value>) -> String {
    let has = |key: &str| schema.and_then(|schema| schema.pointer(&format!("/properties/{key}"))).is_some();
    if has("target_agent") {
        let agents = &schema.unwrap()["properties"]["target_agent"]["enum"];
        let chosen = agents.as_array().unwrap().iter().find(|id| **id == "note-maker").unwrap_or(&agents[0]);
        json!({
            "summary": "keep a note", "domain": "property", "intent": "note", "mode": "default", "reasoning": "it is a note",
            "target_agent": chosen, "fallback_agent": null, "confidence": 0.9, "requires_user_approval": false,
        })
    } else if has("title") {
        json!({
            "title": "Loose hose clamp", "domain": "property", "body": "The hose clamp is loose.", "tags": ["basement"],
            "proposed_location": "house", "related": [], "new_vs_append": "new",
        })
    } else if has("headline") {
        json!({ "headline": "Note drafted: loose hose clamp", "text": "It waits in your drafts." })
    } else {
        Value::String("well".into())
    }
    .to_string()
}
