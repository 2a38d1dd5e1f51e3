//! `host agent dev NAME`: at each change of an agent's files it is built, validated and given one task, on a database and a vault
//! that are thrown away. It never runs with more than the operator's file grants, or than `--grant` says for this command.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use policy::manifest::Manifest;
use policy::task::Status;
use policy::tier::Clearance;
use serde_json::json;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use wasmtime::Engine;

use super::shown;
use crate::command::house::{self, House};
use crate::command::{Exit, tell};
use crate::config::{self, Config, grant_lines};
use crate::fleet::build::{Scope, build};
use crate::fleet::changes::{Changes, in_sources};
use crate::fleet::validate::examine;
use crate::ingress::{Caller, Request};
use crate::runtime::engine::Cache;
use crate::store::{Db, StoreError, tasks};
use crate::{envelope, telemetry};

#[derive(Debug, Args)]
pub(in crate::command) struct Options {
    /// The agent: a folder of `--dir`.
    name: String,
    /// The folder in which it lies.
    #[arg(long, value_name = "DIR", default_value = "agents")]
    dir: PathBuf,
    /// What to ask it; by default the first example of its manifest.
    #[arg(long, value_name = "TEXT")]
    task: Option<String>,
    /// Grant what its manifest asks for, to this command only.
    #[arg(long)]
    grant: bool,
    /// One round instead of watching; exit code 1 unless the task was done.
    #[arg(long)]
    once: bool,
}

const UNWATCHED: &str = "the agent's folder is not watched any more";

/// How a round ended.
enum Ended {
    /// The task is done.
    Done,
    /// It is not, for this reason.
    Failed(&'static str),
    /// A file changed while the task ran: the next round begins at once.
    Overtaken,
    /// Ctrl-C.
    Stopped,
}

pub(super) async fn run(config: Config, options: Options) -> anyhow::Result<Exit> {
    // What the agent itself logs is for its author.
    telemetry::start(&config::variable("RUST_LOG").unwrap_or_else(|| "error,host::capability::log=info".into()));
    let place = options.dir.join(&options.name);
    let folder = place.canonicalize().ok().filter(|folder| folder.join("agent.toml").is_file());
    let folder = folder.with_context(|| {
        let (place, name) = (place.display(), &options.name);
        format!("there is no agent at {place}: make it with `host agent new {name}`, or name the folder it lies in with --dir")
    })?;
    let stop = house::on_signal()?;
    let mut changes = Changes::of(&folder, in_sources).with_context(|| format!("{} cannot be watched", folder.display()))?;
    let bench = Bench::new(config, &options, folder)?;
    let mut number = 1;
    loop {
        let began = Instant::now();
        println!("round {number}");
        let ended = match bench.round(&mut changes, &stop).await {
            Err(error) if options.once => return Err(error),
            Err(error) => {
                println!("  ✗ {error:#}");
                Ended::Failed("it could not be tried")
            }
            Ok(ended) => ended,
        };
        let took = began.elapsed().as_secs_f64();
        match &ended {
            Ended::Done => println!("round {number}: done in {took:.1} s"),
            Ended::Failed(why) => println!("round {number}: failed in {took:.1} s: {why}"),
            Ended::Overtaken => println!("round {number}: broken off"),
            Ended::Stopped => return Ok(Exit::Done),
        }
        if options.once {
            return Ok(if matches!(ended, Ended::Done) { Exit::Done } else { Exit::Failed });
        }
        if !matches!(ended, Ended::Overtaken) {
            tell(&format!("watching {} (Ctrl-C ends)", bench.folder.display()));
            tokio::select! {
                () = stop.cancelled() => return Ok(Exit::Done),
                changed = changes.next() => tell(&format!("{} changed", changed.context(UNWATCHED)?.display())),
            }
        }
        number += 1;
    }
}

/// Everything that lasts from round to round.
struct Bench {
    config: Config,
    folder: PathBuf,
    task: Option<String>,
    grant: bool,
    engine: Engine,
    cache: Cache,
    thrown_away: TempDir,
}

impl Bench {
    fn new(mut config: Config, options: &Options, folder: PathBuf) -> anyhow::Result<Self> {
        let thrown_away = tempfile::tempdir()?;
        config.server.data = thrown_away.path().join("data");
        config.server.drain_s = 0;
        config.agents.dir = thrown_away.path().join("agents");
        let (engine, cache) = house::sandbox(&config)?;
        Ok(Self { config, folder, task: options.task.clone(), grant: options.grant, engine, cache, thrown_away })
    }

    async fn round(&self, changes: &mut Changes, stop: &CancellationToken) -> anyhow::Result<Ended> {
        let began = Instant::now();
        let (source, out) = (self.folder.clone(), self.config.agents.dir.clone());
        let building = move || build(&source, Scope::Package, &out, &config::cache_dir(), &tell);
        let built = tokio::task::spawn_blocking(building).await?;
        if stop.is_cancelled() {
            return Ok(Ended::Stopped);
        }
        let file = match built.map(|files| files.into_iter().next()) {
            Ok(Some(file)) => file,
            Ok(None) => return Ok(Ended::Failed("it makes no component")),
            Err(error) => {
                println!("  ✗ {error}");
                return Ok(Ended::Failed("it does not build"));
            }
        };
        step("build", began);

        let began = Instant::now();
        let mut config = self.config.clone();
        let validated = self.validated(&mut config, &file).await;
        step("validate", began);
        let manifest = match validated {
            Ok(manifest) => manifest,
            Err(complaints) => {
                for complaint in complaints {
                    println!("  ✗ {complaint}");
                }
                return Ok(Ended::Failed("it is refused"));
            }
        };
        self.tried(config, &manifest, changes, stop).await
    }

