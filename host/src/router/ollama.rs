//! Ollama's `/api/chat`: newline-delimited JSON, the schema as `format`. Documented in its API reference.

use futures::TryStreamExt;
use policy::call::Complete;
use serde::Deserialize;
use serde_json::json;
use tokio_stream::StreamExt;
use tokio_util::codec::{FramedRead, LinesCodec};
use tokio_util::io::StreamReader;

use super::{Completion, Deadlines, MOST_BYTES, Stop, Trouble, address, opened};
use crate::config::Group;
use crate::egress::Client;

/// How long the server keeps the model loaded after a call.
const KEEP_ALIVE: &str = "30m";

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

pub(super) async fn complete(client: &Client, group: &Group, call: &Complete, deadlines: Deadlines) -> Result<Completion, Trouble> {
    let mut body = json!({
        "model": group.model,
        "messages": call.messages.iter().map(|message| json!({ "role": message.role, "content": message.text })).collect::<Vec<_>>(),
        "stream": true,
        "keep_alive": KEEP_ALIVE,
        "options": { "num_ctx": group.num_ctx, "num_predict": call.max_output_tokens },
    });
    if let Some(schema) = &call.schema {
        body["format"] = schema.clone();
    }
    if let Some(temperature) = call.temperature {
        body["options"]["temperature"] = json!(temperature);
    }
    let request = super::keyed(client.post(&address(&group.url, "api/chat"))?, group).json(&body);
    let response = opened(request, deadlines, "application/x-ndjson").await?;

    let bytes = StreamReader::new(response.bytes_stream().map_err(std::io::Error::other));
    let mut lines = FramedRead::new(bytes, LinesCodec::new_with_max_length(MOST_BYTES));
    let mut answer = Completion::default();
    while let Some(line) = deadlines.next(!answer.text.is_empty(), lines.next()).await? {
        let line = line.map_err(|error| Trouble::Backend(format!("the answer broke off: {error}")))?;
        let part: Part = serde_json::from_str(&line).map_err(|error| Trouble::Backend(format!("it sent no JSON: {error}")))?;
        if let Some(error) = part.error {
            return Err(Trouble::Backend(error));
        }
        answer.text.push_str(&part.message.map(|spoken| spoken.content).unwrap_or_default());
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
    Err(Trouble::Backend("the answer ended before it said `done`".into()))
}
