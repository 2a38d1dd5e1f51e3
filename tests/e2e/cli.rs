//! The commands of `host` beside `serve`.

use serde_json::{Value, json};
use tokio::process::Command;

use crate::support::fake::{Model, Protocol};
use crate::support::{Setup, guests};

pub(crate) async fn output(command: &mut Command) -> (Option<i32>, String, String) {
    let ended = tokio::time::timeout(crate::support::PATIENCE, command.output()).await.expect("it ends").unwrap();
    (ended.status.code(), String::from_utf8(ended.stdout).unwrap(), String::from_utf8(ended.stderr).unwrap())
}

#[tokio::test]
async fn validate_says_offline_what_would_serve() {
    let setup = Setup::bare();
    let (good, bad) = (guests::shipped().join("note-maker.wasm"), guests::corpus().join("limitless.wasm"));
    let (code, said, _) = output(setup.command(&["validate", "--json"]).arg(&good)).await;
    let report: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &report[0]["accepted"]), (Some(0), &json!(true)));
    assert_eq!(report[0]["manifest"]["wants"]["vault_write"], json!(["inbox/drafts/note-*.md"]));
    assert_eq!(report[0]["digest"].as_str().unwrap().len(), 64);

    let (code, said, _) = output(setup.command(&["validate"]).args([&good, &bad])).await;
    assert_eq!(code, Some(1));
    assert!(said.contains("limits.cpu_ms is missing") && said.contains("accepted"), "{said}");
}

#[tokio::test]
async fn agents_and_their_grants_are_shown() {
    let setup = Setup::bare();
    let (_, said, _) = output(&mut setup.command(&["agents", "list", "--json"])).await;
    let shown: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(shown.as_array().unwrap().iter().filter(|agent| agent["serves"] == true).count(), 7);
    let (_, said, _) = output(&mut setup.command(&["agents", "--grants"])).await;
    let grants: toml::Table = toml::from_str(&said).expect("the grants are valid configuration");
    assert_eq!(grants["grants"]["note-maker"]["vault_write"][0].as_str(), Some("inbox/drafts/note-*.md"));
}

#[tokio::test]
async fn the_doctor_prints_the_hit_rate() {
    let model = Model::start(Protocol::Ollama).await;
    let setup = Setup::with(&model);
    let (code, said, complained) = output(&mut setup.command(&["doctor", "--sentences", "2", "--json"])).await;
    assert_eq!(code, Some(0), "{complained}");
    let result: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(result["summary"]["done"], "2/2");
    assert_eq!(result["summary"]["route"], "2/2");
    assert_eq!(result["sentences"][0]["facts"], 2, "the fake knows of clamp and basement, not of the dehumidifier");
    assert!(!setup.vault().exists(), "the operator's vault is left alone");
}

#[tokio::test]
async fn the_doctor_names_a_server_that_does_not_answer() {
    let setup = Setup::bare().and("[inference.groups.local-p40]\nurl = \"http://127.0.0.1:1\"\n");
    let (code, said, _) = output(&mut setup.command(&["doctor"])).await;
    assert_eq!(code, Some(1));
    assert!(said.contains("http://127.0.0.1:1") && said.contains("refused"), "{said}");
}
