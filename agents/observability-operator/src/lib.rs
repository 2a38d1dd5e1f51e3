//! Looks into alerts, metrics and logs, and says what should be done: a finding in the vault, and the exact call if there is one.
//!
//! Must never act: its tools only look.

use homeaiops_sdk::errand::{Check, Proposed};
use homeaiops_sdk::finding::Meant;
use homeaiops_sdk::{Agent, Brief, Cite, Class, Looking, Outcome, Report, Seen, finding};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

homeaiops_sdk::agent!(operator);

/// Most tokens of a finding.
const TOKENS: u32 = 3500;

/// What the model fills in.
#[derive(Deserialize, Serialize, JsonSchema)]
struct ObservabilityFinding {
    /// The point, in one or two sentences.
    #[schemars(length(min = 3, max = 300))]
    summary: String,
    /// How it could ring too often, and what stops that.
    #[schemars(length(max = 600))]
    flood_mode: String,
    /// How it could keep a real failure quiet, and who would notice.
    #[schemars(length(max = 600))]
    mute_mode: String,
    /// What should be changed, with its query, threshold and duration.
    #[schemars(length(max = 1800))]
    proposed_change: String,
    /// What else it touches.
    #[schemars(length(max = 500))]
    blast_radius: String,
    /// How one sees that it works.
    #[schemars(length(max = 500))]
    positive_verification: String,
    /// What to type to have it as before, word for word.
    #[schemars(length(max = 800))]
    rollback: String,
    /// Whether it changes what would tell people that alerting itself is broken.
    recovery_path_touched: bool,
    /// Whether the rule waits before it rings.
    has_for_clause: bool,
    routing_target: Routing,
    alert_volume_delta: Volume,
    action_class: Class,
    handoff_target: Target,
    #[schemars(length(max = 12), inner(length(max = 100)))]
    affected_resources: Vec<String>,
    #[schemars(length(max = 6), inner(length(max = 160)))]
    references: Vec<String>,
    /// The exact call, only if it goes to errand-runner.
    call: Option<Proposed>,
    /// The look that shows whether the call worked.
    verify: Option<Check>,
    /// What the proposal rests on.
    #[serde(default)]
    #[schemars(length(max = 8))]
    cites: Vec<Cite>,
}

#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
enum Routing {
    Pushover,
    Zulip,
    Holmesgpt,
    #[serde(rename = "n/a")]
    Nowhere,
}

#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
enum Volume {
    More,
    Fewer,
    Same,
    #[serde(rename = "n/a")]
    Unknown,
}

#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
enum Target {
    User,
    ErrandRunner,
    HomelabEngineer,
    NetworkOperator,
    StorageOperator,
    SmartHomeOperator,
    MlOperator,
}

fn operator(me: &Agent, brief: &Brief) -> Result<Outcome, String> {
    let question = finding::question(brief);
    let seen = Looking { answer_tokens: TOKENS, ..Looking::at(me, brief, question.as_str()) }.look();
    match seen.ask::<ObservabilityFinding>(me, &question, TOKENS, |schema| seen.narrow(schema, "cites")) {
        Ok(found) => Ok(reported(brief, &seen, &found)),
        Err(failure) => Ok(finding::without(&failure, &seen)),
    }
}

fn reported(brief: &Brief, seen: &Seen, found: &ObservabilityFinding) -> Outcome {
    let meant = meant(brief, seen, found);
    let report = Report {
        brief,
        seen,
        cites: &found.cites,
        path: format!("inbox/drafts/observability-{}.md", brief.task.id),
        front_matter: finding::front_matter([
            ("task_id", finding::yaml(&brief.task.id)),
            ("kind", "observability-finding".to_owned()),
            ("action_class", finding::yaml(&found.action_class)),
            ("handoff_target", finding::yaml(&found.handoff_target)),
            ("recovery_path_touched", finding::yaml(&found.recovery_path_touched)),
            ("has_for_clause", finding::yaml(&found.has_for_clause)),
            ("routing_target", finding::yaml(&found.routing_target)),
            ("alert_volume_delta", finding::yaml(&found.alert_volume_delta)),
        ]),
        summary: &found.summary,
        body: body(seen, found, &meant),
        data: serde_json::json!(found),
        meant,
    };
    report.filed()
}

/// For whom it is. What could leave people without alerts is theirs to decide, whomever the model chose.
fn meant(brief: &Brief, seen: &Seen, found: &ObservabilityFinding) -> Meant {
    let (call, verify) = (found.call.as_ref(), found.verify.as_ref());
    let errand = || finding::errand(call, verify, found.action_class, &found.rollback);
    let meant = Meant::by(brief, seen, &found.handoff_target, errand);
    if found.recovery_path_touched {
        return meant.theirs("it changes what would tell people that alerting is broken, so it is theirs to do");
    }
    meant
}

/// The finding as people read it.
fn body(seen: &Seen, found: &ObservabilityFinding, meant: &Meant) -> String {
    let mut body = finding::titled("Observability finding", seen);
    if found.recovery_path_touched {
        body.push_str("\n> **Recovery path touched**: if this goes wrong, nothing may tell you.\n");
    }
    finding::section(&mut body, "Summary", &found.summary);
    finding::section(&mut body, "Flood mode", &found.flood_mode);
    finding::section(&mut body, "Mute mode", &found.mute_mode);
    finding::section(&mut body, "Proposed change", &found.proposed_change);
    finding::meant_for(&mut body, meant);
    finding::calls(&mut body, found.call.as_ref(), found.verify.as_ref());
    finding::section(&mut body, "Blast radius", &found.blast_radius);
    finding::section(&mut body, "Positive verification", &found.positive_verification);
    finding::verbatim(&mut body, "Rollback", &found.rollback);
    finding::section(&mut body, "Affected resources", &finding::list(&found.affected_resources));
    finding::section(&mut body, "References", &finding::list(&found.references));
    finding::evidence(&mut body, seen, &found.cites);
    body
}
