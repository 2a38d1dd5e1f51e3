//! A host to test: the real program on a port of its own, its log lines, and the model servers that it speaks to.

pub mod browser;
pub mod collector;
mod door;
pub mod events;
pub mod fake;
pub mod fake_sinks;
pub mod foreign;
pub mod ground;
pub mod guests;
pub mod handmade;
pub mod mcp;
pub mod ntfy;
pub mod postgres;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// How long anything may take. Bounds a hang; nothing waits for it to pass.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// What a host is started with; what is not said is the shipped configuration.
pub struct Setup {
    pub folder: Arc<tempfile::TempDir>,
    pub config: String,
    pub agents: PathBuf,
    pub variables: BTreeMap<&'static str, String>,
    /// Another database than SQLite in the folder.
    pub database: Option<String>,
}

impl Setup {
    /// A folder of its own, the three agents, and every group served by `model`.
    pub fn with(model: &fake::Model) -> Self {
        let setup = Self::bare();
        Self { config: model.groups(), ..setup }
    }

    /// A folder of its own, the three agents, and no model.
    pub fn bare() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Compiled components are shared: which host compiles them is not what is tested.
        let cache = guests::folder().join("compiled");
        std::fs::create_dir_all(&cache).unwrap();
        std::fs::create_dir_all(folder.path().join("data")).unwrap();
        std::os::unix::fs::symlink(cache, folder.path().join("data/cache")).unwrap();
        Self {
            folder: Arc::new(folder),
            config: String::new(),
            agents: guests::shipped(),
            variables: BTreeMap::new(),
            database: None,
        }
    }

    /// More configuration.
    pub fn and(mut self, more: &str) -> Self {
        self.config.push_str(more);
        self
    }

    /// Other agents.
    pub fn agents(mut self, folder: PathBuf) -> Self {
        self.agents = folder;
        self
    }

    pub fn vault(&self) -> PathBuf {
        self.folder.path().join("vault")
    }

    /// A command with this setup.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let file = self.folder.path().join("host.toml");
        std::fs::write(&file, &self.config).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_host"));
        command.args(arguments).arg("--config").arg(file).arg("--data").arg(self.folder.path().join("data"));
        command.arg("--vault").arg(self.vault()).arg("--agents").arg(&self.agents).arg("--listen").arg("127.0.0.1:0");
        if let Some(url) = &self.database {
            command.args(["--database", url]);
        }
        command.env("RUST_LOG", "info").envs(&self.variables);
        command.kill_on_drop(true);
        command
    }

    /// Starts a host that is ready to be asked.
    pub async fn start(self) -> Host {
        let command = self.command(&["serve"]);
        self.running(command).await
    }

    /// The same, deaf to a signal from its first instruction on.
    pub async fn start_without_signal(self, name: &str) -> Host {
        let command = self.command(&["serve"]);
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("trap '' {name}; exec \"$0\" \"$@\"")]).arg(command.as_std().get_program());
        shell.args(command.as_std().get_args()).env("RUST_LOG", "info").envs(&self.variables).kill_on_drop(true);
        self.running(shell).await
    }

    async fn running(self, mut command: Command) -> Host {
        let mut child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let mut reader = BufReader::new(child.stderr.take().unwrap()).lines();
        let (heard, kept) = (lines.clone(), tokio::sync::watch::channel(0_usize).0);
        let arrived = kept.subscribe();
        tokio::spawn(async move {
            while let Ok(Some(line)) = reader.next_line().await {
                heard.lock().unwrap().push(line);
                kept.send_modify(|count| *count += 1);
            }
        });
        let mut host = Host { setup: self, child, lines, arrived, base: String::new(), token: None, http: http() };
        host.base = format!("http://{}", host.logged("serving").await["address"].as_str().unwrap());
        host
    }
}

fn http() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().unwrap()
}

/// A running host.
pub struct Host {
    pub setup: Setup,
    pub base: String,
    pub token: Option<String>,
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    arrived: tokio::sync::watch::Receiver<usize>,
    http: reqwest::Client,
}

