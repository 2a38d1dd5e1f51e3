//! Would a component be accepted, and what could it do at worst? Offline: no database, no network, no running host.

use std::path::Path;

use policy::grant::Grant;
use policy::manifest::{Ceiling, Manifest};
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::config::Config;
use crate::id;
use crate::runtime::engine::Cache;
use crate::runtime::{self, Ready};

/// The package whose interfaces agents speak.
const OURS: &str = "homeaiops:agent/";
/// What every agent exports.
const EXPORT: &str = "homeaiops:agent/agent@0.1.0";
/// WASI that is linked, with nothing in it.
const EMPTY_WASI: [&str; 5] = ["wasi:cli/", "wasi:clocks/", "wasi:filesystem/", "wasi:io/", "wasi:random/"];

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

/// Examines one file.
pub async fn examine(engine: &Engine, cache: &Cache, config: &Config, path: &Path) -> Report {
    let file = path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned());
    let bytes = std::fs::read(path).map_err(|error| vec![format!("cannot be read: {error}")]);
    examine_bytes(engine, cache, config, file, bytes).await
}

/// Examines a component that would be found in a file of that name.
pub async fn examine_bytes(
    engine: &Engine,
    cache: &Cache,
    config: &Config,
    file: String,
    bytes: Result<Vec<u8>, Vec<String>>,
) -> Report {
    let mut report = Report { file, digest: String::new(), bytes: 0, imports: Vec::new(), manifest: None, verdict: Err(vec![]) };
    report.verdict = match bytes {
        Ok(bytes) => judge(engine, cache, config, &bytes, &mut report).await,
        Err(complaints) => Err(complaints),
    };
    report
}

async fn judge(
    engine: &Engine,
    cache: &Cache,
    config: &Config,
    bytes: &[u8],
    report: &mut Report,
) -> Result<Accepted, Vec<String>> {
    report.digest = id::digest(bytes);
    report.bytes = bytes.len() as u64;
    let component = compile(engine, cache, bytes).map_err(|complaint| vec![complaint])?;
    let world = component.component_type();
    report.imports = world.imports(engine).map(|(name, _)| name.to_owned()).collect();
    if !world.exports(engine).any(|(name, _)| name == EXPORT) {
        return Err(vec![format!(
            "is a component of another world: it does not export `{EXPORT}`; write it against wit/agent.wit (in Rust: the SDK's `agent!`)"
        )]);
    }
    let foreign: Vec<String> = report.imports.iter().filter_map(|import| foreign(import)).collect();
    if !foreign.is_empty() {
        return Err(foreign);
    }
    let described = runtime::describe(engine, &component).await;
    let manifest = described.map_err(|error| vec![format!("`describe` failed: {}", error.root_cause())])?;
    report.manifest = Some(manifest.clone());

    let mut complaints = manifest.complaints();
    let stem = report.file.trim_end_matches(".wasm");
    if manifest.id != stem {
        complaints
            .push(format!("says its id is `{}`: name the file {}.wasm, or change `id` in agent.toml", manifest.id, manifest.id));
    }
    complaints.extend(report.imports.iter().filter_map(|import| unwanted(import, &manifest)));
    let unset = Ceiling::default();
    let ceiling = config.grants.get(&manifest.id).unwrap_or(&unset);
    let grant = match Grant::effective(&manifest, ceiling, &config.limits, &config.grant_at(&manifest.id)) {
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

/// An import that this host never gives.
fn foreign(import: &str) -> Option<String> {
    if EMPTY_WASI.iter().any(|prefix| import.starts_with(prefix)) {
        return None;
    }
    match import.strip_prefix(OURS).map(|interface| interface.split('@').next().unwrap_or(interface)) {
        Some("types" | "log" | "model" | "tools" | "vault") => None,
        Some(_) => Some(format!("imports `{import}`, which this version of the host does not serve")),
        None => Some(format!("imports `{import}`, which no agent gets: agents reach the world through their host only")),
    }
}

/// An import that the manifest does not ask for.
fn unwanted(import: &str, manifest: &Manifest) -> Option<String> {
    let wants = &manifest.wants;
    let interface = import.strip_prefix(OURS)?.split('@').next()?;
    let (wanted, key) = match interface {
        "model" => (!wants.models.is_empty(), "models"),
        "tools" => (!wants.tools.is_empty(), "tools"),
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
        for import in [
            "wasi:sockets/tcp@0.2.6",
            "wasi:http/outgoing-handler@0.2.4",
            "wasi:keyvalue/store@0.1.0",
            "homeaiops:agent/memory@0.1.0",
            "someone:else/thing@1.0.0",
        ] {
            assert!(foreign(import).is_some(), "{import}");
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
