//! `host`: parse, match the subcommand, exit code.

use std::process::ExitCode;

use clap::Parser;
use host::command::{self, Cli};
use host::config::ConfigError;

#[tokio::main]
#[expect(clippy::print_stderr, reason = "the last word of a command that failed")]
async fn main() -> ExitCode {
    match command::run(Cli::parse()).await {
        Ok(exit) => exit.into(),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(if error.is::<ConfigError>() { 2 } else { 1 })
        }
    }
}
