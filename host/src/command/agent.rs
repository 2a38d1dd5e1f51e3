//! `host agent build`: components from source.

use std::path::PathBuf;

use clap::Subcommand;

use super::{Exit, tell};
use crate::{config, fleet};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
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

pub(super) fn run(command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::Build { source, out } => {
            for file in fleet::build::build(&source, &out, &config::cache_dir(), &tell)? {
                println!("{}", file.display());
            }
            Ok(Exit::Done)
        }
    }
}
