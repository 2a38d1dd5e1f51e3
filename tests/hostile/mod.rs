//! Components that misbehave: each is stopped, with the right reason, and its neighbour does not notice.
//!
//! The corpus is `tests/guests/examples`; a component there without a row here fails `every_guest_has_its_row`.

mod border;
mod consent;
mod flows;
mod handmade;
mod refused;
mod smuggled;

use serde_json::{Value, json};

use crate::support::fake::{Model, Order, Protocol};
use crate::support::ground::{Ground, Store, on_both_grounds};
use crate::support::{Host, Setup, guests, names};
use border::{nobody_signs_with_anothers_name, what_is_too_large_is_not_even_copied};
use handmade::handmade_ones_are_stopped_by_name;

/// Guest, the error code that its task ends with, and what the message says.
const STOPPED: [(&str, &str, &str); 19] = [
    ("spins", "limit_exceeded", "cpu_ms = 300"),
    ("lingers", "limit_exceeded", "cpu_ms = 300"),
    ("waits", "limit_exceeded", "cpu_ms = 300"),
    ("hoards", "limit_exceeded", "memory_mib = 16"),
    ("gulps", "limit_exceeded", "memory_mib = 16"),
    ("clutches", "limit_exceeded", "handles = 4096"),
    ("dives", "limit_exceeded", "stack = 512 KiB"),
    ("panics", "agent_trapped", "about to divide by the number of cats"),
    ("exits", "agent_trapped", "exit"),
    ("logs", "limit_exceeded", "log_kib = 8"),
    ("shouts", "limit_exceeded", "log_kib"),
    ("floods", "limit_exceeded", "host_calls = 20"),
    ("twitches", "limit_exceeded", "host_calls = 20"),
    ("sleeps", "limit_exceeded", "wall_s"),
    ("parks", "limit_exceeded", "wall_s"),
    ("ghost", "invalid_outcome", "handed to `nobody`, which is not loaded"),
    ("strays", "invalid_outcome", "handed to `triager`, which its `handoff` grant does not cover"),
    ("ping", "limit_exceeded", "12 hops"),
    ("bellows", "agent_trapped", "invalid utf-8"),
];

/// Guests that are refused at load (`e2e::bad_input` and `refused` have their reasons), or that answer and have a test of their own.
const OTHERS: [&str; 37] = [
    "limitless",
    "escapes",
    "tools",
    "dozes",
    "stumbles",
    "ponders",
    "wavers",
    "steady",
    "climbs",
    "beyond",
    "peeks",
    "greedy",
    "appends",
    "readers",
    "misshapes",
    "detours",
    "hasty",
    "spends",
    "naps",
    "buys",
    "recalls",
    "caller",
    "meddles",
    "scripted",
    "rescripted",
    "writes",
    "pong",
    "forges",
    "smuggles",
    "hashes",
    "leaks",
    "flows",
    "relays",
    "wishful",
    "plans",
    "insists",
    "fables",
];

/// Grants that allow a guest everything.
fn everything(id: &str) -> String {
    format!(
        "[grants.{id}]\nmodels = [\"local-p40\"]\nvault_read = [\"**\"]\nvault_write = [\"**\"]\nhandoff = [\"*\"]\nclearance = \"restricted\"\n"
    )
}

async fn host_with(ids: &[&str]) -> (Model, Host) {
    host_on(SQLITE, ids).await
}

const SQLITE: Ground = Ground { store: Store::Sqlite, protocol: Protocol::Ollama };

async fn host_on(ground: Ground, ids: &[&str]) -> (Model, Host) {
    let model = ground.model().await;
    let grants: String = ids.iter().map(|id| everything(id)).collect();
    let setup = ground.setup(&model).await.and(&grants);
    let agents = guests::with(ids, setup.folder.path());
    let host = setup.agents(agents).start().await;
    (model, host)
}

on_both_grounds![
    each_is_stopped_with_its_reason_and_the_neighbour_goes_on,
    handmade_ones_are_stopped_by_name,
    what_is_too_large_is_not_even_copied,
    nobody_signs_with_anothers_name,
    no_path_leads_out_of_the_vault,
    what_is_not_granted_is_refused_with_the_edit_that_would_allow_it,
    a_sandbox_is_empty_and_its_time_and_chance_can_be_repeated,
    a_journal_that_would_grow_too_large_ends_the_run,
    a_task_replaces_and_extends_only_what_it_wrote,
    a_note_keeps_its_tier_whoever_reads_it,
    a_schema_that_does_not_compile_is_the_agents_mistake,
    no_pattern_leads_around_the_grant,
];

