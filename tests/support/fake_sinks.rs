//! The services that messages go to, on one loopback port: Zulip, Pushover and a webhook. ntfy is not among them: the real one runs
//! here. Strict about what they accept, answering errors as the real ones do, able to fail on purpose.
//!
//! ```ignore
//! let services = Services::start().await;
//! let mut setup = ground.setup(&model).await.and(&services.config());
//! setup.variables.extend(Services::variables());
//! services.order(Service::Zulip, [Order::Status(500), Order::Lost]);
//! …
//! assert_eq!(services.taken_so_many(1).await[0]["service"], "zulip");
//! ```

mod accept;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::door::{Door, Gate};

pub const BOT: &str = "homeaiops-bot@chat.example.com";
pub const KEY: &str = "zulip-key-of-the-bot";
pub const TOKEN: &str = "pushover-token-of-the-host";
pub const USER: &str = "pushover-user-of-rob";
/// Shorter than a block of SHA-256.
pub const SECRET: &str = "webhook-secret-of-rob";
/// The operator, and others who may be written to.
pub const USERS: [i64; 3] = [8, 9, 10];
/// Streams that there are.
pub const STREAMS: [&str; 4] = ["approvals", "digests", "operations", "tasks"];

/// One of the services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Service {
    Zulip,
    Pushover,
    Webhook,
}

/// What happens to one message, if a real service would take it. Without an order it is taken.
#[derive(Clone, Debug)]
pub enum Order {
    /// It is taken.
    Well,
    /// An error of the server.
    Status(u16),
    /// 429, and how many seconds to wait.
    Busy(u32),
    /// The connection ends before a word, and the message is not taken.
    Cut,
    /// The message is taken, and the connection ends before a word.
    Lost,
    /// The message is not taken, and the answer is no answer of this service.
    Garbage,
    /// The message is not taken, and the answer leads elsewhere.
    Elsewhere,
    /// It is taken after so long, if somebody still waits.
    Slow(Duration),
}

/// The services under the test's control.
pub struct Services {
    url: String,
    script: Arc<Script>,
}

#[derive(Default)]
struct Script {
    gate: Gate,
    orders: Mutex<BTreeMap<Service, VecDeque<Order>>>,
    /// What was taken, in order.
    taken: watch::Sender<Vec<Value>>,
    /// Whoever tried with a message that could be taken, in order.
    tried: watch::Sender<Vec<Service>>,
    faults: Mutex<Vec<String>>,
    /// The `Host` that Zulip answers to, if it minds.
    host: Mutex<Option<String>>,
}

impl Services {
    /// Starts them on a port of their own.
    pub async fn start() -> Self {
        let script = Arc::<Script>::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let door = Door { listener, gate: script.gate.clone() };
        let routes = Router::new()
            .route("/api/v1/messages", post(accept::zulip).fallback(unknown))
            .route("/api/v1/server_settings", get(accept::server_settings).fallback(unknown))
            .route("/api/v1/users/me", get(accept::users_me).fallback(unknown))
            .route("/1/messages.json", post(accept::pushover).fallback(unknown))
            .route("/hook", post(accept::webhook).fallback(unknown))
            .fallback(unknown)
            .with_state(script.clone());
        tokio::spawn(async move { axum::serve(door, routes).await.unwrap() });
        Self { url, script }
    }

    /// Their address; that of the webhook is `/hook` below it.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Configuration: all three are these.
    pub fn config(&self) -> String {
        let url = &self.url;
        format!(
            "[sinks.zulip]\nurl = \"{url}\"\nemail = \"{BOT}\"\nkey_env = \"FAKE_ZULIP_KEY\"\nuser = {}\n\
            [sinks.pushover]\nurl = \"{url}\"\ntoken_env = \"FAKE_PUSHOVER_TOKEN\"\nuser_env = \"FAKE_PUSHOVER_USER\"\n\
            [sinks.webhook]\nurl = \"{url}/hook\"\nsecret_env = \"FAKE_WEBHOOK_SECRET\"\n",
            USERS[0]
        )
    }

