//! A program of the operator's: JSON, signed, with the delivery's key, by which what comes twice can be known.

use axum::http::header::CONTENT_TYPE;
use hmac::{Hmac, KeyInit, Mac};
use policy::tier::Clearance;
use serde_json::{Value, json};
use sha2::Sha256;

use super::answer::{Answer, never};
use super::{Message, Name, Undelivered};
use crate::config::sinks;
use crate::egress::Client;

/// HMAC-SHA256 of exactly the body, in hex, after `sha256=`.
const SIGNATURE: &str = "X-Homeaiops-Signature";
/// The delivery's key.
const DELIVERY: &str = "X-Homeaiops-Delivery";
/// The same, by the name that gateways know.
const IDEMPOTENCY: &str = "Idempotency-Key";

/// An address, and the secret that its owner shares with us.
#[derive(Clone)]
pub struct Webhook {
    config: sinks::Webhook,
    client: Client,
}

impl Webhook {
    pub(super) fn new(config: sinks::Webhook, client: Client) -> Self {
        Self { config, client }
    }

    pub(super) fn clearance(&self) -> Clearance {
        self.config.clearance
    }

    pub(super) async fn deliver(&self, message: &Message) -> Result<(), Undelivered> {
        // What is signed is what is sent, so it is written once.
        let body = body(message).to_string();
        let signature = signature(&self.config.secret, body.as_bytes())
            .ok_or_else(|| never("webhook cannot be signed: its secret is no key; check secret_env in [sinks.webhook]".into()))?;
        let request = self.client.post(&self.config.url).map(|request| {
            let request = request.header(CONTENT_TYPE, "application/json").header(SIGNATURE, signature);
            request.header(DELIVERY, &message.key).header(IDEMPOTENCY, &message.key).body(body)
        });
        // Nobody promised what it says to a success, and what it says to an error may be what it was sent.
        Answer::to(Name::Webhook, request).await?.settled(|_| None)
    }
}

fn body(message: &Message) -> Value {
    let buttons = message.buttons.iter().map(|button| json!({ "label": button.label, "link": button.link }));
    json!({
        "key": message.key,
        "kind": message.kind,
        "task_id": message.task,
        "title": message.title,
        "text": message.text,
        "buttons": buttons.collect::<Vec<_>>(),
        "open": message.open,
    })
}

fn signature(secret: &str, body: &[u8]) -> Option<String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).ok()?;
    mac.update(body);
    Some(format!("sha256={}", hex::encode(mac.finalize().into_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::tests::message;

    #[test]
    fn a_signature_is_the_standards() {
        // RFC 4231, test case 2.
        let expected = "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(signature("Jefe", b"what do ya want for nothing?").as_deref(), Some(expected));
    }

    #[test]
    fn a_message_is_told_whole() {
        assert_eq!(
            body(&message()),
            json!({
                "key": "k1", "kind": "approval", "task_id": "01TASK", "title": "Caller needs approval", "text": "It wants to *count*.",
                "buttons": [{ "label": "Approve", "link": "http://host/approve" }, { "label": "Open", "link": "http://host/open" }],
                "open": "http://host/tasks/01TASK",
            })
        );
    }
}
