//! `host validate FILE…`: would it be accepted, and what could it do? Exit code 1 if any would not.

use std::path::PathBuf;

use comfy_table::Table;
use serde_json::{Value, json};

use super::{Exit, house};
use crate::config::Config;
use crate::fleet::validate::{Report, examine};

pub(super) async fn run(config: &Config, files: &[PathBuf], as_json: bool) -> anyhow::Result<Exit> {
    let (engine, cache) = house::sandbox(config)?;
    let mut reports = Vec::new();
    for file in files {
        reports.push(examine(&engine, &cache, config, file).await);
    }
    if as_json {
        let all: Vec<Value> = reports.iter().map(json_of).collect();
        println!("{}", serde_json::to_string_pretty(&all)?);
    } else {
        for report in &reports {
            println!("{}", table(report));
            for complaint in report.verdict.as_ref().err().into_iter().flatten() {
                println!("  ✗ {}: {complaint}", report.file);
            }
        }
    }
    Ok(if reports.iter().all(|report| report.verdict.is_ok()) { Exit::Done } else { Exit::Failed })
}

fn table(report: &Report) -> Table {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::UTF8_FULL_CONDENSED);
    let verdict = if report.verdict.is_ok() { "accepted" } else { "refused" };
    table.set_header([report.file.as_str(), verdict]);
    table.add_row(["digest", &report.digest]);
    table.add_row(["size", &format!("{} KiB", report.bytes.div_ceil(1024))]);
    table.add_row(["imports", &report.imports.join("\n")]);
    if let Some(manifest) = &report.manifest {
        let list = |items: &[String]| if items.is_empty() { "–".to_owned() } else { items.join("\n") };
        let limits: Vec<String> = manifest.limits.each().iter().map(|(name, value)| format!("{name} = {value}")).collect();
        table.add_row(["agent", &format!("{} {} {} ({})", manifest.emoji, manifest.id, manifest.version, manifest.mode)]);
        table.add_row(["models", &list(&manifest.wants.models)]);
        table.add_row(["tools", &list(&manifest.wants.tools)]);
        table.add_row(["vault read", &list(&manifest.wants.vault_read)]);
        table.add_row(["vault write", &list(&manifest.wants.vault_write)]);
        table.add_row(["hands to", &list(&manifest.wants.handoff)]);
        table.add_row(["limits of one run", &limits.join("\n")]);
        #[expect(clippy::cast_precision_loss, reason = "micro-dollars")]
        table.add_row(["worst-case spend", &format!("${:.2} a run", manifest.limits.usd_micros as f64 / 1e6)]);
    }
    table
}

fn json_of(report: &Report) -> Value {
    json!({
        "file": report.file,
        "accepted": report.verdict.is_ok(),
        "complaints": report.verdict.as_ref().err().cloned().unwrap_or_default(),
        "digest": report.digest,
        "bytes": report.bytes,
        "imports": report.imports,
        "manifest": report.manifest,
    })
}
