//! Files that never become agents: each is refused with its reason, in bounded time and memory, and the rest serves.

use std::io::Write;
use std::process::Stdio;

use serde_json::{Value, json};

use super::{Order, everything, guests, host_with};
use crate::support::fake::{Model, Protocol};
use crate::support::handmade::PLAIN;
use crate::support::{Setup, names};

#[tokio::test]
async fn who_cannot_describe_itself_is_refused_and_who_would_vary_does_not() {
    let model = Model::start(Protocol::Ollama).await;
    let ids = ["stumbles", "ponders", "wavers"];
    let setup = Setup::with(&model).and(&ids.map(everything).concat());
    let agents = guests::with(&ids, setup.folder.path());
    let host = setup.agents(agents).start().await;
    let (_, shown) = host.get("/agents").await;
    for (file, why) in
        [("stumbles.wasm", "`describe` failed: "), ("ponders.wasm", "`describe` failed: it computes longer than 200ms")]
    {
        let rejected = shown["rejected"].as_array().unwrap().iter().find(|rejected| rejected["file"] == file).unwrap();
        assert!(rejected["complaints"].to_string().contains(why), "{rejected}");
    }
    let version = |shown: &Value| {
        let agents = shown["agents"].as_array().unwrap().clone();
        agents.into_iter().find(|agent| agent["manifest"]["id"] == "wavers").unwrap()["manifest"]["version"].clone()
    };
    let first = version(&shown);
    let host = host.kill().await.start().await;
    let (_, shown) = host.get("/agents").await;
    assert_eq!(version(&shown), first, "a component describes itself in one way only");
}

#[tokio::test]
async fn broken_and_oversized_files_are_named() {
    let model = Model::start(Protocol::Ollama).await;
    let setup = Setup::with(&model);
    let agents = guests::with(&[], setup.folder.path());
    let whole = std::fs::read(guests::shipped().join("note-maker.wasm")).unwrap();
    std::fs::write(agents.join("half.wasm"), &whole[..whole.len() / 2]).unwrap();
    std::fs::write(agents.join("head.wasm"), &whole[..8]).unwrap();
    let zipped = {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(&vec![0; 32 << 20]).unwrap();
        encoder.finish().unwrap()
    };
    std::fs::write(agents.join("zipped.wasm"), zipped).unwrap();
    std::fs::File::create(agents.join("huge.wasm")).unwrap().set_len(100 << 20).unwrap();
    std::fs::create_dir(agents.join("folder.wasm")).unwrap();
    std::os::unix::fs::symlink("nowhere", agents.join("gone.wasm")).unwrap();
    let host = setup.agents(agents).start().await;
    let (_, shown) = host.get("/agents").await;
    for (file, why) in [
        ("half.wasm", "is no valid component"),
        ("head.wasm", "is a component of another world"),
        ("zipped.wasm", "is not WebAssembly at all"),
        ("huge.wasm", "is 100 MiB large, and at most 64 are read"),
        ("folder.wasm", "cannot be read"),
        ("gone.wasm", "cannot be read"),
    ] {
        let rejected = shown["rejected"].as_array().unwrap().iter().find(|rejected| rejected["file"] == file);
        let rejected = rejected.unwrap_or_else(|| panic!("{file}: {shown}"));
        assert!(rejected["complaints"].to_string().contains(why), "{rejected}");
    }
    host.done(json!({})).await;
}

/// A bit here and there: refused with a reason or taken for what it is now, and never more than that.
#[tokio::test]
async fn a_flipped_bit_harms_nobody() {
    let setup = Setup::bare().and(&everything("plain"));
    let whole = PLAIN.component();
    let folder = setup.folder.path().join("flipped");
    std::fs::create_dir_all(&folder).unwrap();
    const PLACES: usize = 48;
    for place in 0..PLACES {
        let mut bytes = whole.clone();
        bytes[place * whole.len() / PLACES] ^= 1 << (place % 8);
        let apart = folder.join(place.to_string());
        std::fs::create_dir_all(&apart).unwrap();
        std::fs::write(apart.join("plain.wasm"), bytes).unwrap();
    }
    let mut command = setup.command(&["validate", "--json"]);
    (0..PLACES).for_each(|place| {
        command.arg(folder.join(place.to_string()).join("plain.wasm"));
    });
    let ended =
        tokio::time::timeout(crate::support::PATIENCE, command.stderr(Stdio::piped()).output()).await.expect("it ends").unwrap();
    let said = String::from_utf8(ended.stdout).unwrap();
    assert_eq!(ended.status.code(), Some(1), "{}", String::from_utf8_lossy(&ended.stderr));
    let reports: Value = serde_json::from_str(&said).unwrap();
    let reports = reports.as_array().unwrap();
    assert_eq!(reports.len(), PLACES, "each has its verdict");
    for report in reports {
        assert_eq!(report["accepted"] == true, report["complaints"].as_array().unwrap().is_empty(), "{report}");
    }
}

/// Components of components of components: a kilobyte that would become a hundred million instances.
#[tokio::test]
async fn a_bomb_of_instances_does_not_go_off() {
    let many = |of: &str| (0..100).map(|_| format!("(instance (instantiate ${of}))")).collect::<String>();
    let bomb = format!(
        "(component (component $d (component $c (component $b (core module $m) {core}) {b}) {c}) {d})",
        core = (0..100).map(|_| "(core instance (instantiate $m))").collect::<String>(),
        b = many("b"),
        c = many("c"),
        d = many("d"),
    );
    let setup = Setup::bare();
    let file = setup.folder.path().join("bomb.wasm");
    std::fs::write(&file, wat::parse_str(bomb).unwrap()).unwrap();
    let ended = setup.command(&["validate"]).arg(&file).output();
    let ended = tokio::time::timeout(crate::support::PATIENCE, ended).await.expect("it ends").unwrap();
    let said = String::from_utf8(ended.stdout).unwrap();
    assert!(ended.status.code() == Some(1) && said.contains("compiling it takes more than 4 GiB or 120 s"), "{said}");
}

#[tokio::test]
async fn what_only_looks_random_is_the_same_twice() {
    let (model, host) = host_with(&["hashes"]).await;
    model.order([Order::Say("one".into()), Order::Say("two".into())]);
    let task = host.done(json!({ "target_agent": "hashes" })).await;
    let (code, said, _) =
        crate::e2e::cli::output(host.setup.command(&["validate", "--json"]).arg(host.setup.agents.join("hashes.wasm"))).await;
    let report: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, report[0]["trials"][0]["calls"].as_array().unwrap().len()), (Some(0), 3), "{report}");
    assert!(task["timeline"].as_array().unwrap().len() >= 3, "{task}");
    assert!(names(&host.setup.agents).contains(&"hashes.wasm".to_owned()));
}
