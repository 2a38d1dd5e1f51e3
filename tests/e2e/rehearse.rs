//! Finished runs are gone over by another component: it says where it would do something else, and changes nothing.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::cli::output;
use crate::support::fake::Order;
use crate::support::ground::{Ground, on_both_grounds};
use crate::support::{Host, Setup, guests, names};

on_both_grounds![
    the_same_component_does_the_same_beside_a_running_host_and_without_one,
    a_component_that_asks_something_else_is_told_which_call_and_where,
    a_changed_persona_shows_at_the_first_model_call,
    a_changed_persona_is_asked_anew_and_both_outcomes_are_shown,
    what_the_finished_run_did_not_do_is_refused_live,
    a_component_that_crashes_fails_alone,
    a_forgotten_task_is_left_out_and_says_so,
];

const GRANTS: &str =
    "[grants.scripted]\nmodels = [\"local-p40\"]\ntools = [\"*\"]\nvault_read = [\"**\"]\nvault_write = [\"**\"]\n";

/// A host that serves the scripted guest too.
async fn scripted(setup: Setup) -> Host {
    let agents = guests::with(&["scripted"], setup.folder.path());
    setup.and(GRANTS).agents(agents).start().await
}

/// A scripted task that is done.
async fn played(host: &Host, steps: Value) -> Value {
    host.done(json!({ "target_agent": "scripted", "content": steps.to_string() })).await
}

/// What `host rehearse … --json` says, and its exit code.
async fn rehearsed(setup: &Setup, file: &Path, more: &[&str]) -> (Option<i32>, Value) {
    let (code, said, complained) = output(setup.command(&["rehearse", "--json"]).arg(file).args(more)).await;
    let said = serde_json::from_str(&said).unwrap_or_else(|_| panic!("{code:?} {said} {complained}"));
    (code, said)
}

/// The note-maker, with other words in its persona: as many letters, so that nothing else changes.
fn with_another_persona(setup: &Setup) -> PathBuf {
    let mut bytes = std::fs::read(guests::shipped().join("note-maker.wasm")).unwrap();
    let persona = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../agents/note-maker/persona.md")).unwrap();
    let persona = persona.trim_ascii();
    let at = bytes.windows(persona.len()).position(|part| part == persona).expect("the component holds its persona");
    let last = bytes[at..at + persona.len()].iter().rposition(u8::is_ascii_alphabetic).unwrap();
    bytes[at + last] = if bytes[at + last] == b'z' { b'y' } else { b'z' };
    let file = setup.folder.path().join("new.wasm");
    std::fs::write(&file, bytes).unwrap();
    file
}

/// Everything in the vault, by path.
fn vault(setup: &Setup) -> Vec<(String, String)> {
    let drafts = setup.vault().join("inbox/drafts");
    names(&drafts).into_iter().map(|name| (name.clone(), std::fs::read_to_string(drafts.join(name)).unwrap())).collect()
}

