//! What an operator does to what the host keeps: todos, cancel, retry, forget, migrate, backup.

use std::path::Path;

use reqwest::Method;
use serde_json::{Value, json};

use super::access::token;
use super::cli::output;
use crate::support::fake::{Model, Order, Protocol};
use crate::support::ground::{Ground, on_both_grounds};
use crate::support::{Host, Setup, names, postgres};

on_both_grounds![
    a_todo_is_written_down_changed_and_dropped,
    a_cancelled_task_writes_nothing_more_and_can_be_tried_again,
    a_failed_task_is_tried_again_from_its_last_hop_and_a_parked_one_at_once,
    a_household_decides_about_its_own_tasks_only,
    only_what_has_ended_is_forgotten_and_then_not_tried_again,
];

async fn ask(host: &Host, method: Method, path: &str, body: Value) -> (u16, Value) {
    let response = host.request(method, path).body(body.to_string()).send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

fn code(answer: &(u16, Value)) -> String {
    format!("{} {}", answer.0, answer.1["error"]["code"].as_str().unwrap_or_default()).trim().to_owned()
}

/// Tasks wait until the file is gone.
fn pause(setup: &Setup) {
    std::fs::create_dir_all(setup.vault().join("_meta")).unwrap();
    std::fs::write(setup.vault().join("_meta/PAUSED"), "").unwrap();
}

fn go_on(host: &Host) {
    std::fs::remove_file(host.setup.vault().join("_meta/PAUSED")).unwrap();
}

async fn a_todo_is_written_down_changed_and_dropped(ground: Ground) {
    let host = ground.bare().await.start().await;
    let (status, house) = host.post("/todos", json!({ "body": "fix the roof", "tags": ["house"] }).to_string()).await;
    assert_eq!((status, &house["status"], &house["created_by"]), (201, &json!("open"), &json!("rob")));
    assert_eq!((&house["metadata"], &house["closed_at"]), (&json!({}), &json!(null)));
    let (_, car) = host.post("/todos", json!({ "body": "ä".repeat(10_000), "metadata": { "km": 9 } }).to_string()).await;
    let path = format!("/todos/{}", house["id"].as_str().unwrap());
    let listed = async |query: &str| {
        let (_, page) = host.get(&format!("/todos{query}")).await;
        page["todos"].as_array().unwrap().iter().map(|todo| todo["id"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(listed("").await, [car["id"].clone(), house["id"].clone()]);
    assert_eq!(listed("?tag=house&limit=1").await, [house["id"].clone()]);

    let (_, changed) = ask(&host, Method::PATCH, &path, json!({ "status": "done", "tags": [] })).await;
    assert_eq!((&changed["status"], &changed["tags"], &changed["body"]), (&json!("done"), &json!([]), &house["body"]));
    assert_eq!(changed["closed_at"], changed["updated_at"]);
    assert_eq!(listed("").await, [car["id"].clone()]);
    assert_eq!(listed("?status=done").await, [house["id"].clone()]);
    let (status, dropped) = ask(&host, Method::DELETE, &path, json!(null)).await;
    assert_eq!((status, &dropped["status"], &dropped["closed_at"]), (200, &json!("dropped"), &changed["closed_at"]));
    let (_, again) = ask(&host, Method::PATCH, &path, json!({ "status": "open" })).await;
    assert_eq!(again["closed_at"], json!(null));
    assert_eq!(host.get(&path).await.1, again);
    assert_eq!(listed("?status=all").await.len(), 2);
}

#[tokio::test]
async fn a_todo_that_makes_no_sense_is_turned_away_with_its_reason() {
    let host = Setup::bare().start().await;
    let (_, todo) = host.post("/todos", json!({ "body": "fix the roof" }).to_string()).await;
    let path = format!("/todos/{}", todo["id"].as_str().unwrap());
    for (method, path, body, expected) in [
        (Method::POST, "/todos", json!({ "body": "" }), "422 schema"),
        (Method::POST, "/todos", json!({ "body": "a".repeat(10_001) }), "422 schema"),
        (Method::POST, "/todos", json!({ "body": "a\u{0}" }), "422 schema"),
        (Method::POST, "/todos", json!({ "body": "a", "tags": [""] }), "422 schema"),
        (Method::POST, "/todos", json!({ "body": "a", "metadata": [] }), "422 schema"),
        (Method::POST, "/todos", json!({ "body": "a", "status": "done" }), "422 schema"),
        (Method::PATCH, &path, json!({}), "422 no_fields"),
        (Method::PATCH, &path, json!({ "stats": "done" }), "422 schema"),
        (Method::PATCH, &path, json!({ "status": "started" }), "422 schema"),
        (Method::PATCH, "/todos/nothing", json!({ "status": "done" }), "404 not_found"),
        (Method::DELETE, "/todos/nothing", json!(null), "404 not_found"),
        (Method::GET, "/todos/nothing", json!(null), "404 not_found"),
        (Method::GET, "/todos?status=started", json!(null), "422 schema"),
        (Method::GET, "/todos?tags=a", json!(null), "422 schema"),
    ] {
        let answer = ask(&host, method.clone(), path, body.clone()).await;
        assert_eq!(code(&answer), expected, "{method} {path} {body}: {answer:?}");
    }
    assert_eq!(code(&host.post("/todos", "").await), "422 schema");
    let (_, answer) = ask(&host, Method::PATCH, &path, json!({ "stats": "done" })).await;
    assert!(answer["error"]["message"].as_str().unwrap().contains("`stats`"), "{answer}");
}

async fn a_cancelled_task_writes_nothing_more_and_can_be_tried_again(ground: Ground) {
    let model = ground.model().await;
    model.order([Order::Hang]);
    let host = ground.setup(&model).await.start().await;
    let id = host.submit(json!({ "target_agent": "note-maker" })).await;
    model.asked().await;
    host.journaled(&id, "1.1.0").await;
    let (status, task) = host.post(&format!("/tasks/{id}/cancel"), json!({ "reason": "wrong house" }).to_string()).await;
    assert_eq!((status, &task["status"]), (200, &json!("cancelled")));
    assert_eq!(task["error"], json!({ "code": "cancelled", "message": "wrong house" }));
    assert_eq!((&task["hops"][0]["status"], &task["hops"][0]["error"]), (&json!("failed"), &json!("cancelled")));
    // Whoever works on it lets go at once: it does not wait for the model.
    host.logged("lease_lost").await;
    model.release();
    assert_eq!(host.task(&id, "cancelled").await["finished_at"], task["finished_at"]);
    assert!(host.notes("inbox/drafts").is_empty());

    let again = host.post(&format!("/tasks/{id}/cancel"), "").await;
    assert_eq!(code(&again), "409 already_ended");
    assert!(again.1["error"]["message"].as_str().unwrap().contains("is cancelled"), "{again:?}");
    let (status, _) = host.post(&format!("/tasks/{id}/retry"), "").await;
    assert_eq!(status, 200);
    let task = host.task(&id, "done").await;
    assert_eq!((&task["error"], &task["attempts"], &task["hops"][0]["run"]), (&json!(null), &json!(0), &json!(2)));
    assert_eq!(host.notes("inbox/drafts"), [format!("note-{id}.md")]);
    for event in ["task_cancelled", "task_retried"] {
        let line = host.logged(event).await;
        assert_eq!((&line["task_id"], &line["trace_id"], &line["by"]), (&json!(id), &task["trace_id"], &json!("rob")), "{event}");
    }
    assert_eq!(code(&host.post(&format!("/tasks/{id}/retry"), "").await), "409 not_retryable");
    for (path, body, expected) in [
        (format!("/tasks/{id}/cancel"), json!({ "why": "typo" }), "422 schema"),
        (format!("/tasks/{id}/cancel"), json!({ "reason": "a".repeat(1001) }), "422 schema"),
        ("/tasks/nothing/cancel".into(), json!({}), "404 not_found"),
        ("/tasks/nothing/retry".into(), json!({}), "404 not_found"),
    ] {
        assert_eq!(code(&ask(&host, Method::POST, &path, body).await), expected);
    }
}

async fn a_failed_task_is_tried_again_from_its_last_hop_and_a_parked_one_at_once(ground: Ground) {
    let model = ground.model().await;
    model.order([Order::Well, Order::Say("no".into()), Order::Say("no".into())]);
    let host = ground.setup(&model).await.start().await;
    let id = host.submit(json!({ "retry_policy": { "max_attempts": 1 } })).await;
    host.task(&id, "failed").await;
    let (status, _) = host.post(&format!("/tasks/{id}/retry"), json!({ "reason": "the model is back" }).to_string()).await;
    assert_eq!(status, 200);
    let task = host.task(&id, "done").await;
    let runs: Vec<u64> = task["hops"].as_array().unwrap().iter().map(|hop| hop["run"].as_u64().unwrap()).collect();
    assert_eq!(runs, [1, 2, 1], "the triager had done its work");

    model.order([Order::Status(500)]);
    let id = host.submit(json!({ "target_agent": "note-maker" })).await;
    host.task(&id, "awaiting_backend").await;
    let parked = std::time::Instant::now();
    assert_eq!(host.post(&format!("/tasks/{id}/retry"), "").await.0, 200);
    host.task(&id, "done").await;
    assert!(parked.elapsed().as_secs() < 8, "not after the pause of ten seconds");
}

async fn a_household_decides_about_its_own_tasks_only(ground: Ground) {
    let model = ground.model().await;
    let setup = ground.setup(&model).await.and(&token("boss", "operator", "[]")).and(&token("kitchen", "household", "[\"voice\"]"));
    pause(&setup);
    let mut host = setup.start().await;
    host.token = Some("secret of boss".into());
    let theirs = host.submit(json!({ "source": "cli" })).await;
    host.token = Some("secret of kitchen".into());
    let own = host.submit(json!({ "source": "voice", "intent": "action" })).await;
    let (status, task) = host.post(&format!("/tasks/{own}/cancel"), json!({ "reason": "the secret reason" }).to_string()).await;
    assert_eq!((status, &task["status"], &task["error"]["message"]), (200, &json!("cancelled"), &json!("it was cancelled")));
    assert_eq!(host.post(&format!("/tasks/{own}/retry"), "").await.1["status"], "pending");
    for (path, expected) in [
        (format!("/tasks/{theirs}/cancel"), "404 not_found"),
        (format!("/tasks/{theirs}/retry"), "404 not_found"),
        (format!("/tasks/{own}/forget"), "403 operator_only"),
        ("/todos".into(), "403 operator_only"),
    ] {
        assert_eq!(code(&host.post(&path, "").await), expected, "{path}");
    }
    assert_eq!(code(&host.get("/todos").await), "403 operator_only");
    host.token = Some("secret of boss".into());
    assert_eq!(host.task(&theirs, "pending").await["status"], "pending");
    go_on(&host);
    host.task(&own, "done").await;
}

/// The names of files in the data folder that hold that text.
fn holding(setup: &Setup, text: &str) -> Vec<String> {
    let data = setup.folder.path().join("data");
    let holds = |name: &String| {
        let bytes = std::fs::read(data.join(name)).unwrap_or_default();
        bytes.windows(text.len()).any(|window| window == text.as_bytes())
    };
    names(&data).into_iter().filter(holds).collect()
}

#[tokio::test]
async fn a_forgotten_task_leaves_no_word_of_it_in_the_database() {
    let model = Model::start(Protocol::Ollama).await;
    let host = Setup::with(&model).start().await;
    let kept = host.done(json!({ "content": "note: the pear stays" })).await["task_id"].clone();
    let asked = json!({ "content": "note: the lemon is sour", "user": "lemonade", "zulip_user_id": 7,
        "task_id": "limequat", "conversation_id": "grapefruit", "idempotency_key": "bergamot" });
    let before = host.done(asked).await;
    let id = before["task_id"].as_str().unwrap();
    let note = format!("inbox/drafts/note-{id}.md");
    for word in ["lemon is sour", "lemonade", "limequat", "grapefruit", "bergamot", "Loose hose clamp", note.as_str()] {
        assert!(!holding(&host.setup, word).is_empty(), "{word} is there before");
    }
    let path = format!("/tasks/{id}/forget");
    let (status, task) = host.post(&path, "").await;
    assert_eq!(status, 200, "{task}");
    for word in ["lemon is sour", "lemonade", "limequat", "grapefruit", "bergamot", note.as_str()] {
        assert_eq!(holding(&host.setup, word), Vec::<String>::new(), "{word}");
        assert!(!host.get(&format!("/tasks/{id}?full=1")).await.1.to_string().contains(word), "{word}");
    }
    assert!(!holding(&host.setup, "the pear stays").is_empty(), "the other task is untouched");
    assert!(task["content"].as_str().unwrap().starts_with("sha256:"));
    assert!(task["forgotten_at"].is_string() && before["forgotten_at"].is_null());
    for stays in ["status", "label", "created_at", "finished_at", "duration_s", "trace_id", "cost_usd", "served_groups"] {
        assert_eq!(task[stays], before[stays], "{stays}");
    }
    let numbers = |task: &Value| -> Vec<Value> {
        let entries = task["timeline"].as_array().unwrap().iter();
        entries.map(|entry| json!([entry["ref"], entry["kind"], entry["state"], entry["model"], entry["input_tokens"]])).collect()
    };
    assert_eq!(numbers(&task), numbers(&before));
    assert_eq!(host.notes("inbox/drafts").len(), 2, "the vault is the operator's");

    let (status, again) = host.post(&path, "").await;
    assert_eq!((status, &again["forgotten_at"]), (200, &task["forgotten_at"]));
    assert_eq!(host.events("task_forgotten").len(), 1);
    let next = host.done(json!({ "content": "note: what else?", "conversation_id": "c" })).await;
    assert_eq!(next["timeline"][0]["request"]["conversation"], json!([]), "nobody is told of it");
    assert_eq!(host.get(&format!("/tasks/{}", kept.as_str().unwrap())).await.1["content"], "note: the pear stays");
}

async fn only_what_has_ended_is_forgotten_and_then_not_tried_again(ground: Ground) {
    let setup = ground.bare().await;
    pause(&setup);
    let host = setup.start().await;
    let id = host.submit(json!({})).await;
    let answer = host.post(&format!("/tasks/{id}/forget"), "").await;
    assert_eq!(code(&answer), "409 not_ended");
    host.post(&format!("/tasks/{id}/cancel"), "").await;
    assert_eq!(host.post(&format!("/tasks/{id}/forget"), "").await.0, 200);
    let answer = host.post(&format!("/tasks/{id}/retry"), "").await;
    assert_eq!(code(&answer), "409 not_retryable");
    assert!(answer.1["error"]["message"].as_str().unwrap().contains("forgotten"), "{answer:?}");
}

async fn migrate(setup: &Setup, arguments: &[&str]) -> (Option<i32>, String, String) {
    output(setup.command(&["migrate"]).args(arguments)).await
}

fn states(json: &str) -> Vec<String> {
    let said: Value = serde_json::from_str(json).unwrap();
    said["migrations"].as_array().unwrap().iter().map(|one| one["state"].as_str().unwrap().to_owned()).collect()
}

/// Changes the database of a host that does not run.
async fn tamper(file: &Path, sql: &'static str) {
    use sqlx::Connection;
    let mut connection = sqlx::SqliteConnection::connect(&format!("sqlite://{}", file.display())).await.unwrap();
    sqlx::query(sql).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

#[tokio::test]
async fn a_check_of_the_tables_says_what_is_missing_and_changes_nothing() {
    let setup = Setup::bare();
    let data = setup.folder.path().join("data");
    let (ended, said, _) = migrate(&setup, &["--check"]).await;
    assert_eq!(ended, Some(1));
    assert!(said.contains("there is no database yet"), "{said}");
    assert_eq!(names(&data), ["cache"], "and none was made");

    let (ended, said, complained) = migrate(&setup, &[]).await;
    assert_eq!(ended, Some(0), "{complained}");
    assert!(said.contains("todos") && complained.contains("applied now"), "{said}{complained}");
    let (ended, said, _) = migrate(&setup, &["--check", "--json"]).await;
    assert_eq!(ended, Some(0));
    assert!(states(&said).iter().all(|state| state == "applied"), "{said}");

    for (sql, state) in [
        ("update _sqlx_migrations set checksum = x'00' where version = 2", "differs"),
        ("delete from _sqlx_migrations where version = 2", "pending"),
        ("insert into _sqlx_migrations select 9999, 'later', installed_on, true, x'00', 0 from _sqlx_migrations limit 1", "newer"),
    ] {
        tamper(&data.join("host.db"), sql).await;
        let before = std::fs::read(data.join("host.db")).unwrap();
        let files = names(&data);
        let (ended, said, _) = migrate(&setup, &["--check", "--json"]).await;
        assert_eq!(ended, Some(1), "{said}");
        assert!(states(&said).iter().any(|one| one == state), "{state}: {said}");
        assert!(std::fs::read(data.join("host.db")).unwrap() == before && names(&data) == files, "{state}: nothing is changed");
    }
    let (ended, _, complained) = migrate(&setup, &[]).await;
    assert_eq!(ended, Some(1));
    assert!(complained.contains("another version"), "{complained}");
}

#[tokio::test]
async fn the_tables_of_postgres_are_checked_and_made() {
    let setup = Setup { database: Some(postgres::database().await), ..Setup::bare() };
    let (ended, said, _) = migrate(&setup, &["--check", "--json"]).await;
    assert_eq!(ended, Some(1));
    assert!(states(&said).iter().all(|state| state == "pending"), "{said}");
    let (ended, _, complained) = migrate(&setup, &[]).await;
    assert_eq!(ended, Some(0), "{complained}");
    let (ended, said, _) = migrate(&setup, &["--check", "--json"]).await;
    assert_eq!(ended, Some(0), "{said}");
}

#[tokio::test]
async fn the_tables_of_a_running_host_are_checked_and_not_changed() {
    let host = Setup::bare().start().await;
    let (ended, said, _) = migrate(&host.setup, &["--check"]).await;
    assert_eq!(ended, Some(0), "{said}");
    let (ended, _, complained) = migrate(&host.setup, &[]).await;
    assert_eq!(ended, Some(1));
    assert!(complained.contains("another host is using it"), "{complained}");
}

#[tokio::test]
async fn a_backup_of_a_working_host_goes_on_where_it_was() {
    let model = Model::start(Protocol::Ollama).await;
    let host = Setup::with(&model).start().await;
    let done = [host.done(json!({})).await, host.done(json!({ "content": "note: another" })).await];
    model.order([Order::Hang]);
    let unfinished = host.submit(json!({ "target_agent": "note-maker" })).await;
    while model.heard().len() < 7 {
        model.asked().await;
    }
    let file = host.setup.folder.path().join("copy.db");
    let name = file.to_str().unwrap();
    let (ended, said, complained) = output(&mut host.setup.command(&["backup", name])).await;
    assert_eq!(ended, Some(0), "{complained}");
    assert!(said.contains("3 tasks"), "{said}");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let (ended, _, complained) = output(&mut host.setup.command(&["backup", name])).await;
    assert_eq!(ended, Some(1), "a backup replaces nothing");
    assert!(complained.contains("is there already"), "{complained}");

    let other = Setup::with(&model);
    std::fs::copy(&file, other.folder.path().join("data/host.db")).unwrap();
    let second = other.start().await;
    for task in done {
        let (_, copy) = second.get(&format!("/tasks/{}?full=1", task["task_id"].as_str().unwrap())).await;
        assert_eq!(copy, task);
    }
    let task = second.task(&unfinished, "done").await;
    assert_eq!(task["hops"][0]["run"], 1, "its run goes on, as after a crash");
    assert_eq!(second.notes("inbox/drafts"), [format!("note-{unfinished}.md")]);
    model.release();
    host.task(&unfinished, "done").await;
}

#[tokio::test]
async fn a_backup_that_cannot_be_made_leaves_nothing_and_says_what_to_do() {
    let setup = Setup::bare();
    let file = setup.folder.path().join("copy.db");
    let (ended, _, complained) = output(&mut setup.command(&["backup", file.to_str().unwrap()])).await;
    assert_eq!(ended, Some(1));
    assert!(complained.contains("there is no database yet"), "{complained}");
    std::fs::write(setup.folder.path().join("data/host.db"), "this is no database, but long enough to look at").unwrap();
    let (ended, _, complained) = output(&mut setup.command(&["backup", file.to_str().unwrap()])).await;
    assert_eq!(ended, Some(1), "{complained}");
    assert_eq!(names(setup.folder.path()), ["data", "host.toml"], "no half a file");

    let mut postgres = setup.command(&["backup", "copy.dump"]);
    let (ended, _, complained) = output(postgres.args(["--database", "postgres://rob:secret@localhost/host"])).await;
    assert_eq!(ended, Some(2));
    let line = "pg_dump --format=custom --file='copy.dump' --dbname='postgres://rob@localhost/host'";
    assert!(complained.contains(line), "{complained}");
}
