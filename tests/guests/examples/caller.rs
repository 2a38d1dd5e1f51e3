//! Calls the tools that its task names, and repeats what it was told. Each line of the task is one of
//!
//! ```text
//! search WORDS
//! matching PATTERN
//! all TOOL ARGUMENTS | TOOL ARGUMENTS | …
//! TOOL ARGUMENTS
//! ```

use guests::bindings::homeaiops::agent::tools;
use guests::toolbox::{Action, Observation, Tool};

guests::guest!("caller", |manifest| manifest.wants.tools.push("*".into()), |brief| {
    let told: Vec<String> = brief
        .task
        .content
        .lines()
        .map(|line| {
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            match word {
                "search" => listed(guests::toolbox::search(rest, 3)),
                "matching" => listed(guests::toolbox::matching(rest)),
                "all" => {
                    let actions: Vec<Action> = rest.split(" | ").map(action).collect();
                    tools::call_all(&actions).into_iter().map(seen).collect::<Vec<_>>().join("\n")
                }
                _ => seen(tools::call(&action(line))),
            }
        })
        .collect();
    guests::answer(told.join("\n"))
});

fn action(line: &str) -> Action {
    let (tool, arguments) = line.split_once(' ').unwrap_or((line, "{}"));
    Action { tool: tool.into(), arguments: arguments.into(), why: "the task says so".into(), undo: None }
}

fn seen(result: Result<Observation, guests::bindings::homeaiops::agent::types::Error>) -> String {
    match result {
        Ok(seen) => format!("{}{:?}: {}", if seen.is_error { "error " } else { "" }, seen.tier, seen.text),
        Err(error) => guests::said(&error),
    }
}

fn listed(result: Result<Vec<Tool>, guests::bindings::homeaiops::agent::types::Error>) -> String {
    match result {
        Ok(tools) => tools.iter().map(|tool| format!("{} {:?}", tool.name, tool.class)).collect::<Vec<_>>().join(", "),
        Err(error) => guests::said(&error),
    }
}