async fn the_same_component_does_the_same_beside_a_running_host_and_without_one(ground: Ground) {
    let model = ground.model().await;
    let host = scripted(ground.setup(&model).await).await;
    let steps = json!([["model"], ["map"], ["random"], ["clock"], ["sleep", "30"], ["write", "a.md"], ["read", "a.md"], ["model"]]);
    let first = played(&host, steps).await;
    let second = played(&host, json!([["read", "nothing.md"], ["clock"], ["sleep", "1"], ["log"]])).await;
    let asked = model.heard().len();
    let (code, said) = rehearsed(&host.setup, &guests::corpus().join("scripted.wasm"), &[]).await;
    assert_eq!(code, Some(0), "{said:#}");
    let runs = said["runs"].as_array().unwrap();
    let told: Vec<_> = runs.iter().map(|run| (&run["task_id"], &run["result"], &run["before"]["calls"])).collect();
    let same = json!("same");
    assert_eq!(told, [(&second["task_id"], &same, &json!(2)), (&first["task_id"], &same, &json!(5))], "newest first");
    assert_eq!(said["digest"], first["hops"][0]["digest"]);

    let (code, said) = rehearsed(&host.setup, &guests::shipped().join("reporter.wasm"), &["--last", "1"]).await;
    assert_eq!((code, said["runs"].as_array().unwrap().len()), (Some(0), 1), "{said:#}");
    // The running host goes on as if nobody had looked.
    let third = host.submit(json!({ "target_agent": "note-maker" })).await;
    host.task(&third, "done").await;
    assert!(host.events("lease_lost").is_empty(), "{:?}", host.log());

    let setup = host.kill().await;
    let id = first["task_id"].as_str().unwrap();
    let (code, said) = rehearsed(&setup, &guests::corpus().join("scripted.wasm"), &["--task", id]).await;
    assert_eq!((code, &said["runs"][0]["result"], &said["runs"][0]["task_id"]), (Some(0), &same, &first["task_id"]));
    let (code, said) = rehearsed(&setup, &guests::shipped().join("note-maker.wasm"), &[]).await;
    assert_eq!((code, &said["runs"][0]["result"]), (Some(0), &same));
    assert_eq!(model.heard().len(), asked + 2, "no model was asked but by the third task");
    let host = setup.start().await;
    assert_eq!(host.task(id, "done").await["timeline"], first["timeline"], "nothing was written down");
}

async fn a_component_that_asks_something_else_is_told_which_call_and_where(ground: Ground) {
    let model = ground.model().await;
    let host = scripted(ground.setup(&model).await).await;
    let task = played(&host, json!([["model"], ["write", "a.md"], ["model"]])).await;
    let signs = played(&host, json!([["model"], ["sign"]])).await;
    let file = guests::corpus().join("rescripted.wasm");
    let (code, said) = rehearsed(&host.setup, &file, &[]).await;
    assert_eq!(code, Some(1));
    let (run, signed) = (&said["runs"][1], &said["runs"][0]);
    assert_eq!((&run["task_id"], &run["result"], &run["diverged"]["ref"]), (&task["task_id"], &json!("diverged"), &json!("1.1.2")));
    assert_eq!(run["diverged"]["journal"]["request"], task["timeline"][2]["request"]);
    assert_eq!(run["diverged"]["component"]["kind"], "vault.write");
    assert_eq!(run["diverged"]["difference"]["at"], "/body");
    assert_eq!((&signed["task_id"], &signed["result"]), (&signs["task_id"], &json!("outcome")));
    let now = signed["now"]["outcome"]["text"].as_str().unwrap();
    assert_eq!(now, format!("{}, signed", signed["before"]["outcome"]["text"].as_str().unwrap()));

    let (code, said, complained) = output(host.setup.command(&["rehearse"]).arg(&file)).await;
    assert_eq!(code, Some(1), "{complained}");
    assert!(said.contains("diverged at call 1.1.2") && said.contains("first at /body"), "{said}");
    assert!(said.contains("journal    \"an edition") && said.contains("component  \"another edition"), "{said}");
    assert!(said.contains("another outcome") && said.contains("first at /text") && said.contains(", signed\""), "{said}");
    assert_eq!(model.heard().len(), 5, "three calls of the runs and two reports");
    assert_eq!(names(&host.setup.vault()), ["a.md"]);
}

async fn a_changed_persona_shows_at_the_first_model_call(ground: Ground) {
    let model = ground.model().await;
    let host = ground.setup(&model).await.start().await;
    let id = host.submit(json!({ "target_agent": "note-maker" })).await;
    host.task(&id, "done").await;
    let (code, said) = rehearsed(&host.setup, &with_another_persona(&host.setup), &["--task", &id]).await;
    assert_eq!(code, Some(1));
    let diverged = &said["runs"][0]["diverged"];
    assert_eq!((&diverged["ref"], &diverged["component"]["kind"]), (&json!("1.1.1"), &json!("model.complete")), "{said:#}");
    assert_eq!(diverged["difference"]["at"], "/messages/0/text");
    assert_eq!(model.heard().len(), 2);
}

