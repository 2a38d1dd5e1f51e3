//! `host agents rollback`: an agent goes back to a component that served before. Works beside a running host, and for every host on
//! the same database; what is running goes on with the component that started it.

use anyhow::{Context, bail};
use serde_json::json;

use super::Exit;
use crate::config::Config;
use crate::id;
use crate::store::beside::{Beside, Use};
use crate::store::editions::{self, Edition};

pub(super) async fn run(config: &Config, agent: &str, to: Option<&str>, as_json: bool) -> anyhow::Result<Exit> {
    let nothing = "there is no database yet: no component has ever served";
    let mut beside = Beside::open(&config.database_url(), Use::Change).await?.context(nothing)?;
    let known = editions::of_beside(&mut beside.tx(), agent).await?;
    let target = chosen(agent, to, &known)?.clone();
    let from = known.iter().find(|edition| edition.active == 1).map(|edition| edition.digest.clone());
    if !editions::is_kept(&mut beside.tx(), &target.digest).await? {
        bail!(
            "component {} of `{agent}` is not kept any more: put its file back in place. Known are:{}",
            target.digest,
            list(&known)
        );
    }
    editions::switch(&mut beside.tx(), &Edition { at: id::now().0, active: 1, ..target.clone() }).await?;
    beside.close().await?;
    let Edition { digest, version, .. } = &target;
    if as_json {
        println!("{}", serde_json::to_string_pretty(&json!({ "agent": agent, "from": from, "to": digest, "version": version }))?);
    } else {
        println!("{agent} goes back to {digest} (version {version}); what runs goes on as it began");
    }
    Ok(Exit::Done)
}

/// The one that was named, or the one that served before.
fn chosen<'k>(agent: &str, to: Option<&str>, known: &'k [Edition]) -> anyhow::Result<&'k Edition> {
    if known.is_empty() {
        bail!("no component has ever served as `{agent}` here");
    }
    let Some(begins) = to.map(str::to_lowercase) else {
        return known.iter().find(|edition| edition.active == 0).with_context(|| format!("`{agent}` has had one component only"));
    };
    let found: Vec<&Edition> = known.iter().filter(|edition| !begins.is_empty() && edition.digest.starts_with(&begins)).collect();
    match found.as_slice() {
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
        let edition =
            |digest: &str, active| Edition { agent: "a".into(), digest: digest.into(), version: "1".into(), active, at: 0 };
        let known = [edition("cc1", 1), edition("bb1", 0), edition("bb2", 0)];
        assert_eq!(chosen("a", None, &known).unwrap().digest, "bb1");
        assert_eq!(chosen("a", Some("BB2"), &known).unwrap().digest, "bb2");
        for (to, said) in [("bb", "more than one"), ("dd", "no component of `a`"), ("", "no component of `a`")] {
            assert!(chosen("a", Some(to), &known).unwrap_err().to_string().contains(said), "{to}");
        }
        assert!(chosen("a", None, &known[..1]).unwrap_err().to_string().contains("one component only"));
        assert!(chosen("a", None, &[]).unwrap_err().to_string().contains("ever served"));
    }
}
