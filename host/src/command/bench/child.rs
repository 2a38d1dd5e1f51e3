//! The host that is measured: this very program, started as an operator would, watched through its log lines, and killed: it is made
//! for that.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStderr, Command};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;

use super::model::{self, Model};
use crate::egress::{self, Client};
use crate::{api, config};

/// How long anything may take that should take a moment.
const PATIENCE: Duration = Duration::from_secs(120);
/// The agents that ship: who works on a task.
pub(super) const AGENTS: [&str; 3] = ["triager", "note-maker", "reporter"];

/// What its log should hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Log {
    /// As shipped, and how long each instance took to start.
    Usual,
    /// Each statement too, for counting: such a host is slower.
    Statements,
}

/// Folders of a host that are thrown away: agents, data, vault, configuration.
pub(super) struct Place {
    folder: PathBuf,
}

impl Place {
    /// A fresh place with the shipped agents of `agents`, every group served by `model`.
    pub(super) fn new(folder: &Path, agents: &Path, model: &Model) -> anyhow::Result<Self> {
        let own = folder.join("agents");
        std::fs::create_dir_all(&own)?;
        for id in AGENTS {
            let file = agents.join(format!("{id}.wasm"));
            let hint = "build the agents that ship with `host agent build`, or name their folder with --agents DIR";
            std::fs::copy(&file, own.join(format!("{id}.wasm")))
                .with_context(|| format!("{} is not there: {hint}", file.display()))?;
        }
        let groups: toml::Table = toml::from_str(config::SHIPPED)?;
        let names =
            groups.get("inference").and_then(|table| table.get("groups")?.as_table()).into_iter().flat_map(toml::Table::keys);
        let settings: String = names
            .map(|name| {
                let (url, model) = (&model.url, model::NAME);
                format!("[inference.groups.{name}]\nkind = \"ollama\"\nurl = \"{url}\"\nmodel = \"{model}\"\nremote = false\nconcurrency = 64\n")
            })
            .collect();
        std::fs::write(folder.join("host.toml"), settings)?;
        Ok(Self { folder: folder.to_owned() })
    }

    /// Where its host keeps compiled agents.
    pub(super) fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// An agent's component.
    pub(super) fn agent(&self, id: &str) -> PathBuf {
        self.folder.join("agents").join(format!("{id}.wasm"))
    }

    /// Lets the host take tasks in and work on none, or work again.
    pub(super) fn pause(&self, paused: bool) -> anyhow::Result<()> {
        let mark = self.folder.join("vault/_meta/PAUSED");
        if paused {
            std::fs::create_dir_all(self.folder.join("vault/_meta"))?;
            std::fs::write(mark, "")?;
        } else {
            std::fs::remove_file(mark)?;
        }
        Ok(())
    }

    /// Starts a host on the database at `url` that is ready to serve.
    pub(super) async fn start(&self, url: &str, log: Log) -> anyhow::Result<Host> {
        let at = |name: &str| self.folder.join(name);
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["serve", "--listen", "127.0.0.1:0", "--database", url]).arg("--config").arg(at("host.toml"));
        command.arg("--data").arg(at("data")).arg("--vault").arg(at("vault")).arg("--agents").arg(at("agents"));
        let filter = match log {
            Log::Usual => "info,sqlx=warn,host::runtime=debug",
            Log::Statements => "info,sqlx=debug",
        };
        command.env("RUST_LOG", filter).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
        let began = Instant::now();
        let mut child = command.spawn()?;
        let pid = child.id().context("the host ended at once")?;
        let (tell, lines) = unbounded_channel();
        tokio::spawn(listen(child.stderr.take().context("the host has no log")?, tell));
        let mut host = Host {
            base: String::new(),
            pid,
            ready: Duration::ZERO,
            client: Client::new(std::iter::empty(), &[])?,
            began,
            child,
            lines,
        };
        let serving = host.line("serving").await?;
        host.base = format!("http://{}", serving.fields.get("address").and_then(Value::as_str).context("it serves nowhere")?);
        host.client = Client::new(std::iter::once(host.base.as_str()), &[])?;
        let answer = host.client.get(&format!("{}/readyz", host.base))?.send().await?;
        let (status, body) = (answer.status(), egress::text(answer, 1024 * 1024).await?);
        let said: Value = serde_json::from_str(&body)?;
        if !status.is_success() || said.get("degraded") != Some(&json!([])) {
            bail!("the host under test is not ready: {body}");
        }
        host.ready = began.elapsed();
        Ok(host)
    }
}

/// A line of its log that matters here.
pub(super) struct Line {
    at: Instant,
    fields: Value,
}

impl Line {
    fn is(&self, event: &str) -> bool {
        self.fields.get("event").is_some_and(|said| said == event)
    }
}

/// A running host.
pub(super) struct Host {
    pub(super) base: String,
    pub(super) pid: u32,
    /// From its start until it said that it is ready.
    pub(super) ready: Duration,
    pub(super) client: Client,
    /// When it was started.
    pub(super) began: Instant,
    child: Child,
    lines: UnboundedReceiver<Line>,
}

/// What one task has shown.
pub(super) struct Done {
    /// From the request until the host said that it is done.
    pub(super) took: Duration,
    /// How long each of its instances took to start.
    pub(super) instances: Vec<Duration>,
    /// Its statements, if the log holds them.
    pub(super) statements: u64,
}

