//! What a household member may ask for at the door, and which calls may be made on their behalf without anybody being asked. Decided on
//! the call, never on the words that led to it (design §8, contract §5).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::class::{Calls, Class};
use crate::pattern::BadPattern;
use crate::task::{Intent, Role};
use crate::tier::Label;

/// Why a request of a household member is turned away.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Blocked {
    /// The gate needs an intent to decide on.
    #[error("requests of household members must say their intent")]
    IntentMissing,
    /// This intent is not on the list.
    #[error("household members may not ask for `{}`", .0.as_str())]
    IntentBlocked(Intent),
}

/// Whether a request may enter; operators and the system always may.
///
/// # Errors
/// [`Blocked`] says why not.
pub fn gate(role: Role, intent: Option<Intent>, allowed: &[Intent]) -> Result<(), Blocked> {
    match (role, intent) {
        (Role::Operator | Role::System, _) => Ok(()),
        (Role::Household, None) => Err(Blocked::IntentMissing),
        (Role::Household, Some(intent)) if allowed.contains(&intent) => Ok(()),
        (Role::Household, Some(intent)) => Err(Blocked::IntentBlocked(intent)),
    }
}

/// `[[household.allow]]`: calls that need no asking.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Allow {
    /// Pattern of tools.
    pub tools: String,
    /// JSON pointer → patterns, one of which the argument there must match.
    #[serde(default)]
    pub args: BTreeMap<String, Vec<String>>,
    /// What must hold first.
    #[serde(default)]
    pub when: Option<When>,
}

/// A look that must find what is expected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct When {
    /// A tool that only looks.
    pub tool: String,
    /// Its arguments; `{requester}` in a text stands for whoever asks.
    #[serde(default)]
    pub args: Map<String, Value>,
    /// Where in its answer (JSON pointer) the finding stands.
    pub at: String,
    /// What it may be there.
    pub is: Vec<String>,
}

impl When {
    /// The arguments of the look, on behalf of that requester.
    #[must_use]
    pub fn arguments(&self, requester: &str) -> Map<String, Value> {
        let named = |value: &Value| {
            let text = value.as_str().map(|text| text.replace("{requester}", requester));
            text.map_or_else(|| value.clone(), Value::String)
        };
        self.args.iter().map(|(key, value)| (key.clone(), named(value))).collect()
    }

    /// Whether that answer says what is expected.
    #[must_use]
    pub fn holds(&self, answer: &Value) -> bool {
        let found = answer.pointer(&self.at).and_then(Value::as_str);
        found.is_some_and(|found| self.is.iter().any(|one| one == found))
    }
}

/// The operator's list, compiled.
#[derive(Clone, Debug, Default)]
pub struct Allowed(Vec<(Allow, Calls)>);

impl Allowed {
    /// Compiles the list.
    ///
    /// # Errors
    /// [`BadPattern`] names the first that does not parse.
    pub fn compile(list: &[Allow]) -> Result<Self, BadPattern> {
        let compiled = |allow: &Allow| Ok((allow.clone(), Calls::compile(&allow.tools, &allow.args)?));
        Ok(Self(list.iter().map(compiled).collect::<Result<_, _>>()?))
    }

    /// The entries that speak of that call, in their order.
    pub fn of<'l>(&'l self, tool: &'l str, arguments: &'l Value) -> impl Iterator<Item = &'l Allow> {
        self.0.iter().filter(move |(_, calls)| calls.cover(tool, arguments)).map(|(allow, _)| allow)
    }
}

/// Whether a call that is listed, and whose `when` holds, needs no asking. What cannot be undone is always asked about, and so is what a
/// run does that has read what may lie; `class` is the call's own, whatever was read.
#[must_use]
pub fn unasked(class: Class, label: Label) -> bool {
    class <= Class::C && !label.tainted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tier::Tier;
    use serde_json::json;

    #[test]
    fn a_list_is_of_calls_and_not_of_words() {
        let list: Vec<Allow> = serde_json::from_value(json!([
            { "tools": "ha_call", "args": { "/domain": ["light", "scene"], "/entity_id": ["light.*", "scene.*"] } },
            { "tools": "ha_call", "args": { "/domain": ["lock"], "/service": ["unlock"] },
              "when": { "tool": "ha_state", "args": { "entity_id": "person.{requester}", "n": 1 }, "at": "/state", "is": ["home"] } },
        ]))
        .expect("it is complete");
        let allowed = Allowed::compile(&list).expect("the patterns parse");
        let of = |arguments: Value| allowed.of("ha_call", &arguments).count();
        assert_eq!(of(json!({ "domain": "light", "entity_id": "light.hall" })), 1);
        assert_eq!(of(json!({ "domain": "light", "entity_id": ["light.hall", "lock.front"] })), 0);
        assert_eq!(of(json!({ "domain": "light" })), 0);
        assert_eq!(of(json!({ "domain": "lock", "service": "unlock" })), 1);
        assert_eq!(of(json!({ "domain": "lock", "service": "open" })), 0);
        let when = list[1].when.as_ref().expect("it has one");
        assert_eq!(Value::Object(when.arguments("renee")), json!({ "entity_id": "person.renee", "n": 1 }));
        assert!(when.holds(&json!({ "state": "home" })));
        for other in [json!({ "state": "not_home" }), json!({ "state": ["home"] }), json!({}), json!("home")] {
            assert!(!when.holds(&other), "{other}");
        }
        assert!(Allowed::compile(&[Allow { tools: "a[".into(), ..list[0].clone() }]).is_err());
    }

    #[test]
    fn what_cannot_be_undone_or_was_read_from_liars_is_asked_about() {
        let label = Label::of(Tier::Internal);
        let unasked = |class| unasked(class, label);
        assert_eq!([Class::A, Class::B, Class::C, Class::D].map(unasked), [true, true, true, false]);
        assert!(!super::unasked(Class::B, Label { tainted: true, ..label }));
    }

    #[test]
    fn only_household_members_are_gated() {
        let allowed = [Intent::Question];
        assert_eq!(gate(Role::Operator, None, &allowed), Ok(()));
        assert_eq!(gate(Role::System, Some(Intent::Bug), &allowed), Ok(()));
        assert_eq!(gate(Role::Household, Some(Intent::Question), &allowed), Ok(()));
        assert_eq!(gate(Role::Household, None, &allowed), Err(Blocked::IntentMissing));
        assert_eq!(gate(Role::Household, Some(Intent::Bug), &allowed), Err(Blocked::IntentBlocked(Intent::Bug)));
    }
}
