//! A model server on loopback that answers at once with the smallest value of the asked schema, and counts the time that it took
//! itself, so that it can be taken off. It can also keep its callers waiting, or be away. Speaks Ollama's protocol.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::runtime::dry;

/// Its model's name.
pub(super) const NAME: &str = "bench";

/// What it does with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mood {
    Answers,
    /// Lets it wait.
    Holds,
    /// Has no model loaded.
    Away,
}

/// A running server; it ends with the process.
pub(super) struct Model {
    pub(super) url: String,
    inside: Arc<Inside>,
}

struct Inside {
    nanos: AtomicU64,
    mood: watch::Sender<Mood>,
    /// When it was last called.
    called: watch::Sender<Instant>,
}

impl Model {
    pub(super) async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let (mood, called) = (watch::Sender::new(Mood::Answers), watch::Sender::new(Instant::now()));
        let inside = Arc::new(Inside { nanos: AtomicU64::new(0), mood, called });
        let routes = Router::new().route("/api/chat", post(chat)).route("/api/tags", get(tags)).with_state(inside.clone());
        tokio::spawn(axum::serve(listener, routes).into_future());
        Ok(Self { url, inside })
    }

    /// The time that it took itself since it was last asked.
    pub(super) fn took(&self) -> Duration {
        Duration::from_nanos(self.inside.nanos.swap(0, Ordering::Relaxed))
    }

    /// What it does from now on, and with those who wait.
    pub(super) fn becomes(&self, mood: Mood) {
        self.inside.mood.send_replace(mood);
    }

    /// Sees the calls from now on.
    pub(super) fn calls(&self) -> watch::Receiver<Instant> {
        self.inside.called.subscribe()
    }
}

async fn tags(State(inside): State<Arc<Inside>>) -> Response {
    if *inside.mood.borrow() == Mood::Away {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    Json(json!({ "models": [{ "name": NAME, "model": NAME }] })).into_response()
}

async fn chat(State(inside): State<Arc<Inside>>, body: String) -> Response {
    inside.called.send_replace(Instant::now());
    let mut mood = inside.mood.subscribe();
    // The sender lives as long as this state does.
    let mood = mood.wait_for(|mood| *mood != Mood::Holds).await.map_or(Mood::Away, |mood| *mood);
    if mood == Mood::Away {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let began = Instant::now();
    let request: Value = serde_json::from_str(&body).unwrap_or_default();
    let words = request.get("format").map_or_else(|| "well".to_owned(), |schema| dry::smallest(schema).to_string());
    let answer = json!({
        "model": NAME, "message": { "role": "assistant", "content": words }, "done": true, "done_reason": "stop",
        "prompt_eval_count": 42, "eval_count": 7,
    });
    let response = ([(CONTENT_TYPE, "application/x-ndjson")], format!("{answer}\n")).into_response();
    inside.nanos.fetch_add(u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    response
}
