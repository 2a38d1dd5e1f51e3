//! `host doctor`: what would serve whom right now, and how well the configured models do the work: twenty inbox sentences through
//! the real agents, on a database and a vault that are thrown away.

use std::path::Path;
use std::time::{Duration, Instant};

use clap::Args;
use comfy_table::Table;
use policy::task::{Outcome, Status};
use policy::tier::Clearance;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::house::House;
use super::{Exit, tell};
use crate::config::{self, Config};
use crate::ingress::{Caller, Request};
use crate::store::{Db, artefacts, hops, tasks};
use crate::{envelope, telemetry};

/// The sentences.
const SENTENCES: &str = include_str!("../../../agents/sentences.toml");
/// How long one sentence may take.
const PATIENCE: Duration = Duration::from_secs(900);

#[derive(Debug, Args)]
pub(super) struct Options {
    /// Run only the first N sentences; 0 looks at the models without asking them.
    #[arg(long, value_name = "N", default_value_t = usize::MAX, hide_default_value = true)]
    sentences: usize,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Deserialize)]
struct File {
    sentence: Vec<Sentence>,
}

#[derive(Deserialize)]
struct Sentence {
    content: String,
    target: String,
    intents: Vec<String>,
    domains: Vec<String>,
    facts: Vec<String>,
}

/// What came of one sentence.
#[derive(Default, Serialize)]
struct Score {
    content: String,
    status: String,
    route: bool,
    intent: bool,
    domain: bool,
    facts: usize,
    of_facts: usize,
    seconds: f64,
}

pub(super) async fn run(mut config: Config, options: Options) -> anyhow::Result<Exit> {
    telemetry::start(&config::variable("RUST_LOG").unwrap_or_else(|| "error".into()));
    let thrown_away = tempfile::tempdir()?;
    config.database.url = format!("sqlite://{}", thrown_away.path().join("doctor.db").display());
    config.vault.root = thrown_away.path().join("vault");
    let vault = config.vault.root.clone();
    let house = House::open(config).await?;
    let serving = serving(&house, options.json).await;
    let file: File = toml::from_str(SENTENCES)?;
    let chosen: Vec<Sentence> = file.sentence.into_iter().take(options.sentences).collect();
    if !serving {
        tell("not every model answers: the sentences are not run");
        return Ok(Exit::Failed);
    }
    if chosen.is_empty() {
        return Ok(Exit::Done);
    }
    let drain = CancellationToken::new();
    let working = tokio::spawn(house.worker().run(drain.clone()));
    let mut scores = Vec::new();
    for (at, sentence) in chosen.iter().enumerate() {
        tell(&format!("{}/{}: {}", at + 1, chosen.len(), sentence.content));
        scores.push(score(&house, sentence, &vault).await?);
    }
    drain.cancel();
    working.await?;
    print(&scores, options.json)?;
    Ok(Exit::Done)
}

/// Prints which group serves which agent, and whether it answers.
async fn serving(house: &House, as_json: bool) -> bool {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::UTF8_FULL_CONDENSED);
    table.set_header(["agent", "group", "model", "server", "state"]);
    let mut all_up = true;
    for agent in house.state.fleet.agents() {
        for wanted in &agent.manifest.wants.models {
            let group = house.state.world.router.groups().find(|(name, _)| *name == wanted).map(|(_, group)| group);
            let state = match group {
                None => format!("there is no [inference.groups.{wanted}]"),
                Some(group) => house.state.world.router.probe(group).await.map_or_else(|error| error.to_string(), |()| "up".into()),
            };
            all_up &= state == "up";
            let (model, url) = group.map_or(("–", "–"), |group| (group.model.as_str(), group.url.as_str()));
            table.add_row([&agent.manifest.id, wanted, model, url, &state]);
        }
    }
    for rejected in house.state.fleet.rejected() {
        all_up = false;
        table.add_row([rejected.file.as_str(), "–", "–", "–", &rejected.complaints.join("\n")]);
    }
    if !as_json {
        println!("{table}");
    }
    all_up
}

