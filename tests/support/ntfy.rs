//! A real ntfy server on loopback: Debian's package of the next stable suite, fetched once into the cache and unpacked, not installed.

use std::path::{Path, PathBuf};
use std::process::{Command as Program, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use serde_json::Value;
use tokio::process::{Child, Command};

use super::PATIENCE;

const SUITE: &str = "trixie";

/// A running server. It ends with its value.
pub struct Ntfy {
    _child: Child,
    _folder: tempfile::TempDir,
    url: String,
}

impl Ntfy {
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let url = format!("http://127.0.0.1:{port}");
        let config = folder.path().join("server.yml");
        let cache = folder.path().join("cache.db");
        std::fs::write(
            &config,
            format!("listen-http: \"127.0.0.1:{port}\"\nbase-url: \"{url}\"\ncache-file: \"{}\"\n", cache.display()),
        )
        .unwrap();
        let child = Command::new(program())
            .args(["serve", "--config"])
            .arg(config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let ntfy = Self { _child: child, _folder: folder, url };
        let up = async {
            while super::http().get(format!("{}/v1/health", ntfy.url)).send().await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, up).await.expect("ntfy comes up");
        ntfy
    }

    /// Configuration: messages go to the topic `approvals`, and may hold what is internal.
    pub fn config(&self) -> String {
        format!("[sinks.ntfy]\nurl = \"{}\"\nclearance = \"internal\"\n", self.url)
    }

    /// What the topic holds, once it holds so many messages, in order.
    pub async fn messages(&self, most: usize) -> Vec<Value> {
        let held = async {
            loop {
                let text =
                    super::http().get(format!("{}/approvals/json?poll=1", self.url)).send().await.unwrap().text().await.unwrap();
                let messages: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
                if messages.len() >= most {
                    return messages;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(PATIENCE, held).await.unwrap_or_else(|_| panic!("fewer than {most} messages"))
    }
}

/// Presses a button of a message, as a phone would.
pub async fn press(message: &Value, label: &str, base: &str) -> (u16, Value) {
    let actions = message["actions"].as_array().unwrap();
    let action = actions.iter().find(|action| action["label"] == label).unwrap_or_else(|| panic!("no `{label}`: {message:#}"));
    assert_eq!((&action["action"], &action["method"]), (&"http".into(), &"POST".into()), "{action}");
    // The host under test chose its own port.
    let path = action["url"].as_str().unwrap().splitn(4, '/').nth(3).unwrap();
    let mut request = super::http().post(format!("{base}/{path}")).body(action["body"].as_str().unwrap().to_owned());
    for (name, value) in action["headers"].as_object().unwrap() {
        request = request.header(name, value.as_str().unwrap());
    }
    super::read(request).await
}

/// The program, fetched once.
fn program() -> PathBuf {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock();
    let folder = host::config::cache_dir().join("ntfy");
    let (program, complete) = (folder.join("usr/bin/ntfy"), folder.join(".complete"));
    if !complete.exists() {
        fetch(&folder);
        std::fs::write(complete, "").unwrap();
    }
    program
}

/// Debian's package of another suite, without touching the system's lists. apt verifies what it fetches.
fn fetch(folder: &Path) {
    let sources = std::fs::read_to_string("/etc/apt/sources.list.d/debian.sources")
        .expect("the tests need ntfy: on this machine only Debian's mirror has it, and there is no debian.sources");
    let mirror = sources.lines().find_map(|line| line.strip_prefix("URIs:")).expect("a mirror").split_whitespace().next().unwrap();
    let lists = folder.join("apt/lists/partial");
    std::fs::create_dir_all(&lists).unwrap();
    std::fs::create_dir_all(folder.join("apt/cache/archives/partial")).unwrap();
    let list = folder.join("apt/sources.list");
    let key = "[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]";
    std::fs::write(&list, format!("deb {key} {mirror} {SUITE} main\n")).unwrap();
    let apt = |what: &[&str]| {
        let mut apt = Program::new("apt-get");
        apt.current_dir(folder).args(["-qq", "-o", "Dir::Etc::sourceparts=/nonexistent"]);
        for (name, path) in
            [("Dir::Etc::sourcelist", "apt/sources.list"), ("Dir::State::Lists", "apt/lists"), ("Dir::Cache", "apt/cache")]
        {
            apt.arg("-o").arg(format!("{name}={}", folder.join(path).display()));
        }
        let done = apt.args(what).output().unwrap();
        assert!(done.status.success(), "the tests need ntfy of Debian {SUITE}: {}", String::from_utf8_lossy(&done.stderr));
    };
    apt(&["update"]);
    apt(&["download", "ntfy"]);
    let package = super::names(folder).into_iter().find(|name| name.ends_with(".deb")).expect("apt has left it here");
    let done = Program::new("dpkg").arg("-x").arg(folder.join(package)).arg(folder).status().unwrap();
    assert!(done.success(), "dpkg cannot unpack ntfy");
}
