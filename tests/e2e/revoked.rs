//! A revoked component starts nothing, and nothing is resumed by it.

use std::sync::{Arc, Mutex, OnceLock};

use host::config::{Config, Flags};
use host::fleet::Fleet;
use host::runtime::engine::{self, Cache, Compiler, Size};
use host::store::Db;
use host::store::revoked::Revoked;
use serde_json::{Value, json};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

use super::cli::output;
use crate::support::fake::Order;
use crate::support::ground::{Ground, on_both_grounds};
use crate::support::{Host, Setup, guests};

on_both_grounds![a_run_of_a_revoked_component_is_not_resumed, a_running_host_learns_of_a_revocation_within_a_second,];

/// Revokes the note-maker of that setup; what was said.
async fn revoke(setup: &Setup, digest: &str) -> (Option<i32>, String, String) {
    output(setup.command(&["agents", "revoke", digest]).args(["--reason", "it lies"])).await
}

fn note_maker() -> String {
    host::id::digest(&std::fs::read(guests::shipped().join("note-maker.wasm")).unwrap())
}

async fn a_run_of_a_revoked_component_is_not_resumed(ground: Ground) {
    let model = ground.model().await;
    model.order([Order::Hang]);
    let host = ground.setup(&model).await.start().await;
    let id = host.submit(json!({ "target_agent": "note-maker" })).await;
    model.asked().await;
    host.journaled(&id, "1.1.0").await;
    let setup = host.kill().await;
    let (code, said, complained) = revoke(&setup, &note_maker()[..12]).await;
    assert_eq!(code, Some(0), "{complained}");
    assert!(said.contains(&note_maker()) && said.contains("is revoked"), "{said}");
    let (code, said, _) = revoke(&setup, &note_maker()).await;
    assert!(code == Some(0) && said.contains("was revoked before"), "{said}");
    let (_, said, _) = output(&mut setup.command(&["agents", "--json"])).await;
    let listed: Value = serde_json::from_str(&said).unwrap();
    let file = listed.as_array().unwrap().iter().find(|file| file["file"] == "note-maker.wasm").unwrap();
    assert!(file["serves"] == false && file["complaints"][0].as_str().unwrap().contains("it lies"), "{file}");

    let host = setup.start().await;
    model.release();
    let task = host.task(&id, "failed").await;
    assert_eq!(task["error"]["code"], "denied");
    let message = task["error"]["message"].as_str().unwrap();
    assert!(message.contains(&note_maker()) && message.contains("was revoked: it lies"), "{message}");
    assert_eq!(model.heard().len(), 1, "nothing was asked again");
    serves_no_more(&host).await;
}

async fn serves_no_more(host: &Host) {
    let (_, shown) = host.get("/agents").await;
    let serving: Vec<&str> =
        shown["agents"].as_array().unwrap().iter().map(|one| one["manifest"]["id"].as_str().unwrap()).collect();
    assert!(serving.contains(&"reporter") && !serving.contains(&"note-maker"), "{serving:?}");
    assert_eq!(shown["rejected"][0]["file"], "note-maker.wasm");
    assert!(shown["rejected"][0]["complaints"][0].as_str().unwrap().contains("it lies"), "{shown}");
    assert_eq!((&shown["revoked"][0]["digest"], &shown["revoked"][0]["reason"]), (&json!(note_maker()), &json!("it lies")));
    let task = json!({ "task_id": "t", "source": "test", "content": "note: x", "target_agent": "note-maker" });
    let (status, refused) = host.post("/inbox", task.to_string()).await;
    assert_eq!((status, &refused["error"]["code"]), (422, &json!("unknown_target_agent")), "{refused}");
}

async fn a_running_host_learns_of_a_revocation_within_a_second(ground: Ground) {
    let model = ground.model().await;
    let host = ground.setup(&model).await.start().await;
    host.done(json!({ "target_agent": "note-maker" })).await;
    let (code, _, complained) = revoke(&host.setup, "0123456789ab").await;
    assert_eq!(code, Some(1));
    assert!(complained.contains("no component is known") && complained.contains(&note_maker()), "what is known: {complained}");
    let (code, _, complained) = revoke(&host.setup, &note_maker()).await;
    assert_eq!(code, Some(0), "beside the host: {complained}");
    host.logged("agent_revoked").await;
    serves_no_more(&host).await;
    let done = host.done(json!({ "target_agent": "reporter" })).await;
    assert_eq!(done["status"], "done", "the rest works on");
}

#[tokio::test]
async fn a_component_can_be_revoked_before_there_ever_was_a_host() {
    let setup = Setup::bare();
    let (code, _, complained) = revoke(&setup, &note_maker()).await;
    assert_eq!(code, Some(0), "{complained}");
    let left = crate::support::names(&setup.folder.path().join("data"));
    assert!(!left.iter().any(|name| name.ends_with("-wal")), "nothing is left behind that another user could not open: {left:?}");
    serves_no_more(&setup.start().await).await;
}

/// Whoever reads that a component was revoked, and asks at once whether its agent serves.
struct Reader {
    fleet: Arc<OnceLock<Fleet>>,
    found: Arc<Mutex<Vec<bool>>>,
}

impl<S: tracing::Subscriber> Layer<S> for Reader {
    fn on_event(&self, _: &tracing::Event<'_>, _: Context<'_, S>) {
        self.found.lock().unwrap().extend(self.fleet.get().map(|fleet| fleet.serves("note-maker")));
    }
}

#[tokio::test]
async fn a_revocation_holds_before_it_is_told() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(guests::shipped().join("note-maker.wasm"), folder.path().join("note-maker.wasm")).unwrap();
    let agents = folder.path().to_str().map(str::to_owned);
    let config = Arc::new(Config::load(&Flags { agents, ..Flags::default() }).unwrap());
    let sandbox = engine::start(Size { in_flight: 4, memory_mib: 64 }).unwrap();
    let cache = Cache::in_folder(&guests::folder().join("compiled"), Compiler::Here);
    let db = Db::open(&format!("sqlite://{}", folder.path().join("host.db").display())).await.unwrap();
    let (fleet, found) = (Arc::new(OnceLock::new()), Arc::new(Mutex::default()));
    assert!(fleet.set(Fleet::load(&sandbox, &cache, &config, &db).await.unwrap()).is_ok());
    assert!(fleet.get().unwrap().serves("note-maker"));

    let reader = Reader { fleet: fleet.clone(), found: found.clone() };
    let revoked = vec![Revoked { digest: note_maker(), at: 0, reason: "it lies".into() }];
    tracing::subscriber::with_default(tracing_subscriber::registry().with(reader), || fleet.get().unwrap().learn(revoked));
    assert_eq!(*found.lock().unwrap(), [false], "it is told once, and true by then");
}