impl Host {
    pub fn request(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    pub async fn get(&self, path: &str) -> (u16, Value) {
        read(self.request(reqwest::Method::GET, path)).await
    }

    pub async fn post(&self, path: &str, body: impl Into<reqwest::Body>) -> (u16, Value) {
        read(self.request(reqwest::Method::POST, path).body(body)).await
    }

    /// Posts a task and answers its id.
    pub async fn submit(&self, more: Value) -> String {
        let mut envelope = json!({ "task_id": "mine", "source": "test", "content": "note: the hose clamp is loose" });
        envelope.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let (status, answer) = self.post("/inbox", envelope.to_string()).await;
        assert_eq!(status, 202, "{answer} {:?}", self.log());
        answer["task_id"].as_str().unwrap().to_owned()
    }

    /// The task once it has that status.
    pub async fn task(&self, id: &str, status: &str) -> Value {
        let reached = async {
            loop {
                let (code, task) = self.get(&format!("/tasks/{id}?full=1")).await;
                assert_eq!(code, 200, "{task} {:?}", self.log());
                if task["status"] == status {
                    return task;
                }
                let ended = ["done", "failed", "expired", "cancelled"].iter().any(|word| task["status"] == *word);
                assert!(!ended, "wanted `{status}`: {task:#}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let reached = tokio::time::timeout(PATIENCE, reached).await;
        reached.unwrap_or_else(|_| panic!("task {id} is not `{status}`: {:?}", self.lines.lock().unwrap()))
    }

    /// Waits until that entry of the task's journal is on disk: what a run was told follows a little later.
    pub async fn journaled(&self, id: &str, reference: &str) {
        let written = async {
            loop {
                let (_, task) = self.get(&format!("/tasks/{id}")).await;
                if task["timeline"].as_array().unwrap().iter().any(|entry| entry["ref"] == reference) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let written = tokio::time::timeout(PATIENCE, written).await;
        written.unwrap_or_else(|_| panic!("{reference} of {id} is not journaled: {:?}", self.log()));
    }

    /// Posts a task and answers it once it is done.
    pub async fn done(&self, more: Value) -> Value {
        let id = self.submit(more).await;
        self.task(&id, "done").await
    }

    /// Every log line so far.
    pub fn log(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    /// The log lines of one event.
    pub fn events(&self, event: &str) -> Vec<Value> {
        self.json().into_iter().filter(|line| line["event"] == event).collect()
    }

    /// The events of one task that have one of those names, in order.
    pub fn story(&self, task: &str, names: &[&str]) -> Vec<String> {
        let mine = self.json().into_iter().filter(|line| line["task_id"] == task);
        mine.filter(|line| names.iter().any(|name| line["event"] == *name))
            .map(|line| {
                let agent = line["agent"].as_str().filter(|_| line["event"].as_str().unwrap().starts_with("hop"));
                format!("{} {}", line["event"].as_str().unwrap(), agent.unwrap_or_default()).trim().to_owned()
            })
            .collect()
    }

    fn json(&self) -> Vec<Value> {
        self.lines.lock().unwrap().iter().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Ends it at once, as a power cut would; what it was started with.
    pub async fn kill(mut self) -> Setup {
        self.child.kill().await.unwrap();
        self.setup
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id().unwrap()
    }

    /// Lets no file of it grow beyond so many bytes.
    pub async fn file_limit(&self, bytes: &str) {
        let id = self.child.id().unwrap().to_string();
        let set = Command::new("prlimit").args(["--pid", &id, &format!("--fsize={bytes}:unlimited")]).status().await;
        assert!(set.expect("the tests need `prlimit` of util-linux").success());
    }

    /// Asks it to end, and waits until it has heard.
    pub async fn terminate(&self) {
        let id = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().await.unwrap().success());
        self.logged("draining").await;
    }

    /// Its exit code, what it was started with, and its lines.
    pub async fn ended(mut self) -> (Option<i32>, Setup, Vec<String>) {
        let ended = tokio::time::timeout(PATIENCE, self.child.wait()).await.expect("it drains").unwrap();
        // Its last lines may still be on their way; whoever reads them ends with them.
        let whole = async { while self.arrived.changed().await.is_ok() {} };
        tokio::time::timeout(PATIENCE, whole).await.expect("its lines end");
        (ended.code(), self.setup, self.lines.lock().unwrap().clone())
    }

    /// Waits for the first log line of that event.
    pub async fn logged(&self, event: &str) -> Value {
        let mut arrived = self.arrived.clone();
        let found = async {
            loop {
                if let Some(line) = self.events(event).into_iter().next() {
                    return line;
                }
                arrived.changed().await.unwrap_or_else(|_| panic!("the host ended: {:?}", self.log()));
            }
        };
        tokio::time::timeout(PATIENCE, found).await.unwrap_or_else(|_| panic!("no `{event}`: {:?}", self.log()))
    }

    /// A file of the vault.
    pub fn note(&self, path: &str) -> String {
        std::fs::read_to_string(self.setup.vault().join(path)).unwrap()
    }

    /// The files of a folder of the vault.
    pub fn notes(&self, folder: &str) -> Vec<String> {
        names(&self.setup.vault().join(folder))
    }
}

/// A Python package, fetched once into the cache, as a folder of modules and programs.
pub fn fetched(package: &str, options: &[&str]) -> PathBuf {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock();
    let folder = host::config::cache_dir().join("python").join(package.replace("==", "-"));
    let complete = folder.join(".complete");
    if complete.exists() {
        return folder;
    }
    let fetched = std::process::Command::new("python3")
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--upgrade"])
        .args(options)
        .arg("--target")
        .arg(&folder)
        .arg(package)
        .output();
    let why = match &fetched {
        Ok(done) if done.status.success() => {
            std::fs::write(complete, "").unwrap();
            return folder;
        }
        Ok(done) => String::from_utf8_lossy(&done.stderr).into_owned(),
        Err(error) => error.to_string(),
    };
    panic!("the tests need `{package}`: let `python3 -m pip install {package}` work here. It said: {why}");
}

/// A package of npm, fetched once into the cache.
pub fn npm(package: &str) -> PathBuf {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock();
    let (name, version) = package.rsplit_once('@').unwrap();
    let folder = host::config::cache_dir().join("node").join(format!("{}-{version}", name.rsplit('/').next().unwrap()));
    let complete = folder.join(".complete");
    if !complete.exists() {
        let install = ["install", "--silent", "--no-fund", "--no-audit", "--ignore-scripts", "--prefix"];
        let fetched = std::process::Command::new("npm").args(install).arg(&folder).arg(package).output();
        let done = fetched.as_ref().is_ok_and(|done| done.status.success());
        assert!(done, "the tests need `{package}`: let `npm install {package}` work here. It said: {fetched:?}");
        std::fs::write(complete, "").unwrap();
    }
    folder
}

pub fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

async fn read(request: reqwest::RequestBuilder) -> (u16, Value) {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}