async fn a_changed_persona_is_asked_anew_and_both_outcomes_are_shown(ground: Ground) {
    let model = ground.model().await;
    let host = ground.setup(&model).await.start().await;
    let id = host.submit(json!({ "target_agent": "note-maker" })).await;
    let before = host.task(&id, "done").await;
    let files = vault(&host.setup);
    let new = with_another_persona(&host.setup);
    let (code, said) = rehearsed(&host.setup, &new, &["--live"]).await;
    let run = &said["runs"][0];
    assert_eq!((code, &run["result"]), (Some(0), &json!("same")), "the model says the same, and so the file is the same: {said:#}");
    assert_eq!(run["now"]["outcome"], before["hops"][0]["outcome"]);
    assert_eq!(
        (&run["now"]["calls"], &run["now"]["input_tokens"], &run["now"]["output_tokens"]),
        (&json!(2), &json!(42), &json!(7))
    );
    let heard = model.heard();
    assert_eq!(heard.len(), 3, "the model was asked anew");
    assert_ne!(heard[0], heard[2], "with the new persona");

    let other = json!({
        "title": "Quite another note", "domain": "property", "body": "Nothing is loose.", "tags": [],
        "proposed_location": "house", "related": [], "new_vs_append": "new",
    });
    model.order([Order::Say(other.to_string())]);
    let (code, said, complained) = output(host.setup.command(&["rehearse", "--live"]).arg(&new)).await;
    assert_eq!(code, Some(1), "{complained}");
    assert!(said.contains("before") && said.contains("answer: Drafted the note"), "{said}");
    assert!(said.contains("vault.write by rehearsal"), "another file is not written: {said}");
    assert_eq!(vault(&host.setup), files);
    let after = host.task(&id, "done").await;
    assert_eq!((&after["timeline"], &after["cost_usd"]), (&before["timeline"], &before["cost_usd"]));
}

async fn what_the_finished_run_did_not_do_is_refused_live(ground: Ground) {
    let model = ground.model().await;
    let host = scripted(ground.setup(&model).await).await;
    let steps =
        json!([["sleep", "20"], ["clock"], ["append", "a.md"], ["model"], ["write", "a.md"], ["read", "b.md"], ["read", "b.md"]]);
    std::fs::create_dir_all(host.setup.vault()).unwrap();
    std::fs::write(host.setup.vault().join("b.md"), "theirs").unwrap();
    let task = played(&host, steps).await;
    let written = std::fs::read_to_string(host.setup.vault().join("a.md")).unwrap();
    let file = guests::corpus().join("rescripted.wasm");
    let (code, said) = rehearsed(&host.setup, &file, &["--live"]).await;
    let run = &said["runs"][0];
    assert_eq!((code, &run["result"]), (Some(1), &json!("outcome")), "{said:#}");
    let refused: Vec<_> = run["now"]["refusals"].as_array().unwrap().iter().map(|one| (&one["ref"], &one["rule"])).collect();
    assert_eq!(refused, [(&json!("1.1.4"), &json!("rehearsal"))], "only its own edition of the file: {said:#}");
    assert_eq!((&run["before"]["calls"], &run["now"]["calls"]), (&json!(6), &json!(6)));
    assert_eq!(std::fs::read_to_string(host.setup.vault().join("a.md")).unwrap(), written);

    // A group with a price is asked only by the operator's word.
    let asked = model.heard().len();
    let priced = "[inference.groups.local-p40.price]\ninput = 1000.0\noutput = 1000.0\n";
    let setup = Setup { config: format!("{}{priced}", host.setup.config), folder: host.setup.folder.clone(), ..copy(&host.setup) };
    let (_, said) = rehearsed(&setup, &file, &["--live"]).await;
    let refused = said["runs"][0]["now"]["refusals"].to_string();
    assert!(refused.contains("1.1.3") && refused.contains("model.complete"), "{said:#}");
    assert_eq!(model.heard().len(), asked);
    assert_eq!(host.task(task["task_id"].as_str().unwrap(), "done").await["timeline"], task["timeline"]);
}

