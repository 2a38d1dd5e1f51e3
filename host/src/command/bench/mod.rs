//! `host bench`: what this machine makes of this program, in figures that each stand beside their floor: the same work, done in the
//! same run by as little as can do it. Only the ratio means anything on another machine.
//!
//! Works in folders and databases of its own that are thrown away; the operator's are never opened.

mod child;
mod crowd;
mod figure;
mod floor;
mod inbox;
mod instance;
mod model;
mod process;
mod record;
mod replay;
mod resume;
mod sandbox;
mod task;

use clap::Args;
use serde_json::json;
use std::path::{Path, PathBuf};
use tokio::io::AsyncReadExt;

use self::child::{Host, Log, Place};
use self::figure::{Aim, Figure, Measured, Samples, Unit};
use self::inbox::Load;
use self::model::Model;
use super::{Exit, Settings, tell};
use crate::config::{self, Config};
use crate::store::bench::{Bare, Past, Scratch};
use crate::{id, telemetry};

#[derive(Debug, Args)]
pub(super) struct Options {
    /// Fewer repeats: quick, and rough.
    #[arg(long)]
    quick: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Start nothing but the runtime, and wait: the process that others are compared with.
    #[arg(long, hide = true)]
    at_rest: bool,
}

/// How often things are done.
struct Scale {
    fsyncs: usize,
    spawns: usize,
    starts: usize,
    instances: usize,
    counted: usize,
    timed: usize,
    /// Tasks with many in flight.
    crowd: usize,
    parked: usize,
    kills: usize,
    records: u32,
    load: Load,
}

const FULL: Scale = Scale {
    fsyncs: 500,
    spawns: 20,
    starts: 7,
    instances: 500,
    counted: 60,
    timed: 200,
    crowd: 640,
    parked: 2000,
    kills: 7,
    records: 200,
    load: Load { rate: 500, seconds: 8 },
};
const QUICK: Scale = Scale {
    fsyncs: 50,
    spawns: 3,
    starts: 1,
    instances: 20,
    counted: 3,
    timed: 5,
    crowd: 64,
    parked: 50,
    kills: 1,
    records: 20,
    load: Load { rate: 500, seconds: 1 },
};

pub(super) async fn run(settings: Settings, options: Options) -> anyhow::Result<Exit> {
    if options.at_rest {
        return at_rest().await;
    }
    telemetry::start(&config::variable("RUST_LOG").unwrap_or_else(|| "error".into()));
    // Only a server that was named here is touched, not the one that the operator's host may use.
    let server = settings.database.clone().filter(|url| !url.starts_with("sqlite:"));
    let config = settings.load()?;
    let folder = tempfile::Builder::new().prefix("bench-").tempdir_in(near(&config.server.data))?;
    let scale = if options.quick { QUICK } else { FULL };
    let bench = Bench::new(config, scale, folder.path()).await?;
    let mut stores = vec![Scratch::in_folder(folder.path())];
    if let Some(url) = server {
        stores.push(Scratch::on_server(&url).await?);
    }
    let measured = tokio::select! {
        measured = bench.every(&stores) => measured,
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
    };
    // Whatever happened, a server is left as it was.
    for store in &stores {
        store.remove().await?;
    }
    print(&measured?, &bench, options.json)?;
    Ok(Exit::Done)
}

/// The process that does nothing, until it is ended.
async fn at_rest() -> anyhow::Result<Exit> {
    println!("at rest");
    tokio::io::stdin().read_to_end(&mut Vec::new()).await?;
    Ok(Exit::Done)
}

/// A folder on the disk of the data folder, which may not exist yet.
fn near(data: &Path) -> PathBuf {
    let existing = data.ancestors().find(|folder| folder.is_dir());
    existing.map_or_else(|| PathBuf::from("."), Path::to_owned)
}

/// What every store is measured with.
struct Bench<'f> {
    config: Config,
    scale: Scale,
    folder: &'f Path,
    model: Model,
    fsyncs: Samples,
    spawns: Samples,
    at_rest: Measured,
}

