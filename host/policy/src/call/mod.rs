//! One type per host function: what an agent asked for, parsed once. What is judged here is what is hashed, shown and sent.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::denied::Denied;
use crate::grant::Grant;
use crate::task::words;

mod tools;

pub use tools::{Propose, ToolCall, ToolMatching, ToolSearch};

/// A call that passes through the host's one path.
pub trait Call: Clone + Send + Sync + Serialize + DeserializeOwned + 'static {
    /// `interface.function`, stable: part of the fingerprint and a metric label.
    const KIND: &'static str;

    /// Whether the grant covers it.
    ///
    /// # Errors
    /// [`Denied`] with the smallest edit.
    fn within(&self, grant: &Grant) -> Result<(), Denied>;

    /// Takes over from the call that this one was read anew from what is no part of its request.
    fn beside(&mut self, _original: &Self) {}
}

words! {
    /// What a call does to the world, and so what a crash in its middle means.
    Effect {
        /// It only looks: it can be issued again.
        None = "none",
        /// It changes something, and issuing it again changes nothing more: by its nature, or since its receiver takes a key.
        Repeatable = "repeatable",
        /// It changes something, and issuing it again may change it again: nobody but a person may do that.
        Once = "once",
    }
}

/// Who speaks in a chat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Speaker {
    /// The persona and the rules.
    System,
    /// The task.
    User,
    /// The model.
    Assistant,
    /// The result of a tool.
    Tool,
}

/// One message of a chat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks.
    pub role: Speaker,
    /// What is said.
    pub text: String,
}

/// `model.complete`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Complete {
    /// The group that the agent asks for.
    pub group: String,
    /// The chat so far.
    pub messages: Vec<Message>,
    /// JSON Schema that the text must satisfy.
    pub schema: Option<serde_json::Value>,
    /// Sampling temperature.
    pub temperature: Option<f32>,
    /// Most tokens that the model may write.
    pub max_output_tokens: u32,
}

impl Complete {
    /// Bytes of the prompt, schema included, and what a server writes around it and around each message: an upper bound of its
    /// tokens.
    #[must_use]
    pub fn prompt_bytes(&self) -> u64 {
        const AROUND: usize = 64;
        const AROUND_EACH: usize = 16;
        let schema = self.schema.as_ref().map_or(0, |schema| schema.to_string().len());
        let text: usize = self.messages.iter().map(|message| message.text.len()).sum();
        (text + schema + AROUND + AROUND_EACH * self.messages.len()) as u64
    }
}

impl Call for Complete {
    const KIND: &'static str = "model.complete";

    fn within(&self, grant: &Grant) -> Result<(), Denied> {
        grant.asks_model(&self.group)
    }
}

/// `model.embed`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Embed {
    /// The group that the agent asks for.
    pub group: String,
    /// The texts, each becoming one vector.
    pub texts: Vec<String>,
}

impl Call for Embed {
    const KIND: &'static str = "model.embed";

    fn within(&self, grant: &Grant) -> Result<(), Denied> {
        grant.asks_model(&self.group)
    }
}

/// `vault.read`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VaultRead {
    /// Relative to the vault's root.
    pub path: String,
}

impl Call for VaultRead {
    const KIND: &'static str = "vault.read";

    fn within(&self, grant: &Grant) -> Result<(), Denied> {
        grant.reads(&self.path)
    }
}

/// `vault.entries`. Answers only what the grant lets the agent read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VaultEntries {
    /// Pattern of paths.
    pub pattern: String,
}

impl Call for VaultEntries {
    const KIND: &'static str = "vault.entries";

    fn within(&self, grant: &Grant) -> Result<(), Denied> {
        grant.reads_anything()
    }
}

/// `vault.search`. Looks only into what the grant lets the agent read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VaultSearch {
    /// Any of them, without regard to case.
    pub words: Vec<String>,
    /// Pattern of paths.
    pub pattern: String,
    /// Most hits.
    pub limit: u32,
}

impl Call for VaultSearch {
    const KIND: &'static str = "vault.search";

    fn within(&self, grant: &Grant) -> Result<(), Denied> {
        grant.reads_anything()
    }
}

/// `vault.write`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VaultWrite {
    /// Relative to the vault's root.
    pub path: String,
    /// Keys and YAML values, in order.
    pub front_matter: Vec<(String, String)>,
    /// Markdown.
    pub body: String,
}

impl Call for VaultWrite {
    const KIND: &'static str = "vault.write";

    fn within(&self, grant: &Grant) -> Result<(), Denied> {
        grant.writes(&self.path)
    }
}

/// `vault.append`. Repeatable since it is a replacement of a file by its longer self, recorded with both hashes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VaultAppend {
    /// Relative to the vault's root.
    pub path: String,
    /// Added at the end.
    pub text: String,
}

impl Call for VaultAppend {
    const KIND: &'static str = "vault.append";

    fn within(&self, grant: &Grant) -> Result<(), Denied> {
        grant.writes(&self.path)
    }
}

/// A guest's sleep: `subscribe-duration` and `subscribe-instant` of `wasi:clocks/monotonic-clock`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sleep {
    /// How long, by the guest's clock.
    pub nanoseconds: u64,
}

impl Call for Sleep {
    const KIND: &'static str = "clock.sleep";

    fn within(&self, _grant: &Grant) -> Result<(), Denied> {
        Ok(())
    }
}

