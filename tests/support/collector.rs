//! Collectors of spans that others wrote: one speaks OTLP over HTTP, one over gRPC.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};

use super::PATIENCE;

/// Prints every span as a line of JSON.
const OVER_HTTP: &str = "oteltap==1.0.0";
/// A collector in Rust that can print what it gets.
const OVER_GRPC: &str = "rotel==0.0.1a15";

/// A running collector, and what it printed.
pub struct Collector {
    _child: Child,
    port: u16,
    lines: Arc<Mutex<Vec<String>>>,
    arrived: tokio::sync::watch::Receiver<usize>,
}

impl Collector {
    pub async fn over_http() -> Self {
        let (folder, port) = (fetched(OVER_HTTP), free_port());
        let mut command = Command::new("python3");
        command.args(["-u", "-m", "oteltap", "--port", &port.to_string()]).env("PYTHONPATH", folder);
        Self::running(command, port).await
    }

    pub async fn over_grpc() -> Self {
        let (folder, port) = (fetched(OVER_GRPC), free_port());
        let program = folder.join("rotel/rotel-agent");
        std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let mut command = Command::new(program);
        let at = |port: u16| format!("127.0.0.1:{port}");
        command.args([
            "start",
            "--exporter",
            "blackhole",
            "--otlp-http-endpoint",
            &at(free_port()),
            "--otlp-grpc-endpoint",
            &at(port),
        ]);
        command.args(["--debug-log", "traces", "--debug-log-verbosity", "detailed"]);
        Self::running(command, port).await
    }

    async fn running(mut command: Command, port: u16) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let (lines, kept) = (Arc::new(Mutex::new(Vec::new())), tokio::sync::watch::channel(0_usize).0);
        let (arrived, kept) = (kept.subscribe(), Arc::new(kept));
        tokio::spawn(read(child.stdout.take().unwrap(), lines.clone(), kept.clone()));
        tokio::spawn(read(child.stderr.take().unwrap(), lines.clone(), kept));
        let collector = Self { _child: child, port, lines, arrived };
        let open = async {
            while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, open).await.unwrap_or_else(|_| panic!("no collector: {:?}", collector.lines.lock()));
        collector
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Every line so far.
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    /// Waits until what was printed is like that.
    pub async fn until(&self, enough: impl Fn(&[String]) -> bool) {
        let mut arrived = self.arrived.clone();
        let found = async {
            while !enough(&self.lines()) {
                arrived.changed().await.expect("the collector ended");
            }
        };
        let found = tokio::time::timeout(PATIENCE, found).await;
        assert!(found.is_ok(), "the spans did not come: {:#?}", self.lines());
    }

    /// The spans so far, from a collector that prints JSON.
    pub fn spans(&self) -> Vec<Value> {
        self.lines().iter().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }
}

async fn read(from: impl AsyncRead + Unpin, into: Arc<Mutex<Vec<String>>>, kept: Arc<tokio::sync::watch::Sender<usize>>) {
    let mut reader = BufReader::new(from).lines();
    while let Ok(Some(line)) = reader.next_line().await {
        into.lock().unwrap().push(line);
        kept.send_modify(|count| *count += 1);
    }
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A Python package and what it needs, fetched once into the cache.
fn fetched(package: &str) -> PathBuf {
    super::fetched(package, &[])
}
