//! `/v1/chat/completions` as OpenAI documents it and llama.cpp, vLLM and others serve it: server-sent events, the schema as
//! `response_format`.

use eventsource_stream::{EventStreamError, Eventsource};
use policy::call::{Complete, Message};
use reqwest::Response;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio_stream::StreamExt;

use super::{Completion, Deadlines, Ear, MOST_BYTES, MOST_STREAMED, Stop, Trouble, address, broke, opened, spoken};
use crate::config::Group;
use crate::egress::{self, Client};

#[derive(Serialize)]
struct Request<'c> {
    model: &'c str,
    #[serde(serialize_with = "spoken")]
    messages: &'c [Message],
    stream: bool,
    stream_options: Value,
    max_tokens: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<Value>,
}

#[derive(Deserialize)]
struct Chunk {
    #[serde(default)]
    model: String,
    #[serde(default)]
    choices: Vec<Choice>,
    #[serde(default)]
    usage: Option<Usage>,
    #[serde(default)]
    error: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    delta: Delta,
    #[serde(default)]
    finish_reason: Option<String>,
}

#[derive(Default, Deserialize)]
struct Delta {
    #[serde(default)]
    content: Option<String>,
    #[serde(default)]
    refusal: Option<String>,
}

#[derive(Deserialize)]
struct Usage {
    #[serde(default)]
    prompt_tokens: u64,
    #[serde(default)]
    completion_tokens: u64,
    #[serde(default)]
    prompt_tokens_details: Option<Details>,
}

#[derive(Deserialize)]
struct Details {
    #[serde(default)]
    cached_tokens: Option<u64>,
}

pub(super) async fn complete(
    client: &Client,
    group: &Group,
    call: &Complete,
    deadlines: Deadlines,
    heard: Ear<'_>,
) -> Result<Completion, Trouble> {
    let body = Request {
        model: &group.model,
        messages: &call.messages,
        stream: true,
        stream_options: json!({ "include_usage": true }),
        max_tokens: call.max_output_tokens,
        temperature: call.temperature,
        response_format: call
            .schema
            .as_ref()
            .map(|schema| json!({ "type": "json_schema", "json_schema": { "name": "answer", "strict": true, "schema": schema } })),
    };
    let request = super::keyed(client.post_json(&address(&group.url, "v1/chat/completions"), &body)?, group);
    let response = opened(request, deadlines, "text/event-stream").await?;
    read(group, response, deadlines, heard).await.map_err(Trouble::midway)
}

/// The answer as it comes.
async fn read(group: &Group, response: Response, deadlines: Deadlines, heard: Ear<'_>) -> Result<Completion, Trouble> {
    let mut events = Box::pin(egress::capped(response, MOST_STREAMED)).eventsource();
    let mut answer = Completion { model: group.model.clone(), ..Completion::default() };
    let mut finished = false;
    while let Some(event) = deadlines.next(!answer.text.is_empty(), events.next()).await? {
        let event = event.map_err(|error| match error {
            EventStreamError::Transport(error) => broke(error),
            EventStreamError::Utf8(_) | EventStreamError::Parser(_) => Trouble::Wrong(format!("it sent no events: {error}")),
        })?;
        if event.data.trim() == "[DONE]" {
            break;
        }
        let chunk: Chunk =
            serde_json::from_str(&event.data).map_err(|error| Trouble::Wrong(format!("it sent no JSON: {error}")))?;
        if let Some(error) = chunk.error {
            return Err(Trouble::Wrong(error.to_string()));
        }
        if !chunk.model.is_empty() {
            answer.model = chunk.model;
        }
        if let Some(usage) = chunk.usage {
            answer.input = usage.prompt_tokens;
            answer.output = usage.completion_tokens;
            answer.cached = usage.prompt_tokens_details.and_then(|details| details.cached_tokens).unwrap_or_default();
        }
        if let Some(choice) = chunk.choices.into_iter().next() {
            choice.delta.content.as_deref().filter(|words| !words.is_empty()).map(&mut *heard);
            finished |= take(&mut answer, choice);
        }
        if answer.text.len() > MOST_BYTES {
            return Err(Trouble::Call(format!("the answer is longer than {MOST_BYTES} bytes")));
        }
    }
    if finished { Ok(answer) } else { Err(Trouble::Wrong("the answer ended before its `finish_reason`".into())) }
}

/// Adds a choice to the answer; whether it was the last.
fn take(answer: &mut Completion, choice: Choice) -> bool {
    answer.text.push_str(&choice.delta.content.unwrap_or_default());
    if let Some(refusal) = choice.delta.refusal {
        answer.text.push_str(&refusal);
        answer.stop = Stop::Refusal;
    }
    match choice.finish_reason.as_deref() {
        Some("length") => answer.stop = Stop::Length,
        Some("content_filter") => answer.stop = Stop::Refusal,
        _ => {}
    }
    choice.finish_reason.is_some()
}
