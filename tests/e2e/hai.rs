//! `hai`, as an operator uses it: what it prints where, and with which code it ends.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, ChildStderr, Command};
use tokio::task::JoinHandle;

use super::cli::output;
use crate::support::fake::{Model, Order, Protocol};
use crate::support::{Host, PATIENCE, Setup};

const TOKEN: &str = "hai-secret-0123456789-last";

/// The shell, with a folder of its own and nothing of this machine's.
fn shell(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hai"));
    for name in ["HAI_ENDPOINT", "HAI_TOKEN", "HAI_POLL_INTERVAL_S", "HAI_POLL_TIMEOUT_S"] {
        command.env_remove(name);
    }
    command.env("HAI_CONFIG_DIR", folder).stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// The same, for a running host.
pub(super) fn hai(host: &Host) -> Command {
    let mut command = shell(&host.setup.folder.path().join("hai"));
    command.env("HAI_ENDPOINT", &host.base);
    command
}

/// What it answers to words on its standard input.
async fn told(command: &mut Command, words: &str) -> (Option<i32>, String, String) {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(words.as_bytes()).await.unwrap();
    let ended = tokio::time::timeout(PATIENCE, child.wait_with_output()).await.expect("it ends").unwrap();
    (ended.status.code(), String::from_utf8(ended.stdout).unwrap(), String::from_utf8(ended.stderr).unwrap())
}

pub(super) fn parsed(said: &str) -> Value {
    serde_json::from_str(said).unwrap_or_else(|error| panic!("{error}: {said}"))
}

async fn at_work() -> (Model, Host) {
    let model = Model::start(Protocol::Ollama).await;
    let host = Setup::with(&model).start().await;
    (model, host)
}

/// A host that stops leasing tasks as soon as its model was asked, and gives up on that model soon after.
async fn stuck() -> (Model, Host) {
    let model = Model::start(Protocol::Ollama).await;
    model.order([Order::Hang]);
    let setup = Setup::with(&model);
    let config = setup.config.replace("concurrency = 8\n", "concurrency = 8\nfirst_token_s = 1\n");
    (model, Setup { config, ..setup }.start().await)
}

fn pause(host: &Host) {
    std::fs::create_dir_all(host.setup.vault().join("_meta")).unwrap();
    std::fs::write(host.setup.vault().join("_meta/PAUSED"), "").unwrap();
}

#[tokio::test]
async fn hai_adds_shows_and_lists() {
    let (_model, host) = at_work().await;
    let (code, said, complained) = output(hai(&host).args(["task", "add", "note: buy a clamp", "--no-tail", "--json"])).await;
    assert_eq!(code, Some(0), "{complained}");
    let id = parsed(&said)["task_id"].as_str().unwrap().to_owned();
    host.task(&id, "done").await;
    let (code, said, _) = output(hai(&host).args(["task", "show", &id])).await;
    assert_eq!(code, Some(0));
    assert!(said.contains("Note drafted") && said.contains("note-maker") && said.contains("handoff"), "{said}");
    let (_, said, _) = output(hai(&host).args(["task", "show", &id, "--full"])).await;
    assert!(said.contains("vault.write") && said.contains("sent: ") && said.contains("buy a clamp"), "{said}");
    let (_, said, _) = output(hai(&host).args(["task", "ls", "--agent", "note-maker", "--source", "cli", "--json"])).await;
    assert_eq!(parsed(&said)["tasks"][0]["task_id"], json!(id));
    let (_, said, _) = output(hai(&host).args(["task", "ls", "--source", "voice", "--json"])).await;
    assert_eq!(parsed(&said)["tasks"], json!([]));
    let (_, said, _) = output(hai(&host).args(["completed", "--limit", "5"])).await;
    assert!(said.contains(&id) && said.contains("Note drafted"), "what came of it: {said}");
    let (code, _, complained) = output(hai(&host).args(["task", "show", "no/thing?"])).await;
    assert_eq!(code, Some(1));
    assert!(complained.contains("there is no task `no/thing?`") && complained.contains(&host.base), "{complained}");
}

#[tokio::test]
async fn what_is_said_on_the_command_line_arrives() {
    let (_model, host) = at_work().await;
    let words = ["task", "add", "-", "--no-tail", "--to", "note-maker", "--intent", "note", "--priority", "high"];
    let more = ["--tier", "restricted", "--conversation-id", "kitchen", "--ttl", "2h", "--key", "once"];
    let (code, said, complained) = told(hai(&host).args(words).args(more), "line one\nline two\n").await;
    assert_eq!(code, Some(0), "{complained}");
    let id = said.trim();
    let task = host.task(id, "done").await;
    assert_eq!(task["content"], "line one\nline two\n");
    for (key, value) in [("source", "cli"), ("target_agent", "note-maker"), ("intent", "note"), ("priority", "high")] {
        assert_eq!(task[key], value);
    }
    assert_eq!((task["data_tier"].as_str(), task["conversation_id"].as_str()), (Some("restricted"), Some("kitchen")));
    let ours: Vec<&str> = task["client_task_id"].as_str().unwrap().split('-').collect();
    assert!(matches!(ours[..], ["cli", epoch, hex] if epoch.parse::<u64>().is_ok() && hex.len() == 8), "{ours:?}");
    let repeat = ["task", "add", "another", "--no-tail", "--key", "once"];
    let (code, _, complained) = output(hai(&host).args(repeat)).await;
    assert_eq!(code, Some(1), "another text under the same key");
    assert!(complained.contains("once"), "{complained}");
}

#[tokio::test]
async fn offload_speaks_for_another_program() {
    let (_model, host) = at_work().await;
    let (code, said, complained) = output(hai(&host).args(["offload", "note: x", "--agent", "note-maker", "--no-tail"])).await;
    assert_eq!(code, Some(0), "{complained}");
    let task = host.task(said.trim(), "done").await;
    assert_eq!(task["source"], "claude-code");
    assert!(task["client_task_id"].as_str().unwrap().starts_with("cc-"));
    let (code, said, complained) = output(hai(&host).args(["offload", "x", "--agent", "butler", "--no-tail"])).await;
    assert_eq!((code, said.as_str()), (Some(2), ""));
    assert!(complained.contains("butler"), "{complained}");
}

#[tokio::test]
async fn a_mistake_in_the_command_ends_with_2_before_anything_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    for words in [
        &["task", "paint"][..],
        &["task", "ls", "--status", "sleeping"],
        &["task", "add", "  "],
        &["task", "add", "x", "--ttl", "0"],
        &["task", "add", "x", "--intent", "conquest"],
        &["task", "forget", "01ARZ3NDEKTSV4RRFFQ69G5FAV"],
        &["auth", "init", "localhost:8765"],
        &["auth", "set-token", "two words"],
    ] {
        let (code, said, complained) = output(shell(folder.path()).args(words)).await;
        assert_eq!((code, said.as_str()), (Some(2), ""), "{words:?}: {complained}");
        assert!(!complained.is_empty());
    }
    let (code, _, complained) = output(shell(folder.path()).env("HAI_ENDPOINT", "http://127.0.0.1:1").args(["task", "ls"])).await;
    assert_eq!(code, Some(1));
    assert!(complained.contains("http://127.0.0.1:1 does not answer") && complained.contains("host serve"), "{complained}");
    std::fs::write(folder.path().join("config.toml"), "endpont = \"http://127.0.0.1:1\"\n").unwrap();
    let (code, _, complained) = output(shell(folder.path()).args(["task", "ls"])).await;
    assert_eq!(code, Some(2));
    assert!(complained.contains("config.toml") && complained.contains("endpont"), "{complained}");
}

