//! What one task of an agent did, for its author: each host call, the outcome, the files. Nothing is withheld: the author is the
//! operator of a database that is thrown away.

use std::path::Path;

use policy::call::CallError;
use policy::task::Outcome;
use policy::tier::Clearance;

use crate::store::tasks::Task;
use crate::store::{Db, artefacts, hops, journal};

pub(super) async fn show(db: &Db, vault: &Path, task: &Task) -> anyhow::Result<()> {
    // Entry 0 of a run is its input.
    for entry in journal::timeline(db, &task.id).await?.iter().filter(|entry| entry.seq > 0) {
        println!("    {}", line(entry));
    }
    for hop in hops::of(db, &task.id).await? {
        if let Some(outcome) = hop.outcome.as_ref().and_then(|outcome| outcome.open(Clearance::OPERATOR).ok()) {
            part(outcome.kind(), &words(outcome));
        }
    }
    if let Some((code, message)) = &task.error {
        part(code, message.open(Clearance::OPERATOR).map_or("", String::as_str));
    }
    for (path, _) in artefacts::of(db, &task.id).await? {
        part(&path, &std::fs::read_to_string(vault.join(&path))?);
    }
    Ok(())
}

fn part(heading: &str, text: &str) {
    println!("── {heading} ──\n{}", text.trim_end());
}

/// One host call: what, how it ended, how long it took, and who answered or why nobody did.
fn line(entry: &journal::Entry) -> String {
    let took = entry.finished_at.map_or(0, |end| end.since(entry.started_at));
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of one call")]
    let head = format!("{:<15} {:<6} {:>6.1} s", entry.kind, entry.state, took as f64 / 1000.0);
    let answer = entry.answer.as_ref().and_then(|answer| answer.open(Clearance::OPERATOR).ok());
    let refused = answer.and_then(|answer| serde_json::from_value::<CallError>(answer.clone()).ok());
    match (&entry.usage, refused) {
        (Some(usage), _) => {
            let at = entry.destination.as_deref().unwrap_or("–");
            format!("{head}  {at} ({}), {} tokens in, {} out", usage.model, usage.input, usage.output)
        }
        (None, Some(error)) => format!("{head}  {error}"),
        (None, None) => head,
    }
}

fn words(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Answer { text, .. } => text.clone(),
        Outcome::Handoff { to, why, text, .. } => format!("to {to}: {why}\n{text}"),
        Outcome::Reject { why, suggested, keep } => {
            let suggested = suggested.as_ref().map(|id| format!("\nsuggests {id}")).unwrap_or_default();
            format!("{why}{suggested}\n{keep}")
        }
    }
}