/// The same setup, to be changed.
fn copy(setup: &Setup) -> Setup {
    Setup {
        folder: setup.folder.clone(),
        config: setup.config.clone(),
        agents: setup.agents.clone(),
        variables: setup.variables.clone(),
        database: setup.database.clone(),
    }
}

async fn a_component_that_crashes_fails_alone(ground: Ground) {
    let model = ground.model().await;
    let host = scripted(ground.setup(&model).await).await;
    let fine = played(&host, json!([["model"], ["map"]])).await;
    let task = played(&host, json!([["model"], ["stumble"]])).await;
    let (code, said) = rehearsed(&host.setup, &guests::corpus().join("rescripted.wasm"), &[]).await;
    assert_eq!(code, Some(1));
    let failed = &said["runs"][0];
    assert_eq!((&failed["task_id"], &failed["result"]), (&task["task_id"], &json!("failed")));
    assert!(failed["why"].as_str().unwrap().contains("it stumbled"), "{failed:#}");
    assert_eq!((&said["runs"][1]["task_id"], &said["runs"][1]["result"]), (&fine["task_id"], &json!("same")));
}

async fn a_forgotten_task_is_left_out_and_says_so(ground: Ground) {
    let model = ground.model().await;
    let host = scripted(ground.setup(&model).await).await;
    let (kept, gone) = (played(&host, json!([["map"]])).await, played(&host, json!([["map"]])).await);
    let id = gone["task_id"].as_str().unwrap();
    assert_eq!(host.post(&format!("/tasks/{id}/forget"), "").await.0, 200);
    let file = guests::corpus().join("scripted.wasm");
    let (code, said) = rehearsed(&host.setup, &file, &[]).await;
    assert_eq!((code, said["runs"].as_array().unwrap().len()), (Some(0), 1));
    assert_eq!(said["runs"][0]["task_id"], kept["task_id"]);
    assert!(said["notes"][0].as_str().unwrap().contains("forgotten"), "{said:#}");
    let (code, _, complained) = output(host.setup.command(&["rehearse", "--task", id, "--json"]).arg("--").arg(&file)).await;
    assert_eq!(code, Some(2));
    assert!(complained.contains(id) && complained.contains("forgotten"), "{complained}");
}

#[tokio::test]
async fn what_cannot_be_rehearsed_is_refused_with_what_to_do() {
    let model = crate::support::fake::Model::start(crate::support::fake::Protocol::Ollama).await;
    let setup = Setup::with(&model);
    let reporter = guests::shipped().join("reporter.wasm");
    let complaint = async |setup: &Setup, file: &Path, more: &[&str]| {
        let (code, said, complained) = output(setup.command(&["rehearse"]).arg(file).args(more)).await;
        assert_eq!((code, said.as_str()), (Some(2), ""), "{complained}");
        complained
    };
    let said = complaint(&setup, &reporter, &[]).await;
    assert!(said.contains("there is none yet"), "{said}");
    assert_eq!(names(&setup.folder.path().join("data")), ["cache"], "looking makes no database");
    let host = setup.start().await;
    let said = complaint(&host.setup, &reporter, &[]).await;
    assert!(said.contains("`reporter` has finished no run"), "{said}");
    let said = complaint(&host.setup, &guests::corpus().join("scripted.wasm"), &[]).await;
    assert!(said.contains("[grants.scripted]"), "{said}");
    let said = complaint(&host.setup, &reporter, &["--task", "NOBODY"]).await;
    assert!(said.contains("there is no task `NOBODY`"), "{said}");
    let said = complaint(&host.setup, Path::new("nowhere.wasm"), &[]).await;
    assert!(said.contains("nowhere.wasm"), "{said}");
}