impl Host {
    /// Posts one task and waits for its end.
    pub(super) async fn task(&mut self) -> anyhow::Result<Done> {
        let began = Instant::now();
        let accepted: api::Accepted = serde_json::from_str(&post(&self.client, &self.base).await?)?;
        let mut done = Done { took: Duration::ZERO, instances: Vec::new(), statements: 0 };
        loop {
            let line = self.next().await?;
            if line.is("instance_start") {
                let seconds = line.fields.get("seconds").and_then(Value::as_f64).unwrap_or_default();
                done.instances.push(Duration::from_secs_f64(seconds));
            } else if let Some(statement) = line.fields.get("summary").and_then(Value::as_str) {
                done.statements += u64::from(!is_bracket(statement));
            } else if line.fields.get("task_id").is_some_and(|id| *id == accepted.task_id) {
                if !line.is("task_completed") {
                    bail!("the task that measures was not done: {}", line.fields);
                }
                done.took = line.at.saturating_duration_since(began);
                return Ok(done);
            }
        }
    }

    /// Has so many tasks done, so many of them at a time; how long that took.
    pub(super) async fn crowd(&mut self, tasks: usize, at_a_time: usize) -> anyhow::Result<Duration> {
        let (began, mut posts, mut posted, mut done) = (Instant::now(), JoinSet::new(), 0, 0);
        while done < tasks {
            while posted < tasks.min(done + at_a_time) {
                let (client, base) = (self.client.clone(), self.base.clone());
                posts.spawn(async move { post(&client, &base).await });
                posted += 1;
            }
            let line = self.next().await?;
            if line.fields.get("task_id").is_some() {
                if !line.is("task_completed") {
                    bail!("a task that measures was not done: {}", line.fields);
                }
                done += 1;
            }
            while let Some(posted) = posts.try_join_next() {
                posted??;
            }
        }
        Ok(began.elapsed())
    }

    /// Posts so many tasks and waits until each has been parked.
    pub(super) async fn park(&mut self, tasks: usize) -> anyhow::Result<()> {
        const AT_A_TIME: usize = 16;
        let (mut parked, mut posts) = (HashSet::new(), JoinSet::new());
        for _ in 0..tasks {
            if posts.len() >= AT_A_TIME
                && let Some(posted) = posts.join_next().await
            {
                posted??;
            }
            let (client, base) = (self.client.clone(), self.base.clone());
            posts.spawn(async move { post(&client, &base).await });
        }
        while let Some(posted) = posts.join_next().await {
            posted??;
        }
        while parked.len() < tasks {
            let line = self.next().await?;
            if line.is("task_parked") {
                parked.extend(line.fields.get("task_id").and_then(Value::as_str).map(str::to_owned));
            }
        }
        Ok(())
    }

    /// Waits until a task is done that was there before.
    pub(super) async fn done(&mut self) -> anyhow::Result<()> {
        self.line("task_completed").await.map(drop)
    }

    async fn line(&mut self, event: &str) -> anyhow::Result<Line> {
        loop {
            let line = self.next().await?;
            if line.is(event) {
                return Ok(line);
            }
        }
    }

    async fn next(&mut self) -> anyhow::Result<Line> {
        let line = tokio::time::timeout(PATIENCE, self.lines.recv()).await.context("the host under test says nothing")?;
        let line = line.context("the host under test has ended")?;
        if line.is("ended") {
            bail!("the host under test has ended: {}", line.fields);
        }
        Ok(line)
    }

    /// Ends it, as a power cut would.
    pub(super) async fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill().await.context("the host under test cannot be ended")
    }
}

/// Posts one task; the answer of `/inbox`.
pub(super) async fn post(client: &Client, base: &str) -> anyhow::Result<String> {
    let envelope =
        json!({ "task_id": "bench", "source": "test", "content": "note to self: the hose clamp in the basement is loose" });
    let answer = client.post(&format!("{base}/inbox"))?.timeout(PATIENCE).json(&envelope).send().await?;
    let (status, body) = (answer.status(), egress::text(answer, 1024 * 1024).await?);
    if status.as_u16() != 202 {
        bail!("/inbox said {status}: {body}");
    }
    Ok(body)
}

/// Whether a statement only opens or closes others.
fn is_bracket(statement: &str) -> bool {
    let first = statement.split_whitespace().next().unwrap_or_default().to_lowercase();
    ["begin", "commit", "savepoint", "release", "rollback"].contains(&first.as_str())
}

/// Passes on the lines that matter; the others are only read, since nobody else empties the pipe.
async fn listen(log: ChildStderr, tell: UnboundedSender<Line>) {
    const MATTER: [&str; 7] = [
        "\"serving\"",
        "\"task_completed\"",
        "\"task_failed\"",
        "\"task_parked\"",
        "\"hop_retry\"",
        "\"instance_start\"",
        "\"summary\"",
    ];
    let (mut lines, mut last) = (BufReader::new(log).lines(), String::new());
    while let Ok(Some(line)) = lines.next_line().await {
        let at = Instant::now();
        if MATTER.iter().any(|word| line.contains(word))
            && let Ok(fields) = serde_json::from_str(&line)
            && tell.send(Line { at, fields }).is_err()
        {
            return;
        }
        last = line;
    }
    // Whoever still listens is told; if nobody does, it does not matter.
    let _ = tell.send(Line { at: Instant::now(), fields: json!({ "event": "ended", "last_line": last }) });
}