#[test]
fn every_guest_has_its_row() {
    let mut known: Vec<String> = STOPPED.iter().map(|(id, ..)| *id).chain(OTHERS).map(|id| format!("{id}.wasm")).collect();
    known.sort();
    assert_eq!(names(&guests::corpus()), known);
}

async fn each_is_stopped_with_its_reason_and_the_neighbour_goes_on(ground: Ground) {
    let ids: Vec<&str> = STOPPED.iter().map(|(id, ..)| *id).chain(["pong", "steady"]).collect();
    let (model, host) = host_on(ground, &ids).await;
    model.keep_waiting("take your time");
    let mut running = Vec::new();
    for (id, ..) in STOPPED {
        let task = host.submit(json!({ "target_agent": id, "retry_policy": { "max_attempts": 1 } })).await;
        let neighbour = host.submit(json!({ "target_agent": "steady", "content": "hold" })).await;
        running.push((task, neighbour));
    }
    for ((id, code, why), (task, neighbour)) in STOPPED.into_iter().zip(running) {
        let ended = host.task(&task, "failed").await;
        let message = ended["error"]["message"].as_str().unwrap();
        assert_eq!(ended["error"]["code"], code, "{id}: {message}");
        assert!(message.contains(why), "{id}: {message}");
        let calm = host.task(&neighbour, "done").await;
        assert_eq!(calm["hops"][0]["outcome"]["text"], "steady: hold");
    }
    // Nothing of them is in the log beyond its limit, 8 KiB for each run.
    for (id, ..) in STOPPED {
        let said: usize = host
            .events("agent_line")
            .iter()
            .filter(|line| line["agent"] == id)
            .map(|line| line["said"].as_str().unwrap().len())
            .sum();
        assert!(said <= 8 * 1024, "{id} has {said} bytes in the log");
    }
}

/// What the guest itself answered.
fn answer(task: &Value) -> &str {
    task["hops"][0]["outcome"]["text"].as_str().unwrap()
}

async fn no_path_leads_out_of_the_vault(ground: Ground) {
    let (_model, host) = host_on(ground, &["climbs"]).await;
    let (vault, outside) = (host.setup.vault(), host.setup.folder.path().join("outside"));
    std::fs::create_dir_all(&outside).unwrap();
    std::fs::write(outside.join("secret.md"), "treasure").unwrap();
    std::fs::write(host.setup.folder.path().join("secret.md"), "treasure").unwrap();
    std::os::unix::fs::symlink(&outside, vault.join("out")).unwrap();
    std::os::unix::fs::symlink(outside.join("secret.md"), vault.join("link.md")).unwrap();
    std::fs::write(vault.join(".hidden"), "treasure").unwrap();
    // A pipe would keep its reader waiting for ever.
    assert!(std::process::Command::new("mkfifo").arg(vault.join("pipe")).status().unwrap().success());
    let task = host.done(json!({ "target_agent": "climbs" })).await;
    let told = answer(&task);
    assert_eq!(told.lines().count(), 34);
    assert!(!told.contains("READ") && !told.contains("treasure"), "{told}");
    // What only looks like dots is a name like any other, of a folder in the vault.
    let wrote: Vec<&str> = told.lines().filter(|line| line.contains("WROTE")).collect();
    assert_eq!(wrote, ["\\u{ff0e}\\u{ff0e}/secret.md: WROTE"]);
    assert!(vault.join("\u{ff0e}\u{ff0e}/secret.md").exists());
    for (path, why) in
        [("../secret.md", "must not climb"), ("/etc/passwd", "must be relative"), ("out/secret.md", "goes through the link `out`")]
    {
        assert!(told.lines().any(|line| line.starts_with(&format!("{path}: ")) && line.contains(why)), "{path}: {told}");
    }
    assert_eq!(std::fs::read_to_string(outside.join("secret.md")).unwrap(), "treasure");
}

