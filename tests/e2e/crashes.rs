//! The host is killed at every boundary between two steps of a task, on both databases, and started again: every task comes to its
//! end as if nothing had been, the ledger is never below what the provider charged, and what nobody may repeat happened once.
//!
//! `HOST_TEST_CRASHES` (`Note`, `Priced` or `Tools`) says of which task alone.

use std::time::Instant;

use futures::StreamExt;
use serde_json::{Value, json};
use sqlx::Connection;

use crate::support::fake::{self, Model, Protocol};
use crate::support::ground::{Ground, Store};
use crate::support::mcp::{self, Counting};
use crate::support::{Host, PATIENCE, Setup, guests};

/// What a task does.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Scenario {
    /// Three agents make a note: three free model calls, one file.
    Note,
    /// One agent asks a priced model twice and writes a file, the reporter reports.
    Priced,
    /// One agent counts at a tool server, once with a call that nobody may repeat and once under a key; the reporter reports.
    Tools,
}

/// Where the host is killed: a fault point and its passage. Calls are those of the scenario, in order.
const NOTE: &[&str] = &[
    "enqueued",
    "leased",
    "before_intent",
    "after_intent",
    "after_effect:1",
    "after_effect:2",
    "after_effect:3",
    "after_effect:4",
    "after_record:1",
    "after_record:2",
    "after_record:3",
    "after_record:4",
    "before_outcome:1",
    "before_outcome:2",
    "before_outcome:3",
    "after_outcome:1",
    "after_outcome:2",
    "after_outcome:3",
    "draining",
];
const PRICED: &[&str] = &[
    "leased",
    "before_intent:1",
    "after_intent:1",
    "after_effect:1",
    "after_record:1",
    "before_intent:2",
    "after_intent:2",
    "after_effect:2",
    "after_record:2",
    "after_intent:3",
    "after_effect:3",
    "before_outcome:1",
    "after_outcome:1",
    "draining",
];
const TOOLS: &[&str] = &[
    "leased",
    "before_intent:1",
    "after_intent:1",
    "after_effect:1",
    "after_record:1",
    "before_intent:2",
    "after_intent:2",
    "after_effect:2",
    "after_record:2",
    "before_outcome:1",
    "after_outcome:1",
    "draining",
];
/// Between the intent of a call and its record nobody knows whether it happened: of the first call, which nobody may repeat, a person
/// is asked.
const ASKS: &[&str] = &["after_intent:1", "after_effect:1", "draining"];
/// And of a priced call nobody knows whether it was charged: all that was set aside is paid.
const ASSUMES: &[&str] = &["after_intent:1", "after_intent:2", "after_effect:1", "after_effect:2", "draining"];

/// What the provider charges for one answer of the fake, which counts 42 and 7 tokens, in millionths of a dollar.
const CHARGE: u64 = 42 * 3 + 7 * 15;
/// Cells at once.
const AT_ONCE: usize = 4;

struct Cell {
    scenario: Scenario,
    store: Store,
    boundary: &'static str,
}

/// Those who see what the host did, before and after it was killed.
struct Witnesses {
    model: Model,
    tools: Counting,
}

/// What became of one.
struct Came {
    asked: usize,
    files: usize,
    called: usize,
    counted: usize,
    /// What a person was asked for and said.
    said: &'static str,
    replays: u64,
    ledger: u64,
    charged: u64,
    /// Reservations that nobody has ended.
    left: i64,
}

async fn setup(cell: &Cell, seen: &Witnesses) -> Setup {
    let ground = Ground { store: cell.store, protocol: seen.model.protocol };
    // The last group is the one with a price.
    let setup = ground.setup(&seen.model).await.and("price = { input = 3.0, output = 15.0 }\n");
    let mut setup = match cell.scenario {
        Scenario::Note => setup,
        Scenario::Priced => {
            let grant = "[grants.buys]\nmodels = [\"local-spark-coder\"]\nvault_write = [\"inbox/drafts/note-*.md\"]\n";
            let agents = guests::with(&["buys"], setup.folder.path());
            setup.and(grant).agents(agents)
        }
        Scenario::Tools => {
            let agents = guests::with(&["caller"], setup.folder.path());
            setup.and(&seen.tools.config()).and("[grants.caller]\ntools = [\"*\"]\n").agents(agents)
        }
    };
    setup.variables.insert("HOST_FAULT", cell.boundary.to_owned());
    setup
}

