//! `host agents revoke`: a component must not run any more. Works beside a running host, which learns of it within a second.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use serde_json::json;

use super::{Exit, tell};
use crate::config::Config;
use crate::fleet::files;
use crate::id;
use crate::store::Db;
use crate::store::beside::{Beside, Use};
use crate::store::revoked::{self, Revoked};

/// Digits of a digest that are enough, if only one begins with them.
const LEAST: usize = 12;

pub(super) async fn run(config: &Config, digest: &str, reason: Option<String>, as_json: bool) -> anyhow::Result<Exit> {
    let reason = reason.unwrap_or_else(|| "its operator gave no reason".to_owned());
    let url = config.database_url();
    let mut beside = match Beside::open(&url, Use::Change).await? {
        Some(beside) => beside,
        None => {
            // There never was a host: one that starts later must know.
            drop(Db::open(&url).await?);
            Beside::open(&url, Use::Change).await?.context("the database that was just made is gone")?
        }
    };
    let known = known(config, &mut beside).await?;
    let digest = chosen(digest, &known)?;
    let new = revoked::revoke(&mut beside.tx(), &digest, &reason, id::now()).await?;
    beside.close().await?;
    if as_json {
        println!("{}", serde_json::to_string_pretty(&json!({ "digest": digest, "revoked": new }))?);
    } else if new {
        println!("{digest} is revoked: nothing starts with it, and what waits to be resumed by it fails");
    } else {
        println!("{digest} was revoked before; nothing has changed");
    }
    Ok(Exit::Done)
}

/// What is revoked, as far as the database says so now.
pub(super) async fn revoked(config: &Config) -> Vec<Revoked> {
    let asked = async {
        let Some(mut beside) = Beside::open(&config.database_url(), Use::Look).await? else { return Ok(Vec::new()) };
        let all = revoked::listed(&mut beside.tx()).await?;
        beside.close().await?;
        anyhow::Ok(all)
    };
    asked.await.unwrap_or_else(|error| {
        tell(&format!("which components are revoked is not known: {error:#}"));
        Vec::new()
    })
}

/// Every digest that means something here, and where it was seen.
async fn known(config: &Config, beside: &mut Beside) -> anyhow::Result<BTreeMap<String, String>> {
    let stored = revoked::known(&mut beside.tx()).await?;
    let mut known: BTreeMap<String, String> = stored.into_iter().map(|digest| (digest, "in the database".to_owned())).collect();
    for file in files(&config.agents.dir) {
        let bytes = std::fs::read(&file).with_context(|| format!("{} cannot be read", file.display()))?;
        known.insert(id::digest(&bytes), file.display().to_string());
    }
    Ok(known)
}

/// The one digest that begins so.
fn chosen(digest: &str, known: &BTreeMap<String, String>) -> anyhow::Result<String> {
    let begins = digest.to_lowercase();
    let list = |found: &[(&String, &String)]| found.iter().map(|(digest, at)| format!("\n  {digest}  {at}")).collect::<String>();
    let all: Vec<_> = known.iter().collect();
    if begins.len() < LEAST || !begins.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        bail!("`{digest}` is no digest: write at least its first {LEAST} hexadecimal digits. Known are:{}", list(&all));
    }
    let found: Vec<_> = known.iter().filter(|(digest, _)| digest.starts_with(&begins)).collect();
    match found.as_slice() {
        [(digest, _)] => Ok((*digest).clone()),
        [] => bail!("no component is known whose digest begins with `{digest}`. Known are:{}", list(&all)),
        several => bail!("more than one digest begins with `{digest}`; write more of it:{}", list(several)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_known_by_enough_of_its_digits() {
        let known: BTreeMap<String, String> =
            [("a".repeat(64), "one"), (format!("{}b", "a".repeat(63)), "two"), ("c".repeat(64), "three")]
                .map(|(digest, at)| (digest, at.to_owned()))
                .into();
        assert_eq!(chosen(&"C".repeat(12), &known).ok(), Some("c".repeat(64)));
        for (digest, said) in [
            ("c".repeat(11), "at least its first 12"),
            ("z".repeat(64), "is no digest"),
            ("d".repeat(12), "no component is known"),
            ("a".repeat(12), "more than one"),
        ] {
            let error = chosen(&digest, &known).expect_err(&digest).to_string();
            assert!(error.contains(said) && error.contains(&"a".repeat(64)), "{error}");
        }
    }
}
