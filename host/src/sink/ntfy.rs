//! ntfy: a push message with buttons. It takes no key of a delivery, so the task's id stands in the text.

use policy::tier::Clearance;
use serde_json::{Value, json};

use super::answer::{Answer, foreign};
use super::text::{Unit, cut, with_task};
use super::{Button, Message, Name, Undelivered, Urgency};
use crate::config::sinks;
use crate::egress::Client;

/// A longer text would become an attachment.
const MOST_TEXT: usize = 4096;
/// A longer title is refused.
const MOST_TITLE: usize = 1024;
/// A longer request is refused: twice what the text may have.
const MOST_BODY: usize = 2 * MOST_TEXT;
/// More buttons are refused.
const MOST_BUTTONS: usize = 3;
/// A text is not made shorter than this, whatever else the request holds.
const LEAST_TEXT: usize = 256;

/// An ntfy server and a topic of it.
#[derive(Clone)]
pub struct Ntfy {
    config: sinks::Ntfy,
    client: Client,
}

impl Ntfy {
    pub(super) fn new(config: sinks::Ntfy, client: Client) -> Self {
        Self { config, client }
    }

    pub(super) fn clearance(&self) -> Clearance {
        self.config.clearance
    }

    pub(super) async fn deliver(&self, message: &Message) -> Result<(), Undelivered> {
        let request = self.client.post_json(&self.config.url, &publish(&self.config.topic, message));
        let request = request.map(|request| match &self.config.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        });
        let answer = Answer::to(Name::Ntfy, request).await?;
        answer.settled(|body| Some(body.get("error")?.as_str()?.to_owned()))?;
        let published = answer.body?.get("id").is_some_and(Value::is_string);
        if published { Ok(()) } else { Err(foreign(Name::Ntfy)) }
    }
}

/// The request, within the server's bounds: a text full of line breaks or quotes grows when it is written as JSON.
fn publish(topic: &str, message: &Message) -> Value {
    let mut most = MOST_TEXT;
    loop {
        let request = sized(topic, message, most);
        if request.to_string().len() <= MOST_BODY || most <= LEAST_TEXT {
            return request;
        }
        most -= most / 4;
    }
}

fn sized(topic: &str, message: &Message, most: usize) -> Value {
    let mut request = json!({
        "topic": topic,
        "title": cut(&message.title, MOST_TITLE, Unit::Bytes),
        "message": with_task(&message.text, &message.task, most, Unit::Bytes),
        "priority": priority(message.urgency),
        "tags": message.tags,
        "actions": message.buttons.iter().take(MOST_BUTTONS).map(action).collect::<Vec<_>>(),
    });
    if let (Some(open), Some(fields)) = (&message.open, request.as_object_mut()) {
        fields.insert("click".into(), json!(open));
    }
    request
}

fn priority(urgency: Urgency) -> u8 {
    match urgency {
        Urgency::Low => 2,
        Urgency::Normal => 3,
        Urgency::High => 4,
        Urgency::Urgent => 5,
    }
}

fn action(button: &Button) -> Value {
    match &button.body {
        Some(body) => json!({
            "action": "http", "label": button.label, "url": button.url, "method": "POST",
            "headers": { "Content-Type": "application/json" }, "body": body, "clear": true,
        }),
        None => json!({ "action": "view", "label": button.label, "url": button.url }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::tests::message;

    #[test]
    fn a_message_has_its_buttons() {
        assert_eq!(
            publish("approvals", &message()),
            json!({
                "topic": "approvals", "title": "Caller needs approval", "message": "It wants to *count*.\n\nTask 01TASK", "priority": 4,
                "tags": ["warning"], "click": "http://host/tasks/01TASK",
                "actions": [
                    {
                        "action": "http", "label": "Approve", "url": "http://host/approval", "method": "POST",
                        "headers": { "Content-Type": "application/json" }, "body": "{\"reaction\":\"approve\"}", "clear": true,
                    },
                    { "action": "view", "label": "Open", "url": "http://host/approval" },
                ],
            })
        );
        let bare = publish("t", &Message { open: None, buttons: Vec::new(), urgency: Urgency::Low, ..message() });
        assert_eq!((bare.get("click"), &bare["actions"], &bare["priority"]), (None, &json!([]), &json!(2)));
    }

    #[test]
    fn a_request_fits_however_its_text_is_written() {
        for text in ["x", "\n", "\"", "ä", "\u{1}"] {
            let buttons = vec![message().buttons.swap_remove(0); 4];
            let long = publish("approvals", &Message { text: text.repeat(9000), buttons, ..message() });
            let said = long["message"].as_str().unwrap();
            assert!(said.len() <= MOST_TEXT && said.ends_with("[cut]\n\nTask 01TASK"), "{said}");
            assert!(long.to_string().len() <= MOST_BODY);
            assert_eq!(long["actions"].as_array().unwrap().len(), MOST_BUTTONS);
        }
    }
}