impl<'f> Bench<'f> {
    /// Measures what no store has a part in.
    async fn new(config: Config, scale: Scale, folder: &'f Path) -> anyhow::Result<Self> {
        let model = Model::start().await?;
        Place::new(&folder.join("check"), &config.agents.dir, &model)?;
        tell("disk and processes");
        let fsyncs = floor::fsyncs(folder, scale.fsyncs).await?;
        let spawns = floor::spawns(scale.spawns).await?;
        let at_rest = Measured::memory(floor::at_rest().await?);
        Ok(Self { config, scale, folder, model, fsyncs, spawns, at_rest })
    }

    async fn every(&self, stores: &[Scratch]) -> anyhow::Result<Vec<Figure>> {
        let mut figures = Vec::new();
        for store in stores {
            figures.extend(self.figures(store).await?);
        }
        Ok(figures)
    }

    /// Every figure on one store.
    async fn figures(&self, scratch: &Scratch) -> anyhow::Result<Vec<Figure>> {
        let store = scratch.name();
        tell(&format!("{store}: first start"));
        let (place, url) = (Place::new(&self.folder.join(store), &self.config.agents.dir, &self.model)?, scratch.url());
        let mut host = place.start(&url, Log::Usual).await?;
        let cold = Measured::time(host.ready, Unit::Millis);
        host.task().await?;
        host.kill().await?;
        scratch.copy().await?;
        let mut bare = Bare::open(&scratch.floor_url()).await?;
        let past = bare.past().await?;

        let mut figures = self.commits(&mut bare, &past).await?;
        tell("records in the journal");
        let url_of_floor = scratch.floor_url();
        figures.extend(record::figures((&self.config, &url_of_floor, &self.fsyncs), (&mut bare, &past), self.scale.records).await?);
        let (started, host) = self.starts(&place, &url, cold).await?;
        figures.extend(started);
        let instances = instance::bare(&self.config, &place, self.scale.instances).await?;
        figures.extend(sandbox::figures(&self.config, &place, &instances, self.scale.instances).await?);
        figures.extend(self.tasks(host, (&place, scratch), (&mut bare, &past), &instances).await?);
        figures.extend(self.crowds((&place, scratch), (&mut bare, &past)).await?);
        figures.extend(self.inbox(&place, &url, &mut bare, &past).await?);
        Ok(figures.into_iter().map(|figure| figure.on(store)).collect())
    }

    /// A commit of one row and its first hop, against the disk.
    async fn commits(&self, bare: &mut Bare, past: &Past) -> anyhow::Result<Vec<Figure>> {
        let mut samples = Samples::new()?;
        for _ in 0..self.scale.fsyncs {
            let began = std::time::Instant::now();
            bare.enqueue(past, &[id::task()]).await?;
            samples.add(began.elapsed());
        }
        let row = |of, name| samples.quantile(of, Unit::Micros).figure(name, self.fsyncs.quantile(of, Unit::Micros), Aim::None);
        Ok(vec![row(0.5, "bare commit p50, against fsync")?, row(0.99, "bare commit p99, against fsync")?])
    }

    /// Starts it again and again; the last one stays.
    async fn starts(&self, place: &Place, url: &str, cold: Measured) -> anyhow::Result<(Vec<Figure>, Host)> {
        tell("starts with compiled agents");
        let mut warm = Samples::new()?;
        for _ in 1..self.scale.starts {
            let host = place.start(url, Log::Usual).await?;
            warm.add(host.ready);
            host.kill().await?;
        }
        let host = place.start(url, Log::Usual).await?;
        warm.add(host.ready);
        let floor = self.spawns.quantile(0.5, Unit::Millis);
        let idle = Measured::memory(process::memory(host.pid)?);
        tell("kills in the middle of a call");
        let (host, resumed) = resume::resumed(host, (place, url, &self.model), self.scale.kills).await?;
        let figures = vec![
            cold.figure("start to ready, nothing compiled", floor, Aim::None)?,
            warm.quantile(0.5, Unit::Millis).figure("start to ready, compiled", floor, Aim::AtMost(300.0))?,
            resume::figure(&resumed, &warm)?,
            idle.figure("memory, idle", self.at_rest, Aim::AtMost(80.0))?,
        ];
        Ok((figures, host))
    }

