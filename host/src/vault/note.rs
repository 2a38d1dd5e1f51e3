//! Front matter and body of a note.

use policy::call::VaultWrite;
use policy::tier::Tier;
use serde_yaml_ng::{Mapping, Value};

use super::VaultError;

/// Who wrote a note: the host adds it below what the agent says.
#[derive(Clone, Debug)]
pub struct Author {
    /// The agent.
    pub agent: String,
    /// Its component.
    pub digest: String,
    /// The task for which it was written.
    pub task: String,
    /// The label that the note carries.
    pub tier: Tier,
}

/// The whole text: the agent's front matter in its order, then `agent`, `digest`, `tier`, then the body.
pub(super) fn compose(call: &VaultWrite, author: &Author) -> Result<String, VaultError> {
    let invalid = |key: &str, why: String| VaultError::Invalid(format!("front matter `{key}`: {why}"));
    let mut front = Mapping::new();
    for (key, text) in &call.front_matter {
        if key.is_empty() || !key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-') {
            return Err(invalid(key, "a key is letters, digits, `_` and `-`".into()));
        }
        if ["agent", "digest", "tier"].contains(&key.as_str()) || front.contains_key(key.as_str()) {
            return Err(invalid(key, "it is there already, or is the host's to write".into()));
        }
        // Parsed and written anew, so that no value can bring a line of its own.
        let value: Value = serde_yaml_ng::from_str(text).map_err(|error| invalid(key, error.to_string()))?;
        if key == "task_id" && value.as_str() != Some(author.task.as_str()) {
            return Err(invalid(key, format!("it is not the task that writes this: leave it out, or write \"{}\"", author.task)));
        }
        front.insert(Value::from(key.as_str()), value);
    }
    front.insert("agent".into(), author.agent.as_str().into());
    front.insert("digest".into(), author.digest.as_str().into());
    front.insert("tier".into(), author.tier.as_str().into());
    let front = serde_yaml_ng::to_string(&front).map_err(|error| invalid("", error.to_string()))?;
    Ok(format!("---\n{front}---\n\n{}", call.body))
}

/// The tier that a text carries in its front matter, if it has one: what was written under a label keeps it.
pub(super) fn carried(text: &str) -> Option<Tier> {
    let front = text.strip_prefix("---\n")?;
    let front = front.get(..front.find("\n---")?)?;
    let front: Mapping = serde_yaml_ng::from_str(front).ok()?;
    Tier::named(front.get("tier")?.as_str()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(front_matter: &[(&str, &str)]) -> Result<String, VaultError> {
        let pairs = front_matter.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let call = VaultWrite { path: "a.md".into(), front_matter: pairs, body: "# A\n".into() };
        compose(&call, &Author { agent: "scout".into(), digest: "d1".into(), task: "01".into(), tier: Tier::Internal })
    }

    #[test]
    fn keys_keep_their_order_and_the_author_comes_last() {
        let text = note(&[("task_id", "\"01\""), ("intent", "note")]).expect("valid front matter");
        assert_eq!(text, "---\ntask_id: '01'\nintent: note\nagent: scout\ndigest: d1\ntier: internal\n---\n\n# A\n");
    }

    #[test]
    fn a_note_carries_its_tier() {
        assert_eq!(carried(&note(&[]).expect("valid front matter")), Some(Tier::Internal));
        assert_eq!(carried("---\ntier: restricted\n---\ntext"), Some(Tier::Restricted));
        for without in ["tier: restricted", "---\ntier: restricted", "---\ntier: [\n---\n", "---\nkind: x\n---\n", ""] {
            assert_eq!(carried(without), None, "{without}");
        }
    }

    #[test]
    fn a_value_cannot_bring_lines_of_its_own() {
        let text = note(&[("intent", "\"note\\ntier: public\"")]).expect("a string with a line break is a value");
        let end = text.get(4..).and_then(|rest| rest.find("---\n")).expect("front matter ends");
        let front: Mapping = serde_yaml_ng::from_str(&text[4..4 + end]).expect("front matter is YAML");
        assert_eq!(front.get("tier"), Some(&Value::from("internal")));
        assert!(note(&[("tier", "public")]).is_err());
        assert!(
            note(&[("task_id", "\"02\"")]).is_err() && note(&[("task_id", "17")]).is_err() && note(&[("task_id", "[]")]).is_err()
        );
        assert!(note(&[("a\nb", "x")]).is_err());
        assert!(note(&[("a", "[")]).is_err());
    }
}
