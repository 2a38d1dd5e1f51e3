//! `host validate FILE…`: would it be accepted, and what could it do at worst? Exit code 1 if any would not.

use std::path::PathBuf;

use clap::Args;
use comfy_table::Table;
use policy::manifest::Manifest;
use serde_json::{Value, json};

use super::{Exit, house};
use crate::config::{Config, grant_lines};
use crate::fleet::reach::Reach;
use crate::fleet::signature::Signature;
use crate::fleet::validate::{Report, examine};

#[derive(Debug, Args)]
pub(super) struct Options {
    /// Judge by the [grants.ID] tables of this file instead of those in force.
    #[arg(long, value_name = "FILE")]
    grants: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// The components.
    #[arg(required = true)]
    files: Vec<PathBuf>,
}

pub(super) async fn run(mut config: Config, options: &Options) -> anyhow::Result<Exit> {
    if let Some(file) = &options.grants {
        config.grant_from(file)?;
    }
    let (engine, cache) = house::sandbox(&config)?;
    let mut reports = Vec::new();
    for file in &options.files {
        reports.push(examine(&engine, &cache, &config, file).await);
    }
    if options.json {
        let all: Vec<Value> = reports.iter().map(|report| json_of(report, &config)).collect();
        println!("{}", serde_json::to_string_pretty(&all)?);
    } else {
        for report in &reports {
            print(report, &config);
        }
    }
    Ok(if reports.iter().all(|report| report.verdict.is_ok()) { Exit::Done } else { Exit::Failed })
}

fn print(report: &Report, config: &Config) {
    println!("{}", table(report, config));
    for note in &report.notes {
        println!("  ! {note}");
    }
    for complaint in report.verdict.as_ref().err().into_iter().flatten() {
        println!("  ✗ {}: {complaint}", report.file);
    }
    if let Some(lines) = to_paste(report, config) {
        println!("  Everything that it asks for, to paste into {} if you allow it:\n\n{lines}", config.file);
    }
}

/// The grants that it asks for and has not; `None` if it has them.
fn to_paste(report: &Report, config: &Config) -> Option<String> {
    let manifest = report.manifest.as_ref().filter(|_| report.verdict.is_err())?;
    let held = config.grants.get(&manifest.id).cloned().unwrap_or_default();
    let asked = manifest.asked_above(&held);
    (held != asked).then(|| grant_lines(&manifest.id, &asked))
}

fn table(report: &Report, config: &Config) -> Table {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::UTF8_FULL_CONDENSED);
    let verdict = if report.verdict.is_ok() { "accepted" } else { "refused" };
    table.set_header([report.file.as_str(), verdict]);
    table.add_row(["digest", &report.digest]);
    table.add_row(["signature", &signature(&report.signature)]);
    table.add_row(["size", &format!("{} KiB", report.bytes.div_ceil(1024))]);
    table.add_row(["imports", &list(&report.imports)]);
    if let Some(manifest) = &report.manifest {
        let limits: Vec<String> = manifest.limits.each().iter().map(|(name, value)| format!("{name} = {value}")).collect();
        table.add_row(["agent", &format!("{} {} {} ({})", manifest.emoji, manifest.id, manifest.version, manifest.mode)]);
        table.add_row(["persona", &persona(manifest)]);
        table.add_row(["limits of one run", &list(&limits)]);
    }
    if let Some(reach) = reach(report, config) {
        for (what, lines) in reached(&reach) {
            table.add_row([what, &list(&lines)]);
        }
    }
    let tried = |(example, trial): &(String, crate::runtime::trial::Trial)| {
        let calls = trial.calls.len() - usize::from(trial.ended.is_ok());
        format!(
            "`{}`: the same {calls} calls twice, then {}",
            first_line(example),
            trial.ended.as_ref().map_or("no outcome", |kind| kind)
        )
    };
    table.add_row(["tried alone", &list(&report.trials.iter().map(tried).collect::<Vec<_>>())]);
    table
}

