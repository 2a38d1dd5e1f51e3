//! Patterns of paths, tools, agents and groups: `*` within a segment, `**` across them, `?`, `{a,b}`.
//!
//! Compiled once, matched without allocating. A pattern never means "anything below": `notes` covers only `notes`.

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

/// A compiled list of patterns; covers what any of them covers. The empty list covers nothing.
#[derive(Clone, Debug)]
pub struct Patterns {
    texts: Vec<String>,
    set: GlobSet,
}

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
    /// [`BadPattern`] names the first that does not parse.
    pub fn compile(texts: &[String]) -> Result<Self, BadPattern> {
        let mut set = GlobSetBuilder::new();
        for text in texts {
            let bad = |error: globset::Error| BadPattern { pattern: text.clone(), why: error.kind().to_string() };
            set.add(GlobBuilder::new(text).literal_separator(true).backslash_escape(true).build().map_err(bad)?);
        }
        let set = set.build().map_err(|error| BadPattern { pattern: texts.join(", "), why: error.to_string() })?;
        Ok(Self { texts: texts.to_vec(), set })
    }

    /// Whether one of the patterns covers the whole of `name`.
    #[must_use]
    pub fn covers(&self, name: &str) -> bool {
        self.set.is_match(name)
    }

    /// The pattern, as written, by which `name` is covered: the first that does.
    #[must_use]
    pub fn covering(&self, name: &str) -> Option<&str> {
        self.set.matches(name).first().and_then(|at| self.texts.get(*at)).map(String::as_str)
    }

    /// Whether everything that `pattern` could cover is covered here: decided by a stand-in for each wildcard, so that a `*` here
    /// is never taken to span a `**` there. Only load-time advice rests on this; calls are matched against both sides.
    #[must_use]
    pub fn covers_pattern(&self, pattern: &str) -> bool {
        let segment = "\u{1}\u{1}";
        let stand_in = pattern.replace("**", "\u{1}\u{1}/\u{1}\u{1}").replace('*', segment).replace('?', "\u{1}");
        self.texts.iter().any(|text| text == pattern) || self.set.is_match(stand_in)
    }

    /// The patterns as written.
    #[must_use]
    pub fn texts(&self) -> &[String] {
        &self.texts
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
        assert!(!patterns(&[]).covers("anything"));
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
}
