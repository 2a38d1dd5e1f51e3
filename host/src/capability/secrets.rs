//! The secrets that the host itself holds (keys, tokens, passwords of its configuration): recognised exactly, whatever they are wrapped
//! in, and replaced by their name wherever a run is told or tells something. No guest ever reads one.
//!
//! Nothing is guessed: text that only looks like a secret passes as it is. What a guest has cut in pieces is not recognised either:
//! that it never saw it whole is what counts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use aho_corasick::{AhoCorasick, MatchKind};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Hop, Stop};
use crate::metrics::{self, name};

/// A shorter value is found in honest text, and says little.
const SHORTEST: usize = 8;

/// What `application/x-www-form-urlencoded` and most clients leave as it is.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// What is escaped in the path of a URL at least.
const LEAST: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'<').add(b'>').add(b'?').add(b'`').add(b'{').add(b'}');

/// Every secret in each of its forms: a cheap handle.
#[derive(Clone, Default)]
pub struct Secrets {
    found: Option<Arc<Forms>>,
}

struct Forms {
    finder: AhoCorasick,
    /// What stands in for each form.
    instead: Vec<String>,
}

/// What was found in a text, by name.
type Found = BTreeSet<String>;

impl Secrets {
    /// Knows these values by their names; too short ones are left out.
    ///
    /// # Errors
    /// If they are too large to be looked for.
    pub fn of(named: &[(String, String)]) -> Result<Self, aho_corasick::BuildError> {
        let mut forms: BTreeMap<String, String> = BTreeMap::new();
        for (name, value) in named.iter().filter(|(_, value)| value.len() >= SHORTEST) {
            for form in encodings(value) {
                forms.entry(form).or_insert_with(|| format!("[secret {name}]"));
            }
        }
        let (forms, instead): (Vec<String>, Vec<String>) = forms.into_iter().unzip();
        // The longest first: a form that begins like a shorter one is replaced whole.
        let finder = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(&forms)?;
        Ok(Self { found: (!forms.is_empty()).then(|| Arc::new(Forms { finder, instead })) })
    }

    /// The text without them, if there was one in it.
    #[must_use]
    pub fn masked(&self, text: &str) -> Option<(String, Found)> {
        let forms = self.found.as_ref()?;
        let mut found = Found::new();
        let (mut masked, mut from) = (String::new(), 0);
        for hit in forms.finder.find_iter(text) {
            let instead = forms.instead.get(hit.pattern().as_usize()).map_or("[secret]", String::as_str);
            masked.push_str(text.get(from..hit.start()).unwrap_or_default());
            masked.push_str(instead);
            found.insert(instead.to_owned());
            from = hit.end();
        }
        if found.is_empty() {
            return None;
        }
        masked.push_str(text.get(from..).unwrap_or_default());
        Some((masked, found))
    }

    /// Whether one of them is in the text.
    fn are_in(&self, text: &str) -> bool {
        self.found.as_ref().is_some_and(|forms| forms.finder.is_match(text))
    }