    /// The manifest of an agent that may serve under this configuration, or what is in its way. With `--grant` the configuration
    /// gets what the manifest asks for; without, the last complaint is the lines that would.
    async fn validated(&self, config: &mut Config, file: &std::path::Path) -> Result<Manifest, Vec<String>> {
        let report = examine(&self.engine, &self.cache, config, file).await;
        let (manifest, mut complaints) = match (report.manifest, report.verdict) {
            (_, Ok(accepted)) => return Ok(accepted.manifest),
            (None, Err(complaints)) => return Err(complaints),
            (Some(manifest), Err(complaints)) => (manifest, complaints),
        };
        let held = config.grants.get(&manifest.id).cloned().unwrap_or_default();
        let asked = manifest.asked_above(&held);
        let mut granting = config.clone();
        granting.grants.insert(manifest.id.clone(), asked.clone());
        let granted = examine(&self.engine, &self.cache, &granting, file).await.verdict;
        let still = granted.as_ref().err().map_or(0, Vec::len);
        let lines = grant_lines(&manifest.id, &asked);
        if self.grant {
            println!("  ! --grant: it runs with everything that it asks for, in this command only:\n{lines}");
            *config = granting;
            return granted.map(|accepted| accepted.manifest);
        }
        if still < complaints.len() {
            let verb = if config.own_grants.contains(&manifest.id) { "make its table in" } else { "add to" };
            let at = &config.file;
            complaints.push(format!("to grant it, {verb} {at} (or try it first with `agent dev … --grant`):\n\n{lines}"));
        }
        Err(complaints)
    }

    /// One task, from the queue to its end, in a house of its own.
    async fn tried(
        &self,
        mut config: Config,
        manifest: &Manifest,
        changes: &mut Changes,
        stop: &CancellationToken,
    ) -> anyhow::Result<Ended> {
        let began = Instant::now();
        let example = || manifest.examples.iter().find(|example| !example.trim().is_empty()).cloned();
        let content = self.task.clone().or_else(example).context("`examples` in agent.toml is empty")?;
        println!("  task      {content:?}");
        let round = tempfile::tempdir_in(self.thrown_away.path())?;
        config.database.url = format!("sqlite://{}", round.path().join("dev.db").display());
        config.vault.root = round.path().join("vault");
        let vault = config.vault.root.clone();
        let house = House::open(config).await?;
        let db = &house.state.world.db;
        // One attempt: an author wants to see the first failure.
        let body = json!({
            "task_id": "dev", "source": "cli", "content": content, "target_agent": manifest.id, "retry_policy": { "max_attempts": 1 },
        });
        let request = Request { envelope: envelope::parse(body.to_string().as_bytes())?, body: String::new(), traceparent: None };
        let id = house.state.ingress.accept(&Caller::loopback(), request).await?.task_id;
        let drain = CancellationToken::new();
        let working = tokio::spawn(house.worker().run(drain.clone()));
        let rested = tokio::select! {
            task = rested(db, &id) => task.map(Ok).map_err(Into::into),
            () = stop.cancelled() => Ok(Err(Ended::Stopped)),
            changed = changes.next() => changed.context(UNWATCHED).map(|file| {
                tell(&format!("{} changed: starting over", file.display()));
                Err(Ended::Overtaken)
            }),
        };
        drain.cancel();
        working.await?;
        let task = match rested {
            Ok(Ok(task)) => task,
            Ok(Err(ended)) => return Ok(ended),
            Err(error) => return Err(error),
        };
        step("task", began);
        shown::show(db, &vault, &task).await?;
        Ok(match task.status {
            Status::Done => Ended::Done,
            Status::AwaitingBackend | Status::AwaitingApproval => {
                let waits = task.waits_for.as_ref().and_then(|text| text.open(Clearance::OPERATOR).ok());
                println!("  ✗ {}", waits.map_or("it waits", String::as_str));
                Ended::Failed("the task waits; `host doctor` says which model servers answer")
            }
            Status::Pending | Status::Running | Status::Failed | Status::Cancelled | Status::Expired => {
                Ended::Failed("the task was not done")
            }
        })
    }
}

/// The task once nobody works on it any more.
async fn rested(db: &Db, id: &str) -> Result<tasks::Task, StoreError> {
    loop {
        if let Some(task) = tasks::find(db, id).await?
            && !matches!(task.status, Status::Pending | Status::Running)
        {
            return Ok(task);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn step(name: &str, began: Instant) {
    println!("  {name:<9}{:>6.1} s", began.elapsed().as_secs_f64());
}
