//! Agents in other languages than ours: they are judged like any other, and work.

use serde_json::{Value, json};

use super::cli::output;
use crate::support::fake::Order;
use crate::support::foreign;
use crate::support::ground::{Ground, on_both_grounds};

on_both_grounds![agents_in_python_and_javascript_are_accepted_and_work];

async fn agents_in_python_and_javascript_are_accepted_and_work(ground: Ground) {
    let files = tokio::task::spawn_blocking(|| [foreign::python(), foreign::javascript()]).await.unwrap();
    let model = ground.model().await;
    let grants = ["py-greeter", "js-greeter"].map(|id| {
        format!("[grants.{id}]\nmodels = [\"local-p40\"]\nvault_write = [\"inbox/drafts/note-*.md\"]\nclearance = \"restricted\"\n")
    });
    let setup = ground.setup(&model).await;
    let config = setup.config.replacen("concurrency = 8\n", "concurrency = 8\nclearance = \"internal\"\n", 1);
    let setup = crate::support::Setup { config, ..setup }.and(&grants.concat());
    let agents = crate::support::guests::with(&[], setup.folder.path());
    for file in &files {
        std::fs::copy(file, agents.join(file.file_name().unwrap())).unwrap();
    }
    let setup = setup.agents(agents);
    // One after the other: what the first has compiled the second finds.
    static ONE_AT_A_TIME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    let turn = ONE_AT_A_TIME.lock().await;
    for file in &files {
        let (code, said, complained) = output(setup.command(&["validate", "--json"]).arg(file)).await;
        let report: Value = serde_json::from_str(&said).unwrap_or_else(|_| panic!("{complained}"));
        assert_eq!((code, &report[0]["accepted"]), (Some(0), &json!(true)), "{report}");
        assert_eq!(report[0]["trials"][0]["outcome"], "answer", "{report}");
        assert!(
            report[0]["imports"].as_array().unwrap().iter().all(|import| import.as_str().unwrap().starts_with("homeaiops:agent/"))
        );
    }
    drop(turn);
    let host = setup.start().await;
    for (id, word) in [("py-greeter", "py"), ("js-greeter", "js")] {
        model.order([Order::Say("Welcome, Zoë!".into())]);
        let task = host.done(json!({ "target_agent": id, "content": "greet the new neighbour" })).await;
        assert_eq!(task["hops"][0]["outcome"]["text"], format!("{word} says: Welcome, Zoë!"));
        let note = host.note(task["artefacts"][0]["path"].as_str().unwrap());
        assert!(
            note.contains("kind: greeting\n") && note.contains(&format!("agent: {id}\n")) && note.ends_with("Welcome, Zoë!\n"),
            "{note}"
        );
        assert!(
            host.events("agent_line").iter().any(|line| line["agent"] == id && line["said"].as_str().unwrap().contains("greeting"))
        );
        // What is above the clearance of its model is refused, and the agent says by which rule.
        let task = host.done(json!({ "target_agent": id, "data_tier": "restricted" })).await;
        let told = task["hops"][0]["outcome"]["text"].as_str().unwrap();
        assert!(told.starts_with("refused: clearance"), "{told}");
    }
}
