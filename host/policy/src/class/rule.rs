//! What the operator's rules say of a call, by its tool and its arguments: the first that matches.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Class;
use crate::pattern::{BadPattern, Patterns};
use crate::tier::{Clearance, Tier};

/// `[[mcp.rules]]`: what the operator says of tools.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Pattern of tools.
    pub tools: String,
    /// JSON pointer → patterns, one of which the argument there must match. A rule with arguments knows more than an annotation.
    #[serde(default)]
    pub args: BTreeMap<String, Vec<String>>,
    /// Their class.
    pub class: Class,
    /// How such a call is undone: what makes a C a C.
    #[serde(default)]
    pub undo: Option<Undo>,
    /// Whether their results may lie: a run that has read them may not do B without being asked.
    #[serde(default = "yes")]
    pub untrusted: bool,
    /// Tier of their results.
    #[serde(default = "internal")]
    pub tier: Tier,
    /// Highest label that their arguments may carry.
    #[serde(default = "cleared_internal")]
    pub clearance: Clearance,
    /// Whether their receiver does the same call only once, by its key or by its nature.
    #[serde(default)]
    pub idempotent: bool,
    /// What such a call costs, in US dollars: for whoever is asked to consent to it.
    #[serde(default)]
    pub cost_usd: Option<f64>,
}

impl Rule {
    /// A rule that says only that: what it does not say is what is safe.
    #[must_use]
    pub fn of(tools: &str, class: Class) -> Self {
        Self {
            tools: tools.to_owned(),
            args: BTreeMap::new(),
            class,
            undo: None,
            untrusted: yes(),
            tier: internal(),
            clearance: cleared_internal(),
            idempotent: false,
            cost_usd: None,
        }
    }
}

/// A call that undoes another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Undo {
    /// Its tool.
    pub tool: String,
    /// Its arguments; a text that is a JSON pointer in braces, such as `{/entity_id}`, stands for that argument of the call it undoes.
    #[serde(default)]
    pub args: serde_json::Map<String, Value>,
}

impl Undo {
    /// The call that undoes one with these arguments; `None` if an argument that it needs was not given.
    #[must_use]
    pub fn of(&self, arguments: &Value) -> Option<(String, Value)> {
        Some((self.tool.clone(), filled(&Value::Object(self.args.clone()), arguments)?))
    }
}

/// A template with its pointers filled in.
fn filled(template: &Value, arguments: &Value) -> Option<Value> {
    Some(match template {
        Value::String(text) => {
            match text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).filter(|at| at.starts_with('/')) {
                Some(at) => arguments.pointer(at)?.clone(),
                None => template.clone(),
            }
        }
        Value::Array(all) => Value::Array(all.iter().map(|one| filled(one, arguments)).collect::<Option<_>>()?),
        Value::Object(all) => {
            let each = all.iter().map(|(key, one)| Some((key.clone(), filled(one, arguments)?)));
            Value::Object(each.collect::<Option<_>>()?)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => template.clone(),
    })
}

fn yes() -> bool {
    true
}

fn internal() -> Tier {
    Tier::Internal
}

fn cleared_internal() -> Clearance {
    Clearance(Tier::Internal)
}

/// The operator's rules, compiled.
#[derive(Clone, Debug, Default)]
pub struct Rules(Vec<Compiled>);

#[derive(Clone, Debug)]
struct Compiled {
    rule: Rule,
    calls: Calls,
}

/// Which calls a rule speaks of: by tool, and by arguments.
#[derive(Clone, Debug)]
pub(crate) struct Calls {
    tools: Patterns,
    args: Vec<(String, Patterns)>,
}

impl Calls {
    /// Of tools that match, with at each JSON pointer an argument that matches.
    pub(crate) fn compile(tools: &String, args: &BTreeMap<String, Vec<String>>) -> Result<Self, BadPattern> {
        let args = args.iter().map(|(at, globs)| Ok((at.clone(), Patterns::compile(globs)?)));
        Ok(Self { tools: Patterns::compile(std::slice::from_ref(tools))?, args: args.collect::<Result<_, _>>()? })
    }

    pub(crate) fn cover(&self, tool: &str, arguments: &Value) -> bool {
        let allowed = |(at, globs): &(String, Patterns)| arguments.pointer(at).is_some_and(|value| fits(globs, value));
        self.tools.covers(tool) && self.args.iter().all(allowed)
    }
}

impl Rules {
    /// Compiles them, in their order.
    ///
    /// # Errors
    /// [`BadPattern`] names the first that does not parse.
    pub fn compile(rules: &[Rule]) -> Result<Self, BadPattern> {
        let compiled = |rule: &Rule| Ok(Compiled { rule: rule.clone(), calls: Calls::compile(&rule.tools, &rule.args)? });
        Ok(Self(rules.iter().map(compiled).collect::<Result<_, _>>()?))
    }

    /// The first that matches the tool and its arguments.
    #[must_use]
    pub fn of(&self, tool: &str, arguments: &Value) -> Option<&Rule> {
        let matches = |one: &&Compiled| one.calls.cover(tool, arguments);
        self.0.iter().find(matches).map(|one| &one.rule)
    }
}

/// Whether an argument matches: all of a list, and never a list of nothing.
fn fits(globs: &Patterns, value: &Value) -> bool {
    match value {
        Value::String(text) => globs.covers(text),
        Value::Number(_) | Value::Bool(_) => globs.covers(&value.to_string()),
        Value::Array(all) => !all.is_empty() && all.iter().all(|one| !one.is_array() && fits(globs, one)),
        Value::Null | Value::Object(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rule(class: Class) -> Rule {
        let said = serde_json::from_value(json!({ "tools": "ha_*", "class": class })).expect("a rule needs no more than that");
        assert_eq!(Rule::of("ha_*", class), said);
        said
    }

    fn with_args(class: Class) -> Rule {
        Rule { args: BTreeMap::from([("/domain".into(), vec!["light".into(), "scene*".into()])]), ..rule(class) }
    }

    #[test]
    fn an_undo_is_filled_from_the_call_that_it_undoes() {
        let undo: Undo = serde_json::from_value(json!({
            "tool": "ha_call",
            "args": { "domain": "lock", "entity_id": "{/entity_id}", "more": [{ "x": "{/a~1b/0}" }, "{}", "{x}"] }
        }))
        .expect("it is complete");
        let arguments = json!({ "entity_id": ["lock.front"], "a/b": [7] });
        let filled = json!({ "domain": "lock", "entity_id": ["lock.front"], "more": [{ "x": 7 }, "{}", "{x}"] });
        assert_eq!(undo.of(&arguments), Some(("ha_call".into(), filled)));
        assert_eq!(undo.of(&json!({ "entity_id": "x" })), None, "one that lacks an argument undoes nothing");
    }

    #[test]
    fn the_first_rule_that_matches_tool_and_arguments_wins() {
        let rules = Rules::compile(&[with_args(Class::B), rule(Class::D)]).expect("the patterns parse");
        let of = |tool: &str, arguments: Value| rules.of(tool, &arguments).map(|rule| rule.class);
        assert_eq!(of("ha_call", json!({ "domain": "light" })), Some(Class::B));
        assert_eq!(of("ha_call", json!({ "domain": ["light", "scenes"] })), Some(Class::B));
        for other in
            [json!({ "domain": "lock" }), json!({ "domain": ["light", "lock"] }), json!({ "domain": [] }), json!({}), json!(null)]
        {
            assert_eq!(of("ha_call", other.clone()), Some(Class::D), "{other}");
        }
        assert_eq!(of("other", json!({ "domain": "light" })), None);
    }
}
