//! The host is killed at every boundary between two steps of a task, on both databases, and started again: every task comes to its
//! end as if nothing had been, and the ledger is never below what the provider charged.

use std::time::Instant;

use futures::StreamExt;
use serde_json::{Value, json};

use crate::support::fake::{Model, Order, Protocol};
use crate::support::ground::{Ground, Store};
use crate::support::{Host, Setup, guests};

/// What a task does.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Scenario {
    /// Three agents make a note: three free model calls, one file.
    Note,
    /// One agent asks a priced model twice and writes a file, the reporter reports.
    Priced,
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
];

/// What the provider charges for one answer of the fake, which counts 42 and 7 tokens, in millionths of a dollar.
const CHARGE: u64 = 42 * 3 + 7 * 15;
/// Cells at once.
const AT_ONCE: usize = 4;

struct Cell {
    scenario: Scenario,
    store: Store,
    boundary: &'static str,
}

/// What became of one.
struct Came {
    asked: usize,
    files: usize,
    replays: u64,
    ledger: u64,
    charged: u64,
}

async fn setup(cell: &Cell, model: &Model) -> Setup {
    let ground = Ground { store: cell.store, protocol: model.protocol };
    // The last group is the one with a price.
    let setup = ground.setup(model).await.and("price = { input = 3.0, output = 15.0 }\n");
    let mut setup = match cell.scenario {
        Scenario::Note => setup,
        Scenario::Priced => {
            let grant = "[grants.buys]\nmodels = [\"local-spark-coder\"]\nvault_write = [\"inbox/drafts/note-*.md\"]\n";
            let agents = guests::with(&["buys"], setup.folder.path());
            setup.and(grant).agents(agents)
        }
    };
    setup.variables.insert("HOST_FAULT", cell.boundary.to_owned());
    setup
}

/// The request, under a key: it may be sent twice.
fn envelope(scenario: Scenario) -> String {
    let target = match scenario {
        Scenario::Note => Value::Null,
        Scenario::Priced => json!("buys"),
    };
    let content = "note: the hose clamp is loose";
    json!({ "task_id": "mine", "source": "test", "content": content, "idempotency_key": "once", "target_agent": target })
        .to_string()
}

/// Starts a host and kills it where the cell says.
async fn killed(cell: &Cell, model: &Model) -> Setup {
    if cell.boundary == "draining" {
        model.order([Order::Hang]);
    }
    let host = setup(cell, model).await.start().await;
    // Whether it is answered depends on where the host ends.
    let asking = host.request(reqwest::Method::POST, "/inbox").body(envelope(cell.scenario)).send();
    let asked = tokio::spawn(asking);
    if cell.boundary == "draining" {
        model.asked().await;
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
    let mut setup = killed(cell, &model).await;
    setup.variables.remove("HOST_FAULT");
    let host = setup.start().await;
    // The client asks again, and is told of its first task.
    let (status, answer) = host.post("/inbox", envelope(cell.scenario)).await;
    assert_eq!((status, &answer["status"]), (202, &json!("duplicate")), "{answer}");
    let id = answer["task_id"].as_str().unwrap();
    let task = host.task(id, "done").await;
    as_if_nothing_had_been(cell, &host, id, &task).await;
    let heard = model.heard();
    let charged = CHARGE * heard.iter().filter(|request| request.to_string().contains("MONEY")).count() as u64;
    let replays = host.events("hop_start").iter().map(|line| line["replays"].as_u64().unwrap()).sum();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few millionths")]
    let ledger = (task["cost_usd"].as_f64().unwrap() * 1e6).round() as u64;
    Came { asked: heard.len(), files: host.notes("inbox/drafts").len(), replays, ledger, charged }
}

/// What a person sees of a task that was interrupted is what they would see of any other.
async fn as_if_nothing_had_been(cell: &Cell, host: &Host, id: &str, task: &Value) {
    let (calls, agents): (&[&str], &[&str]) = match cell.scenario {
        Scenario::Note => (&["1.1.1", "2.1.1", "2.1.2", "3.1.1"], &["triager", "note-maker", "reporter"]),
        Scenario::Priced => (&["1.1.1", "1.1.2", "1.1.3", "2.1.1"], &["buys", "reporter"]),
    };
    let timeline = task["timeline"].as_array().unwrap();
    let made: Vec<&str> =
        timeline.iter().filter(|entry| entry["kind"] != "run.input").map(|entry| entry["ref"].as_str().unwrap()).collect();
    assert_eq!(made, calls, "one run of each hop, each call once");
    assert!(timeline.iter().all(|entry| entry["state"] == "done"), "{timeline:#?}");
    let worked: Vec<&str> = task["hops"].as_array().unwrap().iter().map(|hop| hop["agent"].as_str().unwrap()).collect();
    assert_eq!((worked.as_slice(), &task["attempts"]), (agents, &json!(0)));
    let note = host.note(&format!("inbox/drafts/note-{id}.md"));
    let words = if cell.scenario == Scenario::Note { "The hose clamp is loose." } else { "\"well\" and \"well\"" };
    assert_eq!(note.matches(words).count(), 1, "{note}");
    let (_, listed) = host.get("/tasks").await;
    assert_eq!(listed["tasks"].as_array().unwrap().len(), 1, "{listed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_is_killed_anywhere_ends_every_task_as_if_nothing_had_been() {
    let began = Instant::now();
    // Before the cells, which would wait for each other.
    guests::shipped();
    guests::corpus();
    let mut cells = Vec::new();
    for store in [Store::Sqlite, Store::Postgres] {
        for (scenario, boundaries) in [(Scenario::Note, NOTE), (Scenario::Priced, PRICED)] {
            cells.extend(boundaries.iter().map(|boundary| Cell { scenario, store, boundary }));
        }
    }
    let came = futures::stream::iter(cells).map(|cell| async move {
        let came = tokio::spawn(async move {
            let came = came(&cell).await;
            (cell, came)
        });
        came.await
    });
    let mut came = came.buffered(AT_ONCE);
    println!(
        "{:<9} {:<8} {:<17} {:>5} {:>5} {:>7} {:>7} {:>7}",
        "store", "scenario", "killed at", "asked", "files", "replays", "ledger", "charged"
    );
    let mut wrong = Vec::new();
    while let Some(came) = came.next().await {
        let (cell, came) = match came {
            Ok(came) => came,
            Err(error) => {
                println!("a cell failed: {error}");
                wrong.push(error.to_string());
                continue;
            }
        };
        let Cell { scenario, store, boundary } = cell;
        let Came { asked, files, replays, ledger, charged } = came;
        println!(
            "{:<9} {:<8} {boundary:<17} {asked:>5} {files:>5} {replays:>7} {ledger:>7} {charged:>7}",
            format!("{store:?}"),
            format!("{scenario:?}")
        );
        // Between the intent of a priced call and its record nobody knows what was charged.
        let unknown = scenario == Scenario::Priced
            && ["after_intent:1", "after_intent:2", "after_effect:1", "after_effect:2"].contains(&boundary);
        let right = if unknown { ledger > charged } else { ledger == charged };
        if !right || files != 1 {
            wrong.push(format!("{store:?} {scenario:?} {boundary}: {files} files, ledger {ledger}, charged {charged}"));
        }
    }
    println!("in {:.1} s", began.elapsed().as_secs_f64());
    assert!(wrong.is_empty(), "{wrong:#?}");
}