/// The request, under a key: it may be sent twice.
fn envelope(scenario: Scenario) -> String {
    let (target, content) = match scenario {
        Scenario::Note => (Value::Null, "note: the hose clamp is loose"),
        Scenario::Priced => (json!("buys"), "how much?"),
        Scenario::Tools => (json!("caller"), "count {\"n\":1}\ncount_once {\"n\":2}"),
    };
    json!({ "task_id": "mine", "source": "test", "content": content, "idempotency_key": "once", "target_agent": target })
        .to_string()
}

/// Starts a host and kills it where the cell says; one that drains has its first call under way.
async fn killed(cell: &Cell, seen: &Witnesses) -> Setup {
    let drains = cell.boundary == "draining";
    match cell.scenario {
        Scenario::Tools if drains => seen.tools.order([mcp::Order::Hang]),
        Scenario::Note | Scenario::Priced if drains => seen.model.order([fake::Order::Hang]),
        Scenario::Note | Scenario::Priced | Scenario::Tools => {}
    }
    let host = setup(cell, seen).await.start().await;
    // Whether it is answered depends on where the host ends.
    let asking = host.request(reqwest::Method::POST, "/inbox").body(envelope(cell.scenario)).send();
    let asked = tokio::spawn(asking);
    if drains {
        match cell.scenario {
            Scenario::Tools => drop(seen.tools.called_so_many(1).await),
            Scenario::Note | Scenario::Priced => seen.model.asked().await,
        }
        host.terminate().await;
    }
    host.logged("fault_point").await;
    let setup = host.kill().await;
    let answered = asked.await.unwrap();
    assert_eq!(answered.is_err(), cell.boundary == "enqueued", "{answered:?}");
    setup
}

async fn came(cell: &Cell) -> Came {
    let model = Model::start(if cell.store == Store::Sqlite { Protocol::Ollama } else { Protocol::Openai }).await;
    let seen = Witnesses { model, tools: Counting::start().await };
    let mut setup = killed(cell, &seen).await;
    setup.variables.remove("HOST_FAULT");
    let host = setup.start().await;
    // The client asks again, and is told of its first task.
    let (status, answer) = host.post("/inbox", envelope(cell.scenario)).await;
    assert_eq!((status, &answer["status"]), (202, &json!("duplicate")), "{answer}");
    let id = answer["task_id"].as_str().unwrap();
    let said = answered(&host, id, &seen.tools).await;
    let task = host.task(id, "done").await;
    as_if_nothing_had_been(cell, &host, id, &task).await;
    let heard = seen.model.heard();
    let charged = CHARGE * heard.iter().filter(|request| request.to_string().contains("MONEY")).count() as u64;
    let replays = host.events("hop_start").iter().map(|line| line["replays"].as_u64().unwrap()).sum();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few millionths")]
    let ledger = (task["cost_usd"].as_f64().unwrap() * 1e6).round() as u64;
    let (called, counted) = once_each(cell, &seen.tools);
    let files = host.notes("inbox/drafts").len();
    let left = left(cell.store, &host.kill().await).await;
    Came { asked: heard.len(), files, called, counted, said, replays, ledger, charged, left }
}

