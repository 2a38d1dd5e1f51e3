//! `[sinks]`: where messages for people go, and what each of these services may see.

mod filled;

use policy::tier::{Clearance, Tier};
use serde::{Deserialize, Serialize};

/// The services that messages may go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Name {
    /// Push messages with buttons.
    Ntfy,
    /// Chat, to one person or to a stream.
    Zulip,
    /// Push messages with one link.
    Pushover,
    /// A program of the operator's.
    Webhook,
}

impl Name {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Ntfy, Self::Zulip, Self::Pushover, Self::Webhook];

    /// The word, as in the file, the store and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ntfy => "ntfy",
            Self::Zulip => "zulip",
            Self::Pushover => "pushover",
            Self::Webhook => "webhook",
        }
    }

    /// The service of that word, if there is one.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|name| name.as_str() == word)
    }

    /// The highest tier that it may see if the operator says nothing.
    #[must_use]
    pub fn shipped_clearance(self) -> Clearance {
        match self {
            // Their messages lie on other people's servers and on lock screens.
            Self::Ntfy | Self::Pushover => Clearance(Tier::Public),
            Self::Zulip | Self::Webhook => Clearance(Tier::Internal),
        }
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// `[sinks]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sinks {
    /// `[sinks.ntfy]`
    #[serde(default)]
    pub ntfy: Option<Ntfy>,
    /// `[sinks.zulip]`
    #[serde(default)]
    pub zulip: Option<Zulip>,
    /// `[sinks.pushover]`
    #[serde(default)]
    pub pushover: Option<Pushover>,
    /// `[sinks.webhook]`
    #[serde(default)]
    pub webhook: Option<Webhook>,
}

/// `[sinks.ntfy]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ntfy {
    /// Base URL of the server, without a topic.
    pub url: String,
    /// The topic that messages go to.
    #[serde(default = "approvals")]
    pub topic: String,
    /// The variable that holds its token.
    #[serde(default)]
    pub token_env: Option<String>,
    /// Highest tier that it may see.
    #[serde(default = "ntfy")]
    pub clearance: Clearance,
    /// The token itself, read from the environment.
    #[serde(skip)]
    pub token: Option<String>,
}

/// `[sinks.zulip]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Zulip {
    /// Base URL of the server, without `/api`.
    pub url: String,
    /// What stands in the `Host` header, for a server that is reached by another name than it answers to.
    #[serde(default)]
    pub host: Option<String>,
    /// Address of the bot.
    pub email: String,
    /// The variable that holds the bot's API key.
    pub key_env: String,
    /// The operator's user id, for direct messages.
    pub user: i64,
    /// The stream for what is not for the operator alone; without one, everything is a direct message.
    #[serde(default)]
    pub stream: Option<String>,
    /// The topic in that stream.
    #[serde(default)]
    pub topic: Option<String>,
    /// Highest tier that it may see.
    #[serde(default = "zulip")]
    pub clearance: Clearance,
    /// The key itself, read from the environment; empty until then.
    #[serde(skip)]
    pub key: String,
    /// The variable that holds the token of the bot's outgoing webhook, by which replies are known as Zulip's.
    #[serde(default)]
    pub webhook_token_env: Option<String>,
    /// The token itself, read from the environment.
    #[serde(skip)]
    pub webhook_token: Option<String>,
}

/// `[sinks.pushover]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pushover {
    /// Base URL of the service.
    #[serde(default = "pushover_url")]
    pub url: String,
    /// The variable that holds the application's token.
    pub token_env: String,
    /// The variable that holds the key of the user, or of the group.
    pub user_env: String,
    /// The sound that it makes.
    #[serde(default = "gamelan")]
    pub sound: String,
    /// Highest tier that it may see.
    #[serde(default = "pushover")]
    pub clearance: Clearance,
    /// The token itself, read from the environment; empty until then.
    #[serde(skip)]
    pub token: String,
    /// The user's key itself, read from the environment; empty until then.
    #[serde(skip)]
    pub user: String,
}

/// `[sinks.webhook]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// Where it is sent.
    pub url: String,
    /// The variable that holds the secret with which it is signed.
    pub secret_env: String,
    /// Highest tier that it may see.
    #[serde(default = "webhook")]
    pub clearance: Clearance,
    /// The secret itself, read from the environment; empty until then.
    #[serde(skip)]
    pub secret: String,
}

fn approvals() -> String {
    "approvals".into()
}

fn pushover_url() -> String {
    "https://api.pushover.net".into()
}

fn gamelan() -> String {
    "gamelan".into()
}

fn ntfy() -> Clearance {
    Name::Ntfy.shipped_clearance()
}

fn zulip() -> Clearance {
    Name::Zulip.shipped_clearance()
}

fn pushover() -> Clearance {
    Name::Pushover.shipped_clearance()
}

fn webhook() -> Clearance {
    Name::Webhook.shipped_clearance()
}
