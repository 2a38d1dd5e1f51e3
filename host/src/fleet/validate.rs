//! Would a component be accepted, and what could it do at worst? Offline: no database, no network, no running host.

use std::path::Path;

use policy::grant::Grant;
use policy::manifest::{Ceiling, Manifest};
use policy::task::{Priority, Role, Timestamp};
use policy::tier::Tier;
use wasmtime::Engine;
use wasmtime::component::Component;

use super::signature::{Signature, Statement};
use super::{BUNDLED, provenance};
use crate::config::{Config, cache_dir};
use crate::id;
use crate::runtime::engine::Cache;
use crate::runtime::trial::{self, Trial};
use crate::runtime::{self, Brief, Ready};

/// The package whose interfaces agents speak, and the edition of it that this host serves.
const OURS: &str = "homeaiops:agent/";
const EDITION: &str = "0.1.0";
/// What every agent exports.
const EXPORT: &str = "homeaiops:agent/agent@0.1.0";
/// WASI that is linked, with nothing in it.
const EMPTY_WASI: [&str; 5] = ["wasi:cli/", "wasi:clocks/", "wasi:filesystem/", "wasi:io/", "wasi:random/"];
/// Largest file that is read at all, in bytes: components of other languages carry their whole interpreter.
const MOST: u64 = 64 * 1024 * 1024;
/// Examples that are tried.
const TRIED: usize = 3;

/// Where a component lies.
pub enum Found<'f> {
    /// In a file, with its signature beside it.
    File(&'f Path),
    /// In the database, with the signature that stood beside its file.
    Kept(Option<String>),
    /// Nowhere in particular: it is only rehearsed, and will not serve.
    Aside,
}

/// What was found in one file.
pub struct Report {
    /// Its name.
    pub file: String,
    /// SHA-256 in hex; empty if it could not be read.
    pub digest: String,
    /// Its size.
    pub bytes: u64,
    /// The interfaces that it imports.
    pub imports: Vec<String>,
    /// What it says of itself, if it got so far.
    pub manifest: Option<Manifest>,
    /// Who stands for it.
    pub signature: Signature,
    /// What it did alone with its examples, twice each.
    pub trials: Vec<(String, Trial)>,
    /// What is no reason to refuse it and should be known.
    pub notes: Vec<String>,
    /// The agent, or every complaint, each naming the line to change.
    pub verdict: Result<Accepted, Vec<String>>,
}

/// A component that may serve.
pub struct Accepted {
    /// What it says of itself.
    pub manifest: Manifest,
    /// What it may do.
    pub grant: Grant,
    /// Ready to run.
    pub ready: Ready,
}

/// The content of a component's file.
///
/// # Errors
/// A complaint.
pub fn read(path: &Path) -> Result<Vec<u8>, String> {
    let unread = |error: std::io::Error| format!("cannot be read: {error}");
    let size = std::fs::metadata(path).map_err(unread)?.len();
    if size > MOST {
        return Err(format!(
            "is {} MiB large, and at most {} are read: strip it, or leave out what it embeds",
            size >> 20,
            MOST >> 20
        ));
    }
    std::fs::read(path).map_err(unread)
}

/// Examines one file.
pub async fn examine(engine: &Engine, cache: &Cache, config: &Config, path: &Path) -> Report {
    let file = path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned());
    examine_bytes(engine, cache, config, (file, Found::File(path)), read(path)).await
}

/// Examines a component of that file name.
pub async fn examine_bytes(
    engine: &Engine,
    cache: &Cache,
    config: &Config,
    (file, found): (String, Found<'_>),
    bytes: Result<Vec<u8>, String>,
) -> Report {
    let mut report = Report {
        file,
        digest: String::new(),
        bytes: 0,
        imports: Vec::new(),
        manifest: None,
        signature: Signature::None,
        trials: Vec::new(),
        notes: Vec::new(),
        verdict: Err(vec![]),
    };
    report.verdict = match bytes {
        Ok(bytes) => Examination { engine, cache, config, found }.judge(bytes, &mut report).await,
        Err(complaint) => Err(vec![complaint]),
    };
    report
}

struct Examination<'e> {
    engine: &'e Engine,
    cache: &'e Cache,
    config: &'e Config,
    found: Found<'e>,
}