    async fn tasks(
        &self,
        mut host: Host,
        (place, scratch): (&Place, &Scratch),
        (bare, past): (&mut Bare, &Past),
        instances: &instance::Bare,
    ) -> anyhow::Result<Vec<Figure>> {
        tell("tasks one at a time");
        let url = scratch.url();
        host.task().await?;
        let used = task::used(&mut host, &url, self.scale.counted).await?;
        let bare_used = task::used_bare(bare, &scratch.floor_url(), past, self.scale.counted).await?;
        let timed = task::timed(&mut host, &self.model, bare, past, self.scale.timed).await?;
        host.kill().await?;

        let mut host = place.start(&url, Log::Statements).await?;
        let (mut statements, counted) = (0, 5);
        host.task().await?;
        for _ in 0..counted {
            statements += host.task().await?.statements;
        }
        host.kill().await?;
        let mut figures = timed.figures(instances)?;
        figures.extend(task::costs(&used, &bare_used, past, (statements, counted))?);
        Ok(figures)
    }

    /// Many tasks at a time, and many that wait for their model.
    async fn crowds(&self, (place, scratch): (&Place, &Scratch), (bare, past): (&mut Bare, &Past)) -> anyhow::Result<Vec<Figure>> {
        tell(&format!("{} tasks at a time", crowd::IN_FLIGHT));
        let floor = crowd::bare(bare, &scratch.floor_url(), past, self.scale.crowd).await?;
        let mut host = place.start(&scratch.url(), Log::Usual).await?;
        let crowd = crowd::host(&mut host, &scratch.url(), self.scale.crowd).await?;
        host.kill().await?;
        let mut figures = crowd::figures(&crowd, &floor)?;
        tell("tasks that wait for their model");
        // On a database of its own, since those tasks never end.
        let mut host = place.start(&scratch.parked_url(), Log::Usual).await?;
        host.crowd(crowd::IN_FLIGHT, crowd::IN_FLIGHT).await?;
        figures.push(crowd::parked(&mut host, &self.model, self.scale.parked).await?);
        host.kill().await?;
        Ok(figures)
    }

    /// The door, with the queue at rest and with it working; and the memory of a host that has more to do than it can.
    async fn inbox(&self, place: &Place, url: &str, bare: &mut Bare, past: &Past) -> anyhow::Result<Vec<Figure>> {
        let load = self.scale.load;
        tell(&format!("{} requests a second", load.rate));
        let floor = inbox::inserts(bare, past, load).await?;
        let host = place.start(url, Log::Usual).await?;
        place.pause(true)?;
        let calm = inbox::requests(&host, load).await?;
        place.pause(false)?;
        let (busy, most) = inbox::at_most(&host, load).await?;
        host.kill().await?;
        let mut figures = vec![Measured::memory(most).figure("memory, loaded", self.at_rest, Aim::AtMost(80.0))?];
        figures.extend(inbox::figures("queue paused", load, &calm, &floor)?);
        figures.extend(inbox::figures("queue working", load, &busy, &floor)?);
        Ok(figures)
    }
}

fn print(figures: &[Figure], bench: &Bench<'_>, as_json: bool) -> anyhow::Result<()> {
    let profile = if cfg!(debug_assertions) { "debug" } else { "release" };
    let fsync = figures.first().map(Figure::floor_words).unwrap_or_default();
    let machine = format!("{}; a page is on the disk in {fsync}", process::machine());
    if as_json {
        let shown = json!({ "machine": machine, "profile": profile, "figures": figure::json(figures)? });
        println!("{}", serde_json::to_string_pretty(&shown)?);
        return Ok(());
    }
    println!("{machine}; agents of {}", bench.config.agents.dir.display());
    if cfg!(debug_assertions) {
        println!("THESE ARE FIGURES OF A DEBUG BUILD: for real ones, `cargo run --release -- bench`");
    }
    println!("{}", figure::table(figures));
    Ok(())
}
