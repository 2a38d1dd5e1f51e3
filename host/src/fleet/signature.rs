//! Signatures beside components: `ID.wasm.minisig`, in minisign's format. What is signed is a statement of four lines' worth: the
//! agent's id, and the digests of its component, its manifest and its grants. So neither a file nor what its operator allows it can be
//! changed behind a signer's back.

use std::fmt;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use minisign::{PublicKey, SecretKey, SignatureBox};
use policy::manifest::{Ceiling, Manifest};

use crate::id;

/// The file name's extension, behind the component's own.
pub const EXTENSION: &str = "minisig";

/// What a signature is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// The agent.
    pub id: String,
    /// Digest of its component.
    pub component: String,
    /// Digest of what it says of itself.
    pub manifest: String,
    /// Digest of what its operator allows it.
    pub grants: String,
}

/// Whether somebody stands for a component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signature {
    /// Nobody does.
    None,
    /// Whoever holds the secret half of this key does.
    By(String),
    /// There is a signature, and it does not count: the reason, and what to do.
    Bad(String),
}

impl Statement {
    /// What is to be signed of a component under these grants.
    ///
    /// # Errors
    /// If either cannot be written as JSON.
    pub fn of(component: &str, manifest: &Manifest, grants: &Ceiling) -> Result<Self, serde_json::Error> {
        let digest = |canonical: String| id::digest(canonical.as_bytes());
        Ok(Self {
            id: manifest.id.clone(),
            component: component.to_owned(),
            manifest: serde_json_canonicalizer::to_string(manifest).map(digest)?,
            grants: serde_json_canonicalizer::to_string(grants).map(digest)?,
        })
    }

    /// Signs it; the text of the signature's file.
    ///
    /// # Errors
    /// What minisign says.
    pub fn sign(&self, key: &SecretKey) -> Result<String, minisign::PError> {
        let (said, public) = (self.to_string(), PublicKey::from_secret_key(key)?);
        let signed = minisign::sign(Some(&public), key, Cursor::new(&said), Some(&said), Some("signature of an agent"))?;
        Ok(signed.into_string())
    }

    /// Whether the file beside a component says this, by one of the keys that its operator trusts.
    #[must_use]
    pub fn signed(&self, component: &Path, trusted: &[PublicKey]) -> Signature {
        let file = beside(component);
        let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let text = match std::fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Signature::None,
            Err(error) => return Signature::Bad(format!("{name} cannot be read: {error}")),
        };
        match self.said(&text, trusted) {
            Signature::Bad(why) => Signature::Bad(format!("{name} {why}")),
            good @ (Signature::None | Signature::By(_)) => good,
        }
    }

    /// Whether that signature says this, by one of the keys that its operator trusts.
    #[must_use]
    pub fn said(&self, text: &str, trusted: &[PublicKey]) -> Signature {
        self.said_by(text, trusted).map_or_else(Signature::Bad, Signature::By)
    }

    /// The key by which a signature says this; else why it does not.
    fn said_by(&self, text: &str, trusted: &[PublicKey]) -> Result<String, String> {
        let broken = |error: minisign::PError| format!("is no signature: {error}; sign again with `host agent sign`");
        let signature = SignatureBox::from_string(text).map_err(broken)?;
        let said = signature.trusted_comment().map_err(broken)?;
        let key = trusted.iter().find(|key| key.keynum() == signature.keynum());
        let key =
            key.ok_or("is by a key that is not trusted: add its public half to `trusted_keys` in [agents], or sign it yourself")?;
        minisign::verify(key, &signature, Cursor::new(&said), true, false, false)
            .map_err(|error| format!("is forged or damaged: {error}; sign again with `host agent sign`"))?;
        if said == self.to_string() {
            return Ok(key.to_base64());
        }
        let what = [("id", &self.id), ("component", &self.component), ("manifest", &self.manifest), ("grants", &self.grants)];
        let said: Vec<&str> = said.split(' ').collect();
        let differs = |(name, value): &(&str, &String)| !said.contains(&format!("{name}={value}").as_str());
        let others: Vec<&str> = what.iter().filter(|one| differs(one)).map(|(name, _)| *name).collect();
        Err(format!("was made for another {}: sign again with `host agent sign`, or restore what was signed", others.join(" and ")))
    }
}

impl fmt::Display for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, component, manifest, grants } = self;
        write!(f, "homeaiops-agent id={id} component={component} manifest={manifest} grants={grants}")
    }
}

/// The signature's file of a component.
#[must_use]
pub fn beside(component: &Path) -> PathBuf {
    let mut name = component.as_os_str().to_owned();
    name.push(".");
    name.push(EXTENSION);
    name.into()
}

#[cfg(test)]
mod tests {
    use minisign::KeyPair;

    use super::*;

    #[test]
    fn a_signature_stands_for_all_four_and_for_nothing_else() {
        let (ours, theirs) = (KeyPair::generate_unencrypted_keypair().unwrap(), KeyPair::generate_unencrypted_keypair().unwrap());
        let part = |text: &str| id::digest(text.as_bytes());
        let signed = Statement { id: "scout".into(), component: part("c"), manifest: part("m"), grants: part("g") };
        let (text, trusted) = (signed.sign(&ours.sk).unwrap(), std::slice::from_ref(&ours.pk));
        assert_eq!(signed.said_by(&text, trusted), Ok(ours.pk.to_base64()));
        for (other, what) in [
            (Statement { id: "scouts".into(), ..signed.clone() }, "another id"),
            (Statement { component: part("d"), ..signed.clone() }, "another component"),
            (Statement { manifest: part("n"), ..signed.clone() }, "another manifest"),
            (Statement { grants: part("h"), manifest: part("n"), ..signed.clone() }, "another manifest and grants"),
        ] {
            let why = other.said_by(&text, trusted).unwrap_err();
            assert!(why.contains(what) && why.contains("host agent sign"), "{why}");
        }
        let why = signed.said_by(&text, &[theirs.pk]).unwrap_err();
        assert!(why.contains("not trusted"), "{why}");
        let forged = text.replace("id=scout", "id=snout");
        assert!(signed.said_by(&forged, trusted).unwrap_err().contains("forged or damaged"));
        assert!(signed.said_by("not one", trusted).unwrap_err().contains("is no signature"));
    }
}