impl Examination<'_> {
    async fn judge(&self, bytes: Vec<u8>, report: &mut Report) -> Result<Accepted, Vec<String>> {
        let (engine, config) = (self.engine, self.config);
        report.digest = id::digest(&bytes);
        report.bytes = bytes.len() as u64;
        let component = self.compiled(bytes).await.map_err(|complaint| vec![complaint])?;
        report.imports = component.component_type().imports(engine).map(|(name, _)| name.to_owned()).collect();
        of_our_world(engine, &component)?;
        let described = runtime::describe(engine, &component).await;
        let manifest = described.map_err(|error| vec![format!("`describe` failed: {}", error.root_cause())])?;
        report.manifest = Some(manifest.clone());

        let mut complaints = manifest.complaints();
        let stem = report.file.trim_end_matches(".wasm");
        if manifest.id != stem {
            complaints.push(format!(
                "says its id is `{}`: name the file {}.wasm, or change `id` in agent.toml",
                manifest.id, manifest.id
            ));
        }
        complaints.extend(report.imports.iter().filter_map(|import| unwanted(import, &manifest)));
        let unset = Ceiling::default();
        let ceiling = config.grants.get(&manifest.id).unwrap_or(&unset);
        report.signature = self.signature(&report.digest, &manifest, ceiling);
        complaints.extend(self.untrusted(report, &manifest));
        let effective = Grant::effective(&manifest, ceiling, &config.limits, &config.grant_at(&manifest.id));
        // Nobody's code runs but its whose wishes are granted, and who is stood for where somebody has to be.
        let tried = complaints.is_empty() && effective.is_ok();
        if matches!(self.found, Found::File(_)) && tried {
            complaints.extend(self.tried(&component, &manifest, report).await);
        }
        let grant = match effective {
            Ok(grant) if complaints.is_empty() => grant,
            Ok(_) => return Err(complaints),
            Err(beyond) => {
                complaints.extend(beyond);
                return Err(complaints);
            }
        };
        let ready =
            runtime::link(engine, &component, &manifest).map_err(|error| vec![format!("does not link: {}", error.root_cause())])?;
        Ok(Accepted { manifest, grant, ready })
    }

    /// Compiles aside: a host that works goes on meanwhile.
    async fn compiled(&self, bytes: Vec<u8>) -> Result<Component, String> {
        let (engine, cache) = (self.engine.clone(), self.cache.clone());
        let compiling = tokio::task::spawn_blocking(move || compile(&engine, &cache, &bytes));
        compiling.await.unwrap_or_else(|error| Err(format!("is no valid component: the compiler gave up: {error}")))
    }

    fn signature(&self, digest: &str, manifest: &Manifest, ceiling: &Ceiling) -> Signature {
        match (Statement::of(digest, manifest, ceiling), self.config.agents.keys()) {
            (Ok(statement), Ok(trusted)) => match &self.found {
                Found::File(path) => statement.signed(path, &trusted),
                Found::Kept(Some(text)) => statement.said(text, &trusted),
                Found::Kept(None) | Found::Aside => Signature::None,
            },
            (Err(error), _) => Signature::Bad(error.to_string()),
            (_, Err(said)) => Signature::Bad(said),
        }
    }

    /// Why nobody stands for it, where somebody has to.
    fn untrusted(&self, report: &mut Report, manifest: &Manifest) -> Vec<String> {
        if matches!(self.found, Found::Aside) {
            return Vec::new();
        }
        let (config, id) = (self.config, &manifest.id);
        let mut complaints = Vec::new();
        match &report.signature {
            Signature::By(_) => return complaints,
            Signature::Bad(why) if config.agents.require_signature || !config.agents.trusted_keys.is_empty() => {
                complaints.push(format!("signature: {why}"));
            }
            // Without a trusted key no signature means anything.
            Signature::Bad(why) => report.notes.push(format!("signature: {why}")),
            Signature::None if config.agents.require_signature => complaints.push(
                "is not signed, and `require_signature` in [agents] is set: `host agent sign` signs it under its grants of now"
                    .into(),
            ),
            Signature::None => {}
        }
        let bundled = BUNDLED.contains(&id.as_str()) && !config.own_grants.contains(id);
        if bundled && !provenance::built_here(&cache_dir(), id, &report.digest) {
            complaints.push(format!(
                "bears the name of a bundled agent and is not the one that ships: the shipped grants are not for it; build it with \
                 `host agent build`, sign it with `host agent sign`, or write a [grants.{id}] of its own in {}",
                config.file
            ));
        }
        complaints
    }

    /// Tries the first examples alone, each twice; a complaint if it does not do the same.
    async fn tried(&self, component: &Component, manifest: &Manifest, report: &mut Report) -> Option<String> {
        let trial = |example: String| async move {
            let brief = alone(example, manifest);
            trial::run(self.engine, component, &manifest.limits, brief).await
        };
        for example in manifest.examples.iter().filter(|example| !example.trim().is_empty()).take(TRIED) {
            let (first, second) = match (trial(example.clone()).await, trial(example.clone()).await) {
                (Ok(first), Ok(second)) => (first, second),
                (Err(error), _) | (_, Err(error)) => return Some(format!("cannot be tried: {}", error.root_cause())),
            };
            if first.calls != second.calls {
                let at = first.calls.iter().zip(&second.calls).take_while(|(one, other)| one == other).count();
                let shown = |trial: &Trial| trial.calls.get(at).map_or_else(|| "nothing more".to_owned(), |call| short(call));
                return Some(format!(
                    "does not do the same twice, so it could not be resumed after a crash: given the example `{}`, its call {} was {} \
                     and then {}",
                    short(example),
                    at + 1,
                    shown(&first),
                    shown(&second)
                ));
            }
            if let Err(why) = &first.ended {
                report.notes.push(format!("tried alone with the example `{}`: {why}", short(example)));
            }
            report.trials.push((example.clone(), first));
        }
        None
    }
}

