//! Ollama's `/api/chat` and `/api/tags`, from its API reference: NDJSON parts, the last one with `done` and the counts.

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Message, NAME, Script, words};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "read for their presence and type")]
struct Chat {
    model: String,
    messages: Vec<Message>,
    stream: bool,
    keep_alive: String,
    format: Option<Value>,
    options: Options,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "read for their presence and type")]
struct Options {
    num_ctx: u32,
    num_predict: u32,
    temperature: Option<f32>,
}

pub(super) fn routes(script: Arc<Script>) -> Router {
    Router::new()
        .route("/api/chat", post(chat))
        .route("/api/tags", get(|| async { Json(json!({ "models": [{ "name": NAME, "model": NAME }] })) }))
        .with_state(script)
}

async fn chat(State(script): State<Arc<Script>>, headers: HeaderMap, body: String) -> Response {
    if headers.get("content-type").is_none_or(|kind| kind != "application/json") {
        return script.refuse("the content type is not application/json".into());
    }
    let chat: Chat = match serde_json::from_str(&body) {
        Ok(chat) => chat,
        Err(error) => return script.refuse(format!("{error} in {body}")),
    };
    if chat.model != NAME || !chat.stream || chat.messages.is_empty() {
        return script.refuse(format!("model `{}`, stream {}, {} messages", chat.model, chat.stream, chat.messages.len()));
    }
    let order = script.take(serde_json::from_str(&body).unwrap());
    let part = |content: &str| {
        json!({ "model": NAME, "created_at": "2026-11-21T00:00:00Z", "message": { "role": "assistant", "content": content }, "done": false })
            .to_string()
            + "\n"
    };
    let last = json!({
        "model": NAME, "created_at": "2026-11-21T00:00:01Z", "message": { "role": "assistant", "content": "" }, "done": true,
        "done_reason": "stop", "total_duration": 5, "load_duration": 1, "prompt_eval_count": 42, "prompt_eval_duration": 2,
        "eval_count": 7, "eval_duration": 2,
    });
    let parts = |words: &str| {
        let (one, two) = words.split_at(words.floor_char_boundary(words.len() / 2));
        vec![part(one), part(two), format!("{last}\n")]
    };
    script.answer(order, words(chat.format.as_ref()), "application/x-ndjson", parts).await
}
