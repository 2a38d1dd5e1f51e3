//! What came of an errand, for people and for machines.
//!
//! Must never sound better than it was: the first line says what happened.

use homeaiops_sdk::errand::{Errand, Undo};
use homeaiops_sdk::{Answer, Citation, Outcome};
use serde::Serialize;
use serde_json::Value;

/// How it ended.
#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Ended {
    /// The call was made, and the tool did not complain.
    Executed,
    /// The call could not be made as it stands.
    Rejected,
    /// The dry run failed.
    PreflightFailed,
    /// Nobody agreed to it.
    NoApproval,
    /// The call was made, or tried, and failed.
    Failed,
}

/// `data` of the answer.
#[derive(Serialize)]
struct ExecutionResult<'a> {
    outcome: Ended,
    reason: &'a str,
    tool: &'a str,
    arguments: &'a Value,
    undo: Option<&'a Undo>,
    /// Whether the agreed look was made and did not fail; what it showed is for people to judge.
    verified: Option<bool>,
}

/// The errand, and what happened on the way.
pub(crate) struct Story<'a> {
    errand: &'a Errand,
    notes: Vec<String>,
    citations: Vec<Citation>,
    verified: Option<bool>,
}

impl<'a> Story<'a> {
    pub(crate) fn of(errand: &'a Errand) -> Self {
        Self { errand, notes: Vec::new(), citations: Vec::new(), verified: None }
    }

    pub(crate) fn note(&mut self, text: &str) {
        self.notes.push(text.to_owned());
    }

    pub(crate) fn cite(&mut self, reference: &str, subject: &str, claim: &str) {
        self.citations.push(Citation { ref_: reference.to_owned(), subject: subject.to_owned(), claim: claim.to_owned() });
    }

    pub(crate) fn verified(&mut self, went_well: bool, text: &str) {
        self.verified = Some(went_well);
        self.note(text);
    }

    /// The answer. The reason is what the tool said, or why it was not asked.
    pub(crate) fn ended(self, outcome: Ended, reason: &str) -> Outcome {
        let Self { errand, mut notes, citations, verified } = self;
        let tool = &errand.call.tool;
        let reason = reason.trim();
        let first = match outcome {
            Ended::Executed => format!("Executed `{tool}`."),
            Ended::Rejected | Ended::NoApproval => format!("Not executed: {reason}"),
            Ended::PreflightFailed => format!("Not executed: preflight failed: {reason}"),
            Ended::Failed => format!("`{tool}` failed, and it may have done a part of its work: {reason}"),
        };
        let mut parts = vec![first];
        if outcome == Ended::Executed && !reason.is_empty() {
            parts.push(format!("It said:\n\n{reason}"));
        }
        parts.append(&mut notes);
        parts.push(format!("The call: `{tool}` with `{}`.", errand.call.arguments.to_string().replace('`', "'")));
        if let (Ended::Executed | Ended::Failed, Some(undo)) = (outcome, &errand.undo) {
            parts.push(format!("What undoes it, as its proposer says: {}", undo.told()));
        }
        if let Some(path) = &errand.finding_path {
            parts.push(format!("The reasons stand in {path}."));
        }
        let undo = errand.undo.as_ref();
        let result = ExecutionResult { outcome, reason, tool, arguments: &errand.call.arguments, undo, verified };
        // The result is plain JSON: writing it does not fail.
        let data = Some(serde_json::json!(result).to_string());
        Outcome::Answer(Answer { text: parts.join("\n\n"), data, citations, wrote: Vec::new() })
    }
}
