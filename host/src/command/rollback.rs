//! `host agents rollback`: an agent goes back to a component that served before. Works beside a running host, and for every host on
//! the same database; what is running goes on with the component that started it.

use anyhow::{Context, bail};
use serde_json::json;

use super::{Exit, tell};
use crate::config::Config;
use crate::id;
use crate::store::beside::{Beside, Use};
use crate::store::editions::{self, Edition};
use crate::store::revoked;

pub(super) async fn run(config: &Config, agent: &str, to: Option<&str>, as_json: bool) -> anyhow::Result<Exit> {
    let nothing = "there is no database yet: no component has ever served";
    let mut beside = Beside::open(&config.database_url(), Use::Change).await?.context(nothing)?;
    let known = editions::of_beside(&mut beside.tx(), agent).await?;
    let revoked = revoked::listed(&mut beside.tx()).await?;
    let target = chosen(agent, to, &known, |digest| revoked.iter().any(|one| one.digest == digest))?.clone();
    let from = known.iter().find(|edition| edition.active == 1).map(|edition| edition.digest.clone());
    let serves = Edition { at: id::now().0, active: 1, ..target.clone() };
    let gone_back = beside
        .write(move |tx| {
            Box::pin(async move {
                let kept = editions::is_kept(tx, &serves.digest).await?;
                if kept {
                    editions::switch(tx, &serves).await?;
                }
                Ok(kept)
            })
        })
        .await?;
    if !gone_back {
        bail!(
            "component {} of `{agent}` is not kept any more: put its file back in place. Known are:{}",
            target.digest,
            list(&known)
        );
    }
    beside.close().await?;
    let Edition { digest, version, .. } = &target;
    if as_json {
        println!("{}", serde_json::to_string_pretty(&json!({ "agent": agent, "from": from, "to": digest, "version": version }))?);
    } else {
        println!("{agent} goes back to {digest} (version {version}); what runs goes on as it began");
    }
    Ok(Exit::Done)
}

/// What serves, as far as the database says so now.
pub(super) async fn active(config: &Config) -> Vec<Edition> {
    let asked = async {
        let Some(mut beside) = Beside::open(&config.database_url(), Use::Look).await? else { return Ok(Vec::new()) };
        let all = editions::active_beside(&mut beside.tx()).await?;
        beside.close().await?;
        anyhow::Ok(all)
    };
    asked.await.unwrap_or_else(|error| {
        tell(&format!("which components serve is not known: {error:#}"));
        Vec::new()
    })
}

/// The one that was named, or the one that served before and may still.
fn chosen<'k>(agent: &str, to: Option<&str>, known: &'k [Edition], revoked: impl Fn(&str) -> bool) -> anyhow::Result<&'k Edition> {
    if known.is_empty() {
        bail!("no component has ever served as `{agent}` here");
    }
    let Some(begins) = to.map(str::to_lowercase) else {
        let former = known.iter().find(|edition| edition.active == 0 && !revoked(&edition.digest));
        return former.with_context(|| format!("`{agent}` has had no other component that may serve. Known are:{}", list(known)));
    };
    let found: Vec<&Edition> = known.iter().filter(|edition| !begins.is_empty() && edition.digest.starts_with(&begins)).collect();
    match found.as_slice() {
        [one] if revoked(&one.digest) => bail!("component {} of `{agent}` was revoked: nothing starts with it", one.digest),
        [one] => Ok(one),
        [] => bail!("no component of `{agent}` begins with `{begins}`. Known are:{}", list(known)),
        _ => bail!("more than one component of `{agent}` begins with `{begins}`; write more of it:{}", list(known)),
    }
}

fn list(known: &[Edition]) -> String {
    let line = |edition: &Edition| {
        let serves = if edition.active == 1 { ", serves now" } else { "" };
        format!("\n  {}  version {}{serves}", edition.digest, edition.version)
    };
    known.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_digest_it_is_the_one_before() {
        let edition = |digest: &str, active| Edition {
            agent: "a".into(),
            digest: digest.into(),
            version: "1".into(),
            signed: None,
            active,
            at: 0,
        };
        let none = |_: &str| false;
        let known = [edition("cc1", 1), edition("bb1", 0), edition("bb2", 0)];
        assert_eq!(chosen("a", None, &known, none).unwrap().digest, "bb1");
        assert_eq!(chosen("a", Some("BB2"), &known, none).unwrap().digest, "bb2");
        assert_eq!(chosen("a", None, &known, |digest| digest == "bb1").unwrap().digest, "bb2", "never to one that was revoked");
        assert!(chosen("a", Some("bb1"), &known, |digest| digest == "bb1").unwrap_err().to_string().contains("was revoked"));
        for (to, said) in [("bb", "more than one"), ("dd", "no component of `a`"), ("", "no component of `a`")] {
            assert!(chosen("a", Some(to), &known, none).unwrap_err().to_string().contains(said), "{to}");
        }
        assert!(chosen("a", None, &known[..1], none).unwrap_err().to_string().contains("no other component"));
        assert!(chosen("a", None, &[], none).unwrap_err().to_string().contains("ever served"));
    }
}
