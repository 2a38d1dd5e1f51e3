//! The subcommands of `host`, one file each. They print; nothing below them does.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "results go to standard output, progress to standard error")]

mod agent;
mod agents;
mod backup;
mod bench;
mod demo;
mod doctor;
mod explain;
mod house;
mod migrate;
mod model_server;
mod rehearse;
mod revoke;
mod rollback;
mod serve;
mod smoke;
mod validate;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::{Config, ConfigError, Flags, SHIPPED};
use crate::runtime::aside;

/// A WebAssembly-sandboxed agent host.
#[derive(Debug, Parser)]
#[command(name = "host", version, about)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Take tasks in and work on them, until Ctrl-C.
    Serve {
        #[command(flatten)]
        settings: Settings,
    },
    /// Build everything, find or set up a model, and show one real task from end to end.
    Demo {
        #[command(flatten)]
        settings: Settings,
        #[command(flatten)]
        demo: demo::Options,
    },
    /// Say offline whether components would be accepted, and what they could do.
    Validate {
        #[command(flatten)]
        settings: Settings,
        #[command(flatten)]
        validate: validate::Options,
    },
    /// Show the agents of the configured folder, and their grants.
    Agents {
        #[command(flatten)]
        settings: Settings,
        #[command(subcommand)]
        command: Option<Fleet>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
        /// Print the grants in force, as configuration.
        #[arg(long)]
        grants: bool,
    },
    /// Make agents.
    Agent {
        #[command(subcommand)]
        command: agent::Command,
    },
    /// Go over finished runs with another component: would it do the same? Reads the database, and changes nothing.
    Rehearse {
        #[command(flatten)]
        settings: Settings,
        #[command(flatten)]
        rehearse: rehearse::Options,
    },
    /// Say what would serve whom, and run twenty sentences against the configured models.
    Doctor {
        #[command(flatten)]
        settings: Settings,
        #[command(flatten)]
        doctor: doctor::Options,
    },
    /// Follow one approval from end to end against the configuration as it is, and say of each link whether it holds.
    Smoke {
        #[command(flatten)]
        settings: Settings,
        #[command(flatten)]
        smoke: smoke::Options,
    },
    /// Bring the database's tables up to date; no host may run on them.
    Migrate {
        #[command(flatten)]
        settings: Settings,
        /// Only say what is applied and what is not; may run beside a host.
        #[arg(long)]
        check: bool,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Copy the database to a new file, also while a host works on it.
    Backup {
        #[command(flatten)]
        settings: Settings,
        /// The new file.
        file: PathBuf,
    },
    /// Measure what this machine makes of this program, each figure beside its floor. PostgreSQL only with --database postgres://…
    Bench {
        #[command(flatten)]
        settings: Settings,
        #[command(flatten)]
        bench: bench::Options,
    },
    /// Print every setting with its default.
    Config,
    /// Compile the component on standard input, for the host itself.
    #[command(hide = true, name = aside::WORD)]
    CompileAside,
}

#[derive(Debug, Subcommand)]
enum Fleet {
    /// Show them: what happens without a word, too.
    List {
        #[command(flatten)]
        settings: Settings,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Say whether an agent may make a call, and by which line.
    Explain {
        #[command(flatten)]
        settings: Settings,
        #[command(flatten)]
        explain: explain::Options,
    },
    /// Let an agent go back to a component that served before.
    Rollback {
        #[command(flatten)]
        settings: Settings,
        /// Which agent.
        id: String,
        /// The component, by the first digits of its digest; without it, the one that served before.
        digest: Option<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// This component must not run any more.
    Revoke {
        #[command(flatten)]
        settings: Settings,
        /// Its digest, or the first 12 digits of it or more.
        digest: String,
        /// Why it is revoked, for whoever reads it later.
        #[arg(long)]
        reason: Option<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Flags that win over variables and the file.
#[derive(Clone, Debug, Default, Args)]
struct Settings {
    /// The configuration file.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Address and port.
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// Folder of database and cache.
    #[arg(long, value_name = "DIR")]
    data: Option<String>,
    /// sqlite://FILE or postgres://…
    #[arg(long, value_name = "URL")]
    database: Option<String>,
    /// The vault's folder.
    #[arg(long, value_name = "DIR")]
    vault: Option<String>,
    /// The folder of `ID.wasm` files.
    #[arg(long, value_name = "DIR")]
    agents: Option<String>,
}

impl Settings {
    fn load(self) -> Result<Config, ConfigError> {
        Config::load(&Flags {
            config: self.config,
            listen: self.listen,
            data: self.data,
            database: self.database,
            vault: self.vault,
            agents: self.agents,
        })
    }
}

/// How a command ends: 0 done, 1 the task or request failed, 2 usage or configuration.
pub enum Exit {
    /// 0
    Done,
    /// 1
    Failed,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Done => Self::SUCCESS,
            Exit::Failed => Self::from(1),
        }
    }
}

/// Runs the command.
///
/// # Errors
/// What the operator should read; [`ConfigError`] among them means exit code 2.
pub async fn run(cli: Cli) -> anyhow::Result<Exit> {
    match cli.command {
        Command::Serve { settings } => serve::run(settings.load()?).await,
        Command::Demo { settings, demo } => demo::run(settings.load()?, demo).await,
        Command::Validate { settings, validate } => validate::run(settings.load()?, &validate).await,
        Command::Agents { settings, command: None, json, grants } => agents::run(&settings.load()?, json, grants).await,
        Command::Agents { command: Some(command), .. } => fleet(command).await,
        Command::Agent { command } => agent::run(command).await,
        Command::Rehearse { settings, rehearse } => rehearse::run(settings.load()?, rehearse).await,
        Command::Doctor { settings, doctor } => doctor::run(settings.load()?, doctor).await,
        Command::Smoke { settings, smoke } => smoke::run(settings.load()?, smoke).await,
        Command::Migrate { settings, check, json } => migrate::run(&settings.load()?, check, json).await,
        Command::Backup { settings, file } => backup::run(&settings.load()?, &file).await,
        Command::Bench { settings, bench } => bench::run(settings, bench).await,
        Command::CompileAside => {
            let compiled = aside::compile().map_err(|error| anyhow::anyhow!("{error:#}"))?;
            Ok(if compiled { Exit::Done } else { Exit::Failed })
        }
        Command::Config => {
            print!("{SHIPPED}");
            Ok(Exit::Done)
        }
    }
}

async fn fleet(command: Fleet) -> anyhow::Result<Exit> {
    match command {
        Fleet::List { settings, json } => agents::run(&settings.load()?, json, false).await,
        Fleet::Explain { settings, explain } => explain::run(&settings.load()?, &explain).await,
        Fleet::Rollback { settings, id, digest, json } => rollback::run(&settings.load()?, &id, digest.as_deref(), json).await,
        Fleet::Revoke { settings, digest, reason, json } => revoke::run(&settings.load()?, &digest, reason, json).await,
    }
}

/// A line of progress.
fn tell(text: &str) {
    eprintln!("· {text}");
}
