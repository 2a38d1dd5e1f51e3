//! `host bench`: every figure has its floor. How large they are is nothing that a test could hold.

use serde_json::Value;

use crate::support::{PATIENCE, Setup};

#[tokio::test]
async fn bench_prints_every_figure_beside_its_floor() {
    let setup = Setup::bare();
    let mut command = setup.command(&["bench", "--quick", "--json"]);
    let ended = tokio::time::timeout(PATIENCE, command.output()).await.expect("it ends").unwrap();
    let complained = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(0), "{complained}");
    let said: Value = serde_json::from_slice(&ended.stdout).unwrap();
    let figures = said["figures"].as_array().unwrap();
    for wanted in [
        "bare commit",
        "record alone",
        "64 at a time",
        "start to ready",
        "kill broke off",
        "memory, idle",
        "parked",
        "instance start",
        "overhead",
        "task, statements",
        "task, commits",
        "task, log",
        "64 in flight, commits",
        "/inbox",
    ] {
        assert!(figures.iter().any(|row| row["figure"].as_str().unwrap().contains(wanted)), "no {wanted}: {said:#}");
    }
    for row in figures {
        assert!(row["floor"].as_f64().unwrap() > 0.0 && row["value"].as_f64().unwrap() > 0.0, "{row}");
        assert_eq!(row["store"], "sqlite");
    }
    assert!(!setup.vault().exists(), "the operator's vault is left alone");
}

#[tokio::test]
async fn bench_without_agents_says_how_to_get_them() {
    let setup = Setup::bare().agents("nowhere".into());
    let mut command = setup.command(&["bench", "--quick"]);
    let ended = tokio::time::timeout(PATIENCE, command.output()).await.expect("it ends").unwrap();
    assert_eq!(ended.status.code(), Some(1));
    assert!(String::from_utf8(ended.stderr).unwrap().contains("host agent build"));
}
