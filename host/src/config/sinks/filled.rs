//! `[sinks]`, filled in from the environment and looked over.
//!
//! Must never repeat an address or a secret.

use super::{Name, Sinks};
use crate::config::ConfigError;

impl Sinks {
    /// Fills in every secret from the variable that is named for it. What it answers could not be filled in: which key names the
    /// variable, and the variable.
    pub fn read(&mut self, mut variable: impl FnMut(&str) -> Option<String>) -> Vec<(&'static str, String)> {
        let mut missing = Vec::new();
        let mut found = |place: &'static str, env: &str| {
            variable(env).unwrap_or_else(|| {
                missing.push((place, env.to_owned()));
                String::new()
            })
        };
        if let Some(ntfy) = &mut self.ntfy
            && let Some(env) = &ntfy.token_env
        {
            ntfy.token = Some(found("token_env in [sinks.ntfy]", env));
        }
        if let Some(zulip) = &mut self.zulip {
            zulip.key = found("key_env in [sinks.zulip]", &zulip.key_env);
            if let Some(env) = &zulip.webhook_token_env {
                zulip.webhook_token = Some(found("webhook_token_env in [sinks.zulip]", env));
            }
        }
        if let Some(pushover) = &mut self.pushover {
            pushover.token = found("token_env in [sinks.pushover]", &pushover.token_env);
            pushover.user = found("user_env in [sinks.pushover]", &pushover.user_env);
        }
        if let Some(webhook) = &mut self.webhook {
            webhook.secret = found("secret_env in [sinks.webhook]", &webhook.secret_env);
        }
        missing
    }

    /// Every secret, with the name by which it may be spoken of.
    #[must_use]
    pub fn secrets(&self) -> Vec<(String, String)> {
        let ntfy = self.ntfy.iter().filter_map(|ntfy| Some(("token of ntfy", ntfy.token.clone()?)));
        let zulip = self.zulip.iter().map(|zulip| ("key of zulip", zulip.key.clone()));
        let replies = self.zulip.iter().filter_map(|zulip| Some(("webhook token of zulip", zulip.webhook_token.clone()?)));
        let pushover = self
            .pushover
            .iter()
            .flat_map(|pushover| [("token of pushover", pushover.token.clone()), ("user of pushover", pushover.user.clone())]);
        let webhook = self.webhook.iter().map(|webhook| ("secret of webhook", webhook.secret.clone()));
        let all = ntfy.chain(zulip).chain(replies).chain(pushover).chain(webhook).filter(|(_, secret)| !secret.is_empty());
        all.map(|(name, secret)| (name.to_owned(), secret)).collect()
    }

    /// Every address, with the service that is there.
    pub fn urls(&self) -> impl Iterator<Item = (Name, &str)> {
        let ntfy = self.ntfy.iter().map(|ntfy| (Name::Ntfy, ntfy.url.as_str()));
        let zulip = self.zulip.iter().map(|zulip| (Name::Zulip, zulip.url.as_str()));
        let pushover = self.pushover.iter().map(|pushover| (Name::Pushover, pushover.url.as_str()));
        let webhook = self.webhook.iter().map(|webhook| (Name::Webhook, webhook.url.as_str()));
        ntfy.chain(zulip).chain(pushover).chain(webhook)
    }

    /// What parses but cannot be meant.
    pub(in crate::config) fn sensible(&self) -> Result<(), ConfigError> {
        for (name, url) in self.urls() {
            address(name, url)?;
        }
        if let Some(ntfy) = &self.ntfy {
            // The server's own rule.
            let letters = ntfy.topic.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
            if !letters || !(1..=64).contains(&ntfy.topic.len()) {
                let said = format!("`{}` is no topic: up to 64 letters, digits, `-` and `_`", ntfy.topic);
                return wrong(Name::Ntfy, said, "topic = \"approvals\"");
            }
        }
        if let Some(zulip) = &self.zulip {
            if zulip.user < 1 {
                return wrong(
                    Name::Zulip,
                    format!("user `{}` is no user id", zulip.user),
                    "user = 8; it stands in the user's profile",
                );
            }
            if zulip.stream.is_some() != zulip.topic.is_some() {
                let hint = "stream = \"tasks\" and topic = \"agents\", or neither";
                return wrong(Name::Zulip, "a message to a stream needs `stream` and `topic`".into(), hint);
            }
            if let Some(host) = zulip.host.as_ref().filter(|host| host.is_empty() || !host.chars().all(|c| c.is_ascii_graphic())) {
                return wrong(Name::Zulip, format!("host `{host}` is no name of a host"), "host = \"chat.example.com\"");
            }
        }
        Ok(())
    }
}

