//! Tells the requester what came of their task. If no model is to be had, it says what it knows in plain words.

use homeaiops_sdk::errand::PASSERS;
use homeaiops_sdk::seen::start;
use homeaiops_sdk::{Agent, Answer, Brief, Handed, Outcome, Prompt, log};
use schemars::JsonSchema;
use serde::Deserialize;

mod digest;

homeaiops_sdk::agent!(report);

/// What the model fills in.
#[derive(Deserialize, JsonSchema)]
struct Report {
    /// What is true now.
    #[schemars(length(min = 3, max = 110))]
    headline: String,
    /// What else the person would miss.
    #[schemars(length(max = 600))]
    text: String,
}

/// How much of the request and of a colleague's text the model gets to read, in characters.
const REQUEST: usize = 2000;
const RESULT: usize = 3000;
/// The same of what each of the colleagues before the last one said, and of how many of them.
const BEFORE: usize = 1200;
const LAST_BEFORE: usize = 2;

fn report(me: &Agent, brief: &Brief) -> Result<Outcome, String> {
    let lead = match brief.handed.last() {
        Some(last) => written(me, brief, last),
        None => match digest::results(&brief.task.content).as_slice() {
            [] => format!("**No output** — see `hai task show {}`", brief.task.id),
            // Nobody has worked on it: there is nothing to say but what was said.
            [only] => format!("**{only}**"),
            several => digest::of(me, several),
        },
    };
    Ok(Outcome::Answer(Answer {
        text: format!("{lead}{}", links(brief)),
        data: None,
        citations: brief.handed.iter().flat_map(|handed| handed.citations.clone()).collect(),
        wrote: Vec::new(),
    }))
}

fn written(me: &Agent, brief: &Brief, last: &Handed) -> String {
    let text = format!(
        "REQUEST:\n{}\n\n{}RESULT:\n{}\n\nFill in the Report as one JSON object: the headline says what came of the request.",
        start(&brief.task.content, REQUEST),
        before(brief),
        start(&last.text, RESULT)
    );
    let prompt = Prompt { me, text, max_output_tokens: 500, temperature: 0.3 };
    match prompt.fill::<Report>(|_| {}) {
        Ok(report) => format!("**{}**\n\n{}", report.headline.trim().trim_matches('*'), report.text.trim()),
        // The work is done and its result is known: an unwilling model is no reason to withhold it.
        Err(failure) => {
            log::line(log::Level::Warn, &format!("reported without a model: {failure}"), &[]);
            last.text.clone()
        }
    }
}

/// What those found who worked on it before the last one.
fn before(brief: &Brief) -> String {
    let former = brief.handed.iter().rev().skip(1).filter(|handed| !PASSERS.contains(&handed.agent.as_str())).take(LAST_BEFORE);
    let mut texts: Vec<String> = former.map(|handed| format!("FOUND BEFORE:\n{}\n\n", start(&handed.text, BEFORE))).collect();
    texts.reverse();
    texts.concat()
}

/// A link for each file that this task wrote.
fn links(brief: &Brief) -> String {
    let extra = |key: &'static str| brief.extra.iter().filter(move |(name, _)| name == key).map(|(_, value)| value.as_str());
    let vault = extra("vault-name").next().unwrap_or("vault");
    extra("wrote").map(|path| format!("\n\n[{path}](obsidian://open?vault={}&file={})", encoded(vault), encoded(path))).collect()
}

/// Percent-encoding of everything but unreserved characters (RFC 3986 §2.3).
fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}