/// What a call that did not succeed answers the agent. Journaled like any result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum CallError {
    /// A rule refused it.
    #[error("denied: {said}; {hint}")]
    Denied {
        /// Short and closed.
        rule: String,
        /// What was refused.
        said: String,
        /// File and key.
        at: String,
        /// The smallest edit.
        hint: String,
    },
    /// The arguments make no sense.
    #[error("{text}")]
    Invalid {
        /// Which and why.
        text: String,
    },
    /// The other side answered with a failure of its own.
    #[error("{text}")]
    Failed {
        /// What it said.
        text: String,
    },
    /// Nothing of that name.
    #[error("{text}")]
    NotFound {
        /// Which name.
        text: String,
    },
    /// Somebody else changed it.
    #[error("{text}")]
    Conflict {
        /// What and when.
        text: String,
    },
}

impl CallError {
    /// The short word for timelines and metrics.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Denied { .. } => "denied",
            Self::Invalid { .. } => "invalid",
            Self::Failed { .. } => "failed",
            Self::NotFound { .. } => "not-found",
            Self::Conflict { .. } => "conflict",
        }
    }
}

impl From<Denied> for CallError {
    fn from(denied: Denied) -> Self {
        let Denied { rule, said, at, hint } = denied;
        Self::Denied { rule: rule.to_owned(), said, at, hint }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::class::Hints;
    use crate::grant::tests::{LIMITS, manifest};
    use crate::manifest::{Ceiling, Wants};

    /// A grant of one list only.
    fn only(key: &str) -> Grant {
        let one = |of: &str| if of == key { vec!["it".to_owned()] } else { Vec::new() };
        let wants = Wants {
            models: one("models"),
            tools: one("tools"),
            vault_read: one("vault_read"),
            vault_write: one("vault_write"),
            ..Wants::default()
        };
        let wishes = manifest("scout", wants);
        Grant::effective(&wishes, &Ceiling { ..wishes.asked() }, &LIMITS, "here").unwrap()
    }

    fn complete(group: &str) -> Complete {
        let message = Message { role: Speaker::User, text: "é".repeat(10) };
        Complete {
            group: group.into(),
            messages: vec![message.clone(), message],
            schema: Some(json!({ "type": "object" })),
            temperature: None,
            max_output_tokens: 1,
        }
    }

    #[test]
    fn each_call_is_within_its_own_list_and_no_other() {
        let it = || "it".to_owned();
        let tool = |tool: &str| ToolCall::new(tool, json!({}));
        let judged = |key: &str, grant: &Grant| -> Vec<bool> {
            match key {
                "models" => {
                    vec![complete("it").within(grant).is_ok(), Embed { group: it(), texts: Vec::new() }.within(grant).is_ok()]
                }
                "tools" => vec![
                    tool("it").within(grant).is_ok(),
                    ToolSearch { query: it(), limit: 1 }.within(grant).is_ok(),
                    ToolMatching { pattern: it() }.within(grant).is_ok(),
                ],
                "vault_read" => vec![
                    VaultRead { path: it() }.within(grant).is_ok(),
                    VaultEntries { pattern: it() }.within(grant).is_ok(),
                    VaultSearch { words: Vec::new(), pattern: it(), limit: 1 }.within(grant).is_ok(),
                ],
                _ => vec![
                    VaultWrite { path: it(), front_matter: Vec::new(), body: String::new() }.within(grant).is_ok(),
                    VaultAppend { path: it(), text: String::new() }.within(grant).is_ok(),
                ],
            }
        };
        let keys = ["models", "tools", "vault_read", "vault_write"];
        for granted in keys {
            for asked in keys {
                let all = judged(asked, &only(granted));
                assert!(all.iter().all(|allowed| *allowed == (asked == granted)), "{asked} under a grant of {granted}: {all:?}");
            }
            assert!(Sleep { nanoseconds: 1 }.within(&only(granted)).is_ok(), "time is everybody's");
        }
        assert!(tool("other").within(&only("tools")).is_err());
    }

    #[test]
    fn a_prompt_is_counted_whole() {
        // Two messages of 20 bytes, 17 bytes of schema, 64 around all and 16 around each.
        assert_eq!(complete("it").prompt_bytes(), 2 * 20 + 17 + 64 + 2 * 16);
        assert_eq!(Complete { messages: Vec::new(), schema: None, ..complete("it") }.prompt_bytes(), 64);
    }

    #[test]
    fn what_is_no_part_of_a_request_is_taken_over() {
        let call = ToolCall {
            tool: "it".into(),
            arguments: json!({}),
            batched: true,
            hints: Some(Hints::default()),
            why: "so".into(),
            undo: Some("back".into()),
            allowed: true,
            unfit: Some("so".into()),
        };
        let mut again: ToolCall = serde_json::from_value(serde_json::to_value(&call).unwrap()).unwrap();
        assert_eq!((again.batched, again.hints, again.allowed), (false, None, false));
        again.beside(&call);
        assert_eq!(again, call);
    }

    #[test]
    fn an_error_has_a_short_word() {
        let text = || "x".to_owned();
        let denied = Denied { rule: "r", said: text(), at: text(), hint: text() };
        for (error, word) in [
            (CallError::from(denied), "denied"),
            (CallError::Invalid { text: text() }, "invalid"),
            (CallError::Failed { text: text() }, "failed"),
            (CallError::NotFound { text: text() }, "not-found"),
            (CallError::Conflict { text: text() }, "conflict"),
        ] {
            assert_eq!(error.kind(), word);
        }
    }
}
