//! Compiled JSON schemas. An agent asks for the same few again and again, and compiling one costs more processor time than the rest
//! of what a call does here.
//!
//! Must never hold what was answered: only what was asked for.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use jsonschema::Validator;
use serde_json::Value;

/// How many are kept.
const KEPT: usize = 32;

static LATELY: Mutex<VecDeque<(Value, Arc<Validator>)>> = Mutex::new(VecDeque::new());

/// Compiles a schema, unless that was done lately. The error says what is wrong with it, without quoting it.
pub(super) fn compiled(schema: &Value) -> Result<Arc<Validator>, String> {
    let known = LATELY.lock().unwrap_or_else(PoisonError::into_inner).iter().find(|(known, _)| known == schema).cloned();
    if let Some((_, known)) = known {
        return Ok(known);
    }
    let fresh = jsonschema::validator_for(schema).map_err(|error| format!("the schema does not compile: {}", error.masked()))?;
    let fresh = Arc::new(fresh);
    let mut lately = LATELY.lock().unwrap_or_else(PoisonError::into_inner);
    lately.truncate(KEPT - 1);
    lately.push_front((schema.clone(), fresh.clone()));
    Ok(fresh)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_schema_is_compiled_once_and_each_is_its_own() {
        let (number, word) = (json!({ "type": "number" }), json!({ "type": "string" }));
        let first = compiled(&number).unwrap();
        assert!(Arc::ptr_eq(&first, &compiled(&number).unwrap()));
        assert!(compiled(&word).unwrap().is_valid(&json!("x")) && !first.is_valid(&json!("x")));
        assert!(compiled(&json!({ "type": 7 })).unwrap_err().contains("does not compile"));
    }
}
