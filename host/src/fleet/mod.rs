//! Which agents there are. A file that fails is reported by name and leaves the rest serving.

pub mod build;
pub mod dry;
pub mod validate;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use policy::grant::Grant;
use policy::manifest::Manifest;
use policy::task::Timestamp;
use wasmtime::Engine;

use crate::config::Config;
use crate::id;
use crate::metrics::{self, name};
use crate::runtime::Ready;
use crate::runtime::engine::Cache;
use crate::store::revoked::Revoked;
use crate::store::{Db, StoreError, components};

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

impl validate::Accepted {
    /// The agent of that component.
    #[must_use]
    pub fn agent(self, digest: String) -> Agent {
        let Self { manifest, grant, ready } = self;
        Agent { manifest, grant: Arc::new(grant), digest, ready, loaded_at: id::now() }
    }
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
    engine: Engine,
    cache: Cache,
    config: Arc<Config>,
    /// Former components, by digest, for runs that they started.
    former: Mutex<BTreeMap<String, Arc<Agent>>>,
    /// Components that must not run any more, by digest.
    revoked: RwLock<BTreeMap<String, Revoked>>,
}

/// What is told of a file whose component was revoked.
#[must_use]
pub fn complaint(revoked: &Revoked) -> String {
    let (at, why) = (id::rfc3339(Timestamp(revoked.at)), &revoked.reason);
    format!("was revoked at {at}: {why}; build another version of it, or take the file away")
}

impl Fleet {
    /// Loads every `*.wasm` of the configured folder that is not revoked.
    pub async fn load(engine: &Engine, cache: &Cache, config: &Arc<Config>, revoked: Vec<Revoked>) -> Self {
        let mut fleet = Self {
            agents: BTreeMap::new(),
            rejected: Vec::new(),
            engine: engine.clone(),
            cache: cache.clone(),
            config: config.clone(),
            former: Mutex::default(),
            revoked: RwLock::new(by_digest(revoked)),
        };
        for path in files(&config.agents.dir) {
            let report = validate::examine(engine, cache, config, &path).await;
            let (file, digest) = (report.file, report.digest);
            let verdict = match fleet.of_revoked(&digest, complaint) {
                Some(complaint) => Err(vec![complaint]),
                None => report.verdict,
            };
            match verdict {
                Ok(accepted) => {
                    let id = accepted.manifest.id.clone();
                    tracing::info!(event = "agent_loaded", agent = id, digest, "agent {id} is loaded");
                    metrics::set(name::LOADED, 1.0, &[("agent", &id), ("digest", &digest)]);
                    fleet.agents.insert(id, Arc::new(accepted.agent(digest)));
                }
                Err(complaints) => {
                    tracing::error!(event = "agent_rejected", file, complaints = complaints.join("; "), "{file} does not serve");
                    fleet.rejected.push(Rejected { file, complaints });
                }
            }
        }
        fleet
    }

    /// Keeps every component that serves for the runs that it will start, and drops those that nobody needs any more.
    ///
    /// # Errors
    /// What the store says.
    pub async fn keep(&self, db: &Db) -> Result<(), StoreError> {
        let kept = components::kept(db).await?;
        for agent in self.agents().filter(|agent| !kept.contains(&agent.digest)) {
            let path = self.config.agents.dir.join(format!("{}.wasm", agent.manifest.id));
            // A file that was changed since is another component: it is kept when it serves.
            if let Some(bytes) = std::fs::read(path).ok().filter(|bytes| id::digest(bytes) == agent.digest) {
                components::keep(db, agent.digest.clone(), bytes).await?;
            }
        }
        for digest in kept.into_iter().filter(|digest| !self.agents().any(|agent| agent.digest == *digest)) {
            components::drop_unneeded(db, digest).await?;
        }
        Ok(())
    }

    /// The component that started a run, with the operator's grants of now; `None` if it is not kept or may not serve any more.
    ///
    /// # Errors
    /// What the store says.
    pub async fn former(&self, db: &Db, id: &str, digest: &str) -> Result<Option<Arc<Agent>>, StoreError> {
        if let Some(agent) = self.former.lock().unwrap_or_else(PoisonError::into_inner).get(digest) {
            return Ok(Some(agent.clone()));
        }
        let Some(bytes) = components::bytes(db, digest).await? else { return Ok(None) };
        let report = validate::examine_bytes(&self.engine, &self.cache, &self.config, format!("{id}.wasm"), Ok(bytes)).await;
        match report.verdict {
            Ok(accepted) if report.digest == digest => {
                let agent = Arc::new(accepted.agent(report.digest));
                self.former.lock().unwrap_or_else(PoisonError::into_inner).insert(digest.to_owned(), agent.clone());
                Ok(Some(agent))
            }
            Ok(_) => Ok(None),
            Err(complaints) => {
                let why = complaints.join("; ");
                tracing::warn!(event = "agent_rejected", agent = id, digest, why, "a run cannot go on with its component: {why}");
                Ok(None)
            }
        }
    }

    /// Learns which components are revoked by now.
    pub fn learn(&self, revoked: Vec<Revoked>) {
        let revoked = by_digest(revoked);
        if *self.revoked.read().unwrap_or_else(PoisonError::into_inner) == revoked {
            return;
        }
        let serving: Vec<Arc<Agent>> = self.agents().cloned().collect();
        for agent in serving.iter().filter(|agent| revoked.contains_key(&agent.digest)) {
            let (id, digest) = (&agent.manifest.id, &agent.digest);
            tracing::error!(event = "agent_revoked", agent = id, digest, "agent {id} serves no more: its component was revoked");
            metrics::set(name::LOADED, 0.0, &[("agent", id), ("digest", digest)]);
        }
        *self.revoked.write().unwrap_or_else(PoisonError::into_inner) = revoked;
    }

    /// Why a component must not run any more, if it must not.
    #[must_use]
    pub fn revoked(&self, digest: &str) -> Option<String> {
        self.of_revoked(digest, |revoked| revoked.reason.clone())
    }

    fn of_revoked(&self, digest: &str, what: impl Fn(&Revoked) -> String) -> Option<String> {
        self.revoked.read().unwrap_or_else(PoisonError::into_inner).get(digest).map(what)
    }

    /// The agent of that id, if it serves.
    #[must_use]
    pub fn agent(&self, id: &str) -> Option<&Arc<Agent>> {
        self.agents.get(id).filter(|agent| self.revoked(&agent.digest).is_none())
    }

    /// Whether an agent of that id serves.
    #[must_use]
    pub fn serves(&self, id: &str) -> bool {
        self.agent(id).is_some()
    }

    /// Every agent that serves, by id.
    pub fn agents(&self) -> impl Iterator<Item = &Arc<Agent>> {
        self.agents.values().filter(|agent| self.revoked(&agent.digest).is_none())
    }

    /// Files that do not serve.
    #[must_use]
    pub fn rejected(&self) -> Vec<Rejected> {
        let revoked = self.agents.values().filter_map(|agent| {
            let complaint = self.of_revoked(&agent.digest, complaint)?;
            Some(Rejected { file: format!("{}.wasm", agent.manifest.id), complaints: vec![complaint] })
        });
        self.rejected.iter().cloned().chain(revoked).collect()
    }
}

fn by_digest(revoked: Vec<Revoked>) -> BTreeMap<String, Revoked> {
    revoked.into_iter().map(|one| (one.digest.clone(), one)).collect()
}

/// The component files of a folder, by name. A folder that is not there has none.
#[must_use]
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "wasm"))
        .collect();
    files.sort();
    files
}
