//! `host agents`: who would serve, and with which grants.

use std::collections::BTreeMap;

use comfy_table::Table;
use serde_json::{Value, json};

use super::{Exit, house, revoke, rollback};
use crate::config::Config;
use crate::fleet::{complaint, files, validate};

pub(super) async fn run(config: &Config, as_json: bool, grants: bool) -> anyhow::Result<Exit> {
    if grants {
        let all = BTreeMap::from([("grants", &config.grants)]);
        println!("# {}", if config.own_grants.is_empty() { "as shipped" } else { "as shipped, with your changes" });
        println!("{}", toml::to_string_pretty(&all)?);
        return Ok(Exit::Done);
    }
    let (engine, cache) = house::sandbox(config)?;
    let mut table = Table::new();
    table.load_style(comfy_table::presets::UTF8_FULL_CONDENSED);
    table.set_header(["agent", "mode", "version", "digest", "state"]);
    let mut all: Vec<Value> = Vec::new();
    let (revoked, active) = (revoke::revoked(config).await, rollback::active(config).await);
    for file in files(&config.agents.dir) {
        let mut report = validate::examine(&engine, &cache, config, &file).await;
        if let Some(revoked) = revoked.iter().find(|one| one.digest == report.digest) {
            report.verdict = Err(vec![complaint(revoked)]);
        }
        let stem = report.file.trim_end_matches(".wasm");
        let serves = active.iter().find(|edition| edition.agent == stem && edition.digest != report.digest);
        let mut state = report.verdict.as_ref().map_or_else(|complaints| complaints.join("\n"), |_| "serves".to_owned());
        if let (Some(edition), Ok(_)) = (serves, &report.verdict) {
            let (digest, version) = (&edition.digest, &edition.version);
            state =
                format!("component {digest} (version {version}) serves instead: `host agents rollback {stem} {}`", report.digest);
        }
        let short: String = report.digest.chars().take(12).collect();
        match &report.manifest {
            Some(manifest) => {
                table.add_row([&manifest.id, &manifest.mode, &manifest.version, &short, &state]);
            }
            None => {
                table.add_row([report.file.as_str(), "–", "–", &short, &state]);
            }
        }
        all.push(json!({
            "file": report.file,
            "digest": report.digest,
            "serves": report.verdict.is_ok() && serves.is_none(),
            "serves_instead": serves.map(|edition| &edition.digest),
            "complaints": report.verdict.err().unwrap_or_default(),
            "manifest": report.manifest,
        }));
    }
    if as_json {
        println!("{}", serde_json::to_string_pretty(&all)?);
    } else if all.is_empty() {
        println!("no agents in {}: build them with `host agent build`", config.agents.dir.display());
    } else {
        println!("{table}");
    }
    Ok(Exit::Done)
}
