//! Reads `agent.toml` when an agent is compiled, so that a mistake in it is a compile error with its line.

use std::{env, fs, path::Path};

use proc_macro::TokenStream;
use quote::quote;
use serde::{Deserialize, Serialize};

/// `agent.toml`; serialised it has the shape of the WIT's `manifest`. The persona is `persona.md` beside it.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all(deserialize = "kebab-case"))]
struct AgentToml {
    id: String,
    name: String,
    emoji: String,
    version: String,
    purpose: String,
    mode: String,
    #[serde(default)]
    local_only: bool,
    class_floor: ActionClass,
    examples: Vec<String>,
    #[serde(default)]
    wants: Wants,
    limits: Limits,
    /// Filled in from `persona.md` when the component describes itself.
    #[serde(skip_deserializing)]
    persona: String,
    #[serde(skip_deserializing)]
    extra: Vec<(String, String)>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all(deserialize = "lowercase"))]
enum ActionClass {
    A,
    B,
    C,
    D,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields, default, rename_all(deserialize = "kebab-case"))]
struct Wants {
    models: Vec<String>,
    tools: Vec<String>,
    vault_read: Vec<String>,
    vault_write: Vec<String>,
    memory: String,
    approvals: bool,
    handoff: Vec<String>,
}

impl Default for Wants {
    fn default() -> Self {
        Self {
            models: Vec::new(),
            tools: Vec::new(),
            vault_read: Vec::new(),
            vault_write: Vec::new(),
            memory: "none".into(),
            approvals: false,
            handoff: Vec::new(),
        }
    }
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all(deserialize = "kebab-case"))]
struct Limits {
    memory_mib: u32,
    cpu_ms: u32,
    wall_s: u32,
    host_calls: u32,
    output_tokens: u64,
    usd_micros: u64,
    journal_kib: u32,
    log_kib: u32,
}

/// Expands to the calling crate's `agent.toml` as a JSON string, checked for its keys and types.
#[proc_macro]
pub fn agent_toml(_: TokenStream) -> TokenStream {
    let folder = env::var("CARGO_MANIFEST_DIR").unwrap_or_else(|_| ".".into());
    let path = Path::new(&folder).join("agent.toml").display().to_string();
    match json(&path) {
        // `include_str!` makes cargo rebuild the agent when the file changes.
        Ok(json) => quote!({ const _: &str = include_str!(#path); #json }).into(),
        Err(said) => quote!(compile_error!(#said)).into(),
    }
}

fn json(path: &str) -> Result<String, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
    let agent: AgentToml = toml::from_str(&text).map_err(|error| format!("{path}: {error}"))?;
    serde_json::to_string(&agent).map_err(|error| format!("{path}: {error}"))
}
