//! Zulip: a chat message with links, to one person or to a stream. It takes no key of a delivery, so the task's id stands in the
//! text.
//!
//! Must never show a link that decides to anybody but the one who may decide.

use axum::http::header::{CONTENT_TYPE, HOST};
use policy::tier::Clearance;
use serde_json::{Value, json};

use super::answer::{Answer, foreign, later, never, seconds};
use super::text::{Unit, cut, form};
use super::{Message, Name, Undelivered};
use crate::config::sinks;
use crate::egress::Client;

/// The server's bound of a message, in characters.
const MOST: usize = 10_000;
/// Our own bound of the line above, so that there is room for a text.
const MOST_TITLE: usize = 250;
/// Most that is spent on closing what a text leaves open.
const MOST_CLOSING: usize = 64;

/// A Zulip server, one bot, one operator.
#[derive(Clone)]
pub struct Zulip {
    config: sinks::Zulip,
    client: Client,
}

impl Zulip {
    pub(super) fn new(config: sinks::Zulip, client: Client) -> Self {
        Self { config, client }
    }

    pub(super) fn clearance(&self) -> Clearance {
        self.config.clearance
    }

    pub(super) async fn deliver(&self, message: &Message) -> Result<(), Undelivered> {
        let url = format!("{}/api/v1/messages", self.config.url.trim_end_matches('/'));
        let body = form(&fields(&self.config, message));
        let request = self.client.post(&url).map(|request| {
            let request = request.basic_auth(&self.config.email, Some(&self.config.key));
            let request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(body);
            match &self.config.host {
                Some(host) => request.header(HOST, host),
                None => request,
            }
        });
        judged(Answer::to(Name::Zulip, request).await?)
    }
}

/// Zulip says in the body what happened, and the code in it means more than the status.
fn judged(answer: Answer) -> Result<(), Undelivered> {
    let field = |key: &str| answer.json().and_then(|body| body.get(key)).and_then(Value::as_str);
    if field("code") == Some("RATE_LIMIT_HIT") {
        let told = || answer.json()?.get("retry-after")?.as_f64().and_then(seconds);
        return Err(later("zulip is asked too often".into(), answer.after.or_else(told)));
    }
    answer.settled(complaint)?;
    let body = answer.body?;
    match body.get("result").and_then(Value::as_str) {
        Some("success") => Ok(()),
        Some("error") => {
            let said = cut(&complaint(&body).unwrap_or_default(), 200, Unit::Chars);
            Err(never(format!("zulip did not take it: {said}")))
        }
        _ => Err(foreign(Name::Zulip)),
    }
}

fn complaint(body: &Value) -> Option<String> {
    Some(body.get("msg")?.as_str()?.to_owned())
}

fn fields(config: &sinks::Zulip, message: &Message) -> Vec<(&'static str, String)> {
    // Who has a link can decide, so whatever has buttons is for one person.
    let shared = message.to.is_none() && message.buttons.is_empty();
    match (&config.stream, &config.topic) {
        (Some(stream), Some(topic)) if shared => vec![
            ("type", "stream".into()),
            // As JSON: a bare name that is a number would be an id.
            ("to", json!(stream).to_string()),
            ("topic", topic.clone()),
            ("content", content(&calling_nobody(message))),
        ],
        _ => vec![
            ("type", "direct".into()),
            ("to", format!("[{}]", message.to.unwrap_or(config.user))),
            ("content", content(message)),
        ],
    }
}

/// In a stream, what an agent writes must not ring at everybody's.
fn calling_nobody(message: &Message) -> Message {
    let quiet = |text: &str| text.replace("@*", "@\\*");
    Message { title: quiet(&message.title), text: quiet(&message.text), ..message.clone() }
}

fn content(message: &Message) -> String {
    let title = message.title.split_whitespace().collect::<Vec<_>>().join(" ");
    let head = format!("**{}**\n\n", cut(&title, MOST_TITLE, Unit::Chars));
    let links = message.buttons.iter().map(|button| (button.label.as_str(), button.link.as_str()));
    let links = links.chain(message.open.as_deref().map(|open| ("Open", open)));
    let links = links.map(|(label, link)| format!("[{label}]({link})")).collect::<Vec<_>>().join(" · ");
    let task = if message.task.is_empty() { String::new() } else { format!("*Task {}*", message.task) };
    let tail = [links, task].into_iter().filter(|line| !line.is_empty());
    let tail: String = tail.map(|line| format!("\n\n{line}")).collect();

    let room = MOST.saturating_sub(Unit::Chars.count(&head) + Unit::Chars.count(&tail) + MOST_CLOSING);
    let text = cut(&message.text, room, Unit::Chars);
    let closing = closing(&text);
    if closing.len() > MOST_CLOSING {
        // Whoever opens so much wants to swallow what comes after.
        return format!("{head}{}{tail}", text.replace("```", "'''").replace("~~~", "---"));
    }
    format!("{head}{text}{closing}{tail}")
}

