//! Who stands for a component, what it could do at worst, and which line says so.

use std::path::Path;

use minisign::{KeyPair, PublicKey};
use serde_json::{Value, json};

use super::cli::output;
use crate::support::{Setup, guests};

/// The verdict of `host validate`, as JSON, with its exit code.
async fn validated(setup: &Setup, file: &Path, more: &[&str]) -> (Option<i32>, Value) {
    let (code, said, complained) = output(setup.command(&["validate", "--json"]).args(more).arg(file)).await;
    let reports: Value = serde_json::from_str(&said).unwrap_or_else(|_| panic!("{said} {complained}"));
    (code, reports[0].clone())
}

fn copied(name: &str, setup: &Setup, as_name: &str) -> std::path::PathBuf {
    let folder = setup.folder.path().join("copied");
    std::fs::create_dir_all(&folder).unwrap();
    let (from, to) = (guests::corpus().join(name), folder.join(as_name));
    std::fs::copy(from, &to).unwrap();
    to
}

#[tokio::test]
async fn a_component_says_what_it_would_need_and_the_lines_to_paste_grant_it() {
    let setup = Setup::bare();
    let file = copied("beyond.wasm", &setup, "beyond.wasm");
    let (code, report) = validated(&setup, &file, &[]).await;
    assert_eq!((code, &report["accepted"]), (Some(1), &json!(false)));
    let complaints = report["complaints"].to_string();
    for line in ["`models` in [grants.beyond]", "`vault_read` in [grants.beyond]", "`vault_write` in [grants.beyond]"] {
        assert!(complaints.contains(line), "{complaints}");
    }
    let lines = report["grants_to_paste"].as_str().unwrap();
    let pasted = setup.folder.path().join("grants.toml");
    std::fs::write(&pasted, lines).unwrap();
    let (code, report) = validated(&setup, &file, &["--grants", pasted.to_str().unwrap()]).await;
    assert_eq!((code, &report["accepted"], &report["grants_to_paste"]), (Some(0), &json!(true), &Value::Null), "{report}");
    let reach = &report["reach"];
    assert_eq!(reach["vault_write"], json!([{ "wanted": "inbox/drafts/note-*.md", "tier": "internal" }]));
    assert_eq!((&reach["models"][0]["group"], &reach["models"][0]["remote"]), (&json!("local-p40"), &json!(false)));
    assert_eq!((&reach["usd_per_run"], &report["leaves_the_house_by"]), (&json!(0.0), &json!([])));
    assert!(report["trials"][0]["calls"].as_array().unwrap().len() > 5, "it was tried: {report}");

    std::fs::write(&pasted, "[server]\nworkers = 2\n").unwrap();
    let (code, _, complained) = output(setup.command(&["validate"]).arg(format!("--grants={}", pasted.display())).arg(&file)).await;
    assert!(code == Some(2) && complained.contains("grants.toml:1: `server`"), "{complained}");
}

