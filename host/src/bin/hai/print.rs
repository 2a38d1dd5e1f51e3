//! Tables, JSON and the two standard streams. What a host sends is text to show, never commands to the terminal.

use std::io::Write;

use anstyle::{AnsiColor, Style};
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{ContentArrangement, Table};
use host::api;
use policy::call::CallError;
use serde::Deserialize;
use serde_json::Value;

use crate::error::{Error, Exit};

/// Of what went well.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
/// Of what did not.
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();
/// Of who works.
pub(crate) const WHO: Style = AnsiColor::Cyan.on_default().bold();
/// Of what has to wait or was refused.
pub(crate) const WAIT: Style = AnsiColor::Yellow.on_default();

/// The text in that style; the streams drop the style where it would not show.
pub(crate) fn styled(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}

/// Writes a result.
pub(crate) fn out(text: &str) -> Result<Exit, Error> {
    let mut stdout = anstream::stdout().lock();
    match writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Ok(()) => Ok(Exit::Done),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Err(Error::Closed),
        Err(error) => Err(Error::Output(error)),
    }
}

/// Writes a result as JSON.
pub(crate) fn json(value: &impl serde::Serialize) -> Result<Exit, Error> {
    out(&escaped(value).map_err(|error| Error::Output(error.into()))?)
}

/// JSON in which no character is a command for a terminal: what stands above ASCII is escaped too, which JSON leaves open.
fn escaped(value: &impl serde::Serialize) -> serde_json::Result<String> {
    let text = serde_json::to_string_pretty(value)?;
    let shown = |c: char| if c > '~' && c.is_control() { format!("\\u{:04x}", u32::from(c)) } else { c.to_string() };
    Ok(if text.contains(|c: char| c > '~' && c.is_control()) { text.chars().map(shown).collect() } else { text })
}

/// Writes a line of progress; that nobody reads it is no error.
pub(crate) fn tell(text: &str) {
    let _ = writeln!(anstream::stderr(), "{text}");
}

/// The text without what a terminal would take for a command: reports are written by models that read what strangers wrote.
pub(crate) fn plain(text: &str) -> String {
    let stripped = anstream::adapter::strip_str(text).to_string();
    stripped.chars().filter(|letter| !letter.is_control() || matches!(letter, '\n' | '\t')).collect()
}

/// The first line, short enough for a row of a table.
pub(crate) fn first_line(text: &str) -> String {
    const MOST: usize = 70;
    let line = plain(text.trim().lines().next().unwrap_or_default());
    if line.chars().count() <= MOST { line } else { line.chars().take(MOST).chain(['…']).collect() }
}

/// A table as wide as the terminal allows.
pub(crate) fn table(head: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(head);
    table
}

/// Why a call was refused or failed, in the host's words.
pub(crate) fn refusal(refusal: Option<&Value>) -> String {
    let Some(value) = refusal else { return "the host does not say why".into() };
    plain(&match (CallError::deserialize(value), value) {
        (Ok(CallError::Denied { said, hint, .. }), _) => format!("{said}; {hint}"),
        (Ok(error), _) => error.to_string(),
        (Err(_), Value::String(said)) => said.clone(),
        (Err(_), _) => value.to_string(),
    })
}

/// The report first; how it came about below it.
pub(crate) fn task(task: &api::Task) -> String {
    let mut parts = vec![format!("{} · {} · {}", task.task_id, task.status, first_line(&task.content))];
    parts.extend(task.error.as_ref().map(|error| format!("{}: {}", error.code, plain(&error.message))));
    parts.extend(task.waits_for.as_ref().map(|what| format!("waits for: {}", plain(what))));
    parts.extend(task.output.as_ref().map(|output| plain(output)));
    let files: Vec<String> =
        task.artefacts.iter().flatten().map(|file| format!("wrote: {} ({})", plain(&file.path), file.tier)).collect();
    parts.extend((!files.is_empty()).then(|| files.join("\n")));
    parts.push(hops(task));
    let refused = task.timeline.iter().flatten().filter(|entry| entry.state == "denied");
    parts.extend(refused.map(|entry| format!("refused: {}: {}", entry.kind, refusal(entry.refusal.as_ref()))));
    parts.push(format!("conversation {} · trace {}", plain(&task.conversation_id), plain(&task.trace_id)));
    parts.join("\n\n")
}

fn hops(task: &api::Task) -> String {
    let mut table = table(&["hop", "agent", "status", "outcome", "runs", "ms"]);
    for hop in task.hops.iter().flatten() {
        let outcome = hop.outcome.as_ref();
        let outcome = outcome.and_then(|outcome| outcome.as_str().or_else(|| outcome.get("kind")?.as_str())).unwrap_or_default();
        let took = hop.duration_ms.map(|took| took.to_string()).unwrap_or_default();
        table.add_row([&hop.seq.to_string(), &plain(&hop.agent), &hop.status, outcome, &hop.run.to_string(), &took]);
    }
    table.to_string()
}

/// Every call, as sent and as answered.
pub(crate) fn timeline(task: &api::Task) -> String {
    let mut parts = Vec::new();
    for call in task.timeline.iter().flatten() {
        let where_to = call.destination.as_ref().map(|to| format!(" → {}", plain(to))).unwrap_or_default();
        let took = call.duration_ms.map(|took| format!(" · {took} ms")).unwrap_or_default();
        parts.push(format!("{} · {}{where_to} · {}{took} · {}", call.reference, plain(&call.kind), call.state, call.tier));
        for (name, value) in [("sent", &call.request), ("answered", &call.answer)] {
            parts.extend(value.as_ref().and_then(|value| escaped(value).ok()).map(|text| format!("{name}: {text}")));
        }
    }
    parts.join("\n")
}

/// A page of tasks.
pub(crate) fn tasks(page: &api::Page) -> String {
    let mut table = table(&["task", "status", "source", "created", "content"]);
    for task in &page.tasks {
        table.add_row([&task.task_id, &task.status, &task.source, &task.created_at, &first_line(&task.content)]);
    }
    table.to_string()
}

/// What is done, and what came of it.
pub(crate) fn completed(page: &api::Page) -> String {
    let mut table = table(&["task", "finished", "took", "content", "report"]);
    for task in &page.tasks {
        let took = task.duration_s.map(|took| format!("{took:.1} s")).unwrap_or_default();
        let report = first_line(task.output.as_deref().unwrap_or_default());
        let finished = task.finished_at.clone().unwrap_or_default();
        table.add_row([&task.task_id, &finished, &took, &first_line(&task.content), &report]);
    }
    table.to_string()
}

/// Who serves, and which files do not.
pub(crate) fn agents(answer: &Value) -> String {
    let list = |key: &str| answer.get(key).and_then(Value::as_array).into_iter().flatten();
    let word = |value: &Value, pointer: &str| plain(value.pointer(pointer).and_then(Value::as_str).unwrap_or("–"));
    let mut table = table(&["agent", "mode", "version", "digest", "loaded", "state"]);
    for agent in list("agents") {
        let short: String = word(agent, "/digest").chars().take(12).collect();
        let about = ["/manifest/id", "/manifest/mode", "/manifest/version"].map(|pointer| word(agent, pointer));
        table.add_row(about.into_iter().chain([short, word(agent, "/loaded_at"), "serves".into()]));
    }
    for file in list("rejected") {
        let complaints: Vec<&str> =
            file.get("complaints").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
        let dash = || "–".to_owned();
        table.add_row([word(file, "/file"), dash(), dash(), dash(), dash(), plain(&complaints.join("\n"))]);
    }
    table.to_string()
}
