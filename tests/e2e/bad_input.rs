//! Broken files, broken configuration, a store that is not there.

use std::process::Stdio;

use serde_json::json;

use crate::support::fake::{Model, Protocol};
use crate::support::{Setup, guests};

/// Runs the host to its end: exit code and what it complained of.
async fn refused(setup: &Setup, arguments: &[&str]) -> (Option<i32>, String) {
    let ended = setup.command(arguments).stdout(Stdio::null()).output();
    let ended = tokio::time::timeout(crate::support::PATIENCE, ended).await.expect("it ends").unwrap();
    (ended.status.code(), String::from_utf8(ended.stderr).unwrap())
}

#[tokio::test]
async fn bad_agent_files_are_named_and_the_rest_serves() {
    let model = Model::start(Protocol::Ollama).await;
    let setup = Setup::with(&model);
    let agents = guests::with(&["limitless", "escapes", "tools", "recalls", "dozes"], setup.folder.path());
    std::fs::write(agents.join("garbage.wasm"), "not a component").unwrap();
    std::fs::write(agents.join("core.wasm"), b"\0asm\x01\0\0\0").unwrap();
    std::fs::write(agents.join("empty.wasm"), b"\0asm\x0d\0\x01\0").unwrap();
    std::fs::copy(agents.join("triager.wasm"), agents.join("other-name.wasm")).unwrap();
    let host = setup.agents(agents).start().await;

    let (status, ready) = host.get("/readyz").await;
    assert_eq!((status, &ready["agents"]), (200, &json!(["note-maker", "reporter", "triager"])));
    let degraded = ready["degraded"].to_string();
    let (_, shown) = host.get("/agents").await;
    for (file, why) in [
        ("garbage.wasm", "is not WebAssembly at all"),
        ("core.wasm", "is a core WebAssembly module, not a component"),
        ("empty.wasm", "is a component of another world"),
        ("dozes.wasm", "`describe` failed: it waits, and a description needs no time"),
        ("limitless.wasm", "limits.cpu_ms is missing"),
        ("escapes.wasm", "imports `wasi:keyvalue/store@0.1.0`, which no agent gets"),
        ("tools.wasm", "imports `homeaiops:agent/tools@0.1.0` but does not ask for it: add `tools` to [wants]"),
        ("recalls.wasm", "imports `homeaiops:agent/memory@0.1.0`, which this version of the host does not serve"),
        ("other-name.wasm", "says its id is `triager`"),
    ] {
        assert!(degraded.contains(file), "{degraded}");
        let rejected = shown["rejected"].as_array().unwrap().iter().find(|rejected| rejected["file"] == file).unwrap();
        assert!(rejected["complaints"].to_string().contains(why), "{rejected}");
    }
    host.done(json!({})).await;
}

#[tokio::test]
async fn no_agent_at_all_is_not_ready() {
    let setup = Setup::bare();
    let empty = setup.folder.path().join("none");
    let host = setup.agents(empty).start().await;
    let (status, ready) = host.get("/readyz").await;
    assert_eq!((status, ready["status"].as_str()), (503, Some("not_ready")));
    assert_eq!(host.get("/healthz").await.0, 200);
}

#[tokio::test]
async fn a_component_beyond_its_ceiling_is_refused_with_the_line_to_add() {
    let setup = Setup::bare().and("[limits]\nwall_s = 60\n[grants.note-maker]\nvault_write = []\n");
    let host = setup.start().await;
    let (_, shown) = host.get("/agents").await;
    let complaints = shown["rejected"].to_string();
    assert!(complaints.contains("add \\\"inbox/drafts/note-*.md\\\" to `vault_write` in [grants.note-maker] in"), "{complaints}");
    assert!(complaints.contains("limits.wall_s = 3600 is above the ceiling 60"), "{complaints}");
}

#[tokio::test]
async fn a_broken_configuration_says_which_line_and_ends_with_2() {
    let setup = Setup::bare().and("[server]\nworkres = 2\n");
    let (code, said) = refused(&setup, &["serve"]).await;
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("host.toml:2: `server.workres`") && said.contains("did you mean `workers`?"), "{said}");
}

#[tokio::test]
async fn an_unreachable_store_is_a_clear_error() {
    let setup = Setup::bare();
    for (database, hint) in [
        ("postgres://nobody@127.0.0.1:1/none", "is PostgreSQL running there"),
        ("sqlite:///proc/none/host.db", "give the host a folder that it may write"),
        ("mysql://localhost/x", "write sqlite://FILE or postgres://"),
    ] {
        let (code, said) = refused(&setup, &["serve", "--database", database]).await;
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("cannot be opened") && said.contains(hint), "{said}");
    }
}

#[tokio::test]
async fn a_second_host_on_the_same_file_is_refused() {
    let host = Setup::bare().start().await;
    let (code, said) = refused(&host.setup, &["serve"]).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("another host is using it"), "{said}");
}

#[tokio::test]
async fn a_setting_that_is_not_served_yet_is_named() {
    let setup =
        Setup::bare().and("[inference.groups.local-p40]\nfallback = [\"local-spark\"]\n[inference]\nenable_claude = true\n");
    let host = setup.start().await;
    let named: Vec<String> =
        host.events("setting_unserved").iter().map(|line| line["setting"].as_str().unwrap().to_owned()).collect();
    assert_eq!(named, ["enable_claude in [inference]", "fallback in [inference.groups.local-p40]"]);
}