#[tokio::test]
async fn endpoint_and_token_are_kept_for_their_owner_alone() {
    let digest: String = Sha256::digest(TOKEN).iter().map(|byte| format!("{byte:02x}")).collect();
    let guard = format!("[[auth.tokens]]\nname = \"cli\"\nsha256 = \"{digest}\"\nrole = \"operator\"\nsources = [\"cli\"]\n");
    let host = Setup::bare().and(&guard).start().await;
    let folder = host.setup.folder.path().join("hai");
    let (code, _, complained) = output(shell(&folder).args(["auth", "init", &host.base])).await;
    assert_eq!(code, Some(0), "{complained}");
    let (code, _, complained) = output(shell(&folder).args(["task", "ls"])).await;
    assert_eq!(code, Some(2), "a token is missing");
    assert!(complained.contains("hai auth set-token"), "{complained}");
    let (code, said, complained) = told(shell(&folder).args(["auth", "set-token"]), &format!("{TOKEN}\n")).await;
    assert_eq!((code, said.as_str()), (Some(0), ""), "{complained}");
    assert!(complained.contains("hai-se…last") && !complained.contains(TOKEN), "{complained}");
    let (code, _, complained) = output(shell(&folder).args(["task", "ls"])).await;
    assert_eq!(code, Some(0), "{complained}");

    let (_, said, _) = output(shell(&folder).env("HAI_POLL_TIMEOUT_S", "5").args(["auth", "show", "--json"])).await;
    let shown = parsed(&said);
    assert_eq!((&shown["token"]["value"], &shown["endpoint"]["value"]), (&json!("hai-se…last"), &json!(host.base)));
    assert!(shown["endpoint"]["from"].as_str().unwrap().ends_with("config.toml"), "{shown}");
    assert_eq!(shown["poll_timeout_s"], json!({ "value": "5", "from": "HAI_POLL_TIMEOUT_S" }));
    assert_eq!(shown["poll_interval_s"], json!({ "value": "2", "from": "default" }));
    for name in ["config.toml", "token"] {
        assert_eq!(std::fs::metadata(folder.join(name)).unwrap().permissions().mode() & 0o777, 0o600, "{name}");
    }

    std::fs::set_permissions(folder.join("token"), std::fs::Permissions::from_mode(0o640)).unwrap();
    let (code, _, complained) = output(shell(&folder).args(["task", "ls"])).await;
    assert_eq!(code, Some(2));
    assert!(complained.contains(&format!("chmod 600 {}", folder.join("token").display())), "{complained}");
    let (code, _, complained) = output(shell(&folder).env("HAI_TOKEN", TOKEN).args(["task", "ls"])).await;
    assert_eq!(code, Some(0), "the variable wins: {complained}");
}

