//! Whether a tool can rehearse, and with which arguments.
//!
//! Must never guess: arguments that might not mean a rehearsal would be the call itself.

use serde_json::Value;

/// What such an argument is called.
const NAMES: [&str; 2] = ["dry_run", "dryRun"];
/// What means a rehearsal where such an argument is a word, the best first: to ask the server is worth more than to ask the client.
const WORDS: [&str; 4] = ["server", "All", "client", "true"];

/// The arguments of a dry run, if the tool's schema knows one and the call itself is none.
pub(crate) fn of(schema: &str, arguments: &Value) -> Option<Value> {
    let schema: Value = serde_json::from_str(schema).ok()?;
    let properties = schema.get("properties")?;
    let (name, property) = NAMES.iter().find_map(|name| Some((*name, properties.get(name)?)))?;
    let yes = yes(property)?;
    let mut rehearsed = arguments.as_object()?.clone();
    if rehearsed.insert(name.to_owned(), yes.clone()) == Some(yes) {
        return None;
    }
    Some(Value::Object(rehearsed))
}

/// What the argument must say: true, or that one of its words which means it.
fn yes(property: &Value) -> Option<Value> {
    let is = |name: &str| match property.get("type") {
        Some(Value::String(one)) => one == name,
        Some(Value::Array(all)) => all.iter().any(|one| one == name),
        _ => false,
    };
    if is("boolean") {
        return Some(true.into());
    }
    if let Some(words) = property.get("enum").and_then(Value::as_array) {
        let known = WORDS.iter().find(|word| words.iter().any(|one| one == **word));
        return known.map(|word| Value::from(*word));
    }
    if !is("string") {
        return None;
    }
    // A word that the tool does not explain might mean anything. `All` is also the start of many a sentence.
    let described = property.get("description").and_then(Value::as_str).unwrap_or_default();
    let known = WORDS.iter().find(|word| **word != "All" && described.contains(**word));
    known.map(|word| Value::from(*word))
}
