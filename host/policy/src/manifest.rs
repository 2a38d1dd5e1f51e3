//! What a component says of itself. It grants nothing.

use serde::{Deserialize, Serialize};

use crate::pattern::Patterns;
use crate::tier::Tier;

/// What `describe` answers. The fields are those of `manifest` in the WIT; the default one says nothing and is not complete.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Stable name; also the file's, `ID.wasm`.
    pub id: String,
    /// For people.
    pub name: String,
    /// One glyph for people.
    pub emoji: String,
    /// Of the agent, not of the interface.
    pub version: String,
    /// One sentence that the triager reads when it chooses.
    pub purpose: String,
    /// One of [`MODES`].
    pub mode: String,
    /// Never served by a remote model group.
    pub local_only: bool,
    /// Lowest action class of its calls: `a` to `d`.
    pub class_floor: String,
    /// What it asks to be allowed.
    pub wants: Wants,
    /// What it promises to stay under.
    pub limits: Limits,
    /// Who it is, in Markdown.
    pub persona: String,
    /// Task texts for a dry run.
    pub examples: Vec<String>,
    /// Keys that later versions understand.
    pub extra: Vec<(String, String)>,
}

/// The capabilities that a component asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wants {
    /// Model groups; the first is the one it uses by default.
    pub models: Vec<String>,
    /// Patterns of tools.
    pub tools: Vec<String>,
    /// Patterns of paths.
    pub vault_read: Vec<String>,
    /// Patterns of paths.
    pub vault_write: Vec<String>,
    /// `none`, `read` or `write`.
    pub memory: String,
    /// Whether it asks humans by itself.
    pub approvals: bool,
    /// Patterns of agents that it hands to.
    pub handoff: Vec<String>,
}

/// The bounds of one run. There are no defaults: zero means that it was not given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// All linear memories together, in MiB.
    pub memory_mib: u64,
    /// Time that the guest executes, in milliseconds.
    pub cpu_ms: u64,
    /// Time from start to end, waits included, in seconds.
    pub wall_s: u64,
    /// Host calls of any kind.
    pub host_calls: u64,
    /// Tokens that models write for it.
    pub output_tokens: u64,
    /// Money, in millionths of a US dollar. The only one that may be zero: free models only.
    pub usd_micros: u64,
    /// Journaled arguments and results, in KiB.
    pub journal_kib: u64,
    /// Log lines, in KiB.
    pub log_kib: u64,
}

impl Limits {
    /// Each limit with its name as written in `[limits]`.
    #[must_use]
    pub fn each(&self) -> [(&'static str, u64); 8] {
        [
            ("memory_mib", self.memory_mib),
            ("cpu_ms", self.cpu_ms),
            ("wall_s", self.wall_s),
            ("host_calls", self.host_calls),
            ("output_tokens", self.output_tokens),
            ("usd_micros", self.usd_micros),
            ("journal_kib", self.journal_kib),
            ("log_kib", self.log_kib),
        ]
    }
}

/// The manners of working that a manifest may name.
pub const MODES: [&str; 8] = ["planner", "executor", "reviewer", "guardian", "observer", "historian", "upstream-watcher", "router"];

/// Whether an agent may be called that.
#[must_use]
pub fn is_id(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=64).contains(&text.len()) && text.chars().all(allowed)
}

impl Manifest {
    /// The ceiling that grants exactly what it wants.
    #[must_use]
    pub fn asked(&self) -> Ceiling {
        let wants = self.wants.clone();
        Ceiling {
            models: wants.models,
            tools: wants.tools,
            vault_read: wants.vault_read,
            vault_write: wants.vault_write,
            memory: MemoryGrant::named(&wants.memory),
            approvals: wants.approvals,
            handoff: wants.handoff,
            ..Ceiling::default()
        }
    }

    /// The same, with what no manifest asks for as it stands in the ceiling of now.
    #[must_use]
    pub fn asked_above(&self, held: &Ceiling) -> Ceiling {
        let Ceiling { clearance, cost_usd_per_task, .. } = *held;
        Ceiling { clearance, escalate_to: held.escalate_to.clone(), cost_usd_per_task, ..self.asked() }
    }

