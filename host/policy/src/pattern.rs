//! Patterns of paths, tools, agents and groups: `*` within a segment, `**` across them, `?`, `{a,b}`.
//!
//! Compiled once, to one automaton for a whole list, or a few: a match allocates nothing, locks nothing and takes a step for each byte. A pattern
//! never means "anything below": `notes` covers only `notes`.

use std::sync::Arc;

use globset::GlobBuilder;
use regex_automata::dfa::{Automaton as _, dense};
use regex_automata::nfa::thompson;
use regex_automata::util::syntax;
use regex_automata::{Anchored, Input};

/// Most memory of one automaton, in bytes: a list that needs more gets several, and a pattern that does is meant to.
const MOST: usize = 4_194_304;

/// A compiled list of patterns; covers what any of them covers. The empty list covers nothing.
#[derive(Clone, Debug, Default)]
pub struct Patterns {
    texts: Vec<String>,
    /// Each for some of the patterns, in their order, with the number of its first.
    automata: Arc<Vec<(usize, Automaton)>>,
}

type Automaton = dense::DFA<Vec<u32>>;

/// A pattern that does not parse.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{pattern}` is not a pattern: {why}")]
pub struct BadPattern {
    /// The pattern as written.
    pub pattern: String,
    /// What the matcher says of it.
    pub why: String,
}

impl Patterns {
    /// Compiles the list.
    ///
    /// # Errors
    /// [`BadPattern`] names the first that does not parse, or the list, if it is too intricate.
    pub fn compile(texts: &[String]) -> Result<Self, BadPattern> {
        let expression = |text: &String| {
            let glob = GlobBuilder::new(text).literal_separator(true).backslash_escape(true).build();
            let bad = |error: globset::Error| BadPattern { pattern: text.clone(), why: error.kind().to_string() };
            glob.map(|glob| glob.regex().to_owned()).map_err(bad)
        };
        let expressions: Vec<String> = texts.iter().map(expression).collect::<Result<_, _>>()?;
        let mut automata = Vec::new();
        built(&expressions, 0, &mut automata).map_err(|why| BadPattern { pattern: texts.join(", "), why: why.to_string() })?;
        Ok(Self { texts: texts.to_vec(), automata: Arc::new(automata) })
    }

    /// Whether one of the patterns covers the whole of `name`.
    #[must_use]
    pub fn covers(&self, name: &str) -> bool {
        self.at(name).is_some()
    }

    /// The pattern, as written, by which `name` is covered: the first that does.
    #[must_use]
    pub fn covering(&self, name: &str) -> Option<&str> {
        self.at(name).and_then(|at| self.texts.get(at)).map(String::as_str)
    }

    /// Which of the patterns covers `name`. What an automaton cannot read is not covered.
    fn at(&self, name: &str) -> Option<usize> {
        self.automata.iter().find_map(|(first, automaton)| {
            let found = automaton.try_search_fwd(&Input::new(name)).ok().flatten()?;
            Some(first + found.pattern().as_usize())
        })
    }

    /// Whether a name that begins like this could be covered.
    #[must_use]
    pub fn may_begin(&self, start: &str) -> bool {
        let input = Input::new("").anchored(Anchored::Yes);
        self.automata.iter().any(|(_, automaton)| {
            let Ok(mut state) = automaton.start_state_forward(&input) else { return true };
            for byte in start.bytes() {
                state = automaton.next_state(state, byte);
            }
            !automaton.is_dead_state(state)
        })
    }

    /// Whether everything that `pattern` could cover is covered here: decided by a stand-in for each wildcard, so that a `*` here
    /// is never taken to span a `**` there. Only load-time advice rests on this; calls are matched against both sides.
    #[must_use]
    pub fn covers_pattern(&self, pattern: &str) -> bool {
        let segment = "\u{1}\u{1}";
        let stand_in = pattern.replace("**", "\u{1}\u{1}/\u{1}\u{1}").replace('*', segment).replace('?', "\u{1}");
        self.texts.iter().any(|text| text == pattern) || self.covers(&stand_in)
    }

    /// The patterns as written.
    #[must_use]
    pub fn texts(&self) -> &[String] {
        &self.texts
    }
}

