//! Two hosts on one database: they share the work, and one goes on for both.

use std::collections::BTreeSet;

use serde_json::json;

use crate::support::fake::{Model, Protocol};
use crate::support::{Setup, postgres};

#[tokio::test]
async fn two_hosts_share_200_tasks_and_survive_the_kill_of_one() {
    const TASKS: usize = 200;
    let model = Model::start(Protocol::Ollama).await;
    let database = Some(postgres::database().await);
    let one = Setup { database: database.clone(), ..Setup::with(&model) }.start().await;
    let folder = one.setup.folder.clone();
    let other = Setup { database, folder, ..Setup::with(&model) }.start().await;
    let mut tasks = Vec::new();
    for at in 0..TASKS {
        let host = if at % 2 == 0 { &one } else { &other };
        tasks.push(host.submit(json!({ "target_agent": "note-maker" })).await);
        if at == TASKS / 2 {
            // Both are at work before one of them dies.
            one.logged("task_leased").await;
            other.logged("task_leased").await;
        }
    }
    let lines = one.log();
    one.kill().await;
    for id in &tasks {
        let task = other.task(id, "done").await;
        assert_eq!(task["attempts"], 0, "a crash is no failed run");
    }
    let done = |lines: &[String]| -> BTreeSet<String> {
        let ended = lines.iter().filter(|line| line.contains("task_completed"));
        ended.map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["task_id"].as_str().unwrap().to_owned()).collect()
    };
    let (first, second) = (done(&lines), done(&other.log()));
    assert!(!first.is_empty() && !second.is_empty(), "{} and {} tasks", first.len(), second.len());
    assert!(first.is_disjoint(&second), "no task was ended by both");
    // A file that was being written when its host died keeps its temporary name.
    let notes = other.notes("inbox/drafts").into_iter().filter(|name| !name.starts_with('.')).count();
    assert_eq!(notes, TASKS, "one note each");
}
