//! `hai`, the operator's shell: parse, match, exit code. It knows a host only by its HTTP.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "results go to standard output, errors to standard error")]

mod client;
mod print;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use serde_json::json;

use client::{Client, Error};

/// The operator's shell for a host.
#[derive(Debug, Parser)]
#[command(name = "hai", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Add, show and list tasks.
    Task {
        #[command(subcommand)]
        command: Task,
    },
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Add a task and print its id.
    Add(Add),
    /// Show one task.
    Show {
        /// Its id.
        id: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// List tasks, newest first.
    Ls {
        /// Only of that status.
        #[arg(long)]
        status: Option<String>,
        /// At most so many.
        #[arg(long, default_value_t = 20)]
        limit: u32,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
struct Add {
    /// What should be done; `-` reads it from standard input.
    content: String,
    /// Send it to that agent.
    #[arg(long, value_name = "AGENT")]
    to: Option<String>,
    /// What should come of it: question, action, research, note, bug, idea, reminder.
    #[arg(long)]
    intent: Option<String>,
    /// low, normal, high or urgent.
    #[arg(long)]
    priority: Option<String>,
    /// public, internal or restricted.
    #[arg(long)]
    tier: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Cli::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(if matches!(error, Error::Setup(_)) { 2 } else { 1 })
        }
    }
}

async fn run(cli: Cli) -> Result<(), Error> {
    let client = Client::from_settings()?;
    let Command::Task { command } = cli.command;
    match command {
        Task::Add(add) => {
            let as_json = add.json;
            let accepted = client.add(&envelope(add)?).await?;
            if as_json { print::json(&accepted) } else { println!("{}", accepted.task_id) }
        }
        Task::Show { id, json } => {
            let task = client.task(&id).await?;
            if json { print::json(&task) } else { print::task(&task) }
        }
        Task::Ls { status, limit, json } => {
            let page = client.tasks(status.as_deref(), limit).await?;
            if json { print::json(&page) } else { print::tasks(&page) }
        }
    }
    Ok(())
}

fn envelope(add: Add) -> Result<serde_json::Value, Error> {
    let content = if add.content == "-" {
        std::io::read_to_string(std::io::stdin()).map_err(|error| Error::Setup(format!("standard input: {error}")))?
    } else {
        add.content
    };
    let mut envelope = json!({ "task_id": "hai", "source": "cli", "content": content });
    for (key, value) in [("target_agent", add.to), ("intent", add.intent), ("priority", add.priority), ("data_tier", add.tier)] {
        if let (Some(value), Some(fields)) = (value, envelope.as_object_mut()) {
            fields.insert(key.to_owned(), json!(value));
        }
    }
    Ok(envelope)
}