/// Builds one automaton of all expressions, or, if it would be too large, one of each half.
fn built(expressions: &[String], first: usize, into: &mut Vec<(usize, Automaton)>) -> Result<(), Box<dense::BuildError>> {
    if expressions.is_empty() {
        return Ok(());
    }
    // Names are compared byte by byte, as the expressions say.
    let bytes = syntax::Config::new().unicode(false).utf8(false).dot_matches_new_line(true);
    let automaton = dense::Builder::new()
        .configure(dense::Config::new().dfa_size_limit(Some(MOST)).determinize_size_limit(Some(MOST)))
        .syntax(bytes)
        .thompson(thompson::Config::new().utf8(false).nfa_size_limit(Some(MOST)))
        .build_many(expressions);
    match automaton {
        Ok(automaton) => {
            into.push((first, automaton));
            Ok(())
        }
        Err(_) if expressions.len() > 1 => {
            let (one, other) = expressions.split_at(expressions.len() / 2);
            built(one, first, into)?;
            built(other, first + one.len(), into)
        }
        Err(error) => Err(Box::new(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(texts: &[&str]) -> Patterns {
        Patterns::compile(&texts.iter().map(ToString::to_string).collect::<Vec<_>>()).expect("test patterns parse")
    }

    #[test]
    fn a_star_stays_within_its_segment() {
        let drafts = patterns(&["inbox/drafts/note-*.md"]);
        assert!(drafts.covers("inbox/drafts/note-01.md"));
        assert!(!drafts.covers("inbox/drafts/note-a/../../x.md"));
        assert!(!drafts.covers("inbox/drafts/other.md"));
        assert!(!patterns(&[]).covers("anything") && !patterns(&[]).covers(""));
    }

    #[test]
    fn a_start_is_told_from_one_that_leads_nowhere() {
        for (pattern, start, may) in [
            ("near_p*", "near_", true),
            ("near_p*", "far_", false),
            ("{near_peek,mid_*}", "near_", true),
            ("{near_peek,mid_*}", "mid_", true),
            ("{near_peek,mid_*}", "far_", false),
            ("*", "far_", true),
            ("peek", "", true),
            ("near", "near_", false),
        ] {
            assert_eq!(patterns(&[pattern]).may_begin(start), may, "{pattern} {start}");
        }
        assert!(!patterns(&[]).may_begin(""));
    }

    #[test]
    fn a_pattern_covers_whole_names_only() {
        for (pattern, name, covered) in [
            ("peek", "peek", true),
            ("peek", "peek2", false),
            ("peek", "a peek", false),
            ("peek", "PEEK", false),
            ("p*k", "pk", true),
            ("p?k", "pk", false),
            ("p?k", "p/k", false),
            ("*", "a/b", false),
            ("**", "a/b", true),
            ("**/b", "b", true),
            ("a/**", "a", false),
            ("a/**", "a/b/c", true),
            ("a/**", "a/b\nc", true),
            ("**", "a\nb", true),
            ("{a,b}/c", "b/c", true),
            ("{a,b}/c", "ab/c", false),
            ("[a-c]", "b", true),
            ("a\\*", "a*", true),
            ("a\\*", "ab", false),
            ("a.c", "abc", false),
            ("notes/*", "notes/ü\n", true),
            ("a", "a\nb", false),
        ] {
            assert_eq!(patterns(&[pattern]).covers(name), covered, "{pattern} covers {name}");
        }
    }

    #[test]
    fn the_first_pattern_that_covers_is_named() {
        let some = patterns(&["x*", "*y", "xy"]);
        for (name, by) in [("xy", Some("x*")), ("ay", Some("*y")), ("xa", Some("x*")), ("a", None)] {
            assert_eq!(some.covering(name), by, "{name}");
        }
        assert_eq!(some.texts(), ["x*", "*y", "xy"]);
    }

    #[test]
    fn a_narrow_pattern_never_covers_a_wide_one() {
        for (here, there, covered) in [
            ("notes/**", "notes/*.md", true),
            ("**", "notes/**", true),
            ("inbox/drafts/*.md", "inbox/drafts/note-*.md", true),
            ("notes/*", "notes/**", false),
            ("notes/a", "notes/*", false),
            ("notes/?", "notes/*", false),
            ("search_*", "search_web", true),
            ("search_web", "search_*", false),
            ("notes/**", "notes/**", true),
        ] {
            assert_eq!(patterns(&[here]).covers_pattern(there), covered, "{here} covers {there}");
        }
    }

    #[test]
    fn a_broken_pattern_is_named() {
        let error = Patterns::compile(&["notes/[".into()]).expect_err("an open class does not parse");
        assert!(error.to_string().contains("`notes/[`"), "{error}");
    }

    #[test]
    fn a_list_too_large_for_one_automaton_is_several_and_the_first_still_wins() {
        let words =
            ["search", "list", "get", "read", "status", "query", "fetch", "show", "find", "count", "state", "info", "view", "look"];
        let texts: Vec<String> = words.iter().map(|word| format!("*{word}*")).collect();
        let many = Patterns::compile(&texts).expect("each is simple");
        assert!(many.automata.len() > 1);
        for (name, by) in [("ha_search_list", "*search*"), ("a_look", "*look*"), ("x_info_y_count", "*count*")] {
            assert_eq!(many.covering(name), Some(by));
        }
        assert!(!many.covers("wipe") && !many.covers(""));
    }

    #[test]
    fn a_pattern_that_would_take_all_memory_is_refused() {
        let error = Patterns::compile(&["*a??????????????????????b*".into()]).expect_err("its automaton does not fit");
        assert!(error.to_string().contains("*a??"), "{error}");
    }
}
