//! What an agent may do: what it asks for ∩ what the operator allows, computed once at load.
//!
//! A [`Grant`] has private fields and only [`Grant::effective`] makes one. Checks neither allocate (but for a refusal) nor lock.

use crate::class::Class;
use crate::denied::Denied;
use crate::manifest::{Ceiling, Limits, Manifest, MemoryGrant};
use crate::pattern::{BadPattern, Patterns};
use crate::tier::Tier;

/// The effective grant of one agent.
#[derive(Clone, Debug)]
pub struct Grant {
    agent: String,
    at: String,
    models: Both,
    tools: Both,
    vault_read: Both,
    vault_write: Both,
    handoff: Both,
    clearance: Tier,
    floor: Class,
    local_only: bool,
    limits: Limits,
    usd_per_task: Option<f64>,
    asks_people: bool,
}

/// A list wanted by the manifest and the operator's for the same key: both must cover.
#[derive(Clone, Debug)]
struct Both {
    key: &'static str,
    wanted: Patterns,
    allowed: Patterns,
}

impl Both {
    fn of(key: &'static str, wanted: &[String], allowed: &[String]) -> Result<Self, BadPattern> {
        Ok(Self { key, wanted: Patterns::compile(wanted)?, allowed: Patterns::compile(allowed)? })
    }

    fn covers(&self, name: &str) -> bool {
        self.wanted.covers(name) && self.allowed.covers(name)
    }

    /// Patterns wanted that the operator's list does not cover.
    fn beyond(&self) -> impl Iterator<Item = &String> {
        self.wanted.texts().iter().filter(|text| !self.allowed.covers_pattern(text))
    }
}

impl Grant {
    /// The grant of `manifest` under the operator's `ceiling` and `limits`; `at` says where the ceiling is written.
    ///
    /// # Errors
    /// One complaint for everything that the manifest wants beyond its ceiling, each with the line to add or remove.
    pub fn effective(manifest: &Manifest, ceiling: &Ceiling, limits: &Limits, at: &str) -> Result<Self, Vec<String>> {
        let wants = &manifest.wants;
        let lists = [
            Both::of("models", &wants.models, &ceiling.models),
            Both::of("tools", &wants.tools, &ceiling.tools),
            Both::of("vault_read", &wants.vault_read, &ceiling.vault_read),
            Both::of("vault_write", &wants.vault_write, &ceiling.vault_write),
            Both::of("handoff", &wants.handoff, &ceiling.handoff),
        ];
        let mut complaints: Vec<String> =
            lists.iter().filter_map(|list| list.as_ref().err()).map(|bad| format!("{at}: {bad}")).collect();
        for list in lists.iter().flatten() {
            complaints.extend(list.beyond().map(|text| beyond(list.key, text, at)));
        }
        if wants.approvals && !ceiling.approvals {
            complaints.push(format!("wants `approvals`: add `approvals = true` to {at}, or remove it from agent.toml"));
        }
        let memory = MemoryGrant::named(&wants.memory);
        if memory > ceiling.memory {
            let word = memory.as_str();
            complaints.push(format!("wants memory `{word}`: set `memory = \"{word}\"` in {at}, or lower it in agent.toml"));
        }
        for ((limit, wanted), (_, most)) in manifest.limits.each().into_iter().zip(limits.each()) {
            if wanted > most {
                complaints.push(format!(
                    "limits.{limit} = {wanted} is above the ceiling {most}: lower it in agent.toml, or raise `{limit}` in [limits]"
                ));
            }
        }
        match (complaints.is_empty(), lists) {
            (true, [Ok(models), Ok(tools), Ok(vault_read), Ok(vault_write), Ok(handoff)]) => Ok(Self {
                agent: manifest.id.clone(),
                at: at.to_owned(),
                models,
                tools,
                vault_read,
                vault_write,
                handoff,
                clearance: ceiling.clearance,
                // A manifest with another letter has its complaint, and never serves.
                floor: Class::named(&manifest.class_floor).unwrap_or(Class::D),
                local_only: manifest.local_only,
                limits: manifest.limits,
                usd_per_task: ceiling.cost_usd_per_task,
                asks_people: wants.approvals && ceiling.approvals,
            }),
            _ => Err(complaints),
        }
    }

    /// Whether it may ask for that model group.
    ///
    /// # Errors
    /// [`Denied`] with the smallest edit.
    pub fn asks_model(&self, group: &str) -> Result<(), Denied> {
        self.check(&self.models, group)
    }

