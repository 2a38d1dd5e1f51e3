//! An author's way: a new agent, built, validated, tried, and tried again at each change.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{ChildStdout, Command};

use crate::support::fake::{Model, Order, Protocol};
use crate::support::{PATIENCE, Setup};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

async fn output(command: &mut Command) -> (Option<i32>, String, String) {
    let ended = tokio::time::timeout(PATIENCE, command.kill_on_drop(true).output()).await.expect("it ends").unwrap();
    (ended.status.code(), String::from_utf8(ended.stdout).unwrap(), String::from_utf8(ended.stderr).unwrap())
}

/// `host agent …`, said in the checkout.
fn agent(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_host"));
    command.current_dir(ROOT).arg("agent").args(arguments);
    command
}

/// A new agent outside the checkout.
async fn new(name: &str, setup: &Setup) -> PathBuf {
    let home = setup.folder.path().join("mine");
    let (code, said, complained) = output(agent(&["new", name, "--dir"]).arg(&home)).await;
    assert_eq!(code, Some(0), "{complained}");
    assert_eq!(Path::new(said.trim()), home.join(name));
    home
}

fn dev(setup: &Setup, name: &str, home: &Path, more: &[&str]) -> Command {
    let mut command = setup.command(&["agent", "dev", name]);
    command.arg("--dir").arg(home).args(more);
    command
}

#[tokio::test]
async fn a_new_agent_is_accepted_as_it_comes() {
    let setup = Setup::bare();
    let folder = new("egg-timer", &setup).await.join("egg-timer");
    let out = setup.folder.path().join("dist");
    let (code, said, complained) = output(agent(&["build", "--source"]).arg(&folder).arg("--out").arg(&out)).await;
    let file = out.join("egg-timer.wasm");
    assert_eq!((code, Path::new(said.trim())), (Some(0), file.as_path()), "{complained}");

    let (code, said, _) = output(setup.command(&["validate"]).arg(&file)).await;
    assert_eq!(code, Some(1), "nothing is granted to it yet");
    assert!(said.contains(r#"add "local-p40" to `models` in [grants.egg-timer]"#), "{said}");
    let readme = std::fs::read_to_string(folder.join("README.md")).unwrap();
    let lines = readme.split("```toml").nth(1).and_then(|rest| rest.split("```").next()).expect("it says which lines to add");
    let (code, said, complained) = output(setup.and(lines).command(&["validate"]).arg(&file)).await;
    assert_eq!(code, Some(0), "{said}{complained}");
    assert!(said.contains("egg-timer 0.1.0"), "{said}");
}

#[tokio::test]
async fn agents_of_one_name_in_two_folders_are_each_built_from_their_own() {
    let setups = [Setup::bare(), Setup::bare()];
    let mut folders = Vec::new();
    for (setup, words) in setups.iter().zip(["the first cook", "the second cook"]) {
        let folder = new("egg-twin", setup).await.join("egg-twin");
        std::fs::write(folder.join("persona.md"), words).unwrap();
        folders.push((folder, words));
    }
    // Both are older than either build, so that times alone would not tell them apart.
    for (folder, words) in folders {
        let out = folder.join("dist");
        let (code, _, complained) = output(agent(&["build", "--source"]).arg(&folder).arg("--out").arg(&out)).await;
        assert_eq!(code, Some(0), "{complained}");
        let component = std::fs::read(out.join("egg-twin.wasm")).unwrap();
        assert!(component.windows(words.len()).any(|part| part == words.as_bytes()), "it does not hold `{words}`");
    }
}

#[tokio::test]
async fn a_name_that_cannot_be_one_makes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["Egg", "9lives", "egg_timer", "../egg", ""] {
        let (code, _, complained) = output(agent(&["new", name, "--dir"]).arg(folder.path())).await;
        assert_eq!(code, Some(2), "{name}: {complained}");
        assert!(complained.contains("a-z, 0-9 and `-`"), "{complained}");
    }
    assert_eq!(crate::support::names(folder.path()), Vec::<String>::new());
}

#[tokio::test]
async fn a_folder_that_is_there_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let persona = folder.path().join("egg/persona.md");
    std::fs::create_dir(folder.path().join("egg")).unwrap();
    std::fs::write(&persona, "mine").unwrap();
    let (code, _, complained) = output(agent(&["new", "egg", "--dir"]).arg(folder.path())).await;
    assert_eq!(code, Some(1));
    assert!(complained.contains("exists already: choose another name"), "{complained}");
    assert_eq!(std::fs::read_to_string(persona).unwrap(), "mine");
    assert_eq!(crate::support::names(&folder.path().join("egg")), ["persona.md"]);
}