async fn what_is_not_granted_is_refused_with_the_edit_that_would_allow_it(ground: Ground) {
    let model = ground.model().await;
    let setup = ground.setup(&model).await.and(
        "[grants.beyond]\nmodels = [\"local-p40\"]\nvault_read = [\"notes/*.md\"]\nvault_write = [\"inbox/drafts/note-*.md\"]\n",
    );
    let agents = guests::with(&["beyond"], setup.folder.path());
    std::fs::create_dir_all(setup.vault().join("inbox/drafts")).unwrap();
    std::fs::write(setup.vault().join("inbox/drafts/note-theirs.md"), "a person's draft").unwrap();
    let host = setup.agents(agents).start().await;
    let task = host.done(json!({ "target_agent": "beyond" })).await;
    let told: Vec<&str> = answer(&task).lines().collect();
    for (line, why) in told.iter().zip([
        "vault_read does not cover `secret/plan.md`",
        "vault_write does not cover `notes/a.md`",
        "models does not cover `local-spark`",
        "output_tokens = 500",
        "this task did not write what it holds",
        "vault_read does not cover `Notes/a.md`",
        "vault_read does not cover `n\u{43e}tes/a.md`",
        "vault_read does not cover `notes/deep/a.md`",
        "vault_read does not cover `inbox/drafts/watch-1.md`",
        "vault_write does not cover `inbox/drafts/note-1.md.exe`",
        "vault_write does not cover `inbox/drafts/note-`",
    ]) {
        assert!(line.contains(why), "{why}: {line}");
    }
    assert!(told[0].contains("add \"secret/plan.md\" to `vault-read`"), "{}", told[0]);
    assert_eq!(host.note("inbox/drafts/note-theirs.md"), "a person's draft");
    assert_eq!(model.heard().len(), 1, "only the reporter was served");
    let rules: Vec<Value> = host.events("call_denied").into_iter().map(|line| line["rule"].clone()).collect();
    assert_eq!(rules[..4], ["vault_read", "vault_write", "models", "run_limit"]);
    assert_eq!(rules.len(), 10);
}

async fn a_sandbox_is_empty_and_its_time_and_chance_can_be_repeated(ground: Ground) {
    let (_model, host) = host_on(ground, &["peeks"]).await;
    let first = host.done(json!({ "target_agent": "peeks" })).await;
    let told = answer(&first);
    assert!(told.starts_with("variables 0 arguments 0 root false stood-still true from-brief true slept true random "), "{told}");
    let slept = first["timeline"].as_array().unwrap().iter().filter(|entry| entry["kind"] == "clock.sleep").count();
    assert_eq!(slept, 1, "a sleep is a journaled call");
    let second = host.done(json!({ "target_agent": "peeks" })).await;
    assert_ne!(answer(&second), told, "another task has other randomness");
}

async fn a_journal_that_would_grow_too_large_ends_the_run(ground: Ground) {
    let (_model, host) = host_on(ground, &["greedy"]).await;
    let id = host.submit(json!({ "target_agent": "greedy" })).await;
    let task = host.task(&id, "failed").await;
    assert_eq!(task["error"]["code"], "limit_exceeded");
    assert!(task["error"]["message"].as_str().unwrap().contains("journal_kib = 64"), "{task}");
    assert_eq!(host.notes("inbox/drafts"), Vec::<String>::new(), "nothing was written");
}

async fn a_task_replaces_and_extends_only_what_it_wrote(ground: Ground) {
    let (_model, host) = host_on(ground, &["appends"]).await;
    std::fs::create_dir_all(host.setup.vault().join("notes")).unwrap();
    std::fs::write(host.setup.vault().join("notes/theirs.md"), "their own words").unwrap();
    let task = host.done(json!({ "target_agent": "appends" })).await;
    let told: Vec<&str> = answer(&task).lines().collect();
    assert_eq!(told[..3], ["ok", "ok", "ok"]);
    assert!(told[3].contains("this task did not write what it holds"), "{told:?}");
    assert!(told[4].contains("this task did not write what it holds"), "{told:?}");
    assert!(told[5].contains("there is no `notes/missing.md`"), "{told:?}");
    assert_eq!(told[6], "entries 2 hits 1");
    let own = host.note(task["artefacts"][0]["path"].as_str().unwrap());
    assert!(own.ends_with("one\ntwo\n"), "an append that is repeated changes nothing: {own}");
    assert_eq!(host.note("notes/theirs.md"), "their own words");
}

