//! `host agent`: an author's commands, from an empty folder to a component.

mod dev;
mod new;
mod shown;
mod sign;

use std::path::PathBuf;

use clap::Subcommand;

use super::{Exit, Settings, tell};
use crate::config;
use crate::fleet::build::{Scope, build};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make a folder with a new agent, which builds and validates as it comes.
    New(new::Options),
    /// Build, validate and try one agent, and again at each change of its files, until Ctrl-C.
    Dev {
        #[command(flatten)]
        settings: Settings,
        #[command(flatten)]
        dev: dev::Options,
    },
    /// Stand for components, so that hosts which trust the key let them serve.
    Sign {
        #[command(flatten)]
        settings: Settings,
        #[command(flatten)]
        sign: sign::Options,
    },
    /// Build every agent of a workspace into ID.wasm files.
    Build {
        /// The workspace of the agents.
        #[arg(long, value_name = "DIR", default_value = "agents")]
        source: PathBuf,
        /// Where the components go.
        #[arg(long, value_name = "DIR", default_value = "agents/dist")]
        out: PathBuf,
    },
}

pub(super) async fn run(command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::New(options) => new::run(&options),
        Command::Dev { settings, dev } => dev::run(settings.load()?, dev).await,
        Command::Sign { settings, sign } => sign::run(settings.load()?, &sign).await,
        Command::Build { source, out } => {
            for file in build(&source, Scope::Workspace, &out, &config::cache_dir(), &tell)? {
                println!("{}", file.display());
            }
            Ok(Exit::Done)
        }
    }
}
