//! Which agents there are. A file that fails is reported by name and leaves the rest serving; another file of an agent takes its place
//! in the middle of work, and what runs by then goes on with the component that started it.

pub mod build;
pub mod changes;
pub mod provenance;
pub mod reach;
pub mod signature;
pub mod validate;

mod reload;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
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
use crate::store::{Db, StoreError, components, editions};

pub use reload::{Change, Checked};
use validate::Found;

/// The agents that ship, and whose grants do.
pub const BUNDLED: [&str; 7] =
    ["triager", "note-maker", "reporter", "supervisor", "homelab-engineer", "observability-operator", "errand-runner"];

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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// Its name.
    pub file: String,
    /// Why, each with the line to change.
    pub complaints: Vec<String>,
}

/// The agents of one folder: those of its files that may serve, each in the edition that the database says.
pub struct Fleet {
    db: Db,
    engine: Engine,
    cache: Cache,
    config: Arc<Config>,
    serving: RwLock<Arc<Serving>>,
    /// What each file held when it was last looked at; held by whoever changes what serves.
    files: tokio::sync::Mutex<BTreeMap<String, reload::Seen>>,
    /// Editions that should serve and could not be had when they were last wanted, by digest.
    missing: Mutex<BTreeSet<String>>,
    /// Former components, by digest, for runs that they started.
    former: Mutex<BTreeMap<String, Arc<Agent>>>,
    /// Components that must not run any more, by digest.
    revoked: RwLock<BTreeMap<String, Revoked>>,
}

/// What serves at one moment.
#[derive(Default)]
struct Serving {
    agents: BTreeMap<String, Arc<Agent>>,
    rejected: Vec<Rejected>,
    /// What was found in the file of each name.
    checked: BTreeMap<String, Checked>,
}

/// What is told of a file whose component was revoked.
#[must_use]
pub fn complaint(revoked: &Revoked) -> String {
    let (at, why) = (id::rfc3339(Timestamp(revoked.at)), &revoked.reason);
    format!("was revoked at {at}: {why}; build another version of it, or take the file away")
}

impl Fleet {
    /// Loads every `*.wasm` of the configured folder that is not revoked.
    ///
    /// # Errors
    /// What the store says.
    pub async fn load(engine: &Engine, cache: &Cache, config: &Arc<Config>, db: &Db) -> Result<Self, StoreError> {
        let fleet = Self {
            db: db.clone(),
            engine: engine.clone(),
            cache: cache.clone(),
            config: config.clone(),
            serving: RwLock::default(),
            files: tokio::sync::Mutex::default(),
            missing: Mutex::default(),
            former: Mutex::default(),
            revoked: RwLock::default(),
        };
        fleet.look(reload::Why::Start).await?;
        Ok(fleet)
    }

    /// The component that started a run, with the operator's grants of now; `None` if it is not kept or may not serve any more.
    ///
    /// # Errors
    /// What the store says.
    pub async fn former(&self, id: &str, digest: &str) -> Result<Option<Arc<Agent>>, StoreError> {
        if let Some(agent) = self.former.lock().unwrap_or_else(PoisonError::into_inner).get(digest) {
            return Ok(Some(agent.clone()));
        }
        let Some(bytes) = components::bytes(&self.db, digest).await? else { return Ok(None) };
        let signed =
            editions::of(&self.db, id).await?.into_iter().find(|edition| edition.digest == digest).and_then(|one| one.signed);
        let found = (format!("{id}.wasm"), Found::Kept(signed));
        let report = validate::examine_bytes(&self.engine, &self.cache, &self.config, found, Ok(bytes)).await;
        match report.verdict {
            Ok(accepted) if report.digest == digest => {
                let agent = Arc::new(accepted.agent(report.digest));
                self.former.lock().unwrap_or_else(PoisonError::into_inner).insert(digest.to_owned(), agent.clone());
                Ok(Some(agent))
            }
            Ok(_) => Ok(None),
            Err(complaints) => {
                let why = complaints.join("; ");
                tracing::warn!(event = "agent_rejected", agent = id, digest, why, "a kept component may not run: {why}");
                Ok(None)
            }
        }
    }

    /// Learns which components are revoked by now. What is revoked stays so: whoever has looked earlier takes nothing back.
    pub fn learn(&self, revoked: Vec<Revoked>) {
        let mut revoked = by_digest(revoked);
        revoked.retain(|digest, _| self.revoked(digest).is_none());
        if revoked.is_empty() {
            return;
        }
        let served = self.agents();
        let digests: BTreeSet<String> = revoked.keys().cloned().collect();
        // First it serves no more, then that is said: whoever reads the line may rely on it.
        self.revoked.write().unwrap_or_else(PoisonError::into_inner).extend(revoked);
        for agent in served.iter().filter(|agent| digests.contains(&agent.digest)) {
            let (id, digest) = (&agent.manifest.id, &agent.digest);
            tracing::error!(event = "agent_revoked", agent = id, digest, "agent {id} serves no more: its component was revoked");
            metrics::set(name::LOADED, 0.0, &[("agent", id), ("digest", digest)]);
        }
    }

    /// Why a component must not run any more, if it must not.
    #[must_use]
    pub fn revoked(&self, digest: &str) -> Option<String> {
        self.of_revoked(digest, |revoked| revoked.reason.clone())
    }

    fn of_revoked(&self, digest: &str, what: impl Fn(&Revoked) -> String) -> Option<String> {
        self.revoked.read().unwrap_or_else(PoisonError::into_inner).get(digest).map(what)
    }

    fn now(&self) -> Arc<Serving> {
        self.serving.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The agent of that id, if it serves.
    #[must_use]
    pub fn agent(&self, id: &str) -> Option<Arc<Agent>> {
        self.now().agents.get(id).filter(|agent| self.revoked(&agent.digest).is_none()).cloned()
    }

    /// Whether an agent of that id serves.
    #[must_use]
    pub fn serves(&self, id: &str) -> bool {
        self.agent(id).is_some()
    }

    /// Every agent that serves, by id.
    #[must_use]
    pub fn agents(&self) -> Vec<Arc<Agent>> {
        self.now().agents.values().filter(|agent| self.revoked(&agent.digest).is_none()).cloned().collect()
    }

    /// What was found in the file of that agent when it was last looked at.
    #[must_use]
    pub fn checked(&self, id: &str) -> Option<Checked> {
        self.now().checked.get(id).cloned()
    }

    /// Files that do not serve.
    #[must_use]
    pub fn rejected(&self) -> Vec<Rejected> {
        let now = self.now();
        let told = |agent: &Agent| now.rejected.iter().any(|one| one.file.trim_end_matches(".wasm") == agent.manifest.id);
        let revoked = now.agents.values().filter(|agent| !told(agent)).filter_map(|agent| {
            let complaint = self.of_revoked(&agent.digest, complaint)?;
            Some(Rejected { file: format!("{}.wasm", agent.manifest.id), complaints: vec![complaint] })
        });
        now.rejected.iter().cloned().chain(revoked).collect()
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
