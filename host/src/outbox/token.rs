//! Tokens of links: who may say what about what, through which channel, until when, signed with the key of this database's hosts.
//!
//! A token that verifies says only that one of these hosts made it. That it was not used yet, and that the question still waits, is
//! for the store to say. Never logged; kept only as a hash.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use policy::task::Timestamp;
use sha2::Sha256;

use crate::id;

/// Part of what is signed, so that no other use of the key makes a token.
const USE: &str = "homeaiops link v1";

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The approval, or the task of a dead letter.
    pub subject: String,
    /// What may be said.
    pub reaction: String,
    /// Through which channel: the sink that it was sent to.
    pub channel: String,
    /// Who says it.
    pub actor: String,
    /// Until when.
    pub expires_at: Timestamp,
}

/// Why a token says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadToken {
    /// It is no token, or none of ours.
    #[error("the token is not one of this host's")]
    Forged,
    /// Its time is over.
    #[error("the link has lapsed")]
    Lapsed,
}

/// The key, and where links lead.
#[derive(Clone)]
pub struct Tokens {
    key: Vec<u8>,
    base: String,
}

impl Tokens {
    /// Signs with that key; links lead to `public_url`.
    #[must_use]
    pub fn new(key: &str, public_url: &str) -> Self {
        Self { key: key.as_bytes().to_vec(), base: public_url.trim_end_matches('/').to_owned() }
    }

    /// Where this host is reached.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    fn mac(&self, payload: &str) -> Option<Hmac<Sha256>> {
        // A key of any length will do.
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).ok()?;
        mac.update(USE.as_bytes());
        mac.update(&[0]);
        mac.update(payload.as_bytes());
        Some(mac)
    }

    /// The token of a claim: the same each time.
    #[must_use]
    pub fn sign(&self, claim: &Claim) -> String {
        let Claim { subject, reaction, channel, actor, expires_at } = claim;
        let actor = URL_SAFE_NO_PAD.encode(actor);
        let payload = format!("{subject}.{reaction}.{channel}.{actor}.{}", expires_at.0);
        let signature = self.mac(&payload).map(|mac| hex::encode(mac.finalize().into_bytes())).unwrap_or_default();
        format!("{payload}.{signature}")
    }

    /// What a token says, if it is ours and its time is not over.
    ///
    /// # Errors
    /// [`BadToken`].
    pub fn verify(&self, token: &str, now: Timestamp) -> Result<Claim, BadToken> {
        let (payload, signature) = token.rsplit_once('.').ok_or(BadToken::Forged)?;
        let signature = hex::decode(signature).map_err(|_| BadToken::Forged)?;
        let mac = self.mac(payload).ok_or(BadToken::Forged)?;
        // Compares in constant time.
        mac.verify_slice(&signature).map_err(|_| BadToken::Forged)?;
        let parts: Vec<&str> = payload.split('.').collect();
        let [subject, reaction, channel, actor, expires_at] = parts.as_slice() else { return Err(BadToken::Forged) };
        let actor = URL_SAFE_NO_PAD.decode(actor).ok().and_then(|bytes| String::from_utf8(bytes).ok()).ok_or(BadToken::Forged)?;
        let expires_at = Timestamp(expires_at.parse().map_err(|_| BadToken::Forged)?);
        let word = |part: &str| part.to_owned();
        let claim = Claim { subject: word(subject), reaction: word(reaction), channel: word(channel), actor, expires_at };
        // A token has one form: it is known by its hash whether it was used.
        match (self.sign(&claim) == token, expires_at <= now) {
            (false, _) => Err(BadToken::Forged),
            (true, true) => Err(BadToken::Lapsed),
            (true, false) => Ok(claim),
        }
    }

    /// By which the store knows a token.
    #[must_use]
    pub fn hash(token: &str) -> String {
        id::digest(token.as_bytes())
    }

    /// The page on which a person says it.
    #[must_use]
    pub fn page(&self, task: &str, claim: &Claim) -> String {
        let pairs =
            [("task_id", task), ("reaction", &claim.reaction), ("actor", &claim.actor), ("approval_token", &self.sign(claim))];
        let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        format!("{}/approval?{query}", self.base)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn claim() -> Claim {
        Claim {
            subject: "01A".into(),
            reaction: "approve".into(),
            channel: "ntfy".into(),
            actor: "rob.b ü".into(),
            expires_at: Timestamp(10),
        }
    }

    #[test]
    fn a_token_says_what_was_signed_until_its_time_is_over() {
        let tokens = Tokens::new("a key", "http://host/");
        let token = tokens.sign(&claim());
        assert_eq!(tokens.verify(&token, Timestamp(9)), Ok(claim()));
        assert_eq!(tokens.verify(&token, Timestamp(10)), Err(BadToken::Lapsed));
        assert_eq!(Tokens::new("another", "http://host").verify(&token, Timestamp(9)), Err(BadToken::Forged));
        let (said, signature) = token.rsplit_once('.').expect("it is signed");
        let louder = format!("{said}.{}", signature.to_uppercase());
        for junk in [&louder, "", ".", "approve", "a.b.c.d.5.", "a.b.c.d.5.00", &token.replace("approve", "reject")] {
            assert_eq!(tokens.verify(junk, Timestamp(1)), Err(BadToken::Forged), "{junk}");
        }
        assert!(tokens.page("T 1", &claim()).starts_with("http://host/approval?task_id=T+1&reaction=approve&actor=rob.b+"));
    }

    proptest! {
        #[test]
        fn no_token_survives_a_change(at in 0_usize..200, letter in "[a-z0-9.]") {
            let tokens = Tokens::new("a key", "http://host");
            let token = tokens.sign(&claim());
            let at = at % token.len();
            let mut changed = token.clone();
            changed.replace_range(at..=at, &letter);
            prop_assert_eq!(tokens.verify(&changed, Timestamp(1)).is_ok(), changed == token);
        }
    }
}
