//! What a rehearsal found, for people and for programs. Nothing is withheld: whoever can read the database can read all of it.

use comfy_table::{ContentArrangement, Table};
use policy::task::Outcome;
use serde_json::json;

use crate::rehearsal::{Asked, Difference, Divergence, Found, Rehearsal, Side, Word, first, short};

/// Columns of a page that is no terminal.
const WIDTH: u16 = 132;
/// Letters of a digest that tell components apart.
const DIGEST: usize = 12;

pub(super) fn json(rehearsal: &Rehearsal, all: &[Found], notes: &[String]) -> anyhow::Result<()> {
    let agent = &rehearsal.agent;
    let shown = json!({
        "agent": agent.manifest.id,
        "digest": agent.digest,
        "live": rehearsal.asks(),
        "runs": all,
        "notes": notes,
    });
    println!("{}", serde_json::to_string_pretty(&shown)?);
    Ok(())
}

pub(super) fn human(rehearsal: &Rehearsal, all: &[Found], notes: &[String]) {
    let agent = &rehearsal.agent;
    let mut table = table();
    table.set_header(["task", "hop", "calls", "made by", "result"]);
    for found in all {
        let by = found.digest.as_deref().unwrap_or("–");
        let by = if by == agent.digest { "this component".to_owned() } else { by.chars().take(DIGEST).collect() };
        table.add_row([&found.task_id, &found.hop.to_string(), &found.before.calls.to_string(), &by, &word(found)]);
    }
    let digest: String = agent.digest.chars().take(DIGEST).collect();
    println!("{} {} ({digest}) against {} finished runs", agent.manifest.id, agent.manifest.version, all.len());
    println!("{table}");
    for found in all {
        match (&found.diverged, &found.now, &found.why) {
            (Some(diverged), _, _) => divergence(found, diverged),
            (None, Some(now), _) if rehearsal.asks() => sides(found, now),
            (None, Some(now), _) => outcomes(found, now),
            (None, None, Some(why)) => println!("\ntask {} hop {} {}: {}", found.task_id, found.hop, word(found), why.trim_end()),
            (None, None, None) => {}
        }
    }
    for note in notes {
        println!("note: {note}");
    }
}

fn table() -> Table {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::UTF8_FULL_CONDENSED);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    if !table.is_tty() {
        table.set_width(WIDTH);
    }
    table
}

fn word(found: &Found) -> String {
    match (found.result, &found.diverged) {
        (Word::Diverged, Some(diverged)) => format!("diverged at call {}", diverged.reference),
        (Word::Diverged, None) => "diverged".into(),
        (Word::Same, _) => "same".into(),
        (Word::Outcome, _) => "another outcome".into(),
        (Word::Failed, _) => "failed".into(),
        (Word::Skipped, _) => "skipped".into(),
    }
}

/// The first call that differs, and where.
fn divergence(found: &Found, diverged: &Divergence) {
    println!("\ntask {}, call {}:", found.task_id, diverged.reference);
    println!("  the journal has     {}", asked(diverged.journal.as_ref()));
    println!("  the component asks  {}", asked(diverged.component.as_ref()));
    if let Some(difference) = &diverged.difference {
        differs(difference);
    }
}

fn asked(asked: Option<&Asked>) -> String {
    asked.map_or_else(
        || "nothing more: it ends before".into(),
        |asked| {
            let fingerprint: String = asked.fingerprint.chars().take(DIGEST).collect();
            format!("{} ({fingerprint}) {}", asked.kind, short(&asked.request.to_string()))
        },
    )
}

fn differs(difference: &Difference) {
    let (was, is) = difference.shown();
    let at = if difference.at.is_empty() { "the whole" } else { &difference.at };
    println!("  first at {at}\n    journal    {was}\n    component  {is}");
}

/// Two outcomes of the same calls, if they are two.
fn outcomes(found: &Found, now: &Side) {
    let json = |side: &Side| json!(side.outcome);
    if let Some(difference) = first(&json(&found.before), &json(now)) {
        println!("\ntask {} hop {}: the same calls, and another outcome:", found.task_id, found.hop);
        differs(&difference);
    }
}

/// The finished run beside the new one.
fn sides(found: &Found, now: &Side) {
    let was = &found.before;
    let mut table = table();
    table.set_header([format!("task {} hop {}", found.task_id, found.hop).as_str(), "before", "now"]);
    let failed = || found.why.clone().unwrap_or_default();
    table.add_row(["outcome", &outcome(was), &now.outcome.as_ref().map_or_else(failed, words)]);
    let row = |name: &str, of: &dyn Fn(&Side) -> String| [name.to_owned(), of(was), of(now)];
    table.add_row(row("calls", &|side| side.calls.to_string()));
    table.add_row(row("tokens", &|side| format!("{} in, {} out", side.input_tokens, side.output_tokens)));
    #[expect(clippy::cast_precision_loss, reason = "micro-dollars")]
    table.add_row(row("cost", &|side| format!("${:.4}", side.usd_micros as f64 / 1e6)));
    table.add_row(row("refusals", &refusals));
    println!("\n{table}");
}

fn refusals(side: &Side) -> String {
    if side.refusals.is_empty() {
        return "–".into();
    }
    let lines: Vec<String> = side
        .refusals
        .iter()
        .map(|refused| {
            let request = refused.request.as_ref().map(|request| format!(" {}", short(&request.to_string()))).unwrap_or_default();
            format!("{} {} by {}{request}", refused.reference, refused.kind, refused.rule)
        })
        .collect();
    lines.join("\n")
}

fn outcome(side: &Side) -> String {
    side.outcome.as_ref().map_or_else(|| "–".into(), words)
}

fn words(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Answer { text, .. } => format!("answer: {text}"),
        Outcome::Handoff { to, why, .. } => format!("handoff to {to}: {why}"),
        Outcome::Reject { why, .. } => format!("reject: {why}"),
    }
}
