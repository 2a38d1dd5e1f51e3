//! Which agents there are. A file that fails is reported by name and leaves the rest serving.

pub mod build;
pub mod dry;
pub mod validate;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use policy::grant::Grant;
use policy::manifest::Manifest;
use policy::task::Timestamp;
use wasmtime::Engine;

use crate::config::Config;
use crate::id;
use crate::metrics::{self, name};
use crate::runtime::Ready;
use crate::runtime::engine::Cache;

/// An agent that serves.
pub struct Agent {
    /// What it says of itself.
    pub manifest: Manifest,
    /// What it may do.
    pub grant: Arc<Grant>,
    /// The digest of its component: SHA-256 in hex.
    pub digest: String,
    /// Its component, linked.
    pub ready: Ready,
    /// When it was loaded.
    pub loaded_at: Timestamp,
}

/// A file that does not serve.
#[derive(Clone, Debug)]
pub struct Rejected {
    /// Its name.
    pub file: String,
    /// Why, each with the line to change.
    pub complaints: Vec<String>,
}

/// The agents of one folder.
pub struct Fleet {
    agents: BTreeMap<String, Arc<Agent>>,
    rejected: Vec<Rejected>,
}

impl Fleet {
    /// Loads every `*.wasm` of the configured folder.
    pub async fn load(engine: &Engine, cache: &Cache, config: &Config) -> Self {
        let mut fleet = Self { agents: BTreeMap::new(), rejected: Vec::new() };
        for path in components(&config.agents.dir) {
            let report = validate::examine(engine, cache, config, &path).await;
            let (file, digest) = (report.file, report.digest);
            match report.verdict {
                Ok(accepted) => {
                    let manifest = accepted.manifest;
                    tracing::info!(event = "agent_loaded", agent = manifest.id, digest, "agent {} is loaded", manifest.id);
                    metrics::set(name::LOADED, 1.0, &[("agent", &manifest.id), ("digest", &digest)]);
                    let agent =
                        Agent { grant: Arc::new(accepted.grant), ready: accepted.ready, digest, loaded_at: id::now(), manifest };
                    fleet.agents.insert(agent.manifest.id.clone(), Arc::new(agent));
                }
                Err(complaints) => {
                    tracing::error!(event = "agent_rejected", file, complaints = complaints.join("; "), "{file} does not serve");
                    fleet.rejected.push(Rejected { file, complaints });
                }
            }
        }
        fleet
    }

    /// The agent of that id, if it serves.
    #[must_use]
    pub fn agent(&self, id: &str) -> Option<&Arc<Agent>> {
        self.agents.get(id)
    }

    /// Whether an agent of that id serves.
    #[must_use]
    pub fn serves(&self, id: &str) -> bool {
        self.agents.contains_key(id)
    }

    /// Every agent that serves, by id.
    pub fn agents(&self) -> impl Iterator<Item = &Arc<Agent>> {
        self.agents.values()
    }

    /// Files that do not serve.
    #[must_use]
    pub fn rejected(&self) -> &[Rejected] {
        &self.rejected
    }
}

/// The component files of a folder, by name. A folder that is not there has none.
#[must_use]
pub fn components(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "wasm"))
        .collect();
    files.sort();
    files
}
