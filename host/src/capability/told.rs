//! What a person may say that a call has answered, when nobody else knows: it must be what the agent would have read.

use serde_json::{Value, json};

/// The answer as the journal keeps it.
///
/// # Errors
/// What an answer of that kind looks like.
pub fn told(kind: &str, result: Option<Value>) -> Result<String, String> {
    const MOST: usize = 32 * 1024;
    if result.as_ref().is_some_and(|result| result.to_string().len() > MOST) {
        return Err(format!("`result` is longer than {MOST} bytes: say what matters of it"));
    }
    match (kind, result) {
        ("vault.write" | "vault.append", None | Some(Value::Null)) => Ok(Value::Null.to_string()),
        ("vault.write" | "vault.append", Some(_)) => Err(format!("`{kind}` answers nothing: leave `result` out, or send null")),
        // As the journal keeps what a tool answered.
        ("tools.call", Some(Value::String(text))) => Ok(json!({ "text": text, "data": null, "is_error": false }).to_string()),
        ("tools.call", Some(Value::Object(data))) => {
            let data = Value::Object(data).to_string();
            Ok(json!({ "text": data, "data": data, "is_error": false }).to_string())
        }
        ("tools.call", _) => Err("say as `result` what the tool has answered: a text, or an object".into()),
        (kind, _) => Err(format!("nobody can say what `{kind}` has answered: choose `retry` or `fail`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_has_said_a_text_or_an_object() {
        let said = told("tools.call", Some(json!("it is on"))).expect("a text will do");
        assert_eq!(serde_json::from_str::<Value>(&said).ok(), Some(json!({ "text": "it is on", "data": null, "is_error": false })));
        let said = told("tools.call", Some(json!({ "on": true }))).expect("an object will do");
        let said: Value = serde_json::from_str(&said).expect("it is JSON");
        assert_eq!((&said["data"], &said["is_error"]), (&json!("{\"on\":true}"), &json!(false)));
        for wrong in [None, Some(json!(null)), Some(json!([1]))] {
            assert!(told("tools.call", wrong).is_err_and(|due| due.contains("a text, or an object")));
        }
    }

    #[test]
    fn a_write_answers_nothing_and_a_model_cannot_be_spoken_for() {
        assert_eq!(told("vault.write", None), Ok("null".into()));
        assert_eq!(told("vault.append", Some(json!(null))), Ok("null".into()));
        assert!(told("vault.write", Some(json!("yes"))).is_err_and(|said| said.contains("null")));
        assert!(told("model.complete", Some(json!("yes"))).is_err_and(|said| said.contains("`retry` or `fail`")));
    }
}
