//! `[approvals]`: for how long a question waits, and what signs links.

use jiff::SignedDuration;
use serde::Deserialize;

use super::ConfigError;

/// `[approvals]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approvals {
    /// The variable that holds the key by which links are signed; without it, one is made once and kept in the database.
    #[serde(default)]
    pub key_env: Option<String>,
    /// After how long a question lapses, such as `24h`.
    pub ttl: String,
    /// The key itself, read from the environment.
    #[serde(skip)]
    pub key: Option<String>,
}

impl Approvals {
    /// The time to live, in milliseconds.
    ///
    /// # Errors
    /// Why it is none.
    pub fn ttl_ms(&self) -> Result<i64, String> {
        let ttl: SignedDuration = self.ttl.parse().map_err(|error: jiff::Error| error.to_string())?;
        i64::try_from(ttl.as_millis())
            .ok()
            .filter(|ttl| *ttl >= 1_000)
            .ok_or_else(|| format!("`{}` is shorter than a second", self.ttl))
    }

    /// What parses but cannot be meant.
    pub(super) fn sensible(&self) -> Result<(), ConfigError> {
        let wrong = |place: &str, said: String, hint: &str| Err(ConfigError { place: place.into(), said, hint: hint.into() });
        if let Err(said) = self.ttl_ms() {
            return wrong("approvals.ttl", said, "ttl = \"24h\"; 7 days are the most that any question waits");
        }
        if self.key.as_ref().is_some_and(|key| key.len() < 32) {
            return wrong(
                "approvals.key_env",
                "the key is shorter than 32 letters: it could be guessed".into(),
                "use `openssl rand -hex 32`",
            );
        }
        Ok(())
    }
}