async fn score(house: &House, sentence: &Sentence, vault: &Path) -> anyhow::Result<Score> {
    let started = Instant::now();
    let body = serde_json::json!({ "task_id": "doctor", "source": "test", "content": sentence.content });
    let request = Request { envelope: envelope::parse(body.to_string().as_bytes())?, body: String::new(), traceparent: None };
    let id = house.state.ingress.accept(&Caller::loopback(), request).await?.task_id;
    let db = &house.state.world.db;
    let status = ended(db, &id, started).await?;
    let (target, decision) = triage(db, &id).await?;
    let said = |key: &str| decision.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut notes = String::new();
    for (path, _) in artefacts::of(db, &id).await? {
        notes.push_str(&std::fs::read_to_string(vault.join(path))?.to_lowercase());
    }
    Ok(Score {
        content: sentence.content.clone(),
        status,
        route: target == sentence.target,
        intent: sentence.intents.contains(&said("intent")),
        domain: sentence.domains.contains(&said("domain")),
        facts: sentence.facts.iter().filter(|fact| notes.contains(&fact.to_lowercase())).count(),
        of_facts: sentence.facts.len(),
        seconds: started.elapsed().as_secs_f64(),
    })
}

async fn ended(db: &Db, id: &str, started: Instant) -> anyhow::Result<String> {
    while started.elapsed() < PATIENCE {
        if let Some(task) = tasks::find(db, id).await?
            && matches!(task.status, Status::Done | Status::Failed | Status::Expired | Status::Cancelled)
        {
            return Ok(task.status.as_str().into());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Ok("overdue".into())
}

/// Where the triager sent it, and what it decided.
async fn triage(db: &Db, id: &str) -> anyhow::Result<(String, Value)> {
    let hops = hops::of(db, id).await?;
    let outcome = hops.first().and_then(|hop| hop.outcome.as_ref()?.open(Clearance::OPERATOR).ok());
    Ok(match outcome {
        Some(Outcome::Handoff { to, data, .. }) => {
            (to.clone(), data.as_deref().map(serde_json::from_str).transpose()?.unwrap_or_default())
        }
        Some(Outcome::Answer { .. } | Outcome::Reject { .. }) | None => (String::new(), Value::Null),
    })
}

fn print(scores: &[Score], as_json: bool) -> anyhow::Result<()> {
    let rate = |hits: usize, of: usize| format!("{hits}/{of}");
    let count = |hit: &dyn Fn(&Score) -> bool| rate(scores.iter().filter(|score| hit(score)).count(), scores.len());
    let facts = rate(scores.iter().map(|score| score.facts).sum(), scores.iter().map(|score| score.of_facts).sum());
    let summary = serde_json::json!({
        "done": count(&|score| score.status == "done"),
        "route": count(&|score| score.route),
        "intent": count(&|score| score.intent),
        "domain": count(&|score| score.domain),
        "facts": facts,
    });
    if as_json {
        println!("{}", serde_json::to_string_pretty(&serde_json::json!({ "summary": summary, "sentences": scores }))?);
        return Ok(());
    }
    let mut table = Table::new();
    table.load_style(comfy_table::presets::UTF8_FULL_CONDENSED);
    table.set_header(["sentence", "status", "route", "intent", "domain", "facts", "s"]);
    let mark = |hit: bool| if hit { "✓" } else { "✗" };
    for score in scores {
        let short: String = score.content.chars().take(48).collect();
        table.add_row([
            short.as_str(),
            &score.status,
            mark(score.route),
            mark(score.intent),
            mark(score.domain),
            &rate(score.facts, score.of_facts),
            &format!("{:.1}", score.seconds),
        ]);
    }
    println!("{table}\nhit rate: {summary}");
    Ok(())
}
