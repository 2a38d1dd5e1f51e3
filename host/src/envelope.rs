//! A request that passed validation. Bytes become an [`Envelope`] once; inside there is no second check.

use policy::task::{Intent, Origin, Priority, RetryPolicy, Source};
use policy::tier::Tier;
use serde::Deserialize;

/// Largest content of a task, in bytes.
pub const MOST_CONTENT: usize = 1024 * 1024;

/// What was asked, by whom, and how it should be treated. Field names are the contract's.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Envelope {
    /// The client's own id.
    pub task_id: String,
    /// The surface.
    pub source: Source,
    /// The request.
    pub content: String,
    /// The client's name for the person.
    #[serde(default = "rob")]
    pub user: String,
    /// What set it off.
    #[serde(default)]
    pub origin: Option<Origin>,
    /// On whose behalf; the token's own if absent.
    #[serde(default)]
    pub requester: Option<String>,
    /// What should come of it.
    #[serde(default)]
    pub intent: Option<Intent>,
    /// How urgent.
    #[serde(default = "normal")]
    pub priority: Priority,
    /// Whether it may destroy something.
    #[serde(default)]
    pub destructive: Option<bool>,
    /// A repeat of it answers the first task.
    #[serde(default)]
    pub idempotency_key: Option<String>,
    /// Seconds after which it must not run any more.
    #[serde(default)]
    pub ttl_seconds: Option<i64>,
    /// How failed hops are tried again.
    #[serde(default)]
    pub retry_policy: RetryPolicy,
    /// Tier of the content.
    #[serde(default = "internal")]
    pub data_tier: Tier,
    /// Skips triage.
    #[serde(default)]
    pub target_agent: Option<String>,
    /// Continues a conversation.
    #[serde(default)]
    pub conversation_id: Option<String>,
    /// Whom to answer there.
    #[serde(default)]
    pub zulip_user_id: Option<i64>,
    /// 32 hexadecimal digits; a `traceparent` header wins.
    #[serde(default)]
    pub trace_id: Option<String>,
}

fn rob() -> String {
    "rob".into()
}

fn normal() -> Priority {
    Priority::Normal
}

fn internal() -> Tier {
    Tier::Internal
}

/// Why bytes are no envelope. `code` is stable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{said}")]
pub struct Invalid {
    /// The contract's code.
    pub code: &'static str,
    /// What is wrong, with the field.
    pub said: String,
    /// What to send instead.
    pub hint: &'static str,
}

/// The envelope in `bytes`.
///
/// # Errors
/// [`Invalid`] for the first thing that is wrong.
pub fn parse(bytes: &[u8]) -> Result<Envelope, Invalid> {
    let schema = |said: String| Invalid { code: "schema", said, hint: "see the fields of an envelope in the README" };
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(schema("the body is empty".into()));
    }
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let envelope: Envelope = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        schema(if path == "." { error.inner().to_string() } else { format!("{path}: {}", error.inner()) })
    })?;
    json.end().map_err(|error| schema(error.to_string()))?;
    check(&envelope)?;
    Ok(envelope)
}

fn check(envelope: &Envelope) -> Result<(), Invalid> {
    let invalid = |code, said: &str, hint| Err(Invalid { code, said: said.to_owned(), hint });
    if envelope.task_id.trim().is_empty() {
        return invalid("task_id_blank", "task_id is blank", "send an id of your own");
    }
    sensible(&envelope.content)?;
    if bytes_of(envelope).any(|text| text.contains('\0')) {
        return invalid("schema", "text must not hold NUL characters", "send it without them");
    }
    if envelope.ttl_seconds.is_some_and(|seconds| seconds <= 0) {
        return invalid("ttl_nonpositive", "ttl_seconds must be above 0", "leave it out for a task that never lapses");
    }
    if envelope.idempotency_key.as_ref().is_some_and(|key| key.trim().is_empty()) {
        return invalid("idempotency_key_blank", "idempotency_key is blank", "leave it out, or send a unique text");
    }
    if envelope.retry_policy.max_attempts == 0 {
        return invalid("schema", "retry_policy.max_attempts must be at least 1", "1 means no second attempt");
    }
    if envelope.trace_id.as_ref().is_some_and(|id| !is_trace_id(id)) {
        return invalid("schema", "trace_id must be 32 hexadecimal digits", "leave it out for a new one");
    }
    Ok(())
}

/// Whether a task may have that content.
///
/// # Errors
/// [`Invalid`] for the first thing that is wrong.
pub fn sensible(content: &str) -> Result<(), Invalid> {
    let invalid = |code, said: &str, hint| Err(Invalid { code, said: said.to_owned(), hint });
    if content.trim().is_empty() {
        return invalid("content_blank", "content is blank", "say what should be done");
    }
    if content.contains('\0') {
        return invalid("schema", "text must not hold NUL characters", "send it without them");
    }
    if content.len() > MOST_CONTENT {
        return invalid("too_large", "content is above 1 MiB", "put the data in the vault and name its path");
    }
    Ok(())
}

/// Every free text of an envelope.
fn bytes_of(envelope: &Envelope) -> impl Iterator<Item = &String> {
    let optional = [&envelope.requester, &envelope.idempotency_key, &envelope.target_agent, &envelope.conversation_id];
    [&envelope.task_id, &envelope.content, &envelope.user].into_iter().chain(optional.into_iter().flatten())
}

/// 32 lower-case hexadecimal digits, not all zero (W3C trace context).
#[must_use]
pub fn is_trace_id(text: &str) -> bool {
    text.len() == 32
        && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
        && text.bytes().any(|byte| byte != b'0')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(json: &str) -> &'static str {
        parse(json.as_bytes()).map_or_else(|invalid| invalid.code, |_| "accepted")
    }

    #[test]
    fn each_mistake_has_its_code() {
        let with = |more: &str| format!(r#"{{"task_id":"t","source":"test","content":"hi"{more}}}"#);
        for (json, expected) in [
            (with(""), "accepted"),
            (with(r#","retry_policy":{"backoff_seconds":5}"#), "accepted"),
            (with(r#","ttl_seconds":0"#), "ttl_nonpositive"),
            (with(r#","idempotency_key":" ""#), "idempotency_key_blank"),
            (with(r#","surprise":1"#), "schema"),
            (with(r#","user":"a\u0000b""#), "schema"),
            (with(r#","task_id":"again""#), "schema"),
            (with(r#","priority":"asap""#), "schema"),
            (with(r#","trace_id":"00000000000000000000000000000000""#), "schema"),
            (r#"{"task_id":" ","source":"test","content":"hi"}"#.into(), "task_id_blank"),
            (r#"{"task_id":"t","source":"test","content":" \n"}"#.into(), "content_blank"),
            (r#"{"task_id":"t","source":"test"}"#.into(), "schema"),
            (String::new(), "schema"),
            ("[]".into(), "schema"),
            (format!("{} x", with("")), "schema"),
        ] {
            assert_eq!(code(&json), expected, "{json}");
        }
    }

    #[test]
    fn an_unknown_field_is_named() {
        let invalid = parse(br#"{"task_id":"t","source":"test","content":"hi","conten":1}"#).expect_err("unknown field");
        assert!(invalid.said.contains("`conten`"), "{invalid}");
    }

    #[test]
    fn more_than_a_mebibyte_of_content_is_too_large() {
        let content = "x".repeat(MOST_CONTENT + 1);
        assert_eq!(code(&format!(r#"{{"task_id":"t","source":"test","content":"{content}"}}"#)), "too_large");
    }
}
