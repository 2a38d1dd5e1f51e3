//! Looks into the cluster, and says what should be done: a finding in the vault, and the exact call if there is one to make.
//!
//! Must never act: its tools only look.

use homeaiops_sdk::errand::{Check, Proposed};
use homeaiops_sdk::finding::Meant;
use homeaiops_sdk::{Agent, Brief, Cite, Class, Looking, Outcome, Report, Seen, finding};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

homeaiops_sdk::agent!(engineer);

/// What it finds is about this repository.
const REPOSITORY: &str = "home-ops";
/// Most tokens of a finding.
const TOKENS: u32 = 3500;

/// What the model fills in.
#[derive(Deserialize, Serialize, JsonSchema)]
struct HomelabFinding {
    /// The point, in one or two sentences.
    #[schemars(length(min = 3, max = 300))]
    summary: String,
    /// What is the matter, and how that is known.
    #[schemars(length(max = 1800))]
    diagnosis: String,
    /// What should be done, step by step.
    #[schemars(length(max = 1500))]
    proposed_action: String,
    action_class: Class,
    handoff_target: Target,
    /// Kind, namespace and name of each thing that the action touches.
    #[schemars(length(max = 12), inner(length(max = 100)))]
    affected_resources: Vec<String>,
    #[schemars(length(max = 6), inner(length(max = 160)))]
    references: Vec<String>,
    /// What to type if it goes wrong, word for word.
    #[schemars(length(max = 800))]
    rollback: String,
    /// The exact call, only if it goes to errand-runner.
    call: Option<Proposed>,
    /// The look that shows whether the call worked.
    verify: Option<Check>,
    /// What the diagnosis rests on.
    #[serde(default)]
    #[schemars(length(max = 8))]
    cites: Vec<Cite>,
}

#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
enum Target {
    User,
    ErrandRunner,
    Coder,
}

fn engineer(me: &Agent, brief: &Brief) -> Result<Outcome, String> {
    let question = finding::question(brief);
    let seen = Looking { answer_tokens: TOKENS, ..Looking::at(me, brief, question.as_str()) }.look();
    match seen.ask::<HomelabFinding>(me, &question, TOKENS, |schema| seen.narrow(schema, "cites")) {
        Ok(found) => Ok(reported(brief, &seen, &found)),
        Err(failure) => Ok(finding::without(&failure, &seen)),
    }
}

fn reported(brief: &Brief, seen: &Seen, found: &HomelabFinding) -> Outcome {
    let (call, verify) = (found.call.as_ref(), found.verify.as_ref());
    let errand = || finding::errand(call, verify, found.action_class, &found.rollback);
    let meant = Meant::by(brief, seen, &found.handoff_target, errand);
    let mut data = serde_json::json!(found);
    data["target_repo"] = REPOSITORY.into();
    let report = Report {
        brief,
        seen,
        cites: &found.cites,
        path: format!("inbox/drafts/homelab-{}.md", brief.task.id),
        front_matter: finding::front_matter([
            ("task_id", finding::yaml(&brief.task.id)),
            ("kind", "homelab-finding".to_owned()),
            ("action_class", finding::yaml(&found.action_class)),
            ("handoff_target", finding::yaml(&found.handoff_target)),
            ("target_repo", REPOSITORY.to_owned()),
        ]),
        summary: &found.summary,
        body: body(seen, found, &meant),
        data,
        meant,
    };
    report.filed()
}

/// The finding as people read it.
fn body(seen: &Seen, found: &HomelabFinding, meant: &Meant) -> String {
    let mut body = finding::titled("Homelab finding", seen);
    finding::section(&mut body, "Summary", &found.summary);
    finding::section(&mut body, "Diagnosis", &found.diagnosis);
    let class = found.action_class.as_str();
    finding::section(&mut body, &format!("Proposed action (class {class})"), &found.proposed_action);
    finding::meant_for(&mut body, meant);
    finding::calls(&mut body, found.call.as_ref(), found.verify.as_ref());
    finding::verbatim(&mut body, "Rollback", &found.rollback);
    finding::section(&mut body, "Affected resources", &finding::list(&found.affected_resources));
    finding::section(&mut body, "References", &finding::list(&found.references));
    finding::evidence(&mut body, seen, &found.cites);
    body
}
