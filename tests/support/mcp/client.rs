//! The host's own MCP client, let loose on a server: it reads the catalogue, and calls each tool once, with ones for numbers and words for
//! texts. For the protocol's conformance suite.

use host::config::Mcp;
use host::egress::Client;
use host::gateway::Gateway;
use policy::call::ToolCall;
use policy::grant::Grant;
use policy::judge::{self, Destination};
use policy::manifest::{Ceiling, Limits, Manifest, Wants};
use policy::tier::{Clearance, Label, Tier};
use serde_json::{Map, Value, json};

/// Reads the catalogue and calls each tool; what they said.
pub async fn called(url: &str) -> Result<String, String> {
    let client = Client::new(std::iter::once(url), &[]).map_err(|error| error.to_string())?;
    let gateway = Gateway::new(&Mcp::at(url.to_owned(), Vec::new()), "nowhere", client).map_err(|error| error.to_string())?;
    gateway.look_for(&["*"]).await.map_err(|trouble| trouble.to_string())?;
    let known = gateway.known();
    let grant = everything()?;
    let mut said = Vec::new();
    for tool in known.tools() {
        let call = ToolCall { hints: Some(tool.hints), ..ToolCall::new(tool.name.clone(), arguments(&tool.schema)) };
        let destination = Destination {
            name: tool.name.clone(),
            clearance: Clearance::OPERATOR,
            yields: Tier::Public,
            untrusted: false,
            reason: String::new(),
        };
        let allowed = judge::within(&grant, call).map_err(|denied| denied.to_string())?;
        let granted = judge::cleared(allowed, Label::of(Tier::Public), destination).map_err(|denied| denied.to_string())?;
        let seen = gateway.call(&granted, "a key", true).await.map_err(|trouble| trouble.to_string())?;
        said.push(format!("{}: {}", tool.name, seen.text));
    }
    Ok(said.join("\n"))
}

/// What a schema asks for.
fn arguments(schema: &Value) -> Value {
    let properties = schema.get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
    let value = |of: &Value| match of.get("type").and_then(Value::as_str) {
        Some("number" | "integer") => json!(1),
        Some("boolean") => json!(true),
        _ => json!("one"),
    };
    Value::Object(properties.iter().map(|(name, of)| (name.clone(), value(of))).collect::<Map<_, _>>())
}

/// A grant of every tool: what the host would have to have decided before it calls one.
fn everything() -> Result<Grant, String> {
    let all = vec!["**".to_owned()];
    let limits =
        Limits { memory_mib: 1, cpu_ms: 1, wall_s: 1, host_calls: 1, output_tokens: 1, usd_micros: 1, journal_kib: 1, log_kib: 1 };
    let manifest = Manifest {
        id: "client".into(),
        name: "client".into(),
        emoji: String::new(),
        version: "1".into(),
        purpose: String::new(),
        mode: "executor".into(),
        local_only: false,
        class_floor: "a".into(),
        wants: Wants { tools: all.clone(), ..Wants::default() },
        limits,
        persona: String::new(),
        examples: Vec::new(),
        extra: Vec::new(),
    };
    let ceiling = Ceiling { tools: all, clearance: Tier::Restricted, ..Ceiling::default() };
    Grant::effective(&manifest, &ceiling, &limits, "nowhere").map_err(|complaints| complaints.join("; "))
}