    /// The variables that [`Services::config`] names.
    pub fn variables() -> [(&'static str, String); 4] {
        [
            ("FAKE_ZULIP_KEY", KEY.to_owned()),
            ("FAKE_PUSHOVER_TOKEN", TOKEN.to_owned()),
            ("FAKE_PUSHOVER_USER", USER.to_owned()),
            ("FAKE_WEBHOOK_SECRET", SECRET.to_owned()),
        ]
    }

    /// Treats the next messages to a service like this, one order each.
    pub fn order(&self, service: Service, orders: impl IntoIterator<Item = Order>) {
        self.script.orders.lock().unwrap().entry(service).or_default().extend(orders);
    }

    /// Takes everything again.
    pub fn forget_orders(&self) {
        self.script.orders.lock().unwrap().clear();
    }

    /// From now on every connection is cut before a word, or no longer.
    pub fn away(&self, away: bool) {
        self.script.gate.away(away);
    }

    /// From now on Zulip answers to this `Host` only.
    pub fn demand_host(&self, host: &str) {
        *self.script.host.lock().unwrap() = Some(host.to_owned());
    }

    /// Everything that was taken, in order: the fields as they came, and `service`.
    pub fn taken(&self) -> Vec<Value> {
        self.faultless();
        self.script.taken.borrow().clone()
    }

    /// Waits until so much was taken.
    pub async fn taken_so_many(&self, most: usize) -> Vec<Value> {
        reached(&self.script.taken, most).await;
        self.taken()
    }

    /// Every try with a message that could be taken, whatever came of it.
    pub fn tried(&self) -> Vec<Service> {
        self.faultless();
        self.script.tried.borrow().clone()
    }

    /// What was wrong with the requests that were refused, for a test that wants them refused; they are forgotten.
    pub fn faults(&self) -> Vec<String> {
        std::mem::take(&mut *self.script.faults.lock().unwrap())
    }

    fn faultless(&self) {
        assert_eq!(*self.script.faults.lock().unwrap(), Vec::<String>::new(), "requests that a real service would refuse");
    }
}

async fn reached<T: Send + Sync>(list: &watch::Sender<Vec<T>>, most: usize) {
    let mut list = list.subscribe();
    let reached = tokio::time::timeout(super::PATIENCE, list.wait_for(|list| list.len() >= most)).await;
    drop(reached.unwrap_or_else(|_| panic!("fewer than {most}")).unwrap());
}

impl Script {
    fn fault(&self, why: &str) {
        self.faults.lock().unwrap().push(why.to_owned());
    }

    /// What comes of a message that the service would take.
    async fn take(&self, service: Service, message: Value, thanks: impl FnOnce(usize) -> Response) -> Response {
        let order = self.orders.lock().unwrap().get_mut(&service).and_then(VecDeque::pop_front).unwrap_or(Order::Well);
        self.tried.send_modify(|tried| tried.push(service));
        let keep = || {
            self.taken.send_modify(|taken| taken.push(message));
            self.taken.borrow().len()
        };
        match order {
            Order::Well => thanks(keep()),
            Order::Status(code) => failing(service, StatusCode::from_u16(code).unwrap(), "on purpose"),
            Order::Busy(seconds) => busy(service, seconds),
            Order::Cut => cut(),
            Order::Lost => {
                keep();
                cut()
            }
            Order::Garbage => ([(header::CONTENT_TYPE, "application/json")], "{{{ \u{fffd} <h1>It works!</h1>").into_response(),
            Order::Elsewhere => (StatusCode::FOUND, [(header::LOCATION, "/api/v1/server_settings")]).into_response(),
            Order::Slow(time) => {
                tokio::time::sleep(time).await;
                thanks(keep())
            }
        }
    }
}

/// A body that fails at once: nothing is sent, not even a status, and the connection ends.
fn cut() -> Response {
    let nothing = futures::stream::once(async { Err::<Bytes, _>(std::io::Error::other("cut on purpose")) });
    Body::from_stream(nothing).into_response()
}

fn busy(service: Service, seconds: u32) -> Response {
    let mut response = match service {
        Service::Zulip => {
            let msg = "API usage exceeded rate limit";
            let body = json!({ "result": "error", "code": "RATE_LIMIT_HIT", "msg": msg, "retry-after": f64::from(seconds) });
            (StatusCode::TOO_MANY_REQUESTS, axum::Json(body)).into_response()
        }
        Service::Pushover | Service::Webhook => failing(service, StatusCode::TOO_MANY_REQUESTS, "too many"),
    };
    response.headers_mut().insert(header::RETRY_AFTER, seconds.to_string().parse().unwrap());
    response
}

/// An error in the service's own words.
fn failing(service: Service, status: StatusCode, why: &str) -> Response {
    match service {
        Service::Zulip => {
            let code = if status == StatusCode::UNAUTHORIZED { "INVALID_API_KEY" } else { "BAD_REQUEST" };
            (status, axum::Json(json!({ "result": "error", "msg": why, "code": code }))).into_response()
        }
        Service::Pushover => (status, axum::Json(json!({ "status": 0, "errors": [why], "request": "5042853c" }))).into_response(),
        Service::Webhook => (status, why.to_owned()).into_response(),
    }
}

/// A path or a method that there is not.
async fn unknown(State(script): State<Arc<Script>>, method: Method, uri: Uri) -> Response {
    script.fault(&format!("{method} {uri}"));
    (StatusCode::NOT_FOUND, "404 Not Found").into_response()
}
