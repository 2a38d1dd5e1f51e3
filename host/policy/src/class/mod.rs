//! The action class of a tool call: A looks, B writes what is easily undone, C needs an approval, D needs two.
//!
//! The operator's rules come first and may look at arguments; what a server says of its own tools only raises, unless its operator
//! trusts it; the agent's manifest sets a floor; the highest wins. A tool that nobody says anything about is C, and C that no rule
//! can undo is D.

mod rule;

use serde::{Deserialize, Serialize};

use crate::call::Effect;
use crate::denied::Denied;

pub(crate) use rule::Calls;
pub use rule::{Rule, Rules, Undo};

/// What a call may do to the world. Ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Class {
    /// Reads or analyses.
    A,
    /// Writes what is easily undone.
    B,
    /// Changes the state of one thing: one approval.
    C,
    /// Cannot be undone, or goes wide: two approvals.
    D,
}

impl Class {
    /// The letter.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::B => "B",
            Self::C => "C",
            Self::D => "D",
        }
    }

    /// The class of a manifest's letter, small or capital.
    #[must_use]
    pub fn named(letter: &str) -> Option<Self> {
        [Self::A, Self::B, Self::C, Self::D].into_iter().find(|class| class.as_str().eq_ignore_ascii_case(letter))
    }

    /// Whether it is performed without asking anybody.
    #[must_use]
    pub fn is_free(self) -> bool {
        self <= Self::B
    }
}

/// What a server says of its own tool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hints {
    /// It only looks.
    pub read_only: Option<bool>,
    /// It destroys.
    pub destructive: Option<bool>,
    /// The same call again changes nothing more.
    pub idempotent: Option<bool>,
}

impl Hints {
    /// The class that they speak of, if they say anything.
    fn class(self) -> Option<Class> {
        match (self.read_only, self.destructive) {
            (_, Some(true)) => Some(Class::C),
            (Some(true), _) => Some(Class::A),
            (_, Some(false)) => Some(Class::B),
            // A server that says that its tool writes, and not how, may mean anything.
            (Some(false), None) => Some(Class::C),
            (None, None) => None,
        }
    }
}

/// What a call's class follows from.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'r> {
    /// The operator's rule that matches it.
    pub rule: Option<&'r Rule>,
    /// What its server says.
    pub hints: Hints,
    /// Whether the operator trusts that server.
    pub trusted: bool,
    /// The agent's own floor.
    pub floor: Class,
    /// Whether the run has read what may lie.
    pub tainted: bool,
    /// Whether the rule says how these very arguments are undone.
    pub undoes: bool,
}

/// Why a call has its class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The operator's rule says so.
    Rule,
    /// Its server says so.
    Annotation,
    /// Nobody says anything about it.
    Unknown,
    /// The manifest's floor.
    Floor,
    /// The run has read what may lie.
    Tainted,
}

/// A class and its reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judged {
    /// The class.
    pub class: Class,
    /// The reason.
    pub why: Why,
    /// Whether it would be C if a rule said how to undo it.
    pub no_undo: bool,
}