#[tokio::test]
async fn a_reader_that_goes_away_is_no_error() {
    let host = Setup::bare().start().await;
    for words in [&["task", "ls"][..], &["agents", "--json"], &["completions", "bash"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = hai(&host);
        let child = command.args(words).stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
        let ended = tokio::time::timeout(PATIENCE, child.wait_with_output()).await.expect("it ends").unwrap();
        assert_eq!((ended.status.code(), String::from_utf8(ended.stderr).unwrap()), (Some(0), String::new()), "{words:?}");
    }
}

#[tokio::test]
async fn shells_learn_every_command() {
    let folder = tempfile::tempdir().unwrap();
    for kind in ["bash", "zsh", "fish"] {
        let (code, said, _) = output(shell(folder.path()).args(["completions", kind])).await;
        assert_eq!(code, Some(0));
        assert!(["offload", "awaiting", "set-token", "forget"].iter().all(|word| said.contains(word)), "{kind}");
    }
}

#[tokio::test]
async fn agents_are_listed() {
    let host = Setup::bare().start().await;
    let (code, said, _) = output(hai(&host).args(["agents"])).await;
    assert_eq!(code, Some(0));
    assert!(["triager", "note-maker", "reporter"].iter().all(|agent| said.contains(agent)), "{said}");
    let (_, said, _) = output(hai(&host).args(["agents", "--json"])).await;
    assert_eq!(parsed(&said)["agents"].as_array().unwrap().len(), 7);
}

#[tokio::test]
async fn what_waits_is_listed_with_its_reason_and_since_when() {
    let (model, host) = stuck().await;
    let id = host.submit(json!({ "target_agent": "note-maker" })).await;
    model.asked().await;
    pause(&host);
    host.task(&id, "awaiting_backend").await;
    let (code, said, complained) = output(hai(&host).args(["awaiting", "--json"])).await;
    assert_eq!(code, Some(0), "{complained}");
    let waiting = &parsed(&said)["tasks"][0];
    assert_eq!(waiting["task_id"], json!(id));
    assert!(waiting["waits_for"].as_str().unwrap().contains("local-p40"), "{waiting}");
    assert!(waiting["waiting_since"].as_str() > waiting["created_at"].as_str(), "{waiting}");
    let (_, said, _) = output(hai(&host).args(["awaiting"])).await;
    assert!(said.contains(&id) && said.contains("said nothing in time"), "{said}");
}

#[tokio::test]
async fn adding_a_task_shows_its_agents_and_ends_with_its_report() {
    let (_model, host) = at_work().await;
    let (code, said, progress) = output(hai(&host).args(["task", "add", "note: buy a clamp"])).await;
    assert_eq!(code, Some(0), "{progress}");
    assert!(said.starts_with("**Note drafted"), "nothing but the report: {said}");
    let at = |word: &str| progress.find(word).unwrap_or_else(|| panic!("no `{word}`: {progress}"));
    assert!(at("1 triager starts") < at("1 triager · handoff") && at("triager") < at("2 note-maker"), "{progress}");
    assert!(at("2 note-maker") < at("3 reporter") && at("3 reporter") < at("wrote inbox/drafts/note-"), "{progress}");
    assert!(progress.contains("7 tokens"), "as the model counts them: {progress}");
    assert!(!progress.contains('\x1b') && !progress.contains('\r'), "no terminal, no colours: {progress:?}");

    let (code, said, _) = output(hai(&host).args(["task", "add", "note: buy a hose", "--json"])).await;
    assert_eq!((code, parsed(&said)["status"].as_str()), (Some(0), Some("done")), "the task as it ended");
    let (code, said, _) = output(hai(&host).args(["task", "tail", parsed(&said)["task_id"].as_str().unwrap(), "--json"])).await;
    assert_eq!(code, Some(0));
    let events: Vec<Value> = said.lines().map(parsed).collect();
    let agents: Vec<&str> = events.iter().filter_map(|event| event["data"]["agent"].as_str()).collect();
    assert!(["triager", "note-maker", "reporter"].iter().all(|agent| agents.contains(agent)), "{said}");
    assert_eq!(events.last().unwrap()["event"], "done");
}

#[tokio::test]
async fn a_task_that_fails_ends_with_1_and_says_why() {
    let (model, host) = at_work().await;
    model.order([Order::Say("lovely weather".into()), Order::Say("still lovely".into())]);
    let id = host.submit(json!({ "retry_policy": { "max_attempts": 1 } })).await;
    let (code, said, progress) = output(hai(&host).args(["task", "tail", &id])).await;
    assert_eq!((code, said.as_str()), (Some(1), ""), "{progress}");
    assert!(progress.contains("attempts_exhausted") && progress.contains("still lovely"), "{progress}");
    assert!(progress.contains(&format!("hai task retry {id}")), "{progress}");
}

#[tokio::test]
async fn a_parked_task_says_what_it_waits_for_and_lets_go() {
    let (model, host) = stuck().await;
    let mut watching = Watching::start(hai(&host).args(["offload", "note: x", "--agent", "note-maker"]));
    model.asked().await;
    pause(&host);
    let progress = watching.until("hai task tail ").await;
    assert!(progress.contains("awaiting_backend") && progress.contains("local-p40"), "{progress}");
    assert_eq!(watching.ended().await, (Some(0), String::new()));
}

#[tokio::test]
async fn ctrl_c_ends_the_watching_and_not_the_task() {
    let (model, host) = at_work().await;
    model.order([Order::Hang]);
    let mut watching = Watching::start(hai(&host).args(["task", "add", "note: x"]));
    watching.until("triager starts").await;
    model.asked().await;
    watching.interrupt().await;
    let said = watching.until("hai task tail ").await;
    assert_eq!(watching.ended().await, (Some(130), String::new()));
    let id = said.split("hai task tail ").nth(1).unwrap().split_whitespace().next().unwrap();
    model.release();
    host.task(id, "done").await;
}

#[tokio::test]
async fn a_broken_connection_is_picked_up_again() {
    let (model, host) = at_work().await;
    model.order([Order::Well, Order::Hang]);
    let between = Between::start(&host).await;
    let mut command = hai(&host);
    command.env("HAI_ENDPOINT", &between.base).env("HAI_POLL_INTERVAL_S", "0.05");
    let mut watching = Watching::start(command.args(["task", "add", "note: x"]));
    model.asked().await;
    watching.until("note-maker starts").await;
    model.asked().await;
    between.cut();
    watching.until("lost http://127.0.0.1").await;
    let back = watching.until("is back").await;
    model.release();
    let rest = watching.until("reporter · answer").await;
    assert!(!format!("{back}{rest}").contains("triager"), "what was told is not told again: {rest}");
    let (code, said) = watching.ended().await;
    assert_eq!(code, Some(0));
    assert!(said.starts_with("**Note drafted"), "{said}");
}

#[tokio::test]
async fn tasks_are_cancelled_tried_again_and_forgotten() {
    let (model, host) = at_work().await;
    model.order([Order::Hang]);
    let id = host.submit(json!({ "content": "a secret plan" })).await;
    model.asked().await;
    let (code, said, complained) = output(hai(&host).args(["task", "cancel", &id, "--reason", "no need", "--json"])).await;
    assert_eq!((code, parsed(&said)["task_id"].as_str()), (Some(0), Some(id.as_str())), "{complained}");
    host.task(&id, "cancelled").await;
    model.release();
    let (code, said, complained) = output(hai(&host).args(["task", "retry", &id])).await;
    assert_eq!(code, Some(0), "{complained}");
    assert!(said.contains(&id), "{said}");
    host.task(&id, "done").await;
    let (code, _, complained) = output(hai(&host).args(["task", "forget", &id, "--yes"])).await;
    assert_eq!(code, Some(0), "{complained}");
    let (_, said, _) = output(hai(&host).args(["task", "show", &id, "--json"])).await;
    assert!(!said.contains("a secret plan"), "{said}");
}

#[tokio::test]
async fn todos_are_added_listed_and_done() {
    let host = Setup::bare().start().await;
    let (code, said, complained) =
        output(hai(&host).args(["todo", "add", "mend the hose", "--tag", "house", "--tag", "water"])).await;
    assert_eq!(code, Some(0), "{complained}");
    let id = said.trim();
    let (_, said, _) = output(hai(&host).args(["todo", "ls", "--tag", "house"])).await;
    assert!(said.contains(id) && said.contains("mend the hose") && said.contains("water"), "{said}");
    let (code, said, _) = output(hai(&host).args(["todo", "done", id])).await;
    assert_eq!(code, Some(0));
    assert!(said.contains("is done"), "{said}");
    let (_, said, _) = output(hai(&host).args(["todo", "ls", "--json"])).await;
    assert_eq!(parsed(&said)["todos"], json!([]));
    let (_, said, _) = output(hai(&host).args(["todo", "ls", "--all", "--json"])).await;
    assert_eq!(parsed(&said)["todos"][0]["status"], "done");
    let (code, _, _) = output(hai(&host).args(["todo", "done", "nothing"])).await;
    assert_eq!(code, Some(1));
}

/// A shell whose progress is read while it runs.
struct Watching {
    child: Child,
    progress: Lines<BufReader<ChildStderr>>,
}

impl Watching {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let progress = BufReader::new(child.stderr.take().unwrap()).lines();
        Self { child, progress }
    }

    /// The lines from here to the one that has those words.
    async fn until(&mut self, words: &str) -> String {
        let mut heard = String::new();
        let found = async {
            while let Some(line) = self.progress.next_line().await.unwrap() {
                heard = format!("{heard}{line}\n");
                if line.contains(words) {
                    return true;
                }
            }
            false
        };
        let found = tokio::time::timeout(PATIENCE, found).await.unwrap_or_default();
        assert!(found, "no `{words}`: {heard}");
        heard
    }

    async fn interrupt(&self) {
        let id = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args(["-INT", &id]).status().await.unwrap().success());
    }

    async fn ended(mut self) -> (Option<i32>, String) {
        let mut said = String::new();
        let ended = async {
            self.child.stdout.take().unwrap().read_to_string(&mut said).await.unwrap();
            self.child.wait().await.unwrap().code()
        };
        let code = tokio::time::timeout(PATIENCE, ended).await.expect("it ends");
        (code, said)
    }
}

/// The network between a shell and its host, which can be cut.
struct Between {
    base: String,
    connections: Arc<Mutex<Vec<JoinHandle<()>>>>,
}

impl Between {
    async fn start(host: &Host) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let to = host.base.trim_start_matches("http://").to_owned();
        let connections = Arc::new(Mutex::new(Vec::new()));
        let open = connections.clone();
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let mut far = TcpStream::connect(&to).await.unwrap();
                let copied = async move { drop(tokio::io::copy_bidirectional(&mut near, &mut far).await) };
                open.lock().unwrap().push(tokio::spawn(copied));
            }
        });
        Self { base, connections }
    }

    /// Ends every connection at once; new ones can be made.
    fn cut(&self) {
        self.connections.lock().unwrap().drain(..).for_each(|connection| connection.abort());
    }
}
