//! The arguments of a tool, as an agent writes them: parsed once, and what is ambiguous is refused. What is made of them here is
//! what is judged, shown, hashed and sent.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Largest text that is parsed, in bytes.
const MOST: usize = 256 * 1024;
/// Deepest nesting that is taken: readers of the journal have a limit too.
const DEEPEST: usize = 64;
/// Largest whole number that every reader of JSON understands alike.
const EXACT: u64 = 1 << 53;

/// The arguments in their canonical form (RFC 8785).
///
/// # Errors
/// Why they are none, with the place.
pub fn parse(text: &str) -> Result<Value, String> {
    if text.len() > MOST {
        return Err(format!("the arguments are longer than {MOST} bytes"));
    }
    let Strict(parsed) = serde_json::from_str(text).map_err(|error| format!("the arguments are no JSON that is clear: {error}"))?;
    if !parsed.is_object() {
        return Err("the arguments must be a JSON object: `{}` if there are none".into());
    }
    if depth(&parsed) > DEEPEST {
        return Err(format!("the arguments are nested deeper than {DEEPEST} levels"));
    }
    let canonical = serde_json_canonicalizer::to_string(&parsed).map_err(|error| error.to_string())?;
    serde_json::from_str(&canonical).map_err(|error| error.to_string())
}

/// Levels of lists and objects.
fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or_default(),
        Value::Object(entries) => 1 + entries.values().map(depth).max().unwrap_or_default(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

/// JSON without duplicate keys and without numbers that readers take for different ones.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader).map(Self)
    }
}

struct Reader;

fn inexact<E: Error>(number: impl fmt::Display) -> E {
    E::custom(format!("{number} is too large to be exact: write it as a string"))
}

impl<'de> Visitor<'de> for Reader {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        if value.unsigned_abs() > EXACT { Err(inexact(value)) } else { Ok(value.into()) }
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        if value > EXACT { Err(inexact(value)) } else { Ok(value.into()) }
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        #[expect(clippy::cast_precision_loss, reason = "a power of two")]
        let exact = EXACT as f64;
        if value.abs() > exact {
            return Err(inexact(value));
        }
        Number::from_f64(value).map(Value::Number).ok_or_else(|| inexact(value))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut read = Vec::new();
        while let Some(Strict(item)) = items.next_element()? {
            read.push(item);
        }
        Ok(Value::Array(read))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut read = Map::new();
        while let Some((key, Strict(value))) = entries.next_entry::<String, Strict>()? {
            if read.contains_key(&key) {
                return Err(A::Error::custom(format!("the key `{key}` is there twice")));
            }
            read.insert(key, value);
        }
        Ok(Value::Object(read))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_readers_could_take_for_different_things_is_refused() {
        for (text, said) in [
            (r#"{"a":1,"a":2}"#, "`a` is there twice"),
            (r#"{"x":[{"b":1,"\u0062":1}]}"#, "`b` is there twice"),
            (r#"{"id":9007199254740993}"#, "write it as a string"),
            (r#"{"id":-9007199254740993}"#, "write it as a string"),
            (r#"{"id":1e999}"#, "no JSON"),
            (r#"[1]"#, "must be a JSON object"),
            ("", "no JSON"),
            (r#"{"a":1} {"a":2}"#, "no JSON"),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.contains(said), "{text}: {error}");
        }
        assert!(parse(&format!("{{\"a\":\"{}\"}}", "x".repeat(MOST))).is_err());
    }

    #[test]
    fn what_is_sent_is_the_canonical_form() {
        assert_eq!(parse(r#" { "b" : 1.0, "a" : [ true, null, "ü" ] } "#), Ok(json!({ "a": [true, null, "ü"], "b": 1 })));
        assert_eq!(parse("{}"), Ok(json!({})));
    }
}
