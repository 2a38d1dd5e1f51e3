//! What a service answers, and what that means for a message: delivered, later, or never.
//!
//! Must never repeat what was sent, nor where to: an address may be a secret, and what is said here is written to logs.

use std::time::Duration;

use axum::http::header::{CONTENT_TYPE, DATE, HeaderName, RETRY_AFTER};
use axum::http::{HeaderMap, StatusCode};
use reqwest::RequestBuilder;
use serde_json::Value;

use super::text::{Unit, cut};
use super::{Name, Undelivered};
use crate::egress::{self, EgressError};

/// How long a service may take for a message.
const PATIENCE: Duration = Duration::from_secs(10);
/// How much of an answer is read, in bytes.
const MOST: usize = 64 * 1024;
/// How much of a service's own words is repeated.
const MOST_WORDS: usize = 200;
/// The longest that a service can make us wait.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// An answer, read.
pub(super) struct Answer {
    pub(super) name: Name,
    pub(super) status: StatusCode,
    /// How long we are asked to wait.
    pub(super) after: Option<Duration>,
    /// The JSON in it, or what it means that there is none.
    pub(super) body: Result<Value, Undelivered>,
}

impl Answer {
    /// Sends a request and waits for what comes back.
    pub(super) async fn to(name: Name, request: Result<RequestBuilder, EgressError>) -> Result<Self, Undelivered> {
        let request = request.map_err(|error| never(format!("{name} cannot be asked: {}", words(error))))?;
        let response = request.timeout(PATIENCE).send().await.map_err(|error| unreached(name, error))?;
        let (status, after) = (response.status(), retry_after(response.headers()));
        let is_json = is_json(response.headers());
        let body = match egress::start_of(response, MOST).await {
            Ok(text) if is_json => serde_json::from_str(&text).map_err(|_| foreign(name)),
            Ok(_) => Err(foreign(name)),
            Err(error) => Err(later(format!("the answer of {name} ended too early: {}", words(error)), after)),
        };
        Ok(Self { name, status, after, body })
    }

    /// The JSON in it, if there is any.
    pub(super) fn json(&self) -> Option<&Value> {
        self.body.as_ref().ok()
    }

    /// What the status alone means; `words` finds what the service itself says of an error.
    pub(super) fn settled(&self, words: fn(&Value) -> Option<String>) -> Result<(), Undelivered> {
        if self.status.is_success() {
            return Ok(());
        }
        let words = self.json().and_then(words).map(|words| format!(": {}", cut(&words, MOST_WORDS, Unit::Chars)));
        let said = format!("{} answered {}{}", self.name, self.status.as_u16(), words.unwrap_or_default());
        if self.status.is_redirection() {
            let name = self.name;
            return Err(later(format!("{said}: it leads elsewhere, which is not followed; check url in [sinks.{name}]"), None));
        }
        // Only what is wrong with the message itself stays wrong: a token that was changed, or a page of a proxy, is mended within hours.
        let hopeless = [StatusCode::BAD_REQUEST, StatusCode::PAYLOAD_TOO_LARGE, StatusCode::UNPROCESSABLE_ENTITY];
        Err(if hopeless.contains(&self.status) { never(said) } else { later(said, self.after) })
    }
}

pub(super) fn later(said: String, after: Option<Duration>) -> Undelivered {
    Undelivered::Later { said, after }
}

pub(super) fn never(said: String) -> Undelivered {
    Undelivered::Never { said }
}

/// A success that is not the service's: somebody else answers at that address.
pub(super) fn foreign(name: Name) -> Undelivered {
    later(format!("what answers is not {name}; check url in [sinks.{name}]"), None)
}

fn unreached(name: Name, error: reqwest::Error) -> Undelivered {
    // A header that cannot be written, such as a token with a line break, will not be written later either.
    let hopeless = error.is_builder();
    let said = format!("{name} was not reached: {}", words(error.into()));
    if hopeless { never(said) } else { later(said, None) }
}

fn words(error: EgressError) -> String {
    match error {
        EgressError::Http(error) if error.is_timeout() => "it took too long".into(),
        EgressError::Http(error) => EgressError::Http(error.without_url()).to_string(),
        EgressError::NotAllowed(_) => "its url is no destination that the operator named".into(),
        error @ (EgressError::Start(_) | EgressError::TooMuch(_) | EgressError::TooLarge(_)) => error.to_string(),
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

/// `Retry-After`: seconds, or a date, which is taken by the clock of whoever wrote it.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let said = text(RETRY_AFTER)?.trim();
    if let Ok(count) = said.parse::<f64>() {
        return seconds(count);
    }
    let date = |text: &str| jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok();
    let wait = date(said)?.duration_since(date(text(DATE)?.trim())?);
    Duration::try_from(wait).ok().map(|wait| wait.min(LONGEST))
}

/// So many seconds, if that is a time to wait. Zulip writes fractions.
pub(super) fn seconds(count: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(count).ok().map(|wait| wait.min(LONGEST))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn answer(status: u16, after: Option<Duration>, body: Option<Value>) -> Answer {
        let (name, status) = (Name::Ntfy, StatusCode::from_u16(status).unwrap());
        Answer { name, status, after, body: body.ok_or_else(|| foreign(name)) }
    }

    #[test]
    fn a_wait_is_seconds_or_a_date() {
        let wait = |after: &str, date: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, after.parse().unwrap());
            if let Some(date) = date {
                headers.insert(DATE, date.parse().unwrap());
            }
            retry_after(&headers)
        };
        assert_eq!(retry_after(&HeaderMap::new()), None);
        assert_eq!(wait("30", None), Some(Duration::from_secs(30)));
        assert_eq!(wait("1.5", None), Some(Duration::from_millis(1500)));
        assert_eq!(wait("99999999", None), Some(LONGEST));
        let (before, after) = ("Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:50:37 GMT");
        assert_eq!(wait(after, Some(before)), Some(Duration::from_secs(60)));
        for (after, date) in [(after, None), (before, Some(after)), ("-1", None), ("NaN", None), ("soon", None)] {
            assert_eq!(wait(after, date), None, "{after}");
        }
    }

    #[test]
    fn a_status_says_whether_to_try_again() {
        let judged = |status: u16| answer(status, None, None).settled(|_| None);
        for status in [200, 201, 204] {
            assert_eq!(judged(status), Ok(()));
        }
        for status in [302, 401, 403, 404, 408, 429, 500, 502, 503] {
            assert!(matches!(judged(status), Err(Undelivered::Later { .. })), "{status}");
        }
        for status in [400, 413, 422] {
            assert!(matches!(judged(status), Err(Undelivered::Never { .. })), "{status}");
        }
        assert!(judged(302).unwrap_err().to_string().contains("check url in [sinks.ntfy]"));
    }

    #[test]
    fn an_error_has_the_services_own_words_and_its_wait() {
        let wait = Some(Duration::from_secs(3));
        let busy = answer(429, wait, Some(serde_json::json!({ "error": "limit reached" })));
        let words = |body: &Value| Some(body.get("error")?.as_str()?.to_owned());
        let said = "ntfy answered 429: limit reached".to_owned();
        assert_eq!(busy.settled(words), Err(Undelivered::Later { said, after: wait }));
    }

    #[test]
    fn json_is_known_by_what_it_says_it_is() {
        for (kind, expected) in [("application/json", true), ("Application/JSON; charset=utf-8", true), ("text/html", false)] {
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(kind))]);
            assert_eq!(is_json(&headers), expected, "{kind}");
        }
        assert!(!is_json(&HeaderMap::new()));
    }
}