    /// Everything that is missing or malformed, each naming its key and the edit. Empty if the manifest is complete.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        let mut found = Vec::new();
        if !is_id(&self.id) {
            found.push(format!("id `{}` must be 1 to 64 of a-z, 0-9 and `-`", self.id));
        }
        for (key, text) in [
            ("name", &self.name),
            ("emoji", &self.emoji),
            ("version", &self.version),
            ("purpose", &self.purpose),
            ("persona", &self.persona),
        ] {
            if text.trim().is_empty() {
                found.push(format!("`{key}` is missing: write it in agent.toml (the persona in persona.md)"));
            }
        }
        if !MODES.contains(&self.mode.as_str()) {
            found.push(format!("mode `{}` is none of {}", self.mode, MODES.join(", ")));
        }
        if !["a", "b", "c", "d"].contains(&self.class_floor.as_str()) {
            found.push(format!("class-floor `{}` is none of a, b, c, d", self.class_floor));
        }
        if !["none", "read", "write"].contains(&self.wants.memory.as_str()) {
            found.push(format!("wants.memory `{}` is none of none, read, write", self.wants.memory));
        }
        if self.examples.iter().all(|example| example.trim().is_empty()) {
            found.push("`examples` is empty: give at least one task text for the dry run".into());
        }
        for (limit, value) in self.limits.each() {
            if value == 0 && limit != "usd_micros" {
                found.push(format!("limits.{limit} is missing: there are no default limits, set it above 0"));
            }
        }
        let patterns = [&self.wants.tools, &self.wants.vault_read, &self.wants.vault_write, &self.wants.handoff];
        for bad in patterns.into_iter().filter_map(|texts| Patterns::compile(texts).err()) {
            found.push(format!("in `wants`: {bad}"));
        }
        found
    }
}

/// The operator's ceiling for one agent: a `[grants.ID]` table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ceiling {
    /// Groups that it may ask for.
    pub models: Vec<String>,
    /// Groups that the router may move its calls to beyond their fallbacks.
    pub escalate_to: Vec<String>,
    /// Patterns of tools.
    pub tools: Vec<String>,
    /// Patterns of paths.
    pub vault_read: Vec<String>,
    /// Patterns of paths.
    pub vault_write: Vec<String>,
    /// `none`, `read` or `write`.
    pub memory: MemoryGrant,
    /// Highest label that its runs may reach.
    pub clearance: Tier,
    /// Whether it may use the `approvals` import.
    pub approvals: bool,
    /// Patterns of agents that it may hand to.
    pub handoff: Vec<String>,
    /// Most money of one task, in US dollars, at which it may still spend; without it only the caps of all agents hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_usd_per_task: Option<f64>,
}

impl Default for Ceiling {
    fn default() -> Self {
        Self {
            models: Vec::new(),
            escalate_to: Vec::new(),
            tools: Vec::new(),
            vault_read: Vec::new(),
            vault_write: Vec::new(),
            memory: MemoryGrant::None,
            clearance: Tier::Internal,
            approvals: false,
            handoff: Vec::new(),
            cost_usd_per_task: None,
        }
    }
}

/// How far an agent may use what is remembered across tasks. Ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MemoryGrant {
    /// Not at all.
    None,
    /// It may recall.
    Read,
    /// It may recall and remember.
    Write,
}

impl MemoryGrant {
    /// The one of that word; a word that is none of them grants nothing.
    #[must_use]
    pub fn named(word: &str) -> Self {
        [Self::Read, Self::Write].into_iter().find(|grant| grant.as_str() == word).unwrap_or(Self::None)
    }

    /// The word of the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Read => "read",
            Self::Write => "write",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_short_and_plain() {
        for good in ["a", "note-maker", "agent-7", &"x".repeat(64)] {
            assert!(is_id(good), "{good}");
        }
        for bad in ["", "Note", "a_b", "a b", "ä", "a/b", "..", &"x".repeat(65)] {
            assert!(!is_id(bad), "{bad}");
        }
    }

