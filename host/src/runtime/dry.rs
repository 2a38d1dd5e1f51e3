//! What a model says that only fills in the form: the smallest value of the asked schema. Never asks anybody.

use std::cell::Cell;

use serde_json::{Map, Value};

/// How deep a schema that refers to itself is followed.
const DEPTH: usize = 32;
/// Values and letters that are made of one schema: whoever asks for more asks for nothing.
const MOST: usize = 10_000;

/// The smallest value that a JSON schema allows: the first of an enumeration, nothing optional, the shortest of what is left.
/// Keywords that only a generator of text could satisfy (`pattern`, `format`) are not obeyed.
#[must_use]
pub fn smallest(schema: &Value) -> Value {
    Dry { root: schema, left: Cell::new(MOST) }.of(schema, DEPTH)
}

struct Dry<'s> {
    root: &'s Value,
    /// Values and letters that may still be made.
    left: Cell<usize>,
}

impl Dry<'_> {
    /// As many of them as may still be made.
    fn take(&self, many: usize) -> usize {
        let taken = many.min(self.left.get());
        self.left.set(self.left.get() - taken);
        taken
    }

    fn of(&self, schema: &Value, depth: usize) -> Value {
        let (Some(depth), 1) = (depth.checked_sub(1), self.take(1)) else { return Value::Null };
        if let Some(only) = schema.get("const") {
            return only.clone();
        }
        if let Some(first) = schema.get("enum").and_then(|all| all.get(0)) {
            return first.clone();
        }
        if let Some(below) = schema.get("$ref").and_then(Value::as_str).and_then(|at| self.root.pointer(at.strip_prefix('#')?)) {
            return self.of(below, depth);
        }
        if let Some(choices) = ["anyOf", "oneOf"].iter().find_map(|key| schema.get(key)?.as_array()) {
            let values = choices.iter().map(|choice| self.of(choice, depth));
            return values.min_by_key(|value| value.to_string().len()).unwrap_or_default();
        }
        match kind(schema) {
            "object" => self.object(schema, depth),
            "array" => self.array(schema, depth),
            "string" => "x".repeat(self.take(count(schema, "minLength"))).into(),
            "integer" => bound(schema, 1.0).map_or(0, |least| as_integer(least.ceil())).into(),
            "number" => bound(schema, 0.5).map_or_else(|| 0.into(), |least| least.into()),
            "boolean" => false.into(),
            _ => Value::Null,
        }
    }

    /// Only what is required, also by the parts of an `allOf`.
    fn object(&self, schema: &Value, depth: usize) -> Value {
        let mut made = Map::new();
        for part in schema.get("allOf").and_then(Value::as_array).into_iter().flatten() {
            if let Value::Object(more) = self.of(part, depth) {
                made.extend(more);
            }
        }
        for name in schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
            let property = schema.get("properties").and_then(|all| all.get(name));
            made.insert(name.to_owned(), property.map_or(Value::Null, |property| self.of(property, depth)));
        }
        Value::Object(made)
    }

    fn array(&self, schema: &Value, depth: usize) -> Value {
        let first = schema.get("prefixItems").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let rest = schema.get("items").unwrap_or(&Value::Null);
        (0..count(schema, "minItems").min(self.left.get())).map(|at| self.of(first.get(at).unwrap_or(rest), depth)).collect()
    }
}

/// The type to make: null where it is allowed, and what the keywords say where no type is named.
fn kind(schema: &Value) -> &str {
    match schema.get("type") {
        Some(Value::String(one)) => one,
        Some(Value::Array(all)) if all.iter().any(|one| one == "null") => "null",
        Some(Value::Array(all)) => all.first().and_then(Value::as_str).unwrap_or("null"),
        _ if schema.get("properties").is_some() || schema.get("allOf").is_some() => "object",
        _ => "null",
    }
}

fn count(schema: &Value, key: &str) -> usize {
    schema.get(key).and_then(Value::as_u64).and_then(|least| usize::try_from(least).ok()).unwrap_or_default()
}

/// The number nearest to zero that the bounds allow, if zero is not; `step` leads away from a bound that is itself excluded.
fn bound(schema: &Value, step: f64) -> Option<f64> {
    let said = |key: &str| schema.get(key).and_then(Value::as_f64);
    let least = said("minimum").or_else(|| said("exclusiveMinimum").map(|bound| bound + step)).filter(|least| *least > 0.0);
    let most = said("maximum").or_else(|| said("exclusiveMaximum").map(|bound| bound - step)).filter(|most| *most < 0.0);
    least.or(most)
}

#[expect(clippy::cast_possible_truncation, reason = "a bound beyond 64 bits is cut to them")]
fn as_integer(value: f64) -> i64 {
    value as i64
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_asks_for_too_much_gets_little() {
        let twice =
            json!({ "type": "object", "required": ["a", "b"], "properties": { "a": { "$ref": "#" }, "b": { "$ref": "#" } } });
        let many =
            json!({ "type": "array", "minItems": u64::MAX, "items": { "type": "string", "minLength": 1_000_000_000_000_u64 } });
        for schema in [twice, many, json!({ "type": "string", "minLength": u64::MAX })] {
            assert!(smallest(&schema).to_string().len() < 20 * MOST, "{schema}");
        }
    }

    #[test]
    fn the_smallest_value_is_the_least_that_the_schema_allows() {
        let text = |least: u64| json!({ "type": "string", "minLength": least, "maxLength": 9 });
        for (schema, expected) in [
            (json!({ "const": 7 }), json!(7)),
            (json!({ "enum": ["b", "a", null] }), json!("b")),
            (json!({ "type": "string" }), json!("")),
            (text(3), json!("xxx")),
            (json!({ "type": ["string", "null"] }), json!(null)),
            (json!({ "type": "integer", "minimum": 3 }), json!(3)),
            (json!({ "type": "integer", "exclusiveMinimum": 3 }), json!(4)),
            (json!({ "type": "number", "minimum": 0.0, "maximum": 1.0 }), json!(0)),
            (json!({ "type": "integer", "maximum": -2 }), json!(-2)),
            (json!({ "type": "boolean" }), json!(false)),
            (json!({ "type": "array", "items": text(1), "maxItems": 4 }), json!([])),
            (json!({ "type": "array", "items": text(1), "minItems": 2 }), json!(["x", "x"])),
            (json!({ "anyOf": [text(5), { "type": "null" }] }), json!(null)),
            (
                json!({ "type": "object", "properties": { "a": text(2), "b": text(2) }, "required": ["a"], "additionalProperties": false }),
                json!({ "a": "xx" }),
            ),
            (
                json!({ "$defs": { "word": text(1) }, "properties": { "w": { "$ref": "#/$defs/word" } }, "required": ["w"] }),
                json!({ "w": "x" }),
            ),
            (
                json!({ "allOf": [{ "type": "object", "properties": { "a": text(1) }, "required": ["a"] }], "required": ["b"], "properties": { "b": { "type": "boolean" } } }),
                json!({ "a": "x", "b": false }),
            ),
        ] {
            let value = smallest(&schema);
            assert_eq!(value, expected, "{schema}");
            assert!(jsonschema::is_valid(&schema, &value), "{value} does not satisfy {schema}");
        }
    }

    #[test]
    fn a_schema_that_needs_itself_ends() {
        let schema = json!({ "type": "object", "properties": { "below": { "$ref": "#" } }, "required": ["below"] });
        assert!(smallest(&schema).to_string().len() < 1000);
    }
}
