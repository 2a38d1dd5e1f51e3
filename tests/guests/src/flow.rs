//! A guest that carries everything it has heard to every place that its task names, and tells which of them took it.

use crate::{Brief, Outcome, bindings::homeaiops::agent::tools, log, model, question, said, vault};

/// Wishes for all of it.
pub fn wishes(manifest: &mut crate::Manifest) {
    manifest.wants.models.extend(["local-p40", "local-spark", "local-spark-coder"].map(String::from));
    manifest.wants.vault_read.push("flow/**".into());
    manifest.wants.vault_write.push("out/**".into());
    manifest.wants.tools.push("count*".into());
    manifest.wants.handoff.push("relays".into());
    manifest.limits.journal_kib = 512;
    manifest.limits.log_kib = 64;
    manifest.limits.host_calls = 40;
    manifest.limits.output_tokens = 2000;
    manifest.examples = vec!["mark | read public, log | ".into()];
}

/// The task is `MARK | steps | steps of the next`, each step a word and a place, separated by commas.
pub fn play(brief: &Brief) -> Result<Outcome, String> {
    let mut parts = brief.task.content.split('|').map(str::trim);
    let (mark, first, then) =
        (parts.next().unwrap_or_default(), parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let mut heard = vec![mark.to_owned()];
    heard.extend(brief.handed.iter().map(|handed| handed.text.clone()));
    let steps = if brief.handed.is_empty() { first } else { then };
    let mut told = Vec::new();
    for (number, step) in steps.split(',').map(str::trim).filter(|step| !step.is_empty()).enumerate() {
        let (word, place) = step.split_once(' ').unwrap_or((step, ""));
        let all = heard.join(" ");
        let done = match word {
            "read" => vault::read(&format!("flow/{place}.md")).map(|file| heard.push(file.text.trim().to_owned())),
            "ask" => model::complete(&question(place, all, 10)).map(|reply| heard.push(reply.text)),
            "write" => {
                let path = format!("out/{place}/{}-{}-{number}.md", brief.task.id, brief.handed.len());
                vault::write(&path, &[], &all).map(|_| ())
            }
            "call" => {
                let arguments = serde_json::json!({ "n": number, "note": all }).to_string();
                let action = tools::Action { tool: place.into(), arguments, why: String::new(), undo: None };
                tools::call(&action).map(|seen| heard.push(seen.text))
            }
            "log" => {
                log::line(log::Level::Info, &all, &[("heard".into(), all.clone())]);
                Ok(())
            }
            "hand" => {
                let Outcome::Handoff(handoff) = crate::to("relays") else { return Err("no handoff".into()) };
                let data = Some(serde_json::json!(told).to_string());
                return Ok(Outcome::Handoff(crate::Handoff { text: all, data, ..handoff }));
            }
            other => return Err(format!("no step: {other}")),
        };
        told.push(done.map_or_else(|error| format!("{step}: no: {}", said(&error)), |()| format!("{step}: yes")));
    }
    let data = Some(serde_json::json!(told).to_string());
    Ok(Outcome::Answer(crate::Answer { text: heard.join(" "), data, citations: Vec::new(), wrote: Vec::new() }))
}
