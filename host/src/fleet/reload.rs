//! How agents change while the host works: files are looked at, what is new and sound takes the place of what served, and the database
//! says which edition serves for every host. Must never leave an agent that served without a component that may.

use super::*;
use crate::store::editions::{self, Edition};
use crate::store::revoked;

/// What a file held when it was last looked at.
pub(super) struct Seen {
    /// The file beside it.
    signed: Option<String>,
    checked: Checked,
}

/// What was found in a file when it was last looked at.
#[derive(Clone, Debug)]
pub struct Checked {
    /// When.
    pub at: Timestamp,
    /// SHA-256 of the file in hex.
    pub digest: String,
    /// Why it may not serve; empty if it may.
    pub complaints: Vec<String>,
    /// What should be known of it all the same.
    pub notes: Vec<String>,
}

/// Why the folder is looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// The host starts: a file that the database knows is no news.
    Start,
    /// Somebody changed a file, or asks.
    Change,
}

/// An agent that another component serves now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its id.
    pub agent: String,
    /// The component that served, if one did.
    pub from: Option<String>,
    /// The component that serves, if one does.
    pub to: Option<String>,
}

impl Fleet {
    /// Looks at the folder again: new and changed files serve from now on if they may, and files that are gone do not. What changed.
    ///
    /// # Errors
    /// What the store says; then everything serves on as it did.
    pub async fn reload(&self) -> Result<Vec<Change>, StoreError> {
        self.look(Why::Change).await
    }

    pub(super) async fn look(&self, why: Why) -> Result<Vec<Change>, StoreError> {
        let mut seen = self.files.lock().await;
        let mut fresh = BTreeMap::new();
        let paths = files(&self.config.agents.dir);
        let names: BTreeSet<String> = paths.iter().map(|path| stem(path)).collect();
        seen.retain(|name, _| names.contains(name));
        // Whoever revokes need not be a host.
        self.learn(revoked::all(&self.db).await?);
        for path in paths {
            let name = stem(&path);
            let bytes = validate::read(&path);
            let digest = bytes.as_ref().map(|bytes| id::digest(bytes)).unwrap_or_default();
            let signed = std::fs::read_to_string(signature::beside(&path)).ok();
            if seen.get(&name).is_some_and(|seen| seen.checked.digest == digest && seen.signed == signed && !digest.is_empty()) {
                continue;
            }
            let (verdict, notes) = self.examined(&name, &path, &digest, bytes.clone()).await;
            let complaints = match verdict {
                Ok(agent) => {
                    let bytes = bytes.unwrap_or_default();
                    if self.is_news(why, &agent).await? {
                        self.activated(&agent, signed.clone(), &bytes).await?;
                    }
                    fresh.insert(digest.clone(), agent);
                    Vec::new()
                }
                Err(complaints) => {
                    let file = format!("{name}.wasm");
                    tracing::error!(event = "agent_rejected", file, complaints = complaints.join("; "), "{file} does not serve");
                    metrics::count(name::AGENTS_REJECTED, 1, &[("agent", &name)]);
                    complaints
                }
            };
            let checked = Checked { at: id::now(), digest, complaints, notes };
            seen.insert(name, Seen { signed, checked });
        }
        self.missing.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let changes = self.switch(&seen, fresh).await?;
        self.drop_unneeded().await?;
        Ok(changes)
    }

    /// The agent of a file, or its complaints; and what should be known of it. What is revoked is not even looked into.
    async fn examined(
        &self,
        name: &str,
        path: &Path,
        digest: &str,
        bytes: Result<Vec<u8>, String>,
    ) -> (Result<Arc<Agent>, Vec<String>>, Vec<String>) {
        if let Some(complaint) = self.of_revoked(digest, complaint) {
            return (Err(vec![complaint]), Vec::new());
        }
        let found = (format!("{name}.wasm"), Found::File(path));
        let report = validate::examine_bytes(&self.engine, &self.cache, &self.config, found, bytes).await;
        (report.verdict.map(|accepted| Arc::new(accepted.agent(digest.to_owned()))), report.notes)
    }

    /// Whether a file's component takes the place of what the database says. One that merely lies there when a host starts does not,
    /// if it served before and another does now: it is older, or was rolled back.
    async fn is_news(&self, why: Why, agent: &Agent) -> Result<bool, StoreError> {
        let known = editions::of(&self.db, &agent.manifest.id).await?;
        let settled = known.iter().any(|edition| edition.active == 1) && known.iter().any(|edition| edition.digest == agent.digest);
        Ok(why == Why::Change || !settled)
    }

    async fn activated(&self, agent: &Agent, signed: Option<String>, bytes: &[u8]) -> Result<(), StoreError> {
        let Manifest { id: name, version, .. } = &agent.manifest;
        let (agent, digest, version) = (name.clone(), agent.digest.clone(), version.clone());
        let edition = Edition { agent, digest, version, signed, active: 1, at: id::now().0 };
        match editions::activate(&self.db, &edition, bytes).await {
            // Another host has activated another one in the same moment: the later wins.
            Err(_) => editions::activate(&self.db, &edition, bytes).await,
            Ok(()) => Ok(()),
        }
    }