    /// Whether it may ask a person.
    ///
    /// # Errors
    /// [`Denied`] with the smallest edit.
    pub fn asks(&self) -> Result<(), Denied> {
        if self.asks_people {
            return Ok(());
        }
        Err(Denied {
            rule: "approvals",
            said: format!("`{}` may not ask people", self.agent),
            at: self.at.clone(),
            hint: format!("set approvals = true in {}, and `approvals` of `wants` in agent.toml", self.at),
        })
    }

    /// The patterns of tools that it asks for.
    #[must_use]
    pub fn tools(&self) -> Vec<&str> {
        self.tools.wanted.texts().iter().map(String::as_str).collect()
    }

    /// Whether it may call that tool.
    ///
    /// # Errors
    /// [`Denied`] with the smallest edit.
    pub fn uses(&self, tool: &str) -> Result<(), Denied> {
        self.check(&self.tools, tool)
    }

    /// Whether it may call any tool at all, and so look through them.
    ///
    /// # Errors
    /// [`Denied`] with the smallest edit.
    pub fn uses_anything(&self) -> Result<(), Denied> {
        self.any(&self.tools, "*")
    }

    /// Whether it may read that path.
    ///
    /// # Errors
    /// [`Denied`] with the smallest edit.
    pub fn reads(&self, path: &str) -> Result<(), Denied> {
        self.check(&self.vault_read, path)
    }

    /// Whether it may read anything at all, and so list and search.
    ///
    /// # Errors
    /// [`Denied`] with the smallest edit.
    pub fn reads_anything(&self) -> Result<(), Denied> {
        self.any(&self.vault_read, "**")
    }

    /// Whether it may write that path.
    ///
    /// # Errors
    /// [`Denied`] with the smallest edit.
    pub fn writes(&self, path: &str) -> Result<(), Denied> {
        self.check(&self.vault_write, path)
    }

    /// Whether it may hand a task to that agent.
    #[must_use]
    pub fn hands_to(&self, agent: &str) -> bool {
        agent != self.agent && self.handoff.covers(agent)
    }

    /// The patterns by which the list of that key covers a name: the manifest's, and the operator's.
    #[must_use]
    pub fn lines(&self, key: &str, name: &str) -> Option<(&str, &str)> {
        let list = [&self.models, &self.tools, &self.vault_read, &self.vault_write, &self.handoff];
        let list = list.into_iter().find(|list| list.key == key)?;
        Some((list.wanted.covering(name)?, list.allowed.covering(name)?))
    }

    /// Highest label that its runs may reach.
    #[must_use]
    pub fn clearance(&self) -> Tier {
        self.clearance
    }

    /// Lowest action class of its calls.
    #[must_use]
    pub fn floor(&self) -> Class {
        self.floor
    }

    /// Whether its model calls must stay in the house.
    #[must_use]
    pub fn local_only(&self) -> bool {
        self.local_only
    }

    /// The bounds of each of its runs.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// US dollars of one task at which it may still spend, if its operator set any.
    #[must_use]
    pub fn usd_per_task(&self) -> Option<f64> {
        self.usd_per_task
    }

    /// Whose grant this is.
    #[must_use]
    pub fn agent(&self) -> &str {
        &self.agent
    }

    /// Where the operator's part of it is written.
    #[must_use]
    pub fn at(&self) -> &str {
        &self.at
    }

    fn check(&self, list: &Both, name: &str) -> Result<(), Denied> {
        if list.covers(name) { Ok(()) } else { Err(self.refusal(list, name)) }
    }

    /// Whether anything at all can be within that list.
    fn any(&self, list: &Both, all: &str) -> Result<(), Denied> {
        let empty = |patterns: &Patterns| patterns.texts().is_empty();
        if empty(&list.wanted) || empty(&list.allowed) { Err(self.refusal(list, all)) } else { Ok(()) }
    }

    fn refusal(&self, list: &Both, name: &str) -> Denied {
        let key = list.key;
        // What the manifest wants is in the way only of who does not want it.
        let (line, at) = match list.wanted.covers(name) {
            true => (key.to_owned(), self.at.clone()),
            false => (key.replace('_', "-"), format!("`wants` in agent.toml of {}", self.agent)),
        };
        Denied {
            rule: key,
            said: format!("{key} does not cover `{name}`"),
            hint: format!("add \"{name}\" to `{line}` in {at}"),
            at,
        }
    }
}