/// What closes the blocks that a text leaves open: what stands after them would be in them.
fn closing(text: &str) -> String {
    let mut open: Vec<(&str, bool)> = Vec::new();
    for line in text.lines() {
        let Some((mark, info)) = fence(line) else { continue };
        let inside = open.last().copied();
        if info.is_empty() && inside.is_some_and(|(opened, _)| opened == mark) {
            open.pop();
        } else if inside.is_none_or(|(_, holds_blocks)| holds_blocks) {
            open.push((mark, info.starts_with("quote") || info.starts_with("spoiler")));
        }
    }
    open.iter().rev().map(|(mark, _)| format!("\n{mark}")).collect()
}

/// A line that opens or closes a block, and what it says of the block.
fn fence(line: &str) -> Option<(&str, &str)> {
    let first = line.chars().next().filter(|c| matches!(c, '`' | '~'))?;
    let (mark, info) = line.split_at_checked(line.len() - line.trim_start_matches(first).len())?;
    (mark.len() >= 3 && !info.contains(['`', '~'])).then(|| (mark, info.trim()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::http::StatusCode;

    use super::*;
    use crate::sink::tests::message;

    fn config(more: &str) -> sinks::Zulip {
        toml::from_str(&format!("url = \"http://z\"\nemail = \"bot@z\"\nkey_env = \"K\"\nuser = 8\n{more}")).unwrap()
    }

    #[test]
    fn what_can_be_decided_goes_to_one_person() {
        let content = "**Caller needs approval**\n\nIt wants to *count*.\n\n[Approve](http://host/approve) · [Open](http://host/open) · \
            [Open](http://host/tasks/01TASK)\n\n*Task 01TASK*";
        let stream = config("stream = \"42\"\ntopic = \"agents\"\n");
        let to = |id: i64| [("type", "direct".to_owned()), ("to", format!("[{id}]")), ("content", content.to_owned())];
        assert_eq!(fields(&config(""), &message()), to(8));
        assert_eq!(fields(&stream, &message()), to(8));
        assert_eq!(fields(&stream, &Message { to: Some(9), ..message() }), to(9));

        let report = Message { buttons: Vec::new(), open: None, text: "@**all** look".into(), ..message() };
        let content = "**Caller needs approval**\n\n@\\**all** look\n\n*Task 01TASK*";
        let expected = [("type", "stream"), ("to", "\"42\""), ("topic", "agents"), ("content", content)];
        assert_eq!(fields(&stream, &report), expected.map(|(name, value)| (name, value.to_owned())));
    }

    #[test]
    fn links_stand_outside_of_what_a_text_leaves_open() {
        for (text, expected) in [
            ("plain `code`", ""),
            ("```\ncode", "\n```"),
            ("```\ncode\n```", ""),
            ("````quote\n```\ncode", "\n```\n````"),
            ("```quote\nsaid\n```", ""),
            ("```\n~~~\n```", ""),
            ("~~~ py\n```", "\n~~~"),
            ("```one``` line", ""),
        ] {
            assert_eq!(closing(text), expected, "{text}");
        }
        for text in ["x".repeat(20_000), "```quote\n".repeat(2_000), "````quote\n~~~~~quote\n".repeat(900)] {
            let content = content(&Message { text, ..message() });
            assert!(
                content.chars().count() <= MOST && content.ends_with("(http://host/tasks/01TASK)\n\n*Task 01TASK*"),
                "{content}"
            );
        }
    }

    #[test]
    fn the_code_in_the_body_decides() {
        let answer = |status: u16, body: Value| Answer {
            name: Name::Zulip,
            status: StatusCode::from_u16(status).unwrap(),
            after: None,
            body: Ok(body),
        };
        assert_eq!(judged(answer(200, json!({ "result": "success", "msg": "", "id": 1 }))), Ok(()));
        let busy = json!({ "result": "error", "code": "RATE_LIMIT_HIT", "msg": "API usage exceeded", "retry-after": 2.5 });
        for status in [200, 429] {
            let after = Some(Duration::from_millis(2500));
            let said = "zulip is asked too often".into();
            assert_eq!(judged(answer(status, busy.clone())), Err(Undelivered::Later { said, after }));
        }
        let wrong = json!({ "result": "error", "code": "BAD_REQUEST", "msg": "Invalid user ID 99" });
        for status in [200, 400] {
            let said = judged(answer(status, wrong.clone())).unwrap_err();
            assert!(matches!(said, Undelivered::Never { .. }) && said.to_string().ends_with("Invalid user ID 99"), "{said}");
        }
        assert!(judged(answer(200, json!({}))).unwrap_err().to_string().contains("what answers is not zulip"));
    }
}
