//! Routes one inbox entry to the colleague whose job it is.

use homeaiops_sdk::seen::start;
use homeaiops_sdk::structured::enumerate;
use homeaiops_sdk::{Agent, Brief, Handoff, Outcome, Prompt, Rejection};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

homeaiops_sdk::agent!(route);

/// Most characters of an entry that are read: whose job it is shows by then.
const MOST_ENTRY: usize = 8000;

/// What the model fills in. The colleagues of the brief are enumerated in the schema when it is asked.
#[derive(Deserialize, Serialize, JsonSchema)]
struct TriageDecision {
    /// One plain sentence: what the person wants.
    #[schemars(length(max = 200))]
    summary: String,
    domain: Domain,
    intent: Intent,
    mode: Mode,
    /// Why this colleague.
    #[schemars(length(max = 240))]
    reasoning: String,
    #[schemars(length(max = 64))]
    target_agent: String,
    #[schemars(length(max = 64))]
    fallback_agent: Option<String>,
    /// 0 to 1.
    #[schemars(range(min = 0.0, max = 1.0))]
    confidence: f32,
    requires_user_approval: bool,
}

#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
enum Domain {
    Homelab,
    SmartHome,
    Property,
    Vehicles,
    Medical,
    Career,
    Hobby,
    Meta,
}

#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
enum Intent {
    Question,
    Action,
    Research,
    Note,
    Bug,
    Idea,
    Reminder,
}

#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
enum Mode {
    Default,
    Architect,
    Debugger,
    Optimizer,
}

fn route(me: &Agent, brief: &Brief) -> Result<Outcome, String> {
    if brief.colleagues.is_empty() {
        return Ok(Outcome::Reject(Rejection {
            why: "no specialist is loaded that could take this".into(),
            suggested: None,
            keep: String::new(),
        }));
    }
    let ids: Vec<&str> = brief.colleagues.iter().map(|colleague| colleague.id.as_str()).collect();
    let prompt = Prompt { me, text: question(brief), max_output_tokens: 600, temperature: 0.1 };
    let decision: TriageDecision = prompt
        .fill(|schema| {
            enumerate(schema, "target_agent", &ids);
            enumerate(schema, "fallback_agent", &ids);
        })
        .map_err(|failure| failure.to_string())?;
    let data = serde_json::to_string(&decision).map_err(|error| error.to_string())?;
    Ok(Outcome::Handoff(Handoff {
        to: decision.target_agent,
        why: decision.reasoning,
        text: decision.summary,
        data: Some(data),
        citations: Vec::new(),
    }))
}

fn question(brief: &Brief) -> String {
    let colleagues: String =
        brief.colleagues.iter().map(|colleague| format!("- {}: {}\n", colleague.id, colleague.purpose)).collect();
    let stated =
        brief.task.intent.as_ref().map(|intent| format!("The sender says the intent is `{intent}`.\n")).unwrap_or_default();
    format!(
        "INBOX ENTRY:\n{}\n\nCOLLEAGUES:\n{colleagues}\n{stated}Fill in the TriageDecision as one JSON object. Sort; do not answer the entry.",
        start(&brief.task.content, MOST_ENTRY)
    )
}
