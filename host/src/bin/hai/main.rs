//! `hai`, the operator's shell: parse, dispatch, exit code. It knows a host only by its HTTP.

mod answer;
mod auth;
mod cli;
mod client;
mod dlq;
mod error;
mod events;
mod print;
mod progress;
mod settings;
mod tail;
mod task;
mod todo;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use cli::{Cli, Command};
use client::Client;
use error::{Error, Exit};
use settings::Settings;

#[tokio::main]
async fn main() -> ExitCode {
    match run(Cli::parse().command).await {
        Ok(exit) => exit.into(),
        Err(error) => {
            // Whoever closed the pipe has what they wanted, and nobody is left to read why.
            if !matches!(error, Error::Closed) {
                print::tell(&format!("{} {}", print::styled(print::BAD, "error:"), print::plain(&error.to_string())));
            }
            error.exit().into()
        }
    }
}

async fn run(command: Command) -> Result<Exit, Error> {
    match command {
        Command::Auth { command } => auth::run(command),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "hai", &mut script);
            print::out(String::from_utf8_lossy(&script).trim_end())
        }
        Command::Task { command } => task::run(&client()?, command).await,
        Command::Offload(offload) => task::offload(&client()?, offload).await,
        Command::Completed { limit, json } => task::completed(&client()?, limit, json).await,
        Command::Awaiting { json } => answer::awaiting(&client()?, json).await,
        Command::Approve(word) => answer::word(&client()?, "approve", word).await,
        Command::Deny(word) => answer::word(&client()?, "reject", word).await,
        Command::Defer(word) => answer::word(&client()?, "defer", word).await,
        Command::Undo { id, json } => answer::undo(&client()?, &id, json).await,
        Command::Answer(answer) => answer::run(&client()?, answer).await,
        Command::Dlq { command } => dlq::run(&client()?, command).await,
        Command::Todo { command } => todo::run(&client()?, command).await,
        Command::Agents { json } => {
            let agents = client()?.agents().await?;
            if json { print::json(&agents) } else { print::out(&print::agents(&agents)) }
        }
    }
}

fn client() -> Result<Client, Error> {
    Client::new(Settings::load()?)
}
