//! Ollama's `/api/chat`: newline-delimited JSON, the schema as `format`. Documented in its API reference.

use futures::TryStreamExt;
use policy::call::{Complete, Message};
use reqwest::Response;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio_stream::StreamExt;
use tokio_util::codec::{FramedRead, LinesCodec, LinesCodecError};
use tokio_util::io::StreamReader;

use super::{Completion, Deadlines, Ear, MOST_BYTES, MOST_STREAMED, Stop, Trouble, address, broke, opened, spoken};
use crate::config::Group;
use crate::egress::{self, Client, EgressError};

/// How long the server keeps the model loaded after a call.
const KEEP_ALIVE: &str = "30m";

#[derive(Serialize)]
struct Request<'c> {
    model: &'c str,
    #[serde(serialize_with = "spoken")]
    messages: &'c [Message],
    stream: bool,
    keep_alive: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<&'c Value>,
    options: Options,
}

#[derive(Serialize)]
struct Options {
    num_ctx: u64,
    num_predict: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f32>,
}

#[derive(Deserialize)]
struct Part {
    #[serde(default)]
    model: String,
    #[serde(default)]
    message: Option<Spoken>,
    #[serde(default)]
    done: bool,
    #[serde(default)]
    done_reason: Option<String>,
    #[serde(default)]
    prompt_eval_count: u64,
    #[serde(default)]
    eval_count: u64,
    #[serde(default)]
    error: Option<String>,
}

#[derive(Deserialize)]
struct Spoken {
    #[serde(default)]
    content: String,
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
        keep_alive: KEEP_ALIVE,
        format: call.schema.as_ref(),
        options: Options { num_ctx: group.num_ctx, num_predict: call.max_output_tokens, temperature: call.temperature },
    };
    let request = super::keyed(client.post_json(&address(&group.url, "api/chat"), &body)?, group);
    let response = opened(request, deadlines, "application/x-ndjson").await?;
    read(response, deadlines, heard).await.map_err(Trouble::midway)
}

/// The answer as it comes.
async fn read(response: Response, deadlines: Deadlines, heard: Ear<'_>) -> Result<Completion, Trouble> {
    let bytes = StreamReader::new(Box::pin(egress::capped(response, MOST_STREAMED).map_err(std::io::Error::other)));
    let mut lines = FramedRead::new(bytes, LinesCodec::new_with_max_length(MOST_BYTES));
    let mut answer = Completion::default();
    while let Some(line) = deadlines.next(!answer.text.is_empty(), lines.next()).await? {
        let line = line.map_err(|error| match error {
            LinesCodecError::MaxLineLengthExceeded => Trouble::Call(format!("a line is longer than {MOST_BYTES} bytes")),
            LinesCodecError::Io(error) => match error.downcast::<EgressError>() {
                Ok(error) => broke(error),
                Err(error) => Trouble::Wrong(format!("it sent no text: {error}")),
            },
        })?;
        let part: Part = serde_json::from_str(&line).map_err(|error| Trouble::Wrong(format!("it sent no JSON: {error}")))?;
        if let Some(error) = part.error {
            return Err(Trouble::Wrong(error));
        }
        let words = part.message.map(|spoken| spoken.content).unwrap_or_default();
        if !words.is_empty() {
            heard(&words);
        }
        answer.text.push_str(&words);
        if answer.text.len() > MOST_BYTES {
            return Err(Trouble::Call(format!("the answer is longer than {MOST_BYTES} bytes")));
        }
        if part.done {
            answer.model = part.model;
            answer.input = part.prompt_eval_count;
            answer.output = part.eval_count;
            answer.stop = if part.done_reason.as_deref() == Some("length") { Stop::Length } else { Stop::End };
            return Ok(answer);
        }
    }
    Err(Trouble::Wrong("the answer ended before it said `done`".into()))
}