fn beyond(key: &str, text: &str, at: &str) -> String {
    let wish = key.replace('_', "-");
    format!("wants {wish} `{text}`: add \"{text}\" to `{key}` in {at}, or remove it from `{wish}` in agent.toml")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::manifest::Wants;
    use proptest::prelude::*;

    pub(crate) fn manifest(id: &str, wants: Wants) -> Manifest {
        Manifest {
            id: id.into(),
            name: "Test".into(),
            emoji: "🧪".into(),
            version: "1".into(),
            purpose: "tests".into(),
            mode: "executor".into(),
            local_only: false,
            class_floor: "a".into(),
            wants: Wants { memory: "none".into(), ..wants },
            limits: LIMITS,
            persona: "you test".into(),
            examples: vec!["test".into()],
            extra: Vec::new(),
        }
    }

    pub(crate) const LIMITS: Limits = Limits {
        memory_mib: 64,
        cpu_ms: 1000,
        wall_s: 60,
        host_calls: 100,
        output_tokens: 1000,
        usd_micros: 0,
        journal_kib: 100,
        log_kib: 10,
    };

    #[test]
    fn a_wish_beyond_the_ceiling_names_the_line() {
        let wishes = manifest("scout", Wants { vault_write: vec!["secret/*".into()], ..Wants::default() });
        let complaints =
            Grant::effective(&wishes, &Ceiling::default(), &LIMITS, "[grants.scout] in host.toml").expect_err("nothing is granted");
        assert_eq!(
            complaints,
            [
                "wants vault-write `secret/*`: add \"secret/*\" to `vault_write` in [grants.scout] in host.toml, or remove it from `vault-write` in agent.toml"
            ]
        );
    }

    #[test]
    fn what_a_manifest_asks_for_is_a_ceiling_that_grants_it() {
        let wants = Wants { models: vec!["big".into()], vault_write: vec!["inbox/*".into()], approvals: true, ..Wants::default() };
        let wishes = manifest("scout", wants);
        let grant = Grant::effective(&wishes, &wishes.asked(), &LIMITS, "here").expect("all that it wants is granted");
        assert!(grant.asks_model("big").is_ok() && grant.writes("inbox/a").is_ok());
        assert!(grant.asks_model("bigger").is_err() && grant.writes("notes/a").is_err() && grant.reads("inbox/a").is_err());
    }

    #[test]
    fn each_list_says_what_it_covers_by_which_lines_and_which_to_add() {
        let all = |text: &str| vec![text.to_owned()];
        let wants = Wants {
            models: all("m*"),
            tools: all("t*"),
            vault_read: all("r*"),
            vault_write: all("w*"),
            handoff: all("h*"),
            ..Wants::default()
        };
        let ceiling = Ceiling {
            models: all("?1"),
            tools: all("?1"),
            vault_read: all("?1"),
            vault_write: all("?1"),
            handoff: all("?1"),
            ..Ceiling::default()
        };
        // The wishes are wider than the ceiling: only a file that is refused at load has such a grant, and calls are judged all the same.
        let grant =
            Grant::effective(&manifest("scout", Wants::default()), &ceiling, &LIMITS, "[grants.scout] in host.toml").unwrap();
        let both = |key, wanted: &[String], allowed: &[String]| Both::of(key, wanted, allowed).unwrap();
        let grant = Grant {
            models: both("models", &wants.models, &ceiling.models),
            tools: both("tools", &wants.tools, &ceiling.tools),
            vault_read: both("vault_read", &wants.vault_read, &ceiling.vault_read),
            vault_write: both("vault_write", &wants.vault_write, &ceiling.vault_write),
            handoff: both("handoff", &wants.handoff, &ceiling.handoff),
            ..grant
        };
        type Check = fn(&Grant, &str) -> Result<(), Denied>;
        let checks: [(&str, &str, Check); 4] = [
            ("models", "m", Grant::asks_model),
            ("tools", "t", Grant::uses),
            ("vault_read", "r", Grant::reads),
            ("vault_write", "w", Grant::writes),
        ];
        for (key, letter, check) in checks {
            assert_eq!(check(&grant, &format!("{letter}1")), Ok(()), "{key}");
            assert_eq!(grant.lines(key, &format!("{letter}1")), Some((format!("{letter}*").as_str(), "?1")), "{key}");
            let denied = check(&grant, &format!("{letter}2")).unwrap_err();
            assert_eq!((denied.rule, denied.hint), (key, format!("add \"{letter}2\" to `{key}` in [grants.scout] in host.toml")));
            let denied = check(&grant, "x1").unwrap_err();
            let wish = key.replace('_', "-");
            assert_eq!(denied.hint, format!("add \"x1\" to `{wish}` in `wants` in agent.toml of scout"));
            assert_eq!(grant.lines(key, "x1"), None);
        }
        assert_eq!(grant.lines("nothing", "m1"), None);
        assert!(grant.hands_to("h1") && !grant.hands_to("h2") && !grant.hands_to("x1"));
        assert!(!Grant { agent: "h1".into(), ..grant.clone() }.hands_to("h1"), "nobody hands to itself");
        assert!(grant.uses_anything().is_ok() && grant.reads_anything().is_ok());
        let nothing = |key| both(key, &[], &ceiling.tools);
        for narrow in [
            Grant { tools: nothing("tools"), vault_read: nothing("vault_read"), ..grant.clone() },
            Grant {
                tools: both("tools", &wants.tools, &[]),
                vault_read: both("vault_read", &wants.vault_read, &[]),
                ..grant.clone()
            },
        ] {
            assert_eq!(narrow.uses_anything().unwrap_err().rule, "tools");
            assert_eq!(narrow.reads_anything().unwrap_err().rule, "vault_read");
        }
    }

    #[test]
    fn a_grant_keeps_what_else_was_asked_and_allowed() {
        let wishes = Manifest { class_floor: "c".into(), local_only: true, ..manifest("scout", Wants::default()) };
        let ceiling = Ceiling { clearance: Tier::Restricted, cost_usd_per_task: Some(0.5), ..Ceiling::default() };
        let grant = Grant::effective(&wishes, &ceiling, &LIMITS, "here").unwrap();
        assert_eq!((grant.agent(), grant.at(), grant.clearance()), ("scout", "here", Tier::Restricted));
        assert_eq!((grant.floor(), grant.local_only(), grant.usd_per_task()), (Class::C, true, Some(0.5)));
        assert_eq!(grant.limits(), &LIMITS);
        let plain = Grant::effective(&manifest("scout", Wants::default()), &Ceiling::default(), &LIMITS, "here").unwrap();
        assert_eq!((plain.floor(), plain.local_only(), plain.usd_per_task()), (Class::A, false, None));
    }

    #[test]
    fn what_no_list_holds_is_granted_by_word() {
        let wishes = |memory: &str, approvals| {
            let wishes = manifest("scout", Wants { approvals, ..Wants::default() });
            Manifest { wants: Wants { memory: memory.into(), ..wishes.wants.clone() }, ..wishes }
        };
        let complaints = |wishes: &Manifest, memory, approvals| {
            let ceiling = Ceiling { memory, approvals, ..Ceiling::default() };
            Grant::effective(wishes, &ceiling, &LIMITS, "here").err().unwrap_or_default().join("; ")
        };
        for (word, memory, said) in [
            ("read", MemoryGrant::None, "set `memory = \"read\"` in here"),
            ("write", MemoryGrant::Read, "set `memory = \"write\"` in here"),
            ("write", MemoryGrant::Write, ""),
            ("read", MemoryGrant::Read, ""),
            ("read", MemoryGrant::Write, ""),
            ("none", MemoryGrant::None, ""),
        ] {
            let complaint = complaints(&wishes(word, false), memory, false);
            assert!(complaint.contains(said) && complaint.is_empty() == said.is_empty(), "{word} {memory:?}: {complaint}");
        }
        assert!(complaints(&wishes("none", true), MemoryGrant::None, false).contains("add `approvals = true` to here"));
        assert_eq!(complaints(&wishes("none", true), MemoryGrant::None, true), "");
        let asks = |approvals| {
            let ceiling = Ceiling { approvals: true, ..Ceiling::default() };
            Grant::effective(&wishes("none", approvals), &ceiling, &LIMITS, "here").unwrap().asks()
        };
        assert!(asks(true).is_ok() && asks(false).is_err_and(|denied| denied.rule == "approvals"));
    }

    #[test]
    fn a_limit_above_the_ceiling_is_refused_with_both_numbers() {
        let low = Limits { wall_s: 10, ..LIMITS };
        let complaints = Grant::effective(&manifest("scout", Wants::default()), &Ceiling::default(), &low, "here")
            .expect_err("60 s is above 10 s");
        assert!(complaints[0].contains("limits.wall_s = 60 is above the ceiling 10"), "{complaints:?}");
    }

    proptest! {
        /// Neither side can widen the other: a path passes only if both lists cover it.
        #[test]
        fn the_grant_is_the_intersection(path in "[ab]{1,2}/[ab]{1,2}", wish in "(\\*\\*|[ab]{1,2}/\\*|\\*/[ab]{1,2})", wall in "(\\*\\*|[ab]{1,2}/\\*|\\*/[ab]{1,2})") {
            let wishes = manifest("scout", Wants { vault_read: vec![wish.clone()], ..Wants::default() });
            let ceiling = Ceiling { vault_read: vec![wall.clone()], ..Ceiling::default() };
            if let Ok(grant) = Grant::effective(&wishes, &ceiling, &LIMITS, "here") {
                let one = |text: &String| Patterns::compile(std::slice::from_ref(text)).expect("generated patterns parse").covers(&path);
                prop_assert_eq!(grant.reads(&path).is_ok(), one(&wish) && one(&wall));
            }
        }
    }
}
