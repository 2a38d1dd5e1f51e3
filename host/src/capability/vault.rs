//! WIT `vault` ⇄ the vault. What a task writes is noted by content before it is written, so that after a crash it knows its own
//! file again.

use policy::call::{CallError, Effect, VaultAppend, VaultEntries, VaultRead, VaultSearch, VaultWrite};
use policy::denied::Denied;
use policy::grant::Grant;
use policy::judge::{Destination, Granted};
use policy::tier::Tier;
use serde_json::{Value, json};

use super::act::{Act, Failed, Reply, Who, readable};
use super::model::{error, tier};
use super::perform::perform;
use super::wit::homeaiops::agent::{types, vault as wit};
use super::{Hop, World};
use crate::id;
use crate::markup::Eyes;
use crate::store::artefacts::{self, Artefact, Wrote};
use crate::vault::{Author, File, Vault, VaultError};

impl From<VaultError> for Failed {
    fn from(error: VaultError) -> Self {
        let text = error.to_string();
        Self::Told(match error {
            VaultError::Invalid(_) => CallError::Invalid { text },
            VaultError::NotFound(_) => CallError::NotFound { text },
            VaultError::Conflict(_) => CallError::Conflict { text },
            VaultError::Root { .. } | VaultError::Io { .. } => CallError::Failed { text },
        })
    }
}

/// Listing and searching look at many files: what they yield is known only afterwards.
fn whole_vault() -> Destination {
    Destination {
        name: "vault".into(),
        clearance: policy::tier::Clearance::OPERATOR,
        yields: Tier::Public,
        untrusted: false,
        reason: String::new(),
    }
}

impl Act for VaultRead {
    type Answer = File;

    fn destinations(&self, world: &World, _grant: &Grant) -> Result<Vec<Destination>, Denied> {
        Ok(vec![world.vault.destination(&self.path)])
    }

    async fn act(world: World, granted: Granted<Self>, who: Who) -> Result<Reply<File>, Failed> {
        let file = world.vault.read(&granted).await?;
        let tier = granted.destination().yields.max(file.carries);
        if !readable(&who.grant, tier) {
            let (tier, at) = (tier.as_str(), who.grant.at().to_owned());
            return Err(Failed::Told(CallError::Denied {
                rule: "agent_clearance".into(),
                said: format!("`{}` carries {tier} data and its agent is not cleared for that", granted.call().path),
                hint: format!("set clearance = \"{tier}\" in {at}"),
                at,
            }));
        }
        Ok(Reply { answer: file, tier, usage: None, wrote: None })
    }
}

impl Act for VaultEntries {
    type Answer = Value;

    fn destinations(&self, _world: &World, _grant: &Grant) -> Result<Vec<Destination>, Denied> {
        Ok(vec![whole_vault()])
    }

    async fn act(world: World, granted: Granted<Self>, who: Who) -> Result<Reply<Value>, Failed> {
        let visible = move |path: &str, tier| who.grant.reads(path).is_ok() && readable(&who.grant, tier);
        let (found, tier) = world.vault.entries(&granted, visible).await?;
        let entries = found.into_iter().map(|one| json!([one.path, one.bytes, one.modified_at])).collect();
        Ok(Reply { answer: Value::Array(entries), tier, usage: None, wrote: None })
    }
}

impl Act for VaultSearch {
    type Answer = Value;

    fn destinations(&self, _world: &World, _grant: &Grant) -> Result<Vec<Destination>, Denied> {
        Ok(vec![whole_vault()])
    }

    async fn act(world: World, granted: Granted<Self>, who: Who) -> Result<Reply<Value>, Failed> {
        let visible = move |path: &str, tier| who.grant.reads(path).is_ok() && readable(&who.grant, tier);
        let (hits, tier) = world.vault.search(&granted, visible).await?;
        let hits = hits.into_iter().map(|hit| json!([hit.path, hit.line, hit.text])).collect();
        Ok(Reply { answer: Value::Array(hits), tier, usage: None, wrote: None })
    }
}

/// The note that a call writes: the same each time, whoever asks.
fn note(call: &VaultWrite, who: &Who) -> Result<String, VaultError> {
    let (agent, task) = (who.grant.agent().to_owned(), who.at.task.clone());
    let author = Author { agent, digest: who.digest.clone(), task, tier: who.label.tier };
    Vault::compose(call, &author)
}

fn intended(who: &Who, path: &str, text: &str) -> Artefact {
    Artefact {
        task: who.at.task.clone(),
        path: path.to_owned(),
        sha256: id::digest(text.as_bytes()),
        hop: who.at.hop,
        agent: who.grant.agent().to_owned(),
        digest: who.digest.clone(),
        tier: who.label.tier,
    }
}

/// What is told of a file that was written.
fn written(path: &str, text: &str) -> Reply<()> {
    let wrote = Wrote { path: path.to_owned(), sha256: id::digest(text.as_bytes()) };
    Reply { answer: (), tier: Tier::Public, usage: None, wrote: Some(wrote) }
}