fn wrong(name: Name, said: String, hint: &str) -> Result<(), ConfigError> {
    Err(ConfigError { place: format!("[sinks.{name}]"), said, hint: hint.into() })
}

/// Addresses are not repeated to anybody: that of a webhook may be a secret.
fn address(name: Name, url: &str) -> Result<(), ConfigError> {
    let hint = "url = \"https://HOST\"";
    match reqwest::Url::parse(url) {
        Ok(url) if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() => {
            wrong(name, "its url is no http address".into(), hint)
        }
        Ok(url) if !url.username().is_empty() || url.password().is_some() => {
            wrong(name, "its url holds a name or password".into(), "name the variable that holds the secret")
        }
        Ok(_) => Ok(()),
        Err(error) => wrong(name, format!("its url cannot be read: {error}"), hint),
    }
}

#[cfg(test)]
mod tests {
    use policy::tier::{Clearance, Tier};

    use super::*;

    const ALL: &str = "[ntfy]\nurl = \"http://127.0.0.1:1\"\ntoken_env = \"A\"\n\
        [zulip]\nurl = \"http://127.0.0.1:2\"\nemail = \"bot@example.com\"\nkey_env = \"B\"\nuser = 8\n\
        [pushover]\ntoken_env = \"C\"\nuser_env = \"D\"\n[webhook]\nurl = \"http://127.0.0.1:3/hook\"\nsecret_env = \"E\"\n";

    fn sinks(text: &str) -> Sinks {
        toml::from_str(text).expect("it parses")
    }

    #[test]
    fn what_is_not_said_is_as_shipped() {
        let sinks = sinks(ALL);
        sinks.sensible().expect("it can be meant");
        let (ntfy, zulip) = (sinks.ntfy.expect("set"), sinks.zulip.expect("set"));
        let (pushover, webhook) = (sinks.pushover.expect("set"), sinks.webhook.expect("set"));
        assert_eq!((ntfy.topic.as_str(), pushover.sound.as_str()), ("approvals", "gamelan"));
        assert_eq!(pushover.url, "https://api.pushover.net");
        assert_eq!([ntfy.clearance, pushover.clearance], [Clearance(Tier::Public); 2]);
        assert_eq!([zulip.clearance, webhook.clearance], [Clearance(Tier::Internal); 2]);
        for name in Name::ALL {
            assert_eq!(Name::named(name.as_str()), Some(name));
        }
    }

    #[test]
    fn secrets_come_from_the_variables_that_are_named() {
        let mut sinks = sinks(ALL);
        assert!(sinks.secrets().is_empty());
        let missing = sinks.read(|name| (name != "D").then(|| format!("value of {name}")));
        assert_eq!(missing, [("user_env in [sinks.pushover]", "D".to_owned())]);
        let secrets: Vec<String> = sinks.secrets().into_iter().map(|(name, secret)| format!("{name}: {secret}")).collect();
        let expected = [
            "token of ntfy: value of A",
            "key of zulip: value of B",
            "token of pushover: value of C",
            "secret of webhook: value of E",
        ];
        assert_eq!(secrets, expected);
    }

    #[test]
    fn what_cannot_be_meant_is_said_without_the_address() {
        for (from, to, expected) in [
            ("http://127.0.0.1:3/hook", "ftp://secret", "is no http address"),
            ("http://127.0.0.1:3/hook", "http://me:secret@127.0.0.1/", "holds a name or password"),
            ("http://127.0.0.1:3/hook", "secret", "cannot be read"),
            ("user = 8", "user = 0", "is no user id"),
            ("user = 8", "user = 8\nstream = \"tasks\"", "needs `stream` and `topic`"),
            ("user = 8", "user = 8\nhost = \"a b\"", "is no name of a host"),
            ("token_env = \"A\"", "topic = \"a/b\"", "is no topic"),
        ] {
            let said = sinks(&ALL.replace(from, to)).sensible().expect_err(to).to_string();
            assert!(said.contains(expected) && !said.contains("secret@") && !said.contains("://secret"), "{to}: {said}");
        }
    }
}
