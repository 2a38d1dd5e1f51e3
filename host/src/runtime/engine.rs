//! wasmtime's settings, the ticker that bounds execution, and the cache of compiled components.

use std::path::{Path, PathBuf};

use wasmtime::component::Component;
use wasmtime::{Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

use super::aside;
use crate::capability::{MOST_ELEMENTS, MOST_INSTANCES, MOST_MEMORIES, MOST_TABLES, TICK};
use crate::id;

/// Stack of one guest, in KiB.
pub const STACK_KIB: usize = 512;

/// How many instances there may be, and how large.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Runs in memory.
    pub in_flight: usize,
    /// The operator's ceiling for one agent's memory.
    pub memory_mib: u64,
}

/// The engine, with a ticker that ends when the last handle is dropped.
///
/// # Errors
/// If wasmtime refuses the settings, or no thread can be started.
pub fn start(size: Size) -> wasmtime::Result<Engine> {
    let engine = match Engine::new(&settings(Some(size))) {
        Ok(engine) => engine,
        Err(error) => {
            // The pool reserves much address space; a machine that forbids it gets instances made on demand.
            tracing::warn!(event = "pool_unavailable", %error, "instances are made on demand: {error}");
            Engine::new(&settings(None))?
        }
    };
    let ticking = engine.weak();
    std::thread::Builder::new().name("epochs".into()).spawn(move || {
        while let Some(engine) = ticking.upgrade() {
            engine.increment_epoch();
            drop(engine);
            std::thread::sleep(TICK);
        }
    })?;
    Ok(engine)
}

/// What costs determinism or safety is off; what is on is the same wherever a component runs, so that a run can be repeated.
pub(super) fn settings(pooled: Option<Size>) -> Config {
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        .epoch_interruption(true)
        .cranelift_nan_canonicalization(true)
        .wasm_relaxed_simd(false)
        .relaxed_simd_deterministic(true)
        .wasm_memory64(false)
        .wasm_shared_everything_threads(false)
        .wasm_stack_switching(false)
        .max_wasm_stack(STACK_KIB * 1024)
        .async_stack_size(2 * 1024 * 1024);
    if let Some(size) = pooled {
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(size)));
    }
    config
}

/// Components made by other toolchains have several core modules, memories and tables each.
fn pool(size: Size) -> PoolingAllocationConfig {
    let instances = u32::try_from(size.in_flight).unwrap_or(u32::MAX).saturating_add(8);
    let mut pool = PoolingAllocationConfig::default();
    pool.total_component_instances(instances)
        .total_core_instances(instances.saturating_mul(MOST_INSTANCES))
        .total_memories(instances.saturating_mul(MOST_MEMORIES))
        .total_tables(instances.saturating_mul(MOST_TABLES))
        .total_stacks(instances)
        .max_core_instances_per_component(MOST_INSTANCES)
        .max_memories_per_module(MOST_MEMORIES)
        .max_tables_per_module(MOST_TABLES)
        .max_memories_per_component(MOST_MEMORIES)
        .max_tables_per_component(MOST_TABLES)
        .table_elements(MOST_ELEMENTS as usize)
        .max_memory_size(usize::try_from(size.memory_mib).unwrap_or(usize::MAX).saturating_mul(1024 * 1024));
    pool
}

/// Where a component is compiled that was not compiled before.
#[derive(Clone, Debug)]
pub enum Compiler {
    /// In this process, by whoever knows that its components mean well.
    Here,
    /// By this program in a process of its own, which has its bounds: a file of a kilobyte can ask for all the memory there is.
    Aside(PathBuf),
}

/// Compiled components, by digest and by everything of the engine that they depend on.
#[derive(Clone, Debug)]
pub struct Cache {
    folder: PathBuf,
    compiler: Compiler,
}

impl Cache {
    /// The cache in the host's own data folder.
    #[must_use]
    pub fn in_folder(data: &Path, compiler: Compiler) -> Self {
        Self { folder: data.join("cache"), compiler }
    }

    /// The component of these bytes: compiled once, loaded after that. A cache that cannot be used costs time, nothing else.
    ///
    /// # Errors
    /// If the bytes are no component.
    pub fn component(&self, engine: &Engine, bytes: &[u8]) -> wasmtime::Result<Component> {
        let compatibility = {
            use std::hash::{DefaultHasher, Hash, Hasher};
            let mut hasher = DefaultHasher::new();
            engine.precompile_compatibility_hash().hash(&mut hasher);
            hasher.finish()
        };
        let path = self.folder.join(format!("{}-{compatibility:016x}.cwasm", id::digest(bytes)));
        if let Some(component) = load(engine, &path) {
            return Ok(component);
        }
        let compiled = match &self.compiler {
            Compiler::Here => Component::new(engine, bytes)?.serialize()?,
            Compiler::Aside(program) => aside::compiled(program, bytes)?,
        };
        let kept = self.keep(&compiled, &path);
        if let Err(error) = &kept {
            tracing::warn!(event = "cache_unavailable", %error, "compiled agents are not kept: {error}");
        }
        // SAFETY: these bytes were made by this program a moment ago, here or in a process of its own whose output nobody else
        // could write; wasmtime checks that they are for this engine.
        #[expect(unsafe_code, reason = "wasmtime cannot prove where compiled code comes from; see SAFETY")]
        unsafe {
            Component::deserialize(engine, &compiled)
        }
    }

    /// Written aside and renamed, so that nobody ever loads half a file.
    fn keep(&self, compiled: &[u8], path: &Path) -> std::io::Result<()> {
        std::fs::create_dir_all(&self.folder)?;
        let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
        std::io::Write::write_all(&mut file, compiled)?;
        file.persist(path)?;
        Ok(())
    }
}

#[expect(unsafe_code, reason = "wasmtime cannot prove that a file is its own; see SAFETY")]
fn load(engine: &Engine, path: &Path) -> Option<Component> {
    if !path.exists() {
        return None;
    }
    // SAFETY: the file lies in the host's own data folder, which holds its database too; only `keep` writes there, whole files,
    // named by the digest of their source and the engine's compatibility hash, which wasmtime checks again. Who can write that
    // folder can already replace everything that the host knows.
    unsafe { Component::deserialize_file(engine, path) }.ok()
}
