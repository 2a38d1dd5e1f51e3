//! Tables and JSON.

use comfy_table::Table;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use host::api;

pub(crate) fn json(value: &impl serde::Serialize) {
    match serde_json::to_string_pretty(value) {
        Ok(text) => println!("{text}"),
        Err(error) => eprintln!("error: {error}"),
    }
}

/// The report first; how it came about below it.
pub(crate) fn task(task: &api::Task) {
    println!("{} · {} · {}", task.task_id, task.status, task.content.lines().next().unwrap_or_default());
    if let Some(error) = &task.error {
        println!("\n{}: {}", error.code, error.message);
    }
    if let Some(waits_for) = &task.waits_for {
        println!("\nwaits for: {waits_for}");
    }
    if let Some(output) = &task.output {
        println!("\n{output}");
    }
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    table.set_header(["hop", "agent", "status", "runs", "ms"]);
    for hop in task.hops.iter().flatten() {
        let took = hop.duration_ms.map(|took| took.to_string()).unwrap_or_default();
        table.add_row([&hop.seq.to_string(), &hop.agent, &hop.status, &hop.run.to_string(), &took]);
    }
    println!("\n{table}");
    for refusal in task.timeline.iter().flatten().filter(|entry| entry.state == "denied") {
        println!("refused: {} {}", refusal.kind, refusal.refusal.as_ref().map(ToString::to_string).unwrap_or_default());
    }
}

pub(crate) fn tasks(page: &api::Page) {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    table.set_header(["task", "status", "source", "created", "content"]);
    for task in &page.tasks {
        let content: String = task.content.chars().take(60).collect();
        table.add_row([&task.task_id, &task.status, &task.source, &task.created_at, &content]);
    }
    println!("{table}");
}
