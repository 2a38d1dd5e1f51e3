//! Takes what a colleague rejected: somebody else does it, or the requester is told what they can do.
//!
//! Must never do the work itself, and never send it back to one who has handed it back.

use homeaiops_sdk::structured::enumerate;
use homeaiops_sdk::{Agent, Answer, Brief, Colleague, Failure, Handed, Handoff, Outcome, Prompt};
use homeaiops_sdk::{finding, seen};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

homeaiops_sdk::agent!(supervise);

/// Characters of the request, and of the rejection, that are read.
const REQUEST: usize = 4000;
const REJECTION: usize = 2000;

/// What the model fills in.
#[derive(Deserialize, Serialize, JsonSchema)]
struct SupervisorDecision {
    decision: Decision,
    /// Who takes it, if it is rerouted.
    #[schemars(length(max = 64))]
    target: Option<String>,
    /// Why: one sentence that the next one, or the person, can start from.
    #[schemars(length(max = 300))]
    why: String,
    /// If nobody takes it: what the person could do.
    #[schemars(length(max = 4), inner(length(max = 200)))]
    options: Vec<String>,
    /// Which of them, and why.
    #[schemars(length(max = 300))]
    recommendation: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
enum Decision {
    Reroute,
    GiveUp,
}

fn supervise(me: &Agent, brief: &Brief) -> Result<Outcome, String> {
    let Some(rejected) = brief.handed.iter().rev().find(|handed| handed.agent != me.manifest.id) else {
        return Ok(given_up("Nobody has handed anything back: there is nothing to decide.", None));
    };
    let others = others(me, brief);
    if let Some(colleague) = suggested(rejected).and_then(|id| others.iter().find(|other| other.id == id).copied()) {
        let why = format!("`{}` handed it back and suggests `{}`", rejected.agent, colleague.id);
        return Ok(rerouted(&colleague.id, why, rejected, None));
    }
    if others.is_empty() {
        let text = format!("`{}` handed it back, and nobody else is there to take it: {}", rejected.agent, rejected.text.trim());
        return Ok(given_up(&text, None));
    }
    Ok(match decided(me, brief, rejected, &others) {
        Ok(SupervisorDecision { decision: Decision::Reroute, target: Some(to), why, .. })
            if others.iter().any(|other| other.id == to) =>
        {
            let data = serde_json::json!({ "decision": "reroute", "target": to, "why": why });
            rerouted(&to, why, rejected, Some(data))
        }
        Ok(decision) => told(rejected, &decision),
        // What is known is said all the same.
        Err(failure) => {
            let text = format!(
                "`{}` handed it back: {}\n\nWho else could take it was not decided: {failure}",
                rejected.agent,
                rejected.text.trim()
            );
            given_up(&text, None)
        }
    })
}

/// Those who could take it: not this agent, not the router, nobody who has handed it back.
fn others<'b>(me: &Agent, brief: &'b Brief) -> Vec<&'b Colleague> {
    let own = me.manifest.id.as_str();
    let mut gone = vec![own, "triager"];
    // Whatever stands before one of this agent's own decisions was a rejection, and so is the last.
    for (handed, next) in brief.handed.iter().zip(brief.handed.iter().skip(1)) {
        if next.agent == own {
            gone.push(&handed.agent);
        }
    }
    gone.extend(brief.handed.last().map(|handed| handed.agent.as_str()));
    brief.colleagues.iter().filter(|colleague| !gone.contains(&colleague.id.as_str())).collect()
}

/// Whom the one who rejected names: `suggested` in what it hands over.
fn suggested(rejected: &Handed) -> Option<String> {
    let data: Value = serde_json::from_str(rejected.data.as_deref()?).ok()?;
    data.get("suggested")?.as_str().map(str::to_owned)
}

fn decided(me: &Agent, brief: &Brief, rejected: &Handed, others: &[&Colleague]) -> Result<SupervisorDecision, Failure> {
    let ids: Vec<&str> = others.iter().map(|other| other.id.as_str()).collect();
    let colleagues: String = others.iter().map(|other| format!("- {}: {}\n", other.id, other.purpose)).collect();
    let text = format!(
        "REQUEST:\n{}\n\nHANDED BACK BY {}:\n{}\n\nCOLLEAGUES:\n{colleagues}\nFill in the SupervisorDecision as one JSON object: \
         `reroute` with a `target` if one of the colleagues can do what is left, else `give_up` with options and a recommendation.",
        seen::start(&brief.task.content, REQUEST),
        rejected.agent,
        seen::start(&rejected.text, REJECTION)
    );
    let prompt = Prompt { me, text, max_output_tokens: 1200, temperature: 0.1 };
    prompt.fill(|schema| enumerate(schema, "target", &ids))
}

/// What the last one learnt goes along.
fn rerouted(to: &str, why: String, rejected: &Handed, data: Option<Value>) -> Outcome {
    let text = format!("{why}\n\n`{}` handed it back: {}", rejected.agent, rejected.text.trim());
    Outcome::Handoff(Handoff {
        to: to.to_owned(),
        why,
        text,
        data: data.map(|data| data.to_string()),
        citations: rejected.citations.clone(),
    })
}

fn told(rejected: &Handed, decision: &SupervisorDecision) -> Outcome {
    let why = decision.why.trim();
    let mut text =
        if why.is_empty() { format!("`{}` handed it back: {}", rejected.agent, rejected.text.trim()) } else { why.to_owned() };
    if !decision.options.is_empty() {
        text.push_str(&format!("\n\nWhat can be done:\n\n{}", finding::list(&decision.options).trim_end()));
    }
    if !decision.recommendation.trim().is_empty() {
        text.push_str(&format!("\n\nRecommended: {}", decision.recommendation.trim()));
    }
    let mut data = serde_json::json!(decision);
    // A target that nobody may be sent to is no decision.
    data["decision"] = serde_json::json!(Decision::GiveUp);
    data["target"] = Value::Null;
    given_up(&text, Some(data))
}

fn given_up(text: &str, data: Option<Value>) -> Outcome {
    Outcome::Answer(Answer {
        text: format!("Nobody took this. {text}"),
        data: data.map(|data| data.to_string()),
        citations: Vec::new(),
        wrote: Vec::new(),
    })
}
