//! What a component says of itself: always the same, for its time stands still and its chance is fixed.

use std::time::Duration;

use policy::manifest::Manifest;
use policy::task::Timestamp;
use tokio::time::timeout;
use wasmtime::Engine;
use wasmtime::component::Component;

use super::{alone, brief};
use crate::capability;
use crate::capability::wit::Everything;

/// Bounds of `describe`, which runs before any manifest is known.
const MIB: u64 = 64;
const CPU: Duration = Duration::from_millis(200);

/// The manifest of a component. It gets WASI with nothing in it, since language runtimes look around when they start; every other
/// import traps: a description needs nothing.
///
/// # Errors
/// If it is not of our world, or does not answer within its bounds.
pub async fn describe(engine: &Engine, component: &Component) -> wasmtime::Result<Manifest> {
    let mut linker = alone::link(engine, component, |_, import, _, _, _| {
        Err(wasmtime::Error::msg(format!("`describe` called {import}: a description needs no host")))
    })?;
    capability::link_no_time(&mut linker)?;
    let mut store = alone::store(engine, MIB, CPU, Timestamp(0));
    // Epochs bound a guest that computes; one that the host keeps waiting is bounded by the wall.
    let described = timeout(alone::WALL, async {
        let world = Everything::instantiate_async(&mut store, component, &linker).await?;
        world.homeaiops_agent_agent().call_describe(&mut store).await
    });
    let late = |_| Err(wasmtime::Error::msg(format!("it takes longer than {:?}", alone::WALL)));
    let described = described.await.unwrap_or_else(late);
    match alone::refusal(&store) {
        Some(said) if described.is_err() => Err(wasmtime::Error::msg(said)),
        _ => described.map(brief::manifest),
    }
}
