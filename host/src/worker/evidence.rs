//! What a report must say of its own ground: whether anything was looked at, and which of the claims that were handed on rest on
//! nothing. Said by the host, in the report itself, whatever agents say.

use std::collections::BTreeMap;
use std::sync::Arc;

use policy::evidence::{self, Called, Unbacked};
use policy::next::{ERRANDS, REPORTER, TRIAGER};
use policy::task::{Citation, Outcome};
use policy::tier::Clearance;
use serde_json::Value;

use crate::fleet::Fleet;
use crate::gateway::Observation;
use crate::store::hops::Hop;
use crate::store::journal::{self, Write};
use crate::store::{Db, StoreError};

/// How every report begins whose task looked at nothing.
pub(super) const NOTHING: &str = "**Nothing was looked at**";
/// Most claims that are named.
const MOST: usize = 20;

/// Marks for a report.
#[derive(Clone, Debug, Default)]
pub(super) struct Marks {
    /// An agent that could have looked did not, or saw nothing.
    nothing_seen: bool,
    unbacked: Vec<(Citation, Unbacked)>,
}

/// One call, as far as a claim may rest on it.
struct Made {
    reference: String,
    kind: String,
    succeeded: bool,
    acts: bool,
    request: String,
    answer: String,
}

impl Made {
    fn called(&self) -> Called<'_> {
        Called {
            reference: &self.reference,
            kind: &self.kind,
            succeeded: self.succeeded,
            acts: self.acts,
            request: &self.request,
            answer: &self.answer,
        }
    }
}

/// The marks of a task that ends with this outcome of its last hop, of which `unwritten` is not on disk yet.
pub(super) async fn marks(
    (db, fleet): (&Db, &Arc<Fleet>),
    (task, hops): (&str, &[Hop]),
    last: &Outcome,
    unwritten: &[Write],
) -> Result<Marks, StoreError> {
    let Some((current, former)) = hops.split_last() else { return Ok(Marks::default()) };
    let open = |hop: &Hop| hop.outcome.as_ref().and_then(|outcome| outcome.open(Clearance::OPERATOR).ok().cloned());
    let mut outcomes: Vec<(&str, Outcome)> = former.iter().filter_map(|hop| Some((hop.agent.as_str(), open(hop)?))).collect();
    outcomes.push((current.agent.as_str(), last.clone()));
    let cited: Vec<Citation> = outcomes.iter().flat_map(|(_, outcome)| cited(outcome).to_vec()).collect();
    // Somebody who should have looked took part: a mere messenger, and who makes the call that others proposed, should not.
    let looks = |agent: &str| fleet.agent(agent).is_some_and(|agent| !agent.manifest.wants.tools.is_empty());
    let works = |(agent, outcome): &(&str, Outcome)| {
        ![REPORTER, TRIAGER, ERRANDS].contains(agent) && !matches!(outcome, Outcome::Reject { .. })
    };
    let could_look = outcomes.iter().any(|one| works(one) && looks(one.0));
    if cited.is_empty() && !could_look {
        return Ok(Marks::default());
    }
    let first = hops.first().map_or(current.seq, |hop| hop.seq);
    let made = calls(db, task, first, unwritten).await?;
    let called: Vec<Called<'_>> = made.values().map(Made::called).collect();
    let judged = cited.into_iter().filter_map(|citation| Some((evidence::backed(&citation, &called).err()?, citation)));
    let unbacked: Vec<_> = judged.map(|(why, citation)| (citation, why)).take(MOST).collect();
    Ok(Marks { nothing_seen: could_look && !called.iter().any(Called::is_look), unbacked })
}

fn cited(outcome: &Outcome) -> &[Citation] {
    match outcome {
        Outcome::Answer { citations, .. } | Outcome::Handoff { citations, .. } => citations,
        Outcome::Reject { .. } => &[],
    }
}

/// Every call of the task's present chain of hops, by `ref`.
async fn calls(db: &Db, task: &str, first: u32, unwritten: &[Write]) -> Result<BTreeMap<String, Made>, StoreError> {
    let mut made = BTreeMap::new();
    let on_disk = journal::timeline(db, task).await?;
    for entry in on_disk.into_iter().filter(|entry| entry.hop >= first && entry.seq > 0) {
        let reference = format!("{}.{}.{}", entry.hop, entry.run, entry.seq);
        let text = |json: Option<&Value>| json.map(Value::to_string).unwrap_or_default();
        let answer = entry.answer.as_ref().and_then(|answer| answer.open(Clearance::OPERATOR).ok());
        let one = Made {
            succeeded: entry.state == "done" && !answer.is_some_and(Observation::says_it_failed),
            acts: entry.effect != "none",
            request: text(entry.request.open(Clearance::OPERATOR).ok()),
            answer: text(answer),
            kind: entry.kind,
            reference: reference.clone(),
        };
        made.insert(reference, one);
    }
    for write in unwritten {
        let Write::Entry(opening, closing) = write else { continue };
        if opening.at.seq == 0 {
            continue;
        }
        let reference = opening.at.reference();
        let answer: Value = serde_json::from_str(&closing.answer).unwrap_or_default();
        let one = Made {
            succeeded: closing.state == "done" && !Observation::says_it_failed(&answer),
            acts: opening.effect != policy::call::Effect::None,
            request: opening.request.clone(),
            answer: closing.answer.clone(),
            kind: opening.kind.to_owned(),
            reference: reference.clone(),
        };
        made.insert(reference, one);
    }
    Ok(made)
}

impl Marks {
    /// The report with its marks: the first line says if nothing was looked at, the last say which claims rest on nothing.
    pub(super) fn on(&self, report: String) -> String {
        let mut text = report;
        if self.nothing_seen && !says_nothing_was_looked_at(&text) {
            text = format!("{NOTHING}: this rests on no look at any system.\n\n{text}");
        }
        if !self.unbacked.is_empty() {
            let line = |(citation, why): &(Citation, Unbacked)| {
                format!("- {} ({}; cites {}: {})", citation.claim, citation.subject, citation.reference, why.said())
            };
            let lines: Vec<String> = self.unbacked.iter().map(line).collect();
            text = format!("{}\n\n**Not backed by anything that was looked at:**\n\n{}", text.trim_end(), lines.join("\n"));
        }
        text
    }
}

/// Whether the report begins with that, and not merely with those words: "nothing was looked at that is broken" says the opposite.
fn says_nothing_was_looked_at(report: &str) -> bool {
    let rest = report.trim_start().trim_start_matches('*').strip_prefix(NOTHING.trim_matches('*'));
    rest.is_some_and(|rest| rest.trim_start_matches('*').starts_with([':', '.', '\n']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_says_on_what_it_rests() {
        let report = || "All is well.".to_owned();
        assert_eq!(Marks::default().on(report()), "All is well.");
        let blind = Marks { nothing_seen: true, unbacked: Vec::new() };
        assert!(blind.on(report()).starts_with("**Nothing was looked at**: this rests on no look"));
        assert_eq!(blind.on("Nothing was looked at: no tools.".into()), "Nothing was looked at: no tools.", "said once");
        let evades = blind.on("Nothing was looked at that is broken.".into());
        assert!(evades.starts_with("**Nothing was looked at**: this rests"), "{evades}");
        let citation = Citation { reference: "1.1.1".into(), subject: "nas".into(), claim: "it is full".into() };
        let marked = Marks { nothing_seen: false, unbacked: vec![(citation, Unbacked::NotAboutIt)] }.on(report());
        assert!(marked.ends_with("- it is full (nas; cites 1.1.1: that call says nothing about it)"), "{marked}");
    }
}