    /// Follows what another host, or a command, has decided in the database. Nothing waits for whoever looks at the folder just now.
    ///
    /// # Errors
    /// What the store says.
    pub async fn follow(&self) -> Result<(), StoreError> {
        let Ok(seen) = self.files.try_lock() else { return Ok(()) };
        let now = self.now();
        let differs = |edition: &Edition| {
            let serves = now.agents.get(&edition.agent).is_some_and(|agent| agent.digest == edition.digest);
            let missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner).contains(&edition.digest);
            seen.contains_key(&edition.agent) && !serves && !missing
        };
        if editions::active(&self.db).await?.iter().any(differs) {
            self.switch(&seen, BTreeMap::new()).await?;
        }
        Ok(())
    }

    /// Lets the active edition of each agent of the folder serve. `fresh` are components that are loaded already.
    async fn switch(&self, seen: &BTreeMap<String, Seen>, fresh: BTreeMap<String, Arc<Agent>>) -> Result<Vec<Change>, StoreError> {
        let before = self.now();
        let mut active: BTreeMap<String, Edition> = BTreeMap::new();
        active.extend(editions::active(&self.db).await?.into_iter().map(|edition| (edition.agent.clone(), edition)));
        let mut serving = Serving::default();
        for (name, file) in seen {
            serving.checked.insert(name.clone(), file.checked.clone());
            let mut complaints = file.checked.complaints.clone();
            let served = before.agents.get(name);
            let agent = match active.get(name) {
                None => served.cloned(),
                Some(edition) => match self.had(edition, served, &fresh).await? {
                    Some(agent) => {
                        if complaints.is_empty() && edition.digest != file.checked.digest {
                            complaints.push(set_back(name, &edition.digest, &file.checked.digest));
                        }
                        Some(agent)
                    }
                    // One that cannot be had leaves the one that served.
                    None => {
                        if edition.digest != file.checked.digest {
                            complaints.push(unavailable(name, &edition.digest, &file.checked.digest));
                        }
                        served.cloned()
                    }
                },
            };
            serving.agents.extend(agent.map(|agent| (name.clone(), agent)));
            if !complaints.is_empty() {
                serving.rejected.push(Rejected { file: format!("{name}.wasm"), complaints });
            }
        }
        let changes = changes(&before, &serving);
        changes.iter().for_each(note);
        *self.serving.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(serving);
        // Whoever is resumed by one of them loads it again.
        self.former.lock().unwrap_or_else(PoisonError::into_inner).clear();
        Ok(changes)
    }

    /// The agent of an edition: the one that serves, one that was just loaded, or the kept component, if it may serve.
    async fn had(
        &self,
        edition: &Edition,
        served: Option<&Arc<Agent>>,
        fresh: &BTreeMap<String, Arc<Agent>>,
    ) -> Result<Option<Arc<Agent>>, StoreError> {
        let loaded = served.filter(|agent| agent.digest == edition.digest).or_else(|| fresh.get(&edition.digest));
        let agent = match loaded {
            Some(agent) => Some(agent.clone()),
            None => self.former(&edition.agent, &edition.digest).await?,
        };
        if agent.is_none() {
            self.missing.lock().unwrap_or_else(PoisonError::into_inner).insert(edition.digest.clone());
        }
        Ok(agent)
    }

    /// Drops kept components that nobody needs any more.
    async fn drop_unneeded(&self) -> Result<(), StoreError> {
        for digest in components::kept(&self.db).await? {
            components::drop_unneeded(&self.db, digest).await?;
        }
        Ok(())
    }
}

/// What is told of a file that may serve and does not.
fn set_back(agent: &str, serves: &str, holds: &str) -> String {
    format!(
        "component {serves} serves as `{agent}`, not the one of the file, since the database says so: `host agents rollback {agent} \
         {holds}` lets the file's serve, and so does changing it"
    )
}

/// What is told of a file whose agent should be served by a component that cannot be had.
fn unavailable(agent: &str, due: &str, holds: &str) -> String {
    format!(
        "component {due} should serve as `{agent}`, since the database says so, and may not or is not kept any more (the log says \
         why): `host agents rollback {agent} {holds}` lets the file's serve, and so does changing it"
    )
}

fn changes(before: &Serving, after: &Serving) -> Vec<Change> {
    let ids: BTreeSet<&String> = before.agents.keys().chain(after.agents.keys()).collect();
    let digest = |serving: &Serving, id: &str| serving.agents.get(id).map(|agent| agent.digest.clone());
    ids.into_iter()
        .map(|id| Change { agent: id.clone(), from: digest(before, id), to: digest(after, id) })
        .filter(|change| change.from != change.to)
        .collect()
}

fn note(change: &Change) {
    let id = &change.agent;
    if let Some(digest) = &change.from {
        metrics::set(name::LOADED, 0.0, &[("agent", id), ("digest", digest)]);
    }
    match (&change.from, &change.to) {
        (from, Some(digest)) => {
            metrics::set(name::LOADED, 1.0, &[("agent", id), ("digest", digest)]);
            let instead_of = from.as_deref().unwrap_or_default();
            tracing::info!(event = "agent_loaded", agent = id, digest, instead_of, "agent {id} is loaded");
        }
        (Some(digest), None) => {
            tracing::warn!(event = "agent_gone", agent = id, digest, "agent {id} serves no more: its file is gone")
        }
        (None, None) => {}
    }
}

fn stem(path: &Path) -> String {
    path.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}