#[tokio::test]
async fn the_worst_that_an_agent_could_do_is_counted_from_the_rules() {
    let config = "[inference.groups.cloud]\nkind = \"openai\"\nurl = \"https://api.example.com\"\nmodel = \"m\"\nremote = true\n\
         price = { input = 1.0, output = 2.0 }\nclearance = \"internal\"\n\
         [mcp]\nurl = \"http://127.0.0.1:1/mcp\"\nshipped_rules = false\n[[mcp.rules]]\ntools = \"search_*\"\nclass = \"A\"\nclearance = \"public\"\n\
         [[vault.rules]]\npath = \"private/**\"\ntier = \"restricted\"\n\
         [grants.wishful]\nmodels = [\"cloud\"]\ntools = [\"*\"]\nvault_read = [\"**\"]\nclearance = \"restricted\"\ncost_usd_per_task = 0.25\n";
    let setup = Setup::bare().and(config);
    let file = copied("wishful.wasm", &setup, "wishful.wasm");
    let (code, report) = validated(&setup, &file, &[]).await;
    assert_eq!(code, Some(0), "{report}");
    let reach = &report["reach"];
    let cloud = json!({ "group": "cloud", "remote": true, "priced": true, "carries": "internal", "trouble": null });
    assert_eq!(reach["models"], json!([cloud]));
    assert_eq!((&reach["usd_per_run"], &reach["usd_per_day"]), (&json!(0.25), &json!(10.0)));
    assert_eq!(reach["vault_read"], json!([{ "wanted": "**", "tier": "restricted" }]));
    let tools: Vec<String> = reach["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| format!("{} {} {} {}", one["rule"], one["class"], one["carries"], one["asks"]))
        .collect();
    assert_eq!(tools, ["\"search_*\" \"A\" \"public\" false", "null \"D\" \"internal\" true"]);
    let leaks = report["leaves_the_house_by"].to_string();
    assert!(leaks.contains("model group `cloud`, up to internal") && leaks.contains("tools `*`, up to internal"), "{leaks}");
    let (_, said, _) = output(setup.command(&["validate"]).arg(&file)).await;
    assert!(said.contains("worst-case spend") && said.contains("$0.25 a run, $10.00 a day"), "{said}");
}

#[tokio::test]
async fn explain_names_the_line_that_allows_and_the_one_that_does_not() {
    let setup = Setup::bare().and(
        "[[vault.rules]]\npath = \"inbox/**\"\ntier = \"internal\"\nclearance = \"internal\"\n[mcp]\nurl = \"http://127.0.0.1:1/mcp\"\n\
         [[mcp.rules]]\ntools = \"peek\"\nclass = \"A\"\n[grants.meddles]\ntools = [\"pe*\", \"peek\"]\n",
    );
    let agents = guests::with(&["meddles"], setup.folder.path());
    let setup = setup.agents(agents);
    for (arguments, code, expected) in [
        (
            &["note-maker", "vault.write", "inbox/drafts/note-1.md"][..],
            0,
            &["`inbox/drafts/note-*.md` in `vault_write` in [grants.note-maker]", "`inbox/**` in [[vault.rules]]"][..],
        ),
        (&["note-maker", "vault.write", "notes/a.md"], 1, &["vault_write does not cover `notes/a.md`", "add \"notes/a.md\""]),
        (
            &["note-maker", "vault.write", "inbox/drafts/note-1.md", "--label", "restricted"],
            1,
            &["✓ grant", "cleared for internal only"],
        ),
        (&["note-maker", "vault.read", "notes/a.md"], 1, &["vault_read does not cover `notes/a.md`"]),
        (&["note-maker", "model.complete", "local-p40"], 0, &["[inference.groups.local-p40]: takes up to restricted"]),
        (&["note-maker", "model.complete", "local-spark"], 1, &["models does not cover `local-spark`"]),
        (&["triager", "handoff", "note-maker"], 0, &["`*` in `handoff` in [grants.triager]"]),
        (&["note-maker", "handoff", "triager"], 1, &["handoff does not cover `triager`"]),
        (&["meddles", "tools.call", "peek"], 0, &["`pe*` in `tools` in [grants.meddles]", "the rule for `peek`", "class A"]),
        (&["meddles", "tools.call", "wipe", "{}"], 1, &["tools does not cover `wipe`"]),
        (&["nobody", "vault.read", "a"], 1, &["`nobody` does not serve"]),
        (&["note-maker", "fly"], 1, &["`fly` is no call"]),
    ] {
        let (ended, said, complained) = output(setup.command(&["agents", "explain"]).args(arguments)).await;
        let all = format!("{said}{complained}");
        assert_eq!(ended, Some(code), "{arguments:?}: {all}");
        for words in expected {
            assert!(all.contains(words), "{arguments:?}: `{words}` is not in {all}");
        }
    }
    let (_, said, _) = output(&mut setup.command(&["agents", "explain", "meddles", "tools.call", "peek", "--json"])).await;
    let explained: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&explained["allowed"], explained["steps"].as_array().unwrap().len()), (&json!(true), 3));
}

#[tokio::test]
async fn only_what_somebody_trusted_stands_for_serves() {
    let setup = Setup::bare();
    let key = setup.folder.path().join("sign.key");
    let (code, said, complained) = output(setup.command(&["agent", "sign", "--generate"]).arg("--key").arg(&key)).await;
    assert_eq!(code, Some(0), "{complained}");
    let public = said.trim().to_owned();
    assert!(PublicKey::from_base64(&public).is_ok(), "{public}");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&key).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600, "the key is its owner's alone");
    let (code, _, complained) = output(setup.command(&["agent", "sign", "--generate"]).arg("--key").arg(&key)).await;
    assert!(code == Some(1) && complained.contains("is there a key already?"), "{complained}");

    let grants = "[grants.steady]\nclearance = \"internal\"\n";
    let setup = setup.and(&format!("[agents]\nrequire_signature = true\ntrusted_keys = [\"{public}\"]\n{grants}"));
    let file = copied("steady.wasm", &setup, "steady.wasm");
    let (code, report) = validated(&setup, &file, &[]).await;
    assert!(code == Some(1) && report["complaints"].to_string().contains("is not signed, and `require_signature`"), "{report}");
    let (code, said, complained) = output(setup.command(&["agent", "sign"]).arg("--key").arg(&key).arg(&file)).await;
    assert!(code == Some(0) && said.trim().ends_with("steady.wasm.minisig"), "{said} {complained}");
    let (code, report) = validated(&setup, &file, &[]).await;
    assert_eq!((code, &report["signature"]), (Some(0), &json!(format!("by {public}"))), "{report}");

    // The grants are part of it.
    let wider = Setup { config: setup.config.replace("clearance = \"internal\"", "clearance = \"restricted\""), ..setup };
    let (code, report) = validated(&wider, &file, &[]).await;
    assert!(code == Some(1) && report["complaints"].to_string().contains("was made for another grants"), "{report}");
    // So is the component.
    let setup = Setup { config: wider.config.replace("clearance = \"restricted\"", "clearance = \"internal\""), ..wider };
    std::fs::copy(guests::corpus().join("panics.wasm"), &file).unwrap();
    let (_, report) = validated(&setup, &file, &[]).await;
    assert!(report["complaints"].to_string().contains("was made for another id and component and manifest"), "{report}");
    // And who signs it.
    std::fs::copy(guests::corpus().join("steady.wasm"), &file).unwrap();
    let other = KeyPair::generate_unencrypted_keypair().unwrap().pk.to_base64();
    let stranger = Setup { config: setup.config.replace(&public, &other), ..setup };
    let (code, report) = validated(&stranger, &file, &[]).await;
    assert!(code == Some(1) && report["complaints"].to_string().contains("is by a key that is not trusted"), "{report}");

    let nobody = Setup::bare().and("[agents]\nrequire_signature = true\n");
    let (code, _, complained) = output(&mut nobody.command(&["agents"])).await;
    assert!(code == Some(2) && complained.contains("nobody is trusted, so no agent could serve"), "{complained}");
}