impl Facts<'_> {
    /// The same of a run that has read nothing that may lie.
    #[must_use]
    pub fn untainted(self) -> Self {
        Self { tainted: false, ..self }
    }

    /// The class: the highest of what rule, annotation and floor say.
    #[must_use]
    pub fn judge(&self) -> Judged {
        let said = self.hints.class();
        let (mut class, mut why) = match (self.rule, said) {
            (Some(rule), _) => (rule.class, Why::Rule),
            (None, Some(said)) if self.trusted => (said, Why::Annotation),
            (None, _) => (Class::C, Why::Unknown),
        };
        // A rule for these very arguments knows more than what is said of the tool as a whole.
        let heard = self.rule.is_none_or(|rule| rule.args.is_empty());
        if let Some(said) = said.filter(|said| heard && (*said > class || why == Why::Unknown && *said == class)) {
            (class, why) = (said, Why::Annotation);
        }
        if self.floor > class {
            (class, why) = (self.floor, Why::Floor);
        }
        if class == Class::B && self.tainted {
            (class, why) = (Class::C, Why::Tainted);
        }
        let no_undo = class == Class::C && !self.undoes;
        if no_undo {
            class = Class::D;
        }
        Judged { class, why, no_undo }
    }

    /// What a crash in the middle of the call means.
    #[must_use]
    pub fn effect(&self) -> Effect {
        let says = |hint: Option<bool>| self.trusted && hint == Some(true);
        let rule = |of: fn(&Rule) -> bool| self.rule.is_some_and(of);
        // As when it is judged: what a server says of its tool raises all but a rule for these very arguments.
        let more = self.rule.is_none_or(|rule| rule.args.is_empty()) && self.hints.class().is_some_and(|said| said > Class::A);
        let looks = self.rule.map_or_else(|| says(self.hints.read_only), |rule| rule.class == Class::A);
        if looks && !more {
            return Effect::None;
        }
        match rule(|rule| rule.idempotent) || says(self.hints.idempotent) {
            true => Effect::Repeatable,
            false => Effect::Once,
        }
    }

    /// Why a call of that tool by that agent has its class, as a sentence.
    #[must_use]
    pub fn because(&self, tool: &str, agent: &str) -> String {
        let judged = self.judge();
        let because = match judged.why {
            Why::Rule => format!("the rule for `{}` says so", self.rule.map_or(tool, |rule| &rule.tools)),
            Why::Annotation => "its server says that it destroys".to_owned(),
            Why::Unknown => "no rule says anything about it".to_owned(),
            Why::Floor => format!("`{agent}` has that floor"),
            Why::Tainted => "the run has read what may lie, which lifts B to C".to_owned(),
        };
        let undo = if judged.no_undo { ", and no rule says how to undo it" } else { "" };
        format!("{because}{undo}")
    }

    /// The refusal of a call that needs a person's consent where nobody can be asked, `rule` being the refusal's short word; `file` is
    /// where rules are written.
    #[must_use]
    pub fn refused(&self, rule: &'static str, tool: &str, agent: &str, file: &str) -> Denied {
        let judged = self.judge();
        let rules = format!("[[mcp.rules]] in {file}");
        let entry = |more: &str| format!("add to {file}: [[mcp.rules]] tools = \"{tool}\"{more} class = \"B\"");
        let (at, hint) = match judged.why {
            Why::Rule => {
                let tools = self.rule.map_or(tool, |rule| &rule.tools);
                (rules, format!("set class = \"B\" in the [[mcp.rules]] entry for `{tools}` in {file}, if it is harmless"))
            }
            Why::Annotation => (rules, entry(", args = { \"/…\" = […] } for the arguments that are harmless,")),
            Why::Unknown => (rules, format!("{} if it is easily undone (\"A\" if it only looks)", entry(","))),
            Why::Floor => (format!("`class-floor` in agent.toml of {agent}"), "lower `class-floor` to \"b\" there".to_owned()),
            Why::Tainted => {
                let hint = format!(
                    "set untrusted = false in the [[mcp.rules]] entry in {file} of what it has read, if that can be believed"
                );
                (rules, hint)
            }
        };
        let class = judged.class.as_str();
        let words = if judged.class == Class::D { "two people's words" } else { "a person's word" };
        let said = format!("`{tool}` is class {class} here: {}; it needs {words}", self.because(tool, agent));
        Denied { rule, said, at, hint }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::tier::{Clearance, Tier};
    use proptest::prelude::*;
    use serde_json::json;

    fn rule(class: Class) -> Rule {
        serde_json::from_value(json!({ "tools": "ha_*", "class": class })).expect("a rule needs no more than that")
    }

    fn with_args(class: Class) -> Rule {
        Rule { args: BTreeMap::from([("/domain".into(), vec!["light".into(), "scene*".into()])]), ..rule(class) }
    }

    fn undone(class: Class) -> Rule {
        Rule { undo: Some(Undo { tool: "ha_undo".into(), args: serde_json::Map::new() }), ..rule(class) }
    }

    fn hints(read_only: Option<bool>, destructive: Option<bool>) -> Hints {
        Hints { read_only, destructive, idempotent: None }
    }

    fn facts(rule: Option<&Rule>, hints: Hints, trusted: bool, floor: Class, tainted: bool) -> Facts<'_> {
        let undoes = rule.is_some_and(|rule| rule.undo.is_some());
        Facts { rule, hints, trusted, floor, tainted, undoes }
    }

    #[test]
    fn the_highest_of_rule_annotation_and_floor_wins() {
        use Class::{A, B, C, D};
        let (silent, reads) = (Hints::default(), hints(Some(true), None));
        let (writes, destroys) = (hints(Some(false), Some(false)), hints(None, Some(true)));
        for (rule, hints, trusted, floor, tainted, class, why) in [
            (None, silent, false, A, false, D, Why::Unknown),
            (None, silent, true, A, false, D, Why::Unknown),
            (None, reads, false, A, false, D, Why::Unknown),
            (None, reads, true, A, false, A, Why::Annotation),
            (None, writes, true, A, false, B, Why::Annotation),
            (None, writes, true, A, true, D, Why::Tainted),
            (None, destroys, true, A, false, D, Why::Annotation),
            (None, destroys, false, A, false, D, Why::Annotation),
            (Some(rule(A)), silent, false, A, false, A, Why::Rule),
            (Some(rule(A)), silent, false, A, true, A, Why::Rule),
            (Some(rule(A)), writes, false, A, false, B, Why::Annotation),
            (Some(rule(B)), reads, false, A, false, B, Why::Rule),
            (Some(rule(B)), writes, false, A, false, B, Why::Rule),
            (Some(rule(B)), reads, true, A, false, B, Why::Rule),
            (Some(rule(B)), destroys, false, A, false, D, Why::Annotation),
            (Some(undone(B)), destroys, false, A, false, C, Why::Annotation),
            (Some(with_args(B)), destroys, false, A, false, B, Why::Rule),
            (Some(rule(B)), silent, false, A, true, D, Why::Tainted),
            (Some(undone(B)), silent, false, A, true, C, Why::Tainted),
            (Some(rule(C)), silent, false, A, false, D, Why::Rule),
            (Some(undone(C)), silent, true, A, false, C, Why::Rule),
            (Some(undone(D)), silent, false, A, false, D, Why::Rule),
            (Some(rule(A)), silent, false, B, false, B, Why::Floor),
            (Some(rule(B)), silent, false, B, false, B, Why::Rule),
            (Some(undone(B)), silent, false, C, false, C, Why::Floor),
            (Some(rule(B)), silent, false, D, false, D, Why::Floor),
        ] {
            let judged = facts(rule.as_ref(), hints, trusted, floor, tainted).judge();
            assert_eq!((judged.class, judged.why), (class, why), "{rule:?} {hints:?} {trusted} {floor:?} {tainted}");
        }
    }

    #[test]
    fn a_class_has_a_letter_and_two_are_free() {
        for (class, letter, free) in [(Class::A, "A", true), (Class::B, "B", true), (Class::C, "C", false), (Class::D, "D", false)]
        {
            assert_eq!((class.as_str(), class.is_free()), (letter, free));
            assert_eq!((Class::named(letter), Class::named(&letter.to_lowercase())), (Some(class), Some(class)));
        }
        assert_eq!((Class::named("E"), Class::named("")), (None, None));
        let bare = rule(Class::A);
        assert!(bare.untrusted && !bare.idempotent, "what a rule does not say is what is safe");
        assert_eq!((bare.tier, bare.clearance), (Tier::Internal, Clearance(Tier::Internal)));
    }

    #[test]
    fn what_a_crash_means_follows_from_rules_and_trusted_annotations_only() {
        let facts = |rule, hints, trusted| Facts { rule, hints, trusted, floor: Class::A, tainted: false, undoes: false }.effect();
        let (reads, again) = (hints(Some(true), None), Hints { idempotent: Some(true), ..Hints::default() });
        let (looks, writes) = (rule(Class::A), rule(Class::B));
        let idempotent = Rule { idempotent: true, ..rule(Class::B) };
        assert_eq!(facts(Some(&looks), Hints::default(), false), Effect::None);
        assert_eq!(facts(Some(&writes), reads, true), Effect::Once, "the operator says that it writes");
        assert_eq!(facts(None, reads, true), Effect::None);
        assert_eq!(facts(Some(&looks), hints(Some(false), Some(false)), false), Effect::Once, "it is judged by that, too");
        assert_eq!(facts(Some(&writes), reads, false), Effect::Once);
        assert_eq!(facts(Some(&writes), again, false), Effect::Once);
        assert_eq!(facts(Some(&writes), again, true), Effect::Repeatable);
        assert_eq!(facts(Some(&idempotent), Hints::default(), false), Effect::Repeatable);
        assert_eq!(facts(None, Hints::default(), true), Effect::Once);
    }

    #[test]
    fn a_refusal_names_class_reason_and_the_edit_that_lowers_it() {
        let unknown = Facts { rule: None, hints: Hints::default(), trusted: false, floor: Class::A, tainted: false, undoes: false };
        let denied = unknown.refused("approval_needed", "wipe", "scout", "host.toml");
        assert!(
            denied.said.starts_with("`wipe` is class D here: no rule says anything about it, and no rule says how"),
            "{denied}"
        );
        assert!(denied.hint.starts_with("add to host.toml: [[mcp.rules]] tools = \"wipe\", class = \"B\""), "{denied}");
        // Each edit does what it says.
        let lowered = rule(Class::B);
        assert!(Facts { rule: Some(&lowered), ..unknown }.judge().class.is_free());
        let destroys = Facts { hints: hints(None, Some(true)), ..unknown };
        assert!(destroys.refused("approval_needed", "wipe", "scout", "host.toml").hint.contains("args = "));
        let narrow = with_args(Class::B);
        assert!(Facts { rule: Some(&narrow), ..destroys }.judge().class.is_free());
    }

    fn class() -> impl Strategy<Value = Class> {
        prop_oneof![Just(Class::A), Just(Class::B), Just(Class::C), Just(Class::D)]
    }

    proptest! {
        /// Nothing that an untrusted server says lowers a class, and neither taint nor a floor does.
        #[test]
        fn what_others_say_only_raises(
            of in proptest::option::of(class()), floor in class(), tainted in any::<bool>(), undo in any::<bool>(),
            read_only in any::<Option<bool>>(), destructive in any::<Option<bool>>(), trusted in any::<bool>(),
        ) {
            let rule = of.map(|class| if undo { undone(class) } else { rule(class) });
            let said = Hints { read_only, destructive, idempotent: None };
            let bare = facts(rule.as_ref(), Hints::default(), false, Class::A, false);
            let all = Facts { hints: said, floor, tainted, ..bare };
            prop_assert!(all.judge().class >= bare.judge().class);
            prop_assert!(all.judge().class >= floor);
            if let Some(rule) = &rule {
                let least = rule.class;
                let judged = Facts { trusted, ..all }.judge();
                prop_assert!(judged.class >= least);
            }
            prop_assert!(!tainted || all.judge().class != Class::B);
        }
    }
}
