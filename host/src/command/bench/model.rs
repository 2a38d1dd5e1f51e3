//! A model server on loopback that answers at once with the smallest value of the asked schema, and counts the time that it took
//! itself, so that it can be taken off. Speaks Ollama's protocol.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::fleet::dry;

/// Its model's name.
pub(super) const NAME: &str = "bench";

/// A running server; it ends with the process.
pub(super) struct Model {
    pub(super) url: String,
    nanos: Arc<AtomicU64>,
}

impl Model {
    pub(super) async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let nanos = Arc::new(AtomicU64::new(0));
        let routes = Router::new()
            .route("/api/chat", post(chat))
            .route("/api/tags", get(|| async { Json(json!({ "models": [{ "name": NAME, "model": NAME }] })) }))
            .with_state(nanos.clone());
        tokio::spawn(axum::serve(listener, routes).into_future());
        Ok(Self { url, nanos })
    }

    /// The time that it took itself since it was last asked.
    pub(super) fn took(&self) -> Duration {
        Duration::from_nanos(self.nanos.swap(0, Ordering::Relaxed))
    }
}

async fn chat(State(nanos): State<Arc<AtomicU64>>, body: String) -> Response {
    let began = Instant::now();
    let request: Value = serde_json::from_str(&body).unwrap_or_default();
    let words = request.get("format").map_or_else(|| "well".to_owned(), |schema| dry::smallest(schema).to_string());
    let answer = json!({
        "model": NAME, "message": { "role": "assistant", "content": words }, "done": true, "done_reason": "stop",
        "prompt_eval_count": 42, "eval_count": 7,
    });
    let response = ([(CONTENT_TYPE, "application/x-ndjson")], format!("{answer}\n")).into_response();
    nanos.fetch_add(u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    response
}