/// What it could do at worst, line by line.
fn reached(reach: &Reach) -> Vec<(&'static str, Vec<String>)> {
    let models = reach.models.iter().map(|model| {
        let place = if model.remote { "outside the house" } else { "in the house" };
        let price = if model.priced { ", priced" } else { "" };
        let trouble = model.trouble.as_ref().map(|trouble| format!(": {trouble}")).unwrap_or_default();
        format!("{} ({place}{price}), up to {}{trouble}", model.group, model.carries.as_str())
    });
    let tools = reach.tools.iter().map(|tools| {
        let who = tools
            .rule
            .as_ref()
            .map_or_else(|| format!("{}: no rule", tools.wanted), |rule| format!("{} by rule `{rule}`", tools.wanted));
        let asks = if tools.asks { ", somebody is asked first" } else { "" };
        let taints = if tools.taints { ", taints" } else { "" };
        format!(
            "{who}: class {}{asks}, takes {}, answers {}{taints}",
            tools.class.as_str(),
            tools.carries.as_str(),
            tools.yields.as_str()
        )
    });
    let read = reach.vault_read.iter().map(|place| format!("{}: up to {}", place.wanted, place.tier.as_str()));
    let written = reach.vault_write.iter().map(|place| format!("{}: up to {}", place.wanted, place.tier.as_str()));
    vec![
        ("reaches at most", reach.clearance.iter().map(|tier| format!("{} data", tier.as_str())).collect()),
        ("models", models.collect()),
        ("tools", tools.collect()),
        ("vault read", read.collect()),
        ("vault write", written.collect()),
        ("hands to", reach.handoff.clone()),
        ("leaves the house by", reach.leaks()),
        ("worst-case spend", vec![format!("${:.2} a run, ${:.2} a day", reach.usd_per_run, reach.usd_per_day)]),
    ]
}

fn list(items: &[String]) -> String {
    if items.is_empty() { "–".to_owned() } else { items.join("\n") }
}

fn persona(manifest: &Manifest) -> String {
    format!("{} ({} bytes)", first_line(&manifest.persona), manifest.persona.len())
}

fn first_line(text: &str) -> String {
    const MOST: usize = 60;
    let line = text.trim().lines().next().unwrap_or_default();
    if line.chars().count() <= MOST { line.to_owned() } else { line.chars().take(MOST).chain(['…']).collect() }
}

fn signature(signature: &Signature) -> String {
    match signature {
        Signature::None => "none".into(),
        Signature::By(key) => format!("by {key}"),
        Signature::Bad(why) => why.clone(),
    }
}

/// What it could do at worst under the grants in force.
fn reach(report: &Report, config: &Config) -> Option<Reach> {
    let manifest = report.manifest.as_ref().filter(|manifest| manifest.complaints().is_empty())?;
    let held = config.grants.get(&manifest.id).cloned().unwrap_or_default();
    Some(Reach::of(manifest, &held, config))
}

fn json_of(report: &Report, config: &Config) -> Value {
    let reach = reach(report, config);
    let trials = report.trials.iter().map(|(example, trial)| {
        json!({ "example": example, "calls": trial.calls, "outcome": trial.ended.as_ref().ok(), "error": trial.ended.as_ref().err() })
    });
    json!({
        "file": report.file,
        "accepted": report.verdict.is_ok(),
        "complaints": report.verdict.as_ref().err().cloned().unwrap_or_default(),
        "notes": report.notes,
        "digest": report.digest,
        "signature": signature(&report.signature),
        "bytes": report.bytes,
        "imports": report.imports,
        "manifest": report.manifest,
        "reach": reach,
        "leaves_the_house_by": reach.as_ref().map(Reach::leaks),
        "trials": trials.collect::<Vec<_>>(),
        "grants_to_paste": to_paste(report, config),
    })
}
