//! Where messages for people go: ntfy, Zulip, Pushover, and a program of the operator's. One message is one request, and one
//! verdict: delivered, later, or never.
//!
//! Must never open a sealed text, keep a message, or try twice: the outbox decides what is sent, where, and when again.

mod answer;
mod ntfy;
mod pushover;
mod text;
mod webhook;
mod zulip;

use std::time::Duration;

use policy::tier::Clearance;
use serde::{Deserialize, Serialize};

pub use self::ntfy::Ntfy;
pub use self::pushover::Pushover;
pub use self::webhook::Webhook;
pub use self::zulip::Zulip;
pub use crate::config::sinks::Name;
use crate::config::sinks::Sinks;
use crate::egress::Client;

/// What a message is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Somebody has to decide.
    Approval,
    /// Somebody has still to decide.
    Reminder,
    /// What came of a task.
    Report,
    /// A task that failed for good.
    DeadLetter,
    /// A task that nobody decided in time.
    Expired,
    /// Anything else that the operator should know.
    Notice,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Approval, Self::Reminder, Self::Report, Self::DeadLetter, Self::Expired, Self::Notice];

    /// The word, as in JSON and the store.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Approval => "approval",
            Self::Reminder => "reminder",
            Self::Report => "report",
            Self::DeadLetter => "dead_letter",
            Self::Expired => "expired",
            Self::Notice => "notice",
        }
    }

    /// The kind of that word, if there is one.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

/// How loud a message is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Urgency {
    /// No sound.
    Low,
    /// As messages are.
    #[default]
    Normal,
    /// Soon.
    High,
    /// Now.
    Urgent,
}

/// Something that the reader can do at once. It has no `Debug`: who knows its link can decide.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Button {
    /// What it says.
    pub label: String,
    /// Where it goes.
    pub url: String,
    /// JSON to post there; without it, the address is opened.
    pub body: Option<String>,
    /// A page that means the same, for services that have links only.
    pub link: String,
}

/// A message for people, as one service is to get it. It has no `Debug`: its text is opened for that service and nobody else.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// The delivery's key: the same each time it is tried.
    pub key: String,
    /// The task that it is about.
    pub task: String,
    /// What it is about.
    pub kind: Kind,
    /// One line.
    pub title: String,
    /// Markdown that does nothing by being looked at, and holds nothing above the service's clearance.
    pub text: String,
    /// How loud it is.
    pub urgency: Urgency,
    /// Short words; some services show them as pictures.
    pub tags: Vec<String>,
    /// What the reader can do.
    pub buttons: Vec<Button>,
    /// Where there is more.
    pub open: Option<String>,
    /// The Zulip user who gets it instead of the operator.
    pub to: Option<i64>,
}

/// Why a message did not arrive, as far as anybody knows. It repeats neither the message nor an address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Undelivered {
    /// Another try may help.
    #[error("{said}")]
    Later {
        /// What happened.
        said: String,
        /// How long the service asks us to wait.
        after: Option<Duration>,
    },
    /// The same request would be refused again.
    #[error("{said}")]
    Never {
        /// What happened.
        said: String,
    },
}

/// One service that messages can go to.
#[derive(Clone)]
pub enum Sink {
    /// ntfy
    Ntfy(Ntfy),
    /// Zulip
    Zulip(Zulip),
    /// Pushover
    Pushover(Pushover),
    /// A program of the operator's.
    Webhook(Webhook),
}

impl Sink {
    /// Every service that is configured. The client must know their addresses ([`Sinks::urls`]).
    #[must_use]
    pub fn configured(sinks: &Sinks, client: &Client) -> Vec<Self> {
        let ntfy = sinks.ntfy.clone().map(|config| Self::Ntfy(Ntfy::new(config, client.clone())));
        let zulip = sinks.zulip.clone().map(|config| Self::Zulip(Zulip::new(config, client.clone())));
        let pushover = sinks.pushover.clone().map(|config| Self::Pushover(Pushover::new(config, client.clone())));
        let webhook = sinks.webhook.clone().map(|config| Self::Webhook(Webhook::new(config, client.clone())));
        [ntfy, zulip, pushover, webhook].into_iter().flatten().collect()
    }

    /// Which one it is.
    #[must_use]
    pub fn name(&self) -> Name {
        match self {
            Self::Ntfy(_) => Name::Ntfy,
            Self::Zulip(_) => Name::Zulip,
            Self::Pushover(_) => Name::Pushover,
            Self::Webhook(_) => Name::Webhook,
        }
    }

    /// The highest tier that it may see: what a message's text is opened with.
    #[must_use]
    pub fn clearance(&self) -> Clearance {
        match self {
            Self::Ntfy(ntfy) => ntfy.clearance(),
            Self::Zulip(zulip) => zulip.clearance(),
            Self::Pushover(pushover) => pushover.clearance(),
            Self::Webhook(webhook) => webhook.clearance(),
        }
    }

    /// Tries once, for ten seconds at most. A message that did not arrive may have arrived all the same.
    ///
    /// # Errors
    /// [`Undelivered`] says whether to try again.
    pub async fn deliver(&self, message: &Message) -> Result<(), Undelivered> {
        match self {
            Self::Ntfy(ntfy) => ntfy.deliver(message).await,
            Self::Zulip(zulip) => zulip.deliver(message).await,
            Self::Pushover(pushover) => pushover.deliver(message).await,
            Self::Webhook(webhook) => webhook.deliver(message).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message with everything in it.
    pub(super) fn message() -> Message {
        let button = |label: &str, body: Option<&str>| Button {
            label: label.to_owned(),
            url: "http://host/approval".into(),
            body: body.map(str::to_owned),
            link: format!("http://host/{}", label.to_lowercase()),
        };
        Message {
            key: "k1".into(),
            task: "01TASK".into(),
            kind: Kind::Approval,
            title: "Caller needs approval".into(),
            text: "It wants to *count*.".into(),
            urgency: Urgency::High,
            tags: vec!["warning".into()],
            buttons: vec![button("Approve", Some("{\"reaction\":\"approve\"}")), button("Open", None)],
            open: Some("http://host/tasks/01TASK".into()),
            to: None,
        }
    }

    #[test]
    fn a_kind_has_one_word() {
        for kind in Kind::ALL {
            assert_eq!(Kind::named(kind.as_str()), Some(kind));
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
    }

    #[test]
    fn only_what_is_configured_is_served() {
        let client = Client::new(std::iter::empty(), &[]).unwrap();
        assert!(Sink::configured(&Sinks::default(), &client).is_empty());
        let sinks: Sinks = toml::from_str("[ntfy]\nurl = \"http://127.0.0.1:1\"\nclearance = \"internal\"\n").unwrap();
        let served = Sink::configured(&sinks, &client);
        let [ntfy] = served.as_slice() else { panic!("one was configured") };
        assert_eq!((ntfy.name(), ntfy.clearance()), (Name::Ntfy, Clearance(policy::tier::Tier::Internal)));
    }
}
