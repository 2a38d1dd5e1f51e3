//! Whatever an agent does: a run that is killed and goes on comes to the same as one that was left alone, word by word, but for the
//! time. The programs are drawn at random, from a fixed seed; `REPLAY_CASES` draws more of them, and `REPLAY_SEED` others.

use std::process::Command;
use std::time::Duration;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Value, json};

use super::cli::output;
use crate::support::fake::{Model, Order, Protocol};
use crate::support::ground::{Ground, Store};
use crate::support::mcp::Counting;
use crate::support::{Host, PATIENCE, Setup, guests, names, postgres};

const GRANTS: &str =
    "[grants.scripted]\nmodels = [\"local-p40\"]\ntools = [\"*\"]\nvault_read = [\"**\"]\nvault_write = [\"**\"]\n";

/// A program of the scripted guest, and when its host is killed.
#[derive(Clone, Debug)]
struct Case {
    steps: Vec<Vec<String>>,
    kills: Vec<Kill>,
}

/// When the host is killed.
#[derive(Clone, Copy, Debug)]
struct Kill {
    /// At which request to a model since the last start, counted round.
    request: usize,
    manner: Manner,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// While the model thinks.
    Waiting,
    /// Once the model was asked, whatever the host does by then.
    Anywhere,
}

fn step() -> impl Strategy<Value = Vec<String>> {
    let file = prop_oneof![Just("own/a.md"), Just("own/b.md"), Just("notes/theirs.md"), Just("notes/missing.md")];
    let word = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<String>>();
    let plain = prop_oneof![Just("clock"), Just("map"), Just("random"), Just("log")].prop_map(move |name| word(&[name]));
    prop_oneof![
        4 => Just(word(&["model"])),
        4 => plain,
        2 => (0_u32..40).prop_map(|ms| vec!["sleep".into(), ms.to_string()]),
        4 => (prop_oneof![Just("read"), Just("write"), Just("append")], file).prop_map(move |(name, file)| word(&[name, file])),
        1 => Just(word(&["list", "**"])),
        2 => Just(word(&["together"])),
    ]
}

fn case() -> impl Strategy<Value = Case> {
    let manner = prop_oneof![2 => Just(Manner::Waiting), 1 => Just(Manner::Anywhere)];
    let kill = (0_usize..12, manner).prop_map(|(request, manner)| Kill { request, manner });
    let kills = prop::collection::vec(kill, 1..3);
    let some = prop::collection::vec(step(), 4..14).prop_flat_map(|mut steps| {
        // Whatever else is drawn: time, chance, and a question that shows what was seen of them.
        let always: [&[&str]; 7] = [&["clock"], &["sleep", "5"], &["map"], &["random"], &["together"], &["model"], &["model"]];
        steps.extend(always.map(|step| step.iter().map(|word| (*word).to_owned()).collect::<Vec<String>>()));
        Just(steps).prop_shuffle()
    });
    (some, kills).prop_map(|(mut steps, kills)| {
        steps.push(vec!["model".into()]);
        Case { steps, kills }
    })
}

/// So many cases, always the same.
fn cases(most: usize) -> Vec<Case> {
    let seed: u64 = host::config::variable("REPLAY_SEED").map_or(7, |seed| seed.parse().expect("REPLAY_SEED is a number"));
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    (0..most).map(|_| case().new_tree(&mut runner).unwrap().current()).collect()
}

fn wanted(usually: usize) -> usize {
    host::config::variable("REPLAY_CASES").map_or(usually, |count| count.parse().expect("REPLAY_CASES is a number"))
}

#[tokio::test]
async fn killed_runs_come_to_the_same_on_sqlite() {
    for case in cases(wanted(4)) {
        comes_to_the_same(Ground { store: Store::Sqlite, protocol: Protocol::Ollama }, case).await;
    }
}

#[tokio::test]
async fn killed_runs_come_to_the_same_on_postgres() {
    for case in cases(wanted(4).div_ceil(4)) {
        comes_to_the_same(Ground { store: Store::Postgres, protocol: Protocol::Openai }, case).await;
    }
}

