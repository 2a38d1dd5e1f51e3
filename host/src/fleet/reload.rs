//! How agents change while the host works: files are looked at, what is new and sound takes the place of what served, and the database
//! says which edition serves for every host. Must never leave an agent that served without a component that may.

use super::*;
use crate::store::editions::{self, Edition};
use crate::store::revoked;

/// What a file held when it was last looked at.
pub(super) struct Seen {
    digest: String,
    /// The file beside it.
    signed: Option<Vec<u8>>,
    complaints: Vec<String>,
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
            let signed = std::fs::read(signature::beside(&path)).ok();
            if seen.get(&name).is_some_and(|seen| seen.digest == digest && seen.signed == signed && !digest.is_empty()) {
                continue;
            }
            let found = (format!("{name}.wasm"), Found::File(&path));
            let report = validate::examine_bytes(&self.engine, &self.cache, &self.config, found, bytes.clone()).await;
            let verdict = match self.of_revoked(&digest, complaint) {
                Some(complaint) => Err(vec![complaint]),
                None => report.verdict,
            };
            let complaints = match verdict {
                Ok(accepted) => {
                    let agent = Arc::new(accepted.agent(digest.clone()));
                    let known = why == Why::Start && editions::of(&self.db, &name).await?.iter().any(|one| one.digest == digest);
                    if !known {
                        let version = &agent.manifest.version;
                        editions::activate(&self.db, &name, &digest, version, bytes.unwrap_or_default(), id::now()).await?;
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
            seen.insert(name, Seen { digest, signed, complaints });
        }
        let changes = self.switch(&seen, fresh).await?;
        self.drop_unneeded().await?;
        Ok(changes)
    }

    /// Follows what another host, or a command, has decided in the database.
    ///
    /// # Errors
    /// What the store says.
    pub async fn follow(&self) -> Result<(), StoreError> {
        let now = self.now();
        let differs = |edition: &Edition| now.agents.get(&edition.agent).is_some_and(|agent| agent.digest != edition.digest);
        if editions::active(&self.db).await?.iter().any(differs) {
            let seen = self.files.lock().await;
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
            let edition = active.get(name);
            let mut complaints = file.complaints.clone();
            if let Some(edition) = edition {
                let served = before.agents.get(name).filter(|agent| agent.digest == edition.digest);
                let agent = match served.or_else(|| fresh.get(&edition.digest)) {
                    Some(agent) => Some(agent.clone()),
                    None => self.former(name, &edition.digest).await?,
                };
                // One that cannot be had leaves the one that served.
                let agent = agent.or_else(|| before.agents.get(name).cloned());
                if let Some(agent) = agent {
                    if complaints.is_empty() && agent.digest != file.digest {
                        complaints.push(set_back(name, &agent.digest, &file.digest));
                    }
                    serving.agents.insert(name.clone(), agent);
                }
            }
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