#[tokio::test]
async fn the_shipped_grants_are_for_the_agents_that_ship() {
    let setup = Setup::bare();
    let folder = guests::with(&[], setup.folder.path());
    // Another component that says it is the note-maker: the same, with something added that nothing reads.
    let mut other = std::fs::read(folder.join("note-maker.wasm")).unwrap();
    other.extend([0, 5, 4, b'm', b'i', b'n', b'e']);
    std::fs::write(folder.join("note-maker.wasm"), &other).unwrap();
    let setup = setup.agents(folder.clone());
    let (code, report) = validated(&setup, &folder.join("note-maker.wasm"), &[]).await;
    let complaints = report["complaints"].to_string();
    assert!(
        code == Some(1) && complaints.contains("bears the name of a bundled agent") && complaints.contains("[grants.note-maker]"),
        "{report}"
    );
    let own = setup.and("[grants.note-maker]\nclearance = \"internal\"\n");
    let (code, report) = validated(&own, &folder.join("note-maker.wasm"), &[]).await;
    assert_eq!(code, Some(0), "{report}");
}

/// What served before does not serve on from the database once nobody stands for it, or its grants are gone.
#[tokio::test]
async fn what_nobody_stands_for_any_more_does_not_serve_after_a_restart() {
    let setup = Setup::bare().and("[grants.steady]\n");
    let agents = guests::with(&["steady"], setup.folder.path());
    let host = setup.agents(agents).start().await;
    assert_eq!(host.get("/agents/steady").await.0, 200);
    let setup = host.kill().await;
    let trusted = KeyPair::generate_unencrypted_keypair().unwrap().pk.to_base64();
    let config = format!("{}[agents]\nrequire_signature = true\ntrusted_keys = [\"{trusted}\"]\n", setup.config);
    let host = Setup { config, ..setup }.start().await;
    assert_eq!(host.get("/agents/steady").await.0, 404);
    let (status, ready) = host.get("/readyz").await;
    assert_eq!((status, &ready["agents"]), (503, &json!([])), "{ready}");
}

#[tokio::test]
async fn an_agent_does_not_go_back_to_what_was_revoked() {
    let setup = Setup::bare()
        .and("[grants.scripted]\nmodels = [\"local-p40\"]\nvault_read = [\"**\"]\nvault_write = [\"**\"]\ntools = [\"*\"]\n");
    let agents = guests::with(&["scripted"], setup.folder.path());
    let first = host::id::digest(&std::fs::read(agents.join("scripted.wasm")).unwrap());
    let host = setup.agents(agents).start().await;
    std::fs::copy(guests::corpus().join("rescripted.wasm"), host.setup.agents.join("scripted.wasm")).unwrap();
    let (status, _) = host.post("/agents/reload", "").await;
    assert_eq!(status, 200);
    let (code, _, complained) = output(&mut host.setup.command(&["agents", "revoke", &first])).await;
    assert_eq!(code, Some(0), "{complained}");
    for arguments in [&["agents", "rollback", "scripted"][..], &["agents", "rollback", "scripted", &first]] {
        let (code, said, complained) = output(&mut host.setup.command(arguments)).await;
        assert_eq!(code, Some(1), "{said}");
        assert!(complained.contains("no other component that may serve") || complained.contains("was revoked"), "{complained}");
    }
}
