//! Answers a question: one model call.

use homeaiops_sdk::{Agent, Answer, Brief, Outcome, Prompt};
use schemars::JsonSchema;
use serde::Deserialize;

homeaiops_sdk::agent!(answer);

/// What the model fills in. Every text and list says how long it may be: that bounds what the model writes.
#[derive(Deserialize, JsonSchema)]
struct Reply {
    /// The answer, in one sentence.
    #[schemars(length(min = 3, max = 110))]
    headline: String,
    /// What else the person would miss.
    #[schemars(length(max = 600))]
    text: String,
}

fn answer(me: &Agent, brief: &Brief) -> Result<Outcome, String> {
    let text = format!("REQUEST:\n{}\n\nFill in the Reply as one JSON object.", brief.task.content);
    let prompt = Prompt { me, text, max_output_tokens: 500, temperature: 0.3 };
    let reply: Reply = prompt.fill(|_| {}).map_err(|failure| failure.to_string())?;
    Ok(Outcome::Answer(Answer {
        text: format!("{}\n\n{}", reply.headline.trim(), reply.text.trim()),
        data: None,
        citations: Vec::new(),
        wrote: Vec::new(),
    }))
}
