//! `host demo`: builds everything, finds or sets up a model, and shows one real task from `/inbox` to the vault.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::house::{self, House};
use super::model_server::Model;
use super::{Exit, tell};
use crate::config::{self, Config};
use crate::egress::{self, Client};
use crate::fleet::build::{Scope, build};
use crate::{api, telemetry};

/// The first task: no `target_agent`, so it goes all the way.
const FIRST: &str = "note to self: the dehumidifier in the basement drips again, the hose clamp on the left side is loose. \
     I tightened it on Saturday, check it next week";
/// How long the demo waits for its task.
const PATIENCE: Duration = Duration::from_secs(1800);

#[derive(Debug, Args)]
pub(super) struct Options {
    /// A model server: Ollama, or anything that speaks OpenAI's chat completions.
    #[arg(long, value_name = "URL")]
    model_url: Option<String>,
    /// The model's name there; by default the first that it lists.
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// The request to show.
    #[arg(long, value_name = "TEXT", default_value = FIRST)]
    content: String,
    /// Where the agents' sources are.
    #[arg(long, value_name = "DIR", default_value = "agents")]
    source: PathBuf,
    /// End after the report instead of serving on.
    #[arg(long)]
    once: bool,
}

pub(super) async fn run(mut config: Config, options: Options) -> anyhow::Result<Exit> {
    telemetry::start(&config::variable("RUST_LOG").unwrap_or_else(|| "error".into()));
    let (source, out, cache) = (options.source.clone(), config.agents.dir.clone(), config::cache_dir());
    let building = cache.clone();
    tokio::task::spawn_blocking(move || build(&source, Scope::Workspace, &out, &building, &tell)).await??;

    let model = Model::find(options.model_url, options.model, &cache).await?;
    tell(&format!("model `{}` at {}", model.name, model.url));
    let toy = model.server.is_some();
    model.serve_all(&mut config);

    let drain = house::on_signal()?;
    let listener = house::bind(&config).await?;
    let base = format!("http://{}", listener.local_addr()?);
    let vault = config.vault.root.clone();
    let house = House::open(config).await?;
    for rejected in house.state.fleet.rejected() {
        tell(&format!("{} does not serve: {}", rejected.file, rejected.complaints.join("; ")));
    }
    let serving: JoinHandle<anyhow::Result<()>> = tokio::spawn(house.run(listener, None, drain.clone()));
    tell(&format!("serving on {base}"));
    if toy {
        println!("This is a toy: a model of 135 million parameters that anyone can run. It writes grammatical nonsense.");
        println!("For sense, start Ollama (or llama.cpp, vLLM …) and say: cargo run -- demo --model-url http://127.0.0.1:11434\n");
    }
    let shown = show(&base, &options.content, &vault, &drain).await;
    let exit = match &shown {
        Ok(()) => Exit::Done,
        Err(error) => {
            println!("\nNo note came of it: {error:#}");
            Exit::Failed
        }
    };
    if options.once || shown.is_err() {
        drain.cancel();
    } else {
        println!("\nStill serving on {base} (Ctrl-C ends it). Try: curl -s {base}/inbox -H 'content-type: application/json' \\");
        println!("  -d '{{\"task_id\":\"mine\",\"source\":\"cli\",\"content\":\"note: …\"}}'   and   curl -s {base}/tasks");
    }
    serving.await??;
    Ok(exit)
}

/// Posts the task, tells of each hop as it comes, and prints the report and the note.
async fn show(base: &str, content: &str, vault: &std::path::Path, drain: &CancellationToken) -> anyhow::Result<()> {
    let client = Client::new(std::iter::once(base), &[])?;
    println!("POST /inbox  {content:?}\n");
    let envelope = serde_json::json!({ "task_id": "demo", "source": "cli", "content": content });
    let response = client.post(&format!("{base}/inbox"))?.json(&envelope).send().await?;
    let answer = egress::text(response, 1024 * 1024).await?;
    let accepted: api::Accepted = serde_json::from_str(&answer).with_context(|| format!("/inbox said: {answer}"))?;
    let task = watch(&client, base, &accepted.task_id, drain).await?;

    if let Some(error) = task.error {
        bail!("{}: {}", error.code, error.message);
    }
    println!("\n── report ──\n{}", task.output.unwrap_or_default());
    let written = task.artefacts.unwrap_or_default();
    let Some(note) = written.first() else { bail!("the task is done, but no agent wrote a file") };
    let path = vault.join(&note.path);
    let text = std::fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))?;
    println!("\n── {} ──\n{text}", path.display());
    Ok(())
}

/// Follows a task to its end.
async fn watch(client: &Client, base: &str, id: &str, drain: &CancellationToken) -> anyhow::Result<api::Task> {
    let started = Instant::now();
    let (mut begun, mut ended) = (0, 0);
    while started.elapsed() < PATIENCE && !drain.is_cancelled() {
        let response = client.get(&format!("{base}/tasks/{id}"))?.send().await?;
        let task: api::Task = serde_json::from_str(&egress::text(response, 64 * 1024 * 1024).await?)?;
        for hop in task.hops.iter().flatten() {
            if hop.status != "pending" && hop.seq > begun {
                begun = hop.seq;
                println!("{:>6.1} s  {} starts", started.elapsed().as_secs_f64(), hop.agent);
            }
            if hop.status == "done" && hop.seq > ended {
                ended = hop.seq;
                let kind = hop.outcome.as_ref().and_then(|outcome| outcome.get("kind")?.as_str()).unwrap_or("ended");
                let to = hop.outcome.as_ref().and_then(|outcome| outcome.get("to")?.as_str()).map(|to| format!(" to {to}"));
                println!("{:>6.1} s  {}: {kind}{}", started.elapsed().as_secs_f64(), hop.agent, to.unwrap_or_default());
            }
        }
        match task.status.as_str() {
            "pending" | "running" | "awaiting_backend" | "awaiting_approval" => {}
            _ => return Ok(task),
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    bail!("task {id} did not end within {} minutes", PATIENCE.as_secs() / 60)
}