async fn a_note_keeps_its_tier_whoever_reads_it(ground: Ground) {
    let (_model, host) = host_on(ground, &["readers"]).await;
    std::fs::write(host.setup.vault().join("secret.md"), "---\ntier: restricted\n---\nthe treasure is under the larch\n").unwrap();
    std::fs::write(host.setup.vault().join("plain.md"), "no gold here\n").unwrap();
    let task = host.done(json!({ "target_agent": "readers", "content": "secret.md", "data_tier": "public" })).await;
    assert_eq!(task["label"], "restricted", "the run has read it");
    let task = host.done(json!({ "target_agent": "readers", "content": "plain.md", "data_tier": "public" })).await;
    assert_eq!(task["label"], "restricted", "it stands among the hits of the search");

    let setup = host.kill().await;
    let config = setup.config.replace("clearance = \"restricted\"\n", "clearance = \"internal\"\n");
    let host = Setup { config, ..setup }.start().await;
    let task = host.done(json!({ "target_agent": "readers", "content": "secret.md" })).await;
    let told = answer(&task);
    assert!(told.starts_with("0 hits; denied by agent_clearance") && !told.contains("larch"), "{told}");
    assert_eq!(task["label"], "internal");
}

async fn a_schema_that_does_not_compile_is_the_agents_mistake(ground: Ground) {
    let (model, host) = host_on(ground, &["misshapes"]).await;
    let task = host.done(json!({ "target_agent": "misshapes" })).await;
    let told: Vec<&str> = answer(&task).lines().collect();
    for (line, why) in
        told.iter().zip(["does not compile", "does not compile", "is no JSON", "is larger than 65536 bytes", "is no JSON"])
    {
        assert!(line.contains(why), "{why}: {line}");
    }
    assert_eq!(
        task["timeline"].as_array().unwrap().iter().filter(|entry| entry["state"] == "failed").count(),
        5,
        "each is recorded"
    );
    assert_eq!(model.heard().len(), 1, "only the reporter was served");
}

async fn no_pattern_leads_around_the_grant(ground: Ground) {
    let model = ground.model().await;
    let setup = ground.setup(&model).await.and("[grants.detours]\nvault_read = [\"**\"]\n");
    let agents = guests::with(&["detours"], setup.folder.path());
    let vault = setup.vault();
    for folder in ["notes/.git", "private", ".obsidian"] {
        std::fs::create_dir_all(vault.join(folder)).unwrap();
        std::fs::write(vault.join(folder).join("x.md"), "treasure").unwrap();
    }
    std::fs::write(vault.join("notes/x.md"), "treasure").unwrap();
    std::os::unix::fs::symlink(vault.join("private"), vault.join("notes/link")).unwrap();
    let host = setup.agents(agents).start().await;
    let task = host.done(json!({ "target_agent": "detours" })).await;
    assert_eq!(
        answer(&task).lines().collect::<Vec<_>>(),
        [
            "notes/../private/**: refused / refused",
            "./private/**: refused / refused",
            "private/**: 0 hits / 0 entries",
            ".obsidian/**: refused / refused",
            "notes/.git/**: refused / refused",
            "notes/link/**: refused / refused",
            "/etc/**: refused / refused",
            "own 1",
        ]
    );
}

#[tokio::test]
async fn waiting_for_a_turn_is_not_billed() {
    let model = Model::start(Protocol::Ollama).await;
    model.order([Order::Hang]);
    let setup = Setup::with(&model).and("[grants.hasty]\nmodels = [\"local-p40\"]\n");
    let config = setup.config.replace("concurrency = 8\n", "concurrency = 1\n");
    let agents = guests::with(&["hasty"], setup.folder.path());
    let host = Setup { config, ..setup }.agents(agents).start().await;
    let first = host.submit(json!({ "target_agent": "note-maker" })).await;
    model.asked().await;
    let second = host.submit(json!({ "target_agent": "hasty" })).await;
    // The wall clock of `hasty` is a second: its turn comes after two.
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    model.release();
    host.task(&first, "done").await;
    host.task(&second, "done").await;
}