    #[test]
    fn a_manifest_without_a_limit_is_incomplete() {
        let mut bare = crate::grant::tests::manifest("scout", Wants::default());
        assert_eq!(bare.complaints(), Vec::<String>::new());
        bare.limits.cpu_ms = 0;
        assert!(bare.complaints()[0].contains("limits.cpu_ms is missing"));
    }

    #[test]
    fn what_is_asked_is_a_ceiling_and_the_rest_stays_the_operators() {
        let one = |text: &str| vec![text.to_owned()];
        let wants = Wants {
            models: one("m"),
            tools: one("t"),
            vault_read: one("r"),
            vault_write: one("w"),
            memory: "write".into(),
            approvals: true,
            handoff: one("h"),
        };
        let manifest = Manifest { wants, ..Manifest::default() };
        let lists = Ceiling {
            models: one("m"),
            tools: one("t"),
            vault_read: one("r"),
            vault_write: one("w"),
            memory: MemoryGrant::Write,
            approvals: true,
            handoff: one("h"),
            ..Ceiling::default()
        };
        assert_eq!(manifest.asked(), lists);
        let held = Ceiling {
            escalate_to: one("e"),
            clearance: Tier::Restricted,
            cost_usd_per_task: Some(2.0),
            models: one("other"),
            ..Ceiling::default()
        };
        let above = Ceiling { escalate_to: one("e"), clearance: Tier::Restricted, cost_usd_per_task: Some(2.0), ..lists };
        assert_eq!(manifest.asked_above(&held), above);
    }

    #[test]
    fn memory_is_granted_by_three_words() {
        for (grant, word) in [(MemoryGrant::None, "none"), (MemoryGrant::Read, "read"), (MemoryGrant::Write, "write")] {
            assert_eq!((grant.as_str(), MemoryGrant::named(word)), (word, grant));
        }
        assert_eq!(MemoryGrant::named("everything"), MemoryGrant::None);
        assert!(MemoryGrant::None < MemoryGrant::Read && MemoryGrant::Read < MemoryGrant::Write);
    }

    #[test]
    fn each_mistake_of_a_manifest_is_named() {
        let whole = crate::grant::tests::manifest("scout", Wants::default());
        assert_eq!(whole.complaints(), Vec::<String>::new());
        let wants = |wants: Wants| Manifest { wants, ..whole.clone() };
        let base = || whole.wants.clone();
        let broken = || vec!["a[".to_owned()];
        for (manifest, said) in [
            (Manifest { id: "No".into(), ..whole.clone() }, "id `No`"),
            (Manifest { name: " ".into(), ..whole.clone() }, "`name` is missing"),
            (Manifest { emoji: String::new(), ..whole.clone() }, "`emoji` is missing"),
            (Manifest { version: String::new(), ..whole.clone() }, "`version` is missing"),
            (Manifest { purpose: String::new(), ..whole.clone() }, "`purpose` is missing"),
            (Manifest { persona: String::new(), ..whole.clone() }, "`persona` is missing"),
            (Manifest { mode: "boss".into(), ..whole.clone() }, "mode `boss`"),
            (Manifest { class_floor: "e".into(), ..whole.clone() }, "class-floor `e`"),
            (Manifest { examples: vec![" ".into()], ..whole.clone() }, "`examples` is empty"),
            (Manifest { examples: Vec::new(), ..whole.clone() }, "`examples` is empty"),
            (wants(Wants { memory: "all".into(), ..base() }), "wants.memory `all`"),
            (wants(Wants { tools: broken(), ..base() }), "in `wants`: `a[`"),
            (wants(Wants { vault_read: broken(), ..base() }), "in `wants`: `a[`"),
            (wants(Wants { vault_write: broken(), ..base() }), "in `wants`: `a[`"),
            (wants(Wants { handoff: broken(), ..base() }), "in `wants`: `a[`"),
        ] {
            let complaints = manifest.complaints();
            assert!(complaints.len() == 1 && complaints[0].contains(said), "{said}: {complaints:?}");
        }
        for mode in MODES {
            assert_eq!(Manifest { mode: mode.into(), ..whole.clone() }.complaints(), Vec::<String>::new());
        }
    }
}