async fn comes_to_the_same(ground: Ground, case: Case) {
    let (id, setup) = waiting(ground, &case).await;
    let (calm, rough) = (ground.model().await, ground.model().await);
    let (calmly, roughly) = (Counting::start().await, Counting::start().await);
    let undisturbed = served_by(&calm, copy(&setup).await).and(&calmly.config()).start().await;
    let expected = undisturbed.task(&id, "done").await;
    let questions = timeless(&json!(calm.heard())).as_array().unwrap().clone();

    let (host, kills) = killed(&rough, served_by(&rough, setup).and(&roughly.config()), &id, &case, &questions).await;
    let task = host.task(&id, "done").await;
    for entry in kills.seen.iter().filter(|entry| entry["state"] != "started") {
        let kept = task["timeline"].as_array().unwrap().iter().find(|kept| kept["ref"] == entry["ref"]);
        assert_eq!(kept, Some(entry), "{case:?}: what a killed host had on disk stays as it was");
    }
    asked_again(&places(&rough, &questions), &kills, questions.len(), &case);
    assert_eq!(timeline(&task), timeline(&expected), "{case:?}");
    for key in ["status", "attempts", "cost_usd", "label", "served_groups", "artefacts", "error"] {
        assert_eq!(task[key], expected[key], "{key} of {case:?}");
    }
    assert_eq!(timeless(&task["output"]), timeless(&expected["output"]), "{case:?}");
    assert_eq!(timeless(&outcomes(&task)), timeless(&outcomes(&expected)), "{case:?}");
    assert_eq!(vault(&host.setup), vault(&undisturbed.setup), "{case:?}");
    assert!(!calmly.counted().is_empty(), "{case:?}: something was done");
    assert_eq!(roughly.counted(), calmly.counted(), "{case:?}: each effect once, under the same key");
    // The time too is what the journal says: the whole run, done once more from its first call, comes to the very same words.
    for host in [&host, &undisturbed] {
        let (code, said, complained) = output(host.setup.command(&["rehearse"]).arg(guests::corpus().join("scripted.wasm"))).await;
        assert_eq!(code, Some(0), "{case:?}: {said}{complained}");
    }
}

/// A host that was killed before it began with the task of that case.
async fn waiting(ground: Ground, case: &Case) -> (String, Setup) {
    let setup = ground.bare().await;
    let agents = guests::with(&["scripted"], setup.folder.path());
    std::fs::create_dir_all(setup.vault().join("notes")).unwrap();
    std::fs::write(setup.vault().join("notes/theirs.md"), "not the agent's").unwrap();
    std::fs::create_dir_all(setup.vault().join("_meta")).unwrap();
    std::fs::write(setup.vault().join("_meta/PAUSED"), "").unwrap();
    let host = setup.and(GRANTS).agents(agents).start().await;
    let content = json!(case.steps).to_string();
    let id = host.submit(json!({ "target_agent": "scripted", "content": content })).await;
    let setup = host.kill().await;
    std::fs::remove_file(setup.vault().join("_meta/PAUSED")).unwrap();
    (id, setup)
}

/// The same folder, and the same database, once more.
async fn copy(setup: &Setup) -> Setup {
    let copy = Setup::bare();
    std::fs::remove_dir_all(copy.folder.path()).unwrap();
    let copied = Command::new("cp").arg("-a").arg(setup.folder.path()).arg(copy.folder.path()).status().unwrap();
    assert!(copied.success());
    let database = match &setup.database {
        Some(original) => Some(postgres::copy(original).await),
        None => None,
    };
    let agents = copy.folder.path().join("agents");
    Setup { config: setup.config.clone(), agents, database, ..copy }
}

fn served_by(model: &Model, setup: Setup) -> Setup {
    setup.and(&model.groups())
}

/// How often a host was killed.
#[derive(Default)]
struct Kills {
    /// While its model was thinking, for sure.
    waiting: usize,
    most: usize,
    /// Answers of a model that were on disk before the first.
    kept: usize,
    /// What the journal held before each.
    seen: Vec<Value>,
}

/// Each question that a model was asked, as the place it has in a run that was left alone.
fn places(model: &Model, questions: &[Value]) -> Vec<usize> {
    let place = |asked: &Value| questions.iter().position(|question| *question == timeless(asked));
    model.heard().iter().map(|asked| place(asked).unwrap_or_else(|| panic!("nobody asks {asked} otherwise"))).collect()
}