    /// Every text of a JSON value, keys included.
    fn mask(&self, value: &mut Value, found: &mut Found) {
        match value {
            Value::String(text) => self.replace(text, found),
            Value::Array(items) => items.iter_mut().for_each(|item| self.mask(item, found)),
            Value::Object(entries) => {
                for (mut key, mut below) in std::mem::take(entries) {
                    self.replace(&mut key, found);
                    self.mask(&mut below, found);
                    entries.insert(key, below);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn replace(&self, text: &mut String, found: &mut Found) {
        if let Some((masked, more)) = self.masked(text) {
            *text = masked;
            found.extend(more);
        }
    }

    /// The same without them, if there is one in it; `written` is it as JSON.
    fn without<T: Serialize + DeserializeOwned>(&self, it: &T, written: &str) -> Result<Option<(T, Found)>, serde_json::Error> {
        if !self.are_in(written) {
            return Ok(None);
        }
        let (mut value, mut found) = (serde_json::to_value(it)?, Found::new());
        self.mask(&mut value, &mut found);
        Ok(Some((serde_json::from_value(value)?, found)))
    }
}

impl Hop {
    /// What the run asks or is told, without secrets; `written` is it as JSON. `None` if there was none in it.
    pub(super) fn cleaned<T: Serialize + DeserializeOwned>(&self, what: &str, it: &T, written: &str) -> Result<Option<T>, Stop> {
        // One that cannot even be said without a secret is not said.
        let unclean = |_| Stop::Limit(format!("secrets: {what} of the agent cannot be freed of a secret of the host"));
        let cleaned = self.world.secrets.without(it, written).map_err(unclean)?;
        Ok(cleaned.map(|(it, found)| {
            self.note_masked(what, &found);
            it
        }))
    }

    /// A text of the run without secrets.
    pub(crate) fn clean(&self, what: &str, text: String) -> String {
        match self.world.secrets.masked(&text) {
            Some((masked, found)) => {
                self.note_masked(what, &found);
                masked
            }
            None => text,
        }
    }

    /// How the run ended, without secrets.
    ///
    /// # Errors
    /// [`Stop`] if it cannot be written as JSON.
    pub fn clean_outcome<T: Serialize + DeserializeOwned>(&self, outcome: T) -> Result<T, Stop> {
        let written = serde_json::to_string(&outcome).map_err(|error| Stop::Store(error.to_string()))?;
        Ok(self.cleaned("outcome", &outcome, &written)?.unwrap_or(outcome))
    }

    fn note_masked(&self, what: &str, found: &Found) {
        let (agent, names) = (self.grant.agent(), found.iter().map(String::as_str).collect::<Vec<_>>().join(", "));
        metrics::count(name::SECRETS, 1, &[("agent", agent)]);
        tracing::warn!(
            event = "secret_masked",
            task_id = self.at.task,
            trace_id = self.trace_id,
            agent,
            mode = self.mode,
            persona = agent,
            what,
            names,
            "{names} was in {what} of {agent}, and was replaced"
        );
    }
}

/// The forms in which a value is recognised: as it is, in JSON, in URLs, in hexadecimal digits, and in Base64 wherever it begins there.
fn encodings(value: &str) -> BTreeSet<String> {
    let mut forms = BTreeSet::from([value.to_owned(), hex::encode(value), hex::encode_upper(value)]);
    for set in [UNRESERVED, LEAST] {
        let escaped = utf8_percent_encode(value, set).to_string();
        forms.insert(escaped.replace("%20", "+"));
        forms.insert(lower_escapes(&escaped));
        forms.insert(escaped);
    }
    for written in [value, &value.replace('/', "\\/")] {
        let quoted = serde_json::to_string(written).unwrap_or_default();
        let inside = quoted.get(1..quoted.len() - 1).unwrap_or_default().replace("\\\\/", "\\/");
        // JSON in a text of JSON.
        forms.insert(inside.replace('\\', "\\\\").replace('"', "\\\""));
        forms.insert(inside);
    }
    for at in 0..3 {
        for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
            let bytes: Vec<u8> = std::iter::repeat_n(0, at).chain(value.bytes()).collect();
            let encoded = engine.encode(&bytes);
            // Letters at both ends also hold bits of what stands beside the value.
            let (from, to) = ((at * 8).div_ceil(6), bytes.len() * 8 / 6);
            forms.extend(encoded.get(from..to).map(str::to_owned));
        }
    }
    // A form cut short by its alignment must not be found in honest text either.
    forms.retain(|form| form.len() >= SHORTEST);
    forms
}

/// `%2F` as `%2f`.
fn lower_escapes(escaped: &str) -> String {
    let mut left = 0;
    let lower = |letter: char| {
        left = if letter == '%' { 2 } else { i32::max(left - 1, -1) };
        if letter != '%' && left >= 0 { letter.to_ascii_lowercase() } else { letter }
    };
    escaped.chars().map(lower).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const KEY: &str = "s3cr/t \"Key\"+=?é-42";

    fn secrets() -> Secrets {
        Secrets::of(&[("api_key".into(), KEY.into()), ("short".into(), "abc".into())]).unwrap()
    }

    #[test]
    fn a_secret_is_found_in_every_wrapping_and_nothing_else_is() {
        let base64 = |engine: base64::engine::GeneralPurpose, before: &str| engine.encode(format!("{before}{KEY} and more"));
        for wrapped in [
            KEY.to_owned(),
            format!("Authorization: Bearer {KEY}\n"),
            json!({ "key": KEY }).to_string(),
            json!({ "inner": json!({ "key": KEY }).to_string() }).to_string(),
            utf8_percent_encode(KEY, NON_ALPHANUMERIC).to_string().replace("%2D", "-"),
            format!("?q={}", utf8_percent_encode(KEY, UNRESERVED).to_string().replace("%20", "+")),
            lower_escapes(&utf8_percent_encode(KEY, UNRESERVED).to_string()),
            hex::encode(KEY),
            base64(STANDARD_NO_PAD, ""),
            base64(STANDARD_NO_PAD, "a"),
            base64(URL_SAFE_NO_PAD, "ab"),
            base64(base64::engine::general_purpose::STANDARD, "abc"),
        ] {
            let (masked, found) = secrets().masked(&wrapped).unwrap_or_else(|| panic!("it is in {wrapped}"));
            assert!(masked.contains("[secret api_key]"), "{masked}");
            assert_eq!(found, Found::from(["[secret api_key]".to_owned()]));
        }
        for honest in ["abc", "s3cr/t \"Key\"+=?é-4", "sk-ant-api03-looks-like-a-key", "cGFzc3dvcmQ="] {
            assert_eq!(secrets().masked(honest), None, "{honest}");
        }
        assert!(Secrets::default().masked(KEY).is_none());
    }

    #[test]
    fn a_value_is_cleaned_in_all_its_texts() {
        let dirty = json!({ KEY: [1, { "deep": KEY }], "n": null });
        let (clean, _) = secrets().without(&dirty, &dirty.to_string()).unwrap().unwrap();
        assert_eq!(clean, json!({ "[secret api_key]": [1, { "deep": "[secret api_key]" }], "n": null }));
        assert!(secrets().without(&clean, &clean.to_string()).unwrap().is_none());
    }

    proptest! {
        /// Whatever stands around it, no form of the value is left, and the rest is.
        #[test]
        fn nothing_of_it_is_left_and_the_rest_is(value in "[ -~]{8,24}", before in "[ -~]{0,5}", after in "[ -~]{0,5}") {
            let secrets = Secrets::of(&[("it".into(), value.clone())]).unwrap();
            for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
                let encoded = engine.encode(format!("{before}{value}{after}"));
                prop_assert!(secrets.masked(&encoded).is_some());
            }
            let (masked, _) = secrets.masked(&format!("{before}{value}{after}")).expect("it is there");
            prop_assert!(!masked.replace("[secret it]", "").contains(&value));
        }
    }
}