fn short(text: &str) -> String {
    const MOST: usize = 120;
    if text.chars().count() <= MOST { text.to_owned() } else { text.chars().take(MOST).chain(['…']).collect() }
}

/// A task that nobody gave.
fn alone(content: String, manifest: &Manifest) -> Brief {
    const NEVER: Timestamp = Timestamp(1_700_000_000_000);
    Brief {
        task: "00000000000000000000000000".into(),
        content,
        source: "test".into(),
        role: Role::Operator,
        intent: None,
        priority: Priority::Normal,
        destructive: None,
        tier: Tier::Internal,
        conversation: Vec::new(),
        received_at: NEVER,
        handed: Vec::new(),
        colleagues: Vec::new(),
        limits: manifest.limits,
        now: NEVER,
        extra: vec![("vault-name".into(), "vault".into())],
    }
}

fn compile(engine: &Engine, cache: &Cache, bytes: &[u8]) -> Result<Component, String> {
    const CORE_MODULE: &[u8] = b"\0asm\x01\0\0\0";
    if bytes.starts_with(CORE_MODULE) {
        return Err("is a core WebAssembly module, not a component: build it for wasm32-wasip2 (`host agent build` does)".into());
    }
    if !bytes.starts_with(b"\0asm") {
        return Err("is not WebAssembly at all".into());
    }
    cache.component(engine, bytes).map_err(|error| format!("is no valid component: {}", error.root_cause()))
}

/// What it imports and exports is what an agent may.
fn of_our_world(engine: &Engine, component: &Component) -> Result<(), Vec<String>> {
    let world = component.component_type();
    if !world.exports(engine).any(|(name, _)| name == EXPORT) {
        let other =
            world.exports(engine).find(|(name, _)| name.starts_with("homeaiops:agent/agent")).map(|(name, _)| name.to_owned());
        return Err(vec![match other {
            Some(other) => {
                format!("exports `{other}`, and this host speaks `{EXPORT}`: build it against that edition of wit/agent.wit")
            }
            None => format!(
                "is a component of another world: it does not export `{EXPORT}`; write it against wit/agent.wit (in Rust: the SDK's `agent!`)"
            ),
        }]);
    }
    let foreign: Vec<String> = world.imports(engine).filter_map(|(import, _)| foreign(import)).collect();
    if foreign.is_empty() { Ok(()) } else { Err(foreign) }
}

/// An import that this host never gives.
fn foreign(import: &str) -> Option<String> {
    if EMPTY_WASI.iter().any(|prefix| import.starts_with(prefix)) {
        return None;
    }
    let Some(ours) = import.strip_prefix(OURS) else {
        return Some(format!(
            "imports `{import}`, which no agent gets: agents reach the world through their host only; leave out what needs it"
        ));
    };
    let (interface, edition) = ours.split_once('@').unwrap_or((ours, ""));
    match interface {
        "types" | "log" | "model" | "tools" | "vault" | "approvals" if edition == EDITION => None,
        "types" | "log" | "model" | "tools" | "vault" | "approvals" => Some(format!(
            "imports `{import}`, and this host serves edition {EDITION}: build it against that edition of wit/agent.wit"
        )),
        _ => Some(format!("imports `{import}`, which this version of the host does not serve")),
    }
}

/// An import that the manifest does not ask for.
fn unwanted(import: &str, manifest: &Manifest) -> Option<String> {
    let wants = &manifest.wants;
    let interface = import.strip_prefix(OURS)?.split('@').next()?;
    let (wanted, key) = match interface {
        "model" => (!wants.models.is_empty(), "models"),
        "tools" => (!wants.tools.is_empty(), "tools"),
        "approvals" => (wants.approvals, "approvals"),
        "vault" => (!(wants.vault_read.is_empty() && wants.vault_write.is_empty()), "vault-read or vault-write"),
        _ => return None,
    };
    (!wanted).then(|| format!("imports `{import}` but does not ask for it: add `{key}` to [wants] in agent.toml"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_agent_gets_a_network_of_its_own() {
        for (import, why) in [
            ("wasi:sockets/tcp@0.2.6", "which no agent gets"),
            ("wasi:http/outgoing-handler@0.2.4", "which no agent gets"),
            ("wasi:keyvalue/store@0.1.0", "which no agent gets"),
            ("homeaiops:agent/memory@0.1.0", "does not serve"),
            ("homeaiops:agent/model@0.2.0", "this host serves edition 0.1.0"),
            ("homeaiops:agent/vault", "this host serves edition 0.1.0"),
            ("someone:else/thing@1.0.0", "which no agent gets"),
        ] {
            assert!(foreign(import).is_some_and(|said| said.contains(why)), "{import}");
        }
        for import in [
            "wasi:cli/stdin@0.2.9",
            "wasi:random/insecure-seed@0.2.6",
            "homeaiops:agent/tools@0.1.0",
            "homeaiops:agent/vault@0.1.0",
        ] {
            assert!(foreign(import).is_none(), "{import}");
        }
    }
}