impl Act for VaultWrite {
    type Answer = ();

    fn destinations(&self, world: &World, _grant: &Grant) -> Result<Vec<Destination>, Denied> {
        Ok(vec![Destination { yields: Tier::Public, ..world.vault.destination(&self.path) }])
    }

    fn effect(&self, _world: &World, _destination: &Destination) -> Effect {
        Effect::Repeatable
    }

    async fn prepare(&self, _world: &World, who: &Who) -> Result<Option<Artefact>, Failed> {
        Ok(Some(intended(who, &self.path, &note(self, who)?)))
    }

    async fn act(world: World, granted: Granted<Self>, who: Who) -> Result<Reply<()>, Failed> {
        let call = granted.call();
        let text = note(call, &who)?;
        let own = artefacts::contents(&world.db, &who.at.task, &call.path).await?;
        world.vault.write(&granted, text.clone(), own).await?;
        Ok(written(&call.path, &text))
    }
}

/// The file with what is added, doing nothing by being looked at: two halves may be harmless, and the whole not.
async fn extended(world: &World, call: &VaultAppend, own: Vec<String>, who: &Who) -> Result<String, Failed> {
    let whole = world.vault.extended(call, own, who.label.tier).await?;
    Ok(world.links.harmless(&whole, Eyes::Owner))
}

impl Act for VaultAppend {
    type Answer = ();

    fn destinations(&self, world: &World, _grant: &Grant) -> Result<Vec<Destination>, Denied> {
        Ok(vec![Destination { yields: Tier::Public, ..world.vault.destination(&self.path) }])
    }

    /// A replacement of the file by its longer self, with both hashes on record.
    fn effect(&self, _world: &World, _destination: &Destination) -> Effect {
        Effect::Repeatable
    }

    async fn prepare(&self, world: &World, who: &Who) -> Result<Option<Artefact>, Failed> {
        let own = artefacts::contents(&world.db, &who.at.task, &self.path).await?;
        Ok(Some(intended(who, &self.path, &extended(world, self, own, who).await?)))
    }

    async fn act(world: World, granted: Granted<Self>, who: Who) -> Result<Reply<()>, Failed> {
        let call = granted.call();
        let own = artefacts::contents(&world.db, &who.at.task, &call.path).await?;
        let text = extended(&world, call, own.clone(), &who).await?;
        world.vault.append(&granted, text.clone(), own).await?;
        Ok(written(&call.path, &text))
    }
}

impl wit::Host for Hop {
    async fn read(&mut self, path: String) -> wasmtime::Result<Result<wit::File, types::Error>> {
        Ok(perform(self, VaultRead { path }).await?.map_err(error).map(|told| wit::File {
            ref_: told.reference,
            text: told.answer.text,
            tier: tier(told.label.tier),
            modified_at: u64::try_from(told.answer.modified_at.0).unwrap_or_default(),
        }))
    }

    async fn entries(&mut self, pattern: String) -> wasmtime::Result<Result<Vec<wit::Entry>, types::Error>> {
        Ok(perform(self, VaultEntries { pattern }).await?.map_err(error).map(|told| {
            rows(&told.answer)
                .map(|row| wit::Entry { path: text(row, 0), bytes: number(row, 1), modified_at: number(row, 2) })
                .collect()
        }))
    }

    async fn search(
        &mut self,
        words: Vec<String>,
        pattern: String,
        limit: u32,
    ) -> wasmtime::Result<Result<Vec<wit::Hit>, types::Error>> {
        Ok(perform(self, VaultSearch { words, pattern, limit }).await?.map_err(error).map(|told| {
            rows(&told.answer)
                .map(|row| wit::Hit {
                    path: text(row, 0),
                    line: u32::try_from(number(row, 1)).unwrap_or(u32::MAX),
                    text: text(row, 2),
                })
                .collect()
        }))
    }

    async fn write(
        &mut self,
        path: String,
        front_matter: Vec<(String, String)>,
        body: String,
    ) -> wasmtime::Result<Result<String, types::Error>> {
        let body = self.world.links.harmless(&body, Eyes::Owner);
        let call = VaultWrite { path, front_matter, body };
        Ok(perform(self, call).await?.map_err(error).map(|told| told.reference))
    }

    async fn append(&mut self, path: String, text: String) -> wasmtime::Result<Result<String, types::Error>> {
        let text = self.world.links.harmless(&text, Eyes::Owner);
        Ok(perform(self, VaultAppend { path, text }).await?.map_err(error).map(|told| told.reference))
    }
}

fn rows(answer: &Value) -> impl Iterator<Item = &Vec<Value>> {
    answer.as_array().into_iter().flatten().filter_map(Value::as_array)
}

fn text(row: &[Value], at: usize) -> String {
    row.get(at).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn number(row: &[Value], at: usize) -> u64 {
    row.get(at).and_then(Value::as_u64).unwrap_or_default()
}
