//! Which tools an agent may look with, and how a model reads of them.
//!
//! Must never offer a tool that could change something: looking is not acting.

use serde_json::Value;

use crate::seen::start;
use crate::toolbox::{self, Tool};
use crate::{ActionClass, Agent, said};

/// Most tools that a model is offered: more of them it does not read.
const MOST_TOOLS: usize = 60;
/// Characters for all tools together, and for each.
const ROOM: usize = 16_000;
const LEAST_EACH: usize = 120;
const MOST_EACH: usize = 900;
/// Most characters of what a tool or an argument is for.
const MOST_PURPOSE: usize = 240;
const MOST_ARGUMENT: usize = 80;

/// The tools to look with.
#[derive(Clone, Debug, Default)]
pub struct Offer {
    /// They only look; by name.
    pub tools: Vec<Tool>,
    /// Why some, or all, are missing: sentences without a full stop.
    pub missing: Vec<String>,
    /// Host calls that it took to find out.
    pub calls: u32,
}

impl Offer {
    /// What the agent's `wants.tools` and its operator leave of the tools that only look.
    #[must_use]
    pub fn of(me: &Agent) -> Self {
        let mut offer = Self::default();
        let mut found: Vec<Tool> = Vec::new();
        for pattern in together(&me.manifest.wants.tools) {
            offer.calls = offer.calls.saturating_add(1);
            match toolbox::matching(&pattern) {
                Ok(tools) => found.extend(tools),
                Err(error) => offer.missing.push(said(&error)),
            }
        }
        found.sort_by(|one, other| one.name.cmp(&other.name));
        found.dedup_by(|one, other| one.name == other.name);
        let all = found.len();
        found.retain(only_looks);
        let acting = all - found.len();
        if acting > 0 {
            offer.missing.push(format!(
                "{acting} of the {all} tools are not known to only look: a rule of class A in [[mcp.rules]] says that they do"
            ));
        }
        if found.len() > MOST_TOOLS {
            offer.missing.push(format!("{} tools are too many to be offered: the first {MOST_TOOLS} are", found.len()));
            found.truncate(MOST_TOOLS);
        }
        offer.tools = found;
        offer
    }

    /// Why there is nothing to look with.
    #[must_use]
    pub fn why_none(&self) -> String {
        if self.missing.is_empty() { "no tool of those that it asks for is there".into() } else { self.missing.join("; ") }
    }

    /// The tools, one a line, as a model reads them.
    #[must_use]
    pub fn told(&self) -> String {
        let each = (ROOM / self.tools.len().max(1)).clamp(LEAST_EACH, MOST_EACH);
        let line = |tool: &Tool| {
            let purpose = start(&tool.description.replace('\n', " "), MOST_PURPOSE);
            let line = format!("- {} {} — {purpose}", tool.name, arguments(&tool.schema));
            format!("{}\n", start(&line, each))
        };
        self.tools.iter().map(line).collect()
    }

    /// Whether a tool of that name is offered.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.tools.iter().any(|tool| tool.name == name)
    }
}

/// Whether it changes nothing.
#[must_use]
pub fn only_looks(tool: &Tool) -> bool {
    tool.read_only || tool.class == ActionClass::A
}

/// Fewer patterns that say the same: each costs a host call. One with braces or the like stays alone.
fn together(patterns: &[String]) -> Vec<String> {
    let (intricate, plain): (Vec<String>, Vec<String>) =
        patterns.iter().cloned().partition(|pattern| pattern.contains(['{', '}', ',', '[', ']', '\\']));
    if plain.len() < 2 {
        return patterns.to_vec();
    }
    let mut all = vec![format!("{{{}}}", plain.join(","))];
    all.extend(intricate);
    all
}

/// The arguments of a tool in short: `{namespace: string, tail?: integer (lines from the end)}`.
fn arguments(schema: &str) -> String {
    let schema: Value = serde_json::from_str(schema).unwrap_or_default();
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return "{}".into() };
    let required = |name: &str| {
        let names = schema.get("required").and_then(Value::as_array);
        names.is_some_and(|names| names.iter().any(|one| one == name))
    };
    let each = properties.iter().map(|(name, property)| {
        let mark = if required(name) { "" } else { "?" };
        let purpose = property.get("description").and_then(Value::as_str).unwrap_or_default().replace('\n', " ");
        let purpose = if purpose.is_empty() { purpose } else { format!(" ({})", start(&purpose, MOST_ARGUMENT)) };
        format!("{name}{mark}: {}{purpose}", kind(property))
    });
    format!("{{{}}}", each.collect::<Vec<_>>().join(", "))
}

/// What may be given for an argument.
fn kind(property: &Value) -> String {
    if let Some(words) = property.get("enum").and_then(Value::as_array) {
        return words.iter().map(Value::to_string).collect::<Vec<_>>().join("|");
    }
    match property.get("type") {
        Some(Value::String(one)) => one.clone(),
        Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("|"),
        _ => "any".into(),
    }
}