#[tokio::test]
async fn without_the_sdk_a_new_agent_says_where_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let (code, _, complained) = output(agent(&["new", "egg"]).current_dir(folder.path())).await;
    assert_eq!(code, Some(1));
    assert!(complained.contains("a clone of the repository") && complained.contains("--sdk"), "{complained}");
    assert_eq!(crate::support::names(folder.path()), Vec::<String>::new());
}

#[tokio::test]
async fn an_agent_without_a_grant_is_told_its_lines_and_runs_only_by_the_authors_word() {
    let model = Model::start(Protocol::Ollama).await;
    let setup = Setup::with(&model);
    let home = new("egg-clock", &setup).await;
    let (code, said, complained) = output(&mut dev(&setup, "egg-clock", &home, &["--once"])).await;
    assert_eq!(code, Some(1), "{said}{complained}");
    assert!(said.contains("[grants.egg-clock]\nmodels = [\"local-p40\"]\n"), "{said}");
    assert_eq!(model.heard().len(), 0, "what is not granted does not run");

    model.order([Order::Say(r#"{"headline":"Six minutes.","text":"Then cold water."}"#.into())]);
    let asked = &["--once", "--grant", "--task", "how long for a soft egg?"];
    let (code, said, complained) = output(&mut dev(&setup, "egg-clock", &home, asked)).await;
    assert_eq!(code, Some(0), "{said}{complained}");
    assert!(said.contains("── answer ──\nSix minutes.\n\nThen cold water.\n"), "{said}");
    assert!(said.contains("  build ") && said.contains("  validate ") && said.contains("  task "), "each step is timed: {said}");
    assert!(said.contains("--grant: it runs with everything that it asks for"), "{said}");
    assert!(model.heard()[0].to_string().contains("how long for a soft egg?"));
    assert!(!setup.vault().exists(), "the operator's vault is left alone");

    model.order([Order::Status(500)]);
    let (code, said, _) = output(&mut dev(&setup, "egg-clock", &home, &["--once", "--grant"])).await;
    assert_eq!(code, Some(1), "a task that was not done: {said}");
}

/// Reads on to a line that begins so.
async fn line(lines: &mut Lines<BufReader<ChildStdout>>, start: &str) -> String {
    let found = async {
        let mut before = Vec::new();
        while let Some(line) = lines.next_line().await.unwrap() {
            if line.starts_with(start) {
                return line;
            }
            before.push(line);
        }
        panic!("it ended without `{start}`: {before:#?}");
    };
    tokio::time::timeout(PATIENCE, found).await.unwrap_or_else(|_| panic!("no `{start}`"))
}

#[tokio::test]
async fn a_changed_persona_and_a_mistake_each_lead_to_another_round() {
    let model = Model::start(Protocol::Ollama).await;
    let setup = Setup::with(&model);
    let home = new("egg-glass", &setup).await;
    let mut child = dev(&setup, "egg-glass", &home, &["--grant"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    line(&mut lines, "round 1: done").await;

    std::fs::write(home.join("egg-glass/persona.md"), "# Egg glass\n\nYou speak like an old cook.").unwrap();
    line(&mut lines, "round 2: done").await;
    let heard = model.heard();
    assert!(!heard[0].to_string().contains("an old cook") && heard[1].to_string().contains("an old cook"), "{heard:#?}");

    std::fs::write(home.join("egg-glass/agent.toml"), "id = 7").unwrap();
    let failed = line(&mut lines, "round 3: failed").await;
    assert!(failed.contains("it does not build"), "{failed}");

    let id = child.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().await.unwrap().success());
    let ended = tokio::time::timeout(PATIENCE, child.wait()).await.expect("it ends").unwrap();
    assert_eq!(ended.code(), Some(0));
    assert_eq!(model.heard().len(), 2);
}
