//! Where two JSON values differ first, and what people are shown of it.

use serde::Serialize;
use serde_json::Value;

/// Letters shown of a text before it differs.
const BEFORE: usize = 30;
/// And from there on.
const AFTER: usize = 90;

/// The first place at which two values differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Where: a JSON pointer (RFC 6901), empty for the whole.
    pub at: String,
    /// What the journal has there.
    pub journal: Option<Value>,
    /// What the component asks there.
    pub component: Option<Value>,
}

/// The first difference in the order of keys; `None` if there is none.
#[must_use]
pub fn first(journal: &Value, component: &Value) -> Option<Difference> {
    below(String::new(), Some(journal), Some(component))
}

fn below(at: String, journal: Option<&Value>, component: Option<&Value>) -> Option<Difference> {
    match (journal, component) {
        (was, is) if was == is => None,
        (Some(Value::Object(was)), Some(Value::Object(is))) => {
            let mut keys: Vec<&String> = was.keys().chain(is.keys()).collect();
            keys.sort();
            keys.dedup();
            keys.into_iter().find_map(|key| below(format!("{at}/{}", escaped(key)), was.get(key), is.get(key)))
        }
        (Some(Value::Array(was)), Some(Value::Array(is))) => {
            (0..was.len().max(is.len())).find_map(|index| below(format!("{at}/{index}"), was.get(index), is.get(index)))
        }
        (was, is) => Some(Difference { at, journal: was.cloned(), component: is.cloned() }),
    }
}

/// A key as a part of a pointer.
fn escaped(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

impl Difference {
    /// Both values, cut to where they differ.
    #[must_use]
    pub fn shown(&self) -> (String, String) {
        match (&self.journal, &self.component) {
            (Some(Value::String(was)), Some(Value::String(is))) => {
                let common = was.chars().zip(is.chars()).take_while(|(was, is)| was == is).count();
                (excerpt(was, common), excerpt(is, common))
            }
            (was, is) => (whole(was.as_ref()), whole(is.as_ref())),
        }
    }
}

/// A text around its `from`-th letter, in quotes.
fn excerpt(text: &str, from: usize) -> String {
    let start = from.saturating_sub(BEFORE);
    let cut: String = text.chars().skip(start).take(from - start + AFTER).collect();
    let (head, tail) = (if start > 0 { "…" } else { "" }, if text.chars().count() > from + AFTER { "…" } else { "" });
    format!("{head}{cut:?}{tail}")
}

/// A value, or that there is none.
fn whole(value: Option<&Value>) -> String {
    value.map_or_else(|| "nothing".into(), |value| short(&value.to_string()))
}

/// The beginning of a text.
#[must_use]
pub fn short(text: &str) -> String {
    let cut: String = text.chars().take(BEFORE + AFTER).collect();
    if cut.len() < text.len() { format!("{cut}…") } else { cut }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(was: Value, is: Value) -> Option<String> {
        first(&was, &is).map(|difference| difference.at)
    }

    #[test]
    fn the_first_difference_is_named_by_its_pointer() {
        let was = json!({ "a": [1, { "b/c": "x" }], "z": 1 });
        assert_eq!(at(was.clone(), was.clone()), None);
        assert_eq!(at(was.clone(), json!({ "a": [1, { "b/c": "y" }], "z": 2 })).as_deref(), Some("/a/1/b~1c"));
        assert_eq!(at(was.clone(), json!({ "a": [1], "z": 1 })).as_deref(), Some("/a/1"));
        assert_eq!(at(was.clone(), json!({ "0": null, "a": [1, { "b/c": "x" }], "z": 1 })).as_deref(), Some("/0"));
        assert_eq!(at(json!(null), json!("a")).as_deref(), Some(""));
    }

    #[test]
    fn long_texts_are_shown_where_they_differ() {
        let (was, is) = (format!("{}old{}", "ü".repeat(500), "z".repeat(500)), format!("{}new", "ü".repeat(500)));
        let (was, is) = first(&json!(was), &json!(is)).expect("they differ").shown();
        assert!(was.starts_with("…\"üü") && was.contains("üoldz") && was.ends_with("z\"…"), "{was}");
        assert!(is.ends_with("ünew\""), "{is}");
        assert!(was.chars().count() < 140, "{was}");
        assert_eq!(first(&json!({ "a": 1 }), &json!({})).expect("they differ").shown(), ("1".into(), "nothing".into()));
    }
}
