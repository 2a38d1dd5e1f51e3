//! OpenAI's `/v1/chat/completions` (streamed) and `/v1/models`, from its API reference: chunks, the counts in one without choices,
//! `[DONE]`.

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
    stream_options: StreamOptions,
    max_tokens: u32,
    temperature: Option<f32>,
    response_format: Option<ResponseFormat>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StreamOptions {
    include_usage: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ResponseFormat {
    r#type: String,
    json_schema: JsonSchema,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "read for their presence and type")]
struct JsonSchema {
    name: String,
    strict: bool,
    schema: Value,
}

pub(super) fn routes(script: Arc<Script>) -> Router {
    Router::new()
        .route("/v1/chat/completions", post(chat))
        .route("/v1/models", get(|| async { Json(json!({ "object": "list", "data": [{ "id": NAME, "object": "model" }] })) }))
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
    let formatted = chat.response_format.as_ref().is_none_or(|format| format.r#type == "json_schema");
    if chat.model != NAME || !chat.stream || !chat.stream_options.include_usage || chat.messages.is_empty() || !formatted {
        return script.refuse(format!("not a request for a streamed, counted answer of {NAME}: {body}"));
    }
    let order = script.take(serde_json::from_str(&body).unwrap());
    let chunk = |choices: Value, usage: Value| {
        let chunk = json!({
            "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": NAME, "choices": choices, "usage": usage,
        });
        format!("data: {chunk}\n\n")
    };
    let said = |content: &str| chunk(json!([{ "index": 0, "delta": { "content": content }, "finish_reason": null }]), Value::Null);
    let parts = |words: &str| {
        let (one, two) = words.split_at(words.floor_char_boundary(words.len() / 2));
        vec![
            said(one),
            said(two),
            chunk(json!([{ "index": 0, "delta": {}, "finish_reason": "stop" }]), Value::Null),
            chunk(json!([]), json!({ "prompt_tokens": 42, "completion_tokens": 7, "total_tokens": 49 })),
            "data: [DONE]\n\n".to_owned(),
        ]
    };
    let schema = chat.response_format.map(|format| format.json_schema.schema);
    script.answer(order, words(schema.as_ref()), "text/event-stream", parts).await
}
