//! Pushover: a push message with a sound and one link. It takes no key of a delivery, so the task's id stands in the text.

use axum::http::header::CONTENT_TYPE;
use policy::tier::Clearance;
use serde_json::Value;

use super::answer::{Answer, foreign};
use super::text::{Unit, cut, form, with_task};
use super::{Message, Name, Undelivered, Urgency};
use crate::config::sinks;
use crate::egress::Client;

/// The service's bounds, in characters.
const MOST_TEXT: usize = 1024;
const MOST_TITLE: usize = 250;
const MOST_LINK: usize = 512;
const MOST_LABEL: usize = 100;

/// The service, one application, one reader.
#[derive(Clone)]
pub struct Pushover {
    config: sinks::Pushover,
    client: Client,
}

impl Pushover {
    pub(super) fn new(config: sinks::Pushover, client: Client) -> Self {
        Self { config, client }
    }

    pub(super) fn clearance(&self) -> Clearance {
        self.config.clearance
    }

    pub(super) async fn deliver(&self, message: &Message) -> Result<(), Undelivered> {
        let url = format!("{}/1/messages.json", self.config.url.trim_end_matches('/'));
        let body = form(&fields(&self.config, message));
        let request = self.client.post(&url);
        let request = request.map(|request| request.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(body));
        let answer = Answer::to(Name::Pushover, request).await?;
        answer.settled(complaint)?;
        let taken = answer.body?.get("status").and_then(Value::as_i64) == Some(1);
        if taken { Ok(()) } else { Err(foreign(Name::Pushover)) }
    }
}

fn complaint(body: &Value) -> Option<String> {
    let errors = body.get("errors")?.as_array()?;
    Some(errors.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("; "))
}

fn fields(config: &sinks::Pushover, message: &Message) -> Vec<(&'static str, String)> {
    let mut fields = vec![
        ("token", config.token.clone()),
        ("user", config.user.clone()),
        ("title", cut(&message.title, MOST_TITLE, Unit::Chars)),
        ("message", with_task(&message.text, &message.task, MOST_TEXT, Unit::Chars)),
        ("priority", priority(message.urgency).to_string()),
        ("sound", config.sound.clone()),
    ];
    let open = message.open.as_deref().map(|open| (open, "Open"));
    let first = || message.buttons.first().map(|button| (button.link.as_str(), button.label.as_str()));
    // A link that is too long would cost the whole message, and half a link is none.
    if let Some((link, label)) = open.or_else(first).filter(|(link, _)| Unit::Chars.count(link) <= MOST_LINK) {
        fields.push(("url", link.to_owned()));
        fields.push(("url_title", cut(label, MOST_LABEL, Unit::Chars)));
    }
    fields
}

fn priority(urgency: Urgency) -> i8 {
    match urgency {
        Urgency::Low => -1,
        Urgency::Normal => 0,
        // The next would ring until somebody answers there, and answers are given here.
        Urgency::High | Urgency::Urgent => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::tests::message;

    fn config() -> sinks::Pushover {
        let mut config: sinks::Pushover = toml::from_str("token_env = \"T\"\nuser_env = \"U\"\n").unwrap();
        (config.token, config.user) = ("app".into(), "key".into());
        config
    }

    fn of(message: &Message) -> std::collections::BTreeMap<&'static str, String> {
        fields(&config(), message).into_iter().collect()
    }

    #[test]
    fn a_message_has_one_link() {
        let fields = of(&message());
        let said = ["token", "user", "title", "message", "priority", "sound", "url", "url_title"].map(|key| fields[key].as_str());
        let text = "It wants to *count*.\n\nTask 01TASK";
        let link = "http://host/tasks/01TASK";
        assert_eq!(said, ["app", "key", "Caller needs approval", text, "1", "gamelan", link, "Open"]);
        let fields = of(&Message { open: None, ..message() });
        assert_eq!((fields["url"].as_str(), fields["url_title"].as_str()), ("http://host/approve", "Approve"));
        let fields = of(&Message { open: Some("x".repeat(MOST_LINK + 1)), ..message() });
        assert!(!fields.contains_key("url") && !fields.contains_key("url_title"));
    }

    #[test]
    fn what_is_too_long_is_cut() {
        let fields = of(&Message { title: "ä".repeat(300), text: "ä".repeat(2000), ..message() });
        assert_eq!(Unit::Chars.count(&fields["title"]), MOST_TITLE);
        assert_eq!(Unit::Chars.count(&fields["message"]), MOST_TEXT);
        assert!(fields["message"].ends_with(" [cut]\n\nTask 01TASK"));
    }

    #[test]
    fn all_of_its_complaints_are_told() {
        let body = serde_json::json!({ "status": 0, "user": "invalid", "errors": ["user is invalid", "message cannot be blank"] });
        assert_eq!(complaint(&body).as_deref(), Some("user is invalid; message cannot be blank"));
        assert_eq!(complaint(&serde_json::json!({})), None);
    }
}
