//! How long a bare instance takes to start: the shipped components on the host's own engine settings, every import a trap, nothing
//! limited, nothing recorded.

use std::time::{Duration, Instant};

use wasmtime::component::{InstancePre, Linker};
use wasmtime::{Engine, Store};

use super::child::{AGENTS, Place};
use super::figure::Samples;
use crate::command::house;
use crate::config::Config;

/// About what passes between two hops of a quiet host.
const PAUSE: Duration = Duration::from_millis(3);

/// How long bare instances took to start.
pub(super) struct Bare {
    /// One after the other, with everything at hand.
    pub(super) at_once: Samples,
    /// Each after a pause, as a quiet host starts them: the processor has slept and forgotten.
    pub(super) rested: Samples,
}

/// Starts each of the agents of a place so often, compiled as they are there.
pub(super) async fn bare(config: &Config, place: &Place, rounds: usize) -> anyhow::Result<Bare> {
    let mut config = config.clone();
    config.server.data = place.data();
    let (engine, cache) = house::sandbox(&config)?;
    let mut bare = Bare { at_once: Samples::new()?, rested: Samples::new()? };
    for id in AGENTS {
        let bytes = std::fs::read(place.agent(id))?;
        let failed = |error: wasmtime::Error| anyhow::anyhow!("a bare instance of {id} does not start: {error:#}");
        let component = cache.component(&engine, &bytes).map_err(failed)?;
        let mut linker = Linker::new(&engine);
        linker.define_unknown_imports_as_traps(&component).map_err(failed)?;
        let pre = linker.instantiate_pre(&component).map_err(failed)?;
        // The first instance touches memory that nobody has touched yet.
        start(&engine, &pre).await.map_err(failed)?;
        for _ in 0..rounds {
            bare.at_once.add(start(&engine, &pre).await.map_err(failed)?);
        }
        for _ in 0..rounds {
            tokio::time::sleep(PAUSE).await;
            bare.rested.add(start(&engine, &pre).await.map_err(failed)?);
        }
    }
    Ok(bare)
}

async fn start(engine: &Engine, pre: &InstancePre<()>) -> wasmtime::Result<Duration> {
    let mut store = Store::new(engine, ());
    store.set_epoch_deadline(1_000_000);
    let began = Instant::now();
    pre.instantiate_async(&mut store).await?;
    Ok(began.elapsed())
}