/// No question is left out; after a kill it goes on where the journal ends, and while a model thinks all that came before is on disk.
fn asked_again(told: &[usize], kills: &Kills, most: usize, case: &Case) {
    let rewinds: Vec<(usize, usize)> = told.windows(2).map(|two| (two[0], two[1])).filter(|(was, is)| *is != was + 1).collect();
    assert_eq!((told.first(), told.last()), (Some(&0), Some(&(most - 1))), "{told:?} {case:?}");
    assert!(rewinds.iter().all(|(was, is)| is <= was && *is >= kills.kept), "{told:?} {case:?}: what was on disk is asked again");
    assert!(rewinds.len() <= kills.most, "{told:?} {case:?}: more is asked again than was killed");
    let same = rewinds.iter().filter(|(was, is)| is == was).count();
    assert!(same >= kills.waiting, "{told:?} {case:?}: a crash during a long wait loses no more than that answer");
}

/// Kills the host as often as the case says, and starts it again each time.
async fn killed(model: &Model, setup: Setup, id: &str, case: &Case, questions: &[Value]) -> (Host, Kills) {
    let asks = case.steps.iter().filter(|step| step[0] == "model").count();
    let (mut kills, mut setup) = (Kills::default(), setup);
    for (number, kill) in case.kills.iter().enumerate() {
        let request = kill.request % asks;
        let before = model.heard().len();
        model.order(std::iter::repeat_n(Order::Well, request));
        if kill.manner == Manner::Waiting {
            model.order([Order::Hang]);
        }
        let host = setup.start().await;
        // A run that an earlier kill caught late has fewer questions left, and ends.
        let reached = tokio::select! {
            () = model.heard_so_many(before + request + 1) => true,
            _ = host.task(id, "done") => false,
        };
        let waits = reached && kill.manner == Manner::Waiting;
        let answered = if waits { places(model, questions).last().copied().unwrap_or_default() } else { 0 };
        let (seen, kept) = on_disk(&host, id, answered).await;
        setup = host.kill().await;
        model.forget_orders();
        kills.most += usize::from(reached);
        kills.waiting += usize::from(waits);
        kills.kept = if number == 0 { kept } else { kills.kept };
        kills.seen.extend(seen);
    }
    (setup.start().await, kills)
}

/// The journal, once it holds so many answers of a model.
async fn on_disk(host: &Host, id: &str, answers: usize) -> (Vec<Value>, usize) {
    let written = async {
        loop {
            let (_, task) = host.get(&format!("/tasks/{id}?full=1")).await;
            let timeline = task["timeline"].as_array().unwrap().clone();
            let kept = timeline.iter().filter(|entry| entry["kind"] == "model.complete" && entry["state"] == "done").count();
            if kept >= answers {
                return (timeline, kept);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, written).await.expect("what came before a long wait is written down")
}

/// A task's calls, without their times.
fn timeline(task: &Value) -> Value {
    let mut timeline = task["timeline"].clone();
    for entry in timeline.as_array_mut().unwrap() {
        if entry["kind"] == "vault.entries" {
            for row in entry["answer"].as_array_mut().into_iter().flatten() {
                row.as_array_mut().unwrap().truncate(2);
            }
        }
    }
    timeless(&timeline)
}

fn outcomes(task: &Value) -> Value {
    task["hops"].as_array().unwrap().iter().map(|hop| json!([hop["agent"], hop["digest"], hop["run"], hop["outcome"]])).collect()
}

/// The same without what two runs cannot share: when they ran, and what the scripted guest made of that.
fn timeless(value: &Value) -> Value {
    const TIMES: [&str; 5] = ["now", "modified_at", "started_at", "finished_at", "duration_ms"];
    match value {
        Value::Object(map) => {
            let kept = map.iter().filter(|(key, _)| !TIMES.contains(&key.as_str()));
            Value::Object(kept.map(|(key, value)| (key.clone(), timeless(value))).collect())
        }
        Value::Array(all) => all.iter().map(timeless).collect(),
        Value::String(text) => {
            let mut parts = text.split(" time ");
            let first = parts.next().unwrap_or_default().to_owned();
            let hash = |part: &str| part.get(..16).is_some_and(|hash| hash.bytes().all(|byte| byte.is_ascii_hexdigit()));
            Value::String(parts.fold(first, |text, part| match hash(part) {
                true => format!("{text} time *{}", &part[16..]),
                false => format!("{text} time {part}"),
            }))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

/// The agent's files.
fn vault(setup: &Setup) -> Vec<(String, String)> {
    let files = ["own", "notes"].map(|folder| setup.vault().join(folder)).into_iter();
    files
        .flat_map(|folder| names(&folder).into_iter().map(move |name| folder.join(name)))
        .map(|file| (file.file_name().unwrap().to_str().unwrap().to_owned(), std::fs::read_to_string(file).unwrap()))
        .collect()
}
