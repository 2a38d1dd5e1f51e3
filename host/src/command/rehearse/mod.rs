//! `host rehearse FILE`: would a new component do what finished runs did? It reads the database, beside a running host or without
//! one, and changes nothing. Exit code 0 if every run came out the same, 1 if any did not.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use jiff::tz::TimeZone;
use tokio::sync::Semaphore;

use super::{Exit, house, tell};
use crate::capability::{Caps, Live, Secrets, World};
use crate::config::{Config, ConfigError};
use crate::egress::Client;
use crate::fleet::Agent;
use crate::fleet::validate::{Found as At, examine_bytes};
use crate::markup::Links;
use crate::outbox::Outbox;
use crate::rehearsal::{Found, Manner, Rehearsal, Word};
use crate::router::Router;
use crate::store::tasks::{self, Task};
use crate::store::{Db, StoreError, hops, revoked};
use crate::telemetry::trace::Traces;
use crate::vault::Vault;

mod shown;

#[derive(Debug, Args)]
pub(super) struct Options {
    /// The component, whatever the file is called.
    file: PathBuf,
    /// Ask models anew and show both outcomes; other calls are answered from the journal or refused.
    #[arg(long)]
    live: bool,
    /// Only runs of these tasks.
    #[arg(long, value_name = "ID", num_args = 1.., conflicts_with = "last")]
    task: Vec<String>,
    /// The newest N finished runs of the agent.
    #[arg(long, value_name = "N", default_value_t = 20)]
    last: u32,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(config: Config, options: Options) -> anyhow::Result<Exit> {
    let agent = accepted(&config, &options.file).await?;
    let db = opened(&config).await?;
    if let Some(revoked) = revoked::all(&db).await?.into_iter().find(|revoked| revoked.digest == agent.digest) {
        let said = format!("component {} is revoked: {}", revoked.digest, revoked.reason);
        return Err(refused(options.file.display().to_string(), said, "nothing is replayed by it any more").into());
    }
    let (runs, notes) = chosen(&db, &agent.manifest.id, &options).await?;
    let nowhere = tempfile::tempdir()?;
    let manner = if options.live { Manner::Ask } else { Manner::Compare };
    let rehearsal = Rehearsal { world: world(&config, db, nowhere.path())?, agent, manner };
    let mut all = Vec::new();
    for (number, (task, hop)) in runs.iter().enumerate() {
        if options.live {
            tell(&format!("{}/{}: task {} hop {}", number + 1, runs.len(), task.id, hop.seq));
        }
        all.push(rehearsal.of(task, hop).await?);
    }
    match options.json {
        true => shown::json(&rehearsal, &all, &notes)?,
        false => shown::human(&rehearsal, &all, &notes),
    }
    let fine = |found: &Found| matches!(found.result, Word::Same | Word::Skipped);
    Ok(if all.iter().all(fine) { Exit::Done } else { Exit::Failed })
}

fn refused(place: String, said: impl Into<String>, hint: impl Into<String>) -> ConfigError {
    ConfigError { place, said: said.into(), hint: hint.into() }
}

/// The component, with the grants that its agent has now.
async fn accepted(config: &Config, file: &Path) -> anyhow::Result<Arc<Agent>> {
    let place = file.display().to_string();
    let bytes = std::fs::read(file).map_err(|error| refused(place.clone(), error.to_string(), "name a component"))?;
    let (engine, cache) = house::sandbox(config)?;
    let examine = |name: String| examine_bytes(&engine, &cache, config, (name, At::Aside), Ok(bytes.clone()));
    let mut report = examine(place.clone()).await;
    // A component that is not served yet may lie in a file of any name.
    if let Some(manifest) = &report.manifest {
        report = examine(format!("{}.wasm", manifest.id)).await;
    }
    match report.verdict {
        Ok(accepted) => Ok(Arc::new(accepted.agent(report.digest))),
        Err(complaints) => {
            let said = format!("it would not be accepted: {}", complaints.join("; "));
            Err(refused(place, said, "`host validate` shows what it could do").into())
        }
    }
}

async fn opened(config: &Config) -> anyhow::Result<Db> {
    let opened = Db::reading(&config.database_url()).await;
    if let Err(StoreError::Open { url, why, hint }) = opened {
        let said = format!("the database `{url}` cannot be opened: {why}");
        return Err(refused("[database] url".into(), said, hint).into());
    }
    Ok(opened?)
}

/// What calls would act on. Its vault is an empty folder: nothing of a rehearsal reaches the operator's.
fn world(config: &Config, db: Db, nowhere: &Path) -> anyhow::Result<World> {
    let mut vault = config.vault.clone();
    vault.root = nowhere.to_owned();
    let client = Client::new(config.inference.groups.values().map(|group| group.url.as_str()), &config.egress.private)?;
    Ok(World {
        allowed: Arc::default(),
        outbox: Outbox::silent(),
        db,
        vault: Vault::open(&vault)?,
        router: Arc::new(Router::new(&config.inference, client)),
        // What tools answered stands in the journal; nothing is asked of them.
        gateway: None,
        executing: Arc::new(Semaphore::new(1)),
        caps: Caps::of(&config.caps, TimeZone::get(&config.server.timezone)?),
        secrets: Secrets::of(&config.secrets())?,
        links: Links::to(&config.links.hosts, &config.server.public_url)?,
        live: Live::new(),
        traces: Traces::default(),
    })
}

/// The runs to go over, newest first, and what is to be said of those left out.
async fn chosen(db: &Db, agent: &str, options: &Options) -> anyhow::Result<(Vec<(Task, hops::Hop)>, Vec<String>)> {
    let (mut runs, mut notes) = (Vec::new(), Vec::new());
    if options.task.is_empty() {
        for (task, hop) in hops::finished(db, agent, options.last).await? {
            runs.extend(tasks::find(db, &task).await?.map(|task| (task, hop)));
        }
        let forgotten = hops::forgotten(db, agent).await?;
        if forgotten > 0 {
            notes.push(format!("{forgotten} more in forgotten tasks are left out: nothing that was said is there any more"));
        }
    }
    for id in &options.task {
        let missing = |said: String| refused("--task".into(), said, "`hai task ls` and `hai task show ID` name tasks and agents");
        let task = tasks::find(db, id).await?.ok_or_else(|| missing(format!("there is no task `{id}`")))?;
        if task.forgotten_at.is_some() {
            notes.push(format!("task {id} is left out: it is forgotten, and nothing that was said is there any more"));
            continue;
        }
        let mine = hops::of(db, id).await?.into_iter().filter(|hop| hop.agent == agent && hop.status == "done");
        let before = runs.len();
        runs.extend(mine.map(|hop| (task.clone(), hop)));
        if runs.len() == before {
            return Err(missing(format!("`{agent}` has finished no run of task `{id}`")).into());
        }
    }
    if runs.is_empty() {
        let mut said = vec![format!("`{agent}` has finished no run in this database that could be rehearsed")];
        said.append(&mut notes);
        return Err(refused("[database] url".into(), said.join("; "), "name another database, or let the agent work first").into());
    }
    Ok((runs, notes))
}
