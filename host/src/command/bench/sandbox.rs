//! What the sandbox costs: instances that start while many others live, and a component that nobody has seen yet, from its file to its
//! verdict.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use tokio::sync::Barrier;
use wasmtime::component::{Component, InstancePre, Linker};
use wasmtime::{Engine, Store};

use super::child::Place;
use super::figure::{Aim, Figure, Measured, Samples, Unit};
use super::instance;
use crate::command::house;
use crate::config::Config;
use crate::fleet::validate::examine;
use crate::runtime::engine::{Cache, Compiler};

/// Instances that live at once.
const AT_ONCE: usize = 80;
/// The largest of the shipped agents.
const AGENT: &str = "note-maker";

/// Its rows.
pub(super) async fn figures(config: &Config, place: &Place, bare: &instance::Bare, rounds: usize) -> anyhow::Result<Vec<Figure>> {
    let mut config = config.clone();
    config.server.data = place.data();
    let (engine, cache) = house::sandbox(&config)?;
    let file = place.agent(AGENT);
    let failed = |error: wasmtime::Error| anyhow::anyhow!("a bare instance of {AGENT} does not start: {error:#}");
    let component = cache.component(&engine, &std::fs::read(&file)?).map_err(failed)?;
    let mut linker = Linker::new(&engine);
    linker.define_unknown_imports_as_traps(&component).map_err(failed)?;
    let pre = Arc::new(linker.instantiate_pre(&component).map_err(failed)?);
    let mut crowd = Samples::new()?;
    for _ in 0..rounds.div_ceil(AT_ONCE).max(3) {
        for took in together(&engine, &pre).await.map_err(failed)? {
            crowd.add(took);
        }
    }
    let name = format!("instance start p99, {AT_ONCE} live at once");
    let alone = bare.at_once.quantile(0.5, Unit::Micros);
    let mut figures = vec![crowd.quantile(0.99, Unit::Micros).figure(name, alone, Aim::AtMost(100.0))?];
    figures.extend(verdicts(&config, &engine, &file, rounds.min(20)).await?);
    Ok(figures)
}

/// Starts them all before the first ends.
async fn together(engine: &Engine, pre: &Arc<InstancePre<()>>) -> wasmtime::Result<Vec<Duration>> {
    let all_live = Arc::new(Barrier::new(AT_ONCE));
    let one = || {
        let (engine, pre, all_live) = (engine.clone(), pre.clone(), all_live.clone());
        tokio::spawn(async move {
            let mut store = Store::new(&engine, ());
            store.set_epoch_deadline(1_000_000);
            let began = Instant::now();
            let started = pre.instantiate_async(&mut store).await;
            let took = began.elapsed();
            all_live.wait().await;
            started.map(|_| took)
        })
    };
    let all: Vec<_> = (0..AT_ONCE).map(|_| one()).collect();
    let started = join_all(all).await;
    started.into_iter().map(|one| one.map_err(wasmtime::Error::from)?).collect()
}

/// From a file to a verdict: compiled for it, and compiled before.
async fn verdicts(config: &Config, engine: &Engine, file: &Path, rounds: usize) -> anyhow::Result<Vec<Figure>> {
    let bytes = std::fs::read(file)?;
    let (mut new, mut known) = (Samples::new()?, Samples::new()?);
    let (mut compiled, mut loaded) = (Samples::new()?, Samples::new()?);
    let failed = |error: wasmtime::Error| anyhow::anyhow!("{AGENT} does not compile: {error:#}");
    for _ in 0..rounds.max(3) {
        let folder = tempfile::tempdir()?;
        let cache = Cache::in_folder(folder.path(), Compiler::Aside(std::env::current_exe()?));
        let began = Instant::now();
        drop(Component::new(engine, &bytes).map_err(failed)?);
        compiled.add(began.elapsed());
        new.add(judged(config, engine, &cache, file).await?);
        let began = Instant::now();
        drop(cache.component(engine, &bytes).map_err(failed)?);
        loaded.add(began.elapsed());
        known.add(judged(config, engine, &cache, file).await?);
    }
    let row = |of: &Samples, name: &str, floor: &Samples, aim| -> anyhow::Result<Figure> {
        let floor: Measured = floor.quantile(0.5, Unit::Millis);
        of.quantile(0.5, Unit::Millis).figure(format!("verdict on {} KiB, {name}", bytes.len() / 1024), floor, Aim::AtMost(aim))
    };
    Ok(vec![row(&new, "never seen", &compiled, 250.0)?, row(&known, "compiled before", &loaded, 59.0)?])
}

async fn judged(config: &Config, engine: &Engine, cache: &Cache, file: &Path) -> anyhow::Result<Duration> {
    let began = Instant::now();
    let report = examine(engine, cache, config, file).await;
    let took = began.elapsed();
    report.verdict.map_err(|complaints| anyhow::anyhow!("{AGENT} is refused: {}", complaints.join("; ")))?;
    Ok(took)
}