/// Waits until the task is done, or asks whether a call has happened: then says what its server has seen.
async fn answered(host: &Host, id: &str, tools: &Counting) -> &'static str {
    let rests = async {
        loop {
            let (_, task) = host.get(&format!("/tasks/{id}")).await;
            if ["done", "failed", "awaiting_approval"].iter().any(|word| task["status"] == *word) {
                return task["status"] == "awaiting_approval";
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    let asks = tokio::time::timeout(PATIENCE, rests).await.unwrap_or_else(|_| panic!("{id} does not end: {:?}", host.log()));
    if !asks {
        return "";
    }
    let (_, open) = host.get("/approvals").await;
    let asked = &open["approvals"][0];
    assert_eq!((&asked["task_id"], &asked["kind"], &asked["call"]), (&json!(id), &json!("ambiguous"), &json!("tools.call")));
    assert_eq!((open["approvals"].as_array().unwrap().len(), &asked["ref"]), (1, &json!("1.1.1")), "{open}");
    let (said, answer) = match tools.counted().is_empty() {
        true => ("retry", json!({ "reaction": "retry" })),
        false => ("done", json!({ "reaction": "done", "result": "1 counted" })),
    };
    let (status, decided) = host.post(&format!("/approvals/{}", asked["id"].as_str().unwrap()), answer.to_string()).await;
    assert_eq!(status, 200, "{decided}");
    said
}

/// Calls of tools, and effects: one for each of both, and what was sent again had its first key.
fn once_each(cell: &Cell, tools: &Counting) -> (usize, usize) {
    let (called, counted) = (tools.called(), tools.counted());
    if cell.scenario == Scenario::Tools {
        let effects: Vec<&Value> = counted.iter().map(|effect| &effect["tool"]).collect();
        assert_eq!(effects, ["count", "count_once"], "{called:#?}");
        assert_eq!(called.iter().filter(|call| call["tool"] == "count").count(), 1, "{called:#?}");
        let keyed: Vec<&Value> = called.iter().filter(|call| call["tool"] == "count_once").map(|call| &call["key"]).collect();
        assert!(keyed.iter().all(|key| key.is_string() && *key == keyed[0]), "{called:#?}");
    }
    (called.len(), counted.len())
}

/// Reservations in the database of a host that has ended.
async fn left(store: Store, setup: &Setup) -> i64 {
    const SQL: &str = "select count(*) from reservation";
    match store {
        Store::Sqlite => {
            let url = format!("sqlite://{}", setup.folder.path().join("data/host.db").display());
            let mut connection = sqlx::SqliteConnection::connect(&url).await.unwrap();
            sqlx::query_scalar(SQL).fetch_one(&mut connection).await.unwrap()
        }
        Store::Postgres => {
            let mut connection = sqlx::PgConnection::connect(setup.database.as_ref().unwrap()).await.unwrap();
            sqlx::query_scalar(SQL).fetch_one(&mut connection).await.unwrap()
        }
    }
}

/// What a person sees of a task that was interrupted is what they would see of any other.
async fn as_if_nothing_had_been(cell: &Cell, host: &Host, id: &str, task: &Value) {
    let (calls, agents): (&[&str], &[&str]) = match cell.scenario {
        Scenario::Note => (&["1.1.1", "2.1.1", "2.1.2", "3.1.1"], &["triager", "note-maker", "reporter"]),
        Scenario::Priced => (&["1.1.1", "1.1.2", "1.1.3", "2.1.1"], &["buys", "reporter"]),
        Scenario::Tools => (&["1.1.1", "1.1.2", "2.1.1"], &["caller", "reporter"]),
    };
    let timeline = task["timeline"].as_array().unwrap();
    let made: Vec<&str> =
        timeline.iter().filter(|entry| entry["kind"] != "run.input").map(|entry| entry["ref"].as_str().unwrap()).collect();
    assert_eq!(made, calls, "one run of each hop, each call once");
    assert!(timeline.iter().all(|entry| entry["state"] == "done"), "{timeline:#?}");
    let worked: Vec<&str> = task["hops"].as_array().unwrap().iter().map(|hop| hop["agent"].as_str().unwrap()).collect();
    assert_eq!((worked.as_slice(), &task["attempts"]), (agents, &json!(0)));
    let draft = format!("inbox/drafts/note-{id}.md");
    let (text, words) = match cell.scenario {
        Scenario::Note => (host.note(&draft), "The hose clamp is loose."),
        Scenario::Priced => (host.note(&draft), "\"well\" and \"well\""),
        Scenario::Tools => {
            (task["hops"][0]["outcome"]["text"].to_string(), "Tier::Internal: 1 counted\\nTier::Internal: 2 counted")
        }
    };
    assert_eq!(text.matches(words).count(), 1, "{text}");
    let (_, listed) = host.get("/tasks").await;
    assert_eq!(listed["tasks"].as_array().unwrap().len(), 1, "{listed}");
}

/// What is wrong with one, if something is.
fn wrong(cell: &Cell, came: &Came) -> Option<String> {
    let Cell { scenario, store, boundary } = cell;
    let assumes = *scenario == Scenario::Priced && ASSUMES.contains(boundary);
    let paid = if assumes { came.ledger > came.charged } else { came.ledger == came.charged };
    let asks = *scenario == Scenario::Tools && ASKS.contains(boundary);
    let files = usize::from(*scenario != Scenario::Tools);
    let right = paid && came.left == 0 && asks != came.said.is_empty() && came.files == files;
    let Came { files, said, ledger, charged, left, .. } = came;
    let why = format!("{files} files, asked `{said}`, ledger {ledger}, charged {charged}, {left} reservations left");
    (!right).then(|| format!("{store:?} {scenario:?} {boundary}: {why}"))
}

/// A row of the report: of one, or the headings.
fn row(columns: [&str; 12]) -> String {
    let widths = [9, 9, 17, 6, 6, 7, 8, 7, 8, 7, 8, 5];
    columns.iter().zip(widths).map(|(text, width)| format!("{text:<width$}")).collect()
}

fn reported(cell: &Cell, came: &Came) -> String {
    let Came { asked, files, called, counted, said, replays, ledger, charged, left } = came;
    let [asked, files, called, counted] = [asked, files, called, counted].map(usize::to_string);
    let [replays, ledger, charged] = [replays, ledger, charged].map(u64::to_string);
    let (store, scenario, left) = (format!("{:?}", cell.store), format!("{:?}", cell.scenario), left.to_string());
    row([&store, &scenario, cell.boundary, &asked, &files, &called, &counted, said, &replays, &ledger, &charged, &left])
}

#[expect(clippy::print_stdout, reason = "the report is for whoever runs the test, with `--nocapture`")]
fn tell(line: &str) {
    println!("{line}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_is_killed_anywhere_ends_every_task_as_if_nothing_had_been() {
    let began = Instant::now();
    // Before the cells, which would wait for each other.
    guests::shipped();
    guests::corpus();
    let only = host::config::variable("HOST_TEST_CRASHES").unwrap_or_default();
    let mut cells = Vec::new();
    for store in [Store::Sqlite, Store::Postgres] {
        for (scenario, boundaries) in [(Scenario::Note, NOTE), (Scenario::Priced, PRICED), (Scenario::Tools, TOOLS)] {
            cells.extend(boundaries.iter().map(|boundary| Cell { scenario, store, boundary }));
        }
    }
    cells.retain(|cell| format!("{:?}", cell.scenario).contains(&only));
    let came = futures::stream::iter(cells).map(|cell| async move {
        let (what, store) = (format!("{:?} {}", cell.scenario, cell.boundary), cell.store);
        let came = tokio::spawn(async move {
            let came = came(&cell).await;
            (cell, came)
        });
        came.await.map_err(|error| format!("{store:?} {what}: {error}"))
    });
    let mut came = came.buffered(AT_ONCE);
    let headings =
        ["store", "task", "killed at", "asked", "files", "called", "counted", "said", "replays", "ledger", "charged", "left"];
    tell(&row(headings));
    let mut wrongs = Vec::new();
    while let Some(came) = came.next().await {
        match came {
            Ok((cell, came)) => {
                tell(&reported(&cell, &came));
                wrongs.extend(wrong(&cell, &came));
            }
            Err(error) => {
                tell(&format!("a cell failed: {error}"));
                wrongs.push(error);
            }
        }
    }
    tell(&format!("in {:.1} s", began.elapsed().as_secs_f64()));
    assert!(wrongs.is_empty(), "{wrongs:#?}");
}
