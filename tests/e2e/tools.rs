//! Agents that look at the world and act on it: through one gateway, within their grant, and no further than they may go unasked.

use serde_json::{Value, json};

use super::traces::sends_to;
use crate::support::collector::Collector;
use crate::support::fake::Protocol;
use crate::support::ground::{Ground, Store, on_both_grounds};
use crate::support::mcp::real::Real;
use crate::support::mcp::{Counting, Order};
use crate::support::{Host, Setup, guests};

on_both_grounds![
    an_agent_looks_through_a_granted_tool_and_answers,
    a_tool_that_is_not_granted_is_denied_by_its_pattern,
    where_nobody_can_be_asked_a_call_is_refused_with_the_edit_that_lowers_it,
    what_lies_lifts_what_follows,
    bad_arguments_are_refused_before_anything_is_sent,
    several_calls_take_the_time_of_the_slowest_and_keep_their_order,
    a_task_waits_for_a_server_that_is_away_and_goes_on,
    a_call_that_was_not_let_in_is_made_again_and_happens_once,
    a_call_whose_answer_was_lost_is_never_made_again,
    a_call_that_takes_too_long_is_given_up,
    a_catalogue_that_cannot_be_read_is_not_an_empty_one,
    a_lost_session_is_made_anew,
    a_result_above_its_cap_is_cut_and_says_so,
    results_raise_the_label_and_arguments_obey_it,
];

/// A host with the guest `caller`, its grant, and a gateway.
async fn calling(ground: Ground, config: &str) -> Host {
    let setup = ground.bare().await.and(config).and("[grants.caller]\ntools = [\"*\"]\nclearance = \"restricted\"\n");
    let agents = guests::with(&["caller"], setup.folder.path());
    // The reporter would ask a model: the caller's own answer is what is looked at.
    std::fs::remove_file(agents.join("reporter.wasm")).unwrap();
    setup.agents(agents).start().await
}

fn calls(lines: &str) -> Value {
    json!({ "target_agent": "caller", "content": lines, "retry_policy": { "max_attempts": 1 } })
}

/// What the caller was told, line by line.
fn told(task: &Value) -> Vec<&str> {
    task["hops"][0]["outcome"]["text"].as_str().unwrap().lines().collect()
}

/// Runs the lines to their end.
async fn said(host: &Host, lines: &str) -> Vec<String> {
    let task = host.done(calls(lines)).await;
    told(&task).into_iter().map(str::to_owned).collect()
}

async fn an_agent_looks_through_a_granted_tool_and_answers(ground: Ground) {
    let tools = Counting::start().await;
    tools.demand("let me in");
    let setup = ground.bare().await.and(&tools.config().replace("[mcp]\n", "[mcp]\ntoken_env = \"MCP_TOKEN\"\n"));
    let setup = setup.and("[grants.caller]\ntools = [\"*\"]\n");
    let agents = guests::with(&["caller"], setup.folder.path());
    std::fs::remove_file(agents.join("reporter.wasm")).unwrap();
    let mut setup = setup.agents(agents);
    setup.variables.insert("MCP_TOKEN", "let me in".into());
    let host = setup.start().await;
    let task = host.done(calls("search counted\nmatching count*\npeek\ncount {\"n\":1}\npeek\nerrs")).await;
    assert_eq!(
        told(&task),
        [
            "peek Class::A".replace("Class", "ActionClass"),
            "count ActionClass::B, count_once ActionClass::B".into(),
            "Tier::Internal: 0 counted".into(),
            "Tier::Internal: 1 counted".into(),
            "Tier::Internal: 1 counted".into(),
            "error Tier::Internal: it broke".into(),
        ]
    );
    let counted = tools.counted();
    assert_eq!((&counted[0]["tool"], &counted[0]["arguments"]), (&json!("count"), &json!({ "n": 1 })));
    assert_eq!(counted[0]["key"].as_str().map(str::len), Some(64), "{counted:?}");
    assert_eq!((counted.len(), tools.listed()), (1, 1), "the catalogue is read once");
    let (_, metrics) = host.get("/metrics").await;
    let metrics = metrics.as_str().unwrap();
    assert!(metrics.contains("langgraph_tool_calls_total{agent=\"caller\",tool=\"peek\",outcome=\"ok\"} 2"), "{metrics}");
    assert!(metrics.contains("langgraph_tool_calls_total{agent=\"caller\",tool=\"errs\",outcome=\"error\"} 1"), "{metrics}");
    assert!(metrics.contains("langgraph_tool_duration_seconds"), "{metrics}");
    let (_, ready) = host.get("/readyz").await;
    assert_eq!(ready["gateway"], "up", "{ready}");
}

async fn a_tool_that_is_not_granted_is_denied_by_its_pattern(ground: Ground) {
    let tools = Counting::start().await;
    let grants = "[grants.meddles]\ntools = [\"*\"]\n[grants.caller]\ntools = [\"peek\"]\n";
    let setup = ground.bare().await.and(&tools.config()).and(grants);
    let agents = guests::with(&["meddles", "caller"], setup.folder.path());
    std::fs::remove_file(agents.join("reporter.wasm")).unwrap();
    let host = setup.agents(agents).start().await;
    let task = host.done(json!({ "target_agent": "meddles" })).await;
    let lines = told(&task);
    for (line, tool) in lines.iter().zip(["wipe", "count"]) {
        assert!(line.contains(&format!("tools does not cover `{tool}`")), "{lines:?}");
        assert!(line.contains(&format!("add \"{tool}\" to `tools` in `wants` in agent.toml of meddles")), "{lines:?}");
    }
    assert_eq!((lines[2], lines[9]), ("0 counted", "peek"), "what it is granted, it may use and see");
    for (line, tool) in lines[3..9].iter().zip(["PEEK", "peek2", "pee", "peek ", "*", "p*"]) {
        assert!(line.contains(&format!("tools does not cover `{tool}`")), "{line}");
    }
    assert_eq!(tools.called().len(), 1);
    // One that asks for more than it is granted does not serve at all.
    let (_, shown) = host.get("/agents").await;
    assert!(shown["rejected"].to_string().contains("wants tools `*`: add \\\"*\\\" to `tools` in [grants.caller]"), "{shown}");
}

async fn where_nobody_can_be_asked_a_call_is_refused_with_the_edit_that_lowers_it(ground: Ground) {
    let tools = Counting::start().await;
    let config = tools.config().replace("{peek,large}", "peek").replace("{count,hangs,cuts,errs}", "{count,hangs}");
    let host = calling(ground, &config).await;
    let lines = said(&host, "all wipe {}\nall large {\"bytes\":1}\nall peek {} | wipe {} | cuts {\"n\":1}\nnone {}").await;
    for (line, parts) in
        lines.iter().zip([
            &[
                "approval_in_batch",
                "`wipe` is class D",
                "its server says that it destroys",
                "no rule says how to undo it",
                "args = ",
            ][..],
            &[
                "approval_in_batch",
                "`large` is class D",
                "no rule says anything about it",
                "[[mcp.rules]] tools = \"large\", class = \"B\"",
            ],
            &["Tier::Internal: 0 counted"],
            &["approval_in_batch", "`wipe` is class D"],
            &["approval_in_batch", "`cuts` is class D"],
            &["there is no tool `none`"],
        ])
    {
        assert!(parts.iter().all(|part| line.contains(part)), "{parts:?}: {line}");
    }
    assert_eq!(tools.called().len(), 1, "only the look was sent");
    let denied: Vec<Value> = host.events("call_denied").iter().map(|line| line["rule"].clone()).collect();
    assert_eq!(denied.iter().filter(|rule| **rule == "approval_in_batch").count(), 4, "{denied:?}");

    // The edit that it names does what it says.
    let rule = "[[mcp.rules]]\ntools = \"large\"\nclass = \"B\"\n";
    let setup = host.kill().await;
    let config = setup.config.replace("[grants.caller]", &format!("{rule}[grants.caller]"));
    let host = Setup { config, ..setup }.start().await;
    assert_eq!(said(&host, "large {\"bytes\":1}").await, ["Tier::Internal: x"]);
}

async fn what_lies_lifts_what_follows(ground: Ground) {
    let tools = Counting::start().await;
    let config = tools.config().replacen("untrusted = false\nclass = \"A\"", "class = \"A\"", 1);
    let host = calling(ground, &config).await;
    let lines = said(&host, "count {\"n\":1}\npeek\npeek\nall count {\"n\":2}").await;
    assert!(lines[3].contains("approval_in_batch") && lines[3].contains("lifts B to C"), "{lines:?}");
    assert_eq!((tools.counted().len(), tools.called().len()), (1, 3), "it may look on");
    assert_eq!(said(&host, "count {\"n\":2}").await, ["Tier::Internal: 2 counted"], "another task has not read it");
}

async fn bad_arguments_are_refused_before_anything_is_sent(ground: Ground) {
    let tools = Counting::start().await;
    let host = calling(ground, &tools.config()).await;
    let lines = said(&host, "count {\"n\":\"one\"}\ncount {}\ncount {\"n\":1,\"n\":2}\ncount {\"n\":1\ncount [1]\ncount {\"n\":-1}\ncount {\"n\":1,\"x\":1}\ncount {\"n\":9007199254740993}\ncount {\"n\":2.0}").await;
    for (line, part) in lines.iter().zip([
        "the argument at `/n` of `count`",
        "the arguments of `count`: \"n\" is a required property",
        "the key `n` is there twice",
        "no JSON",
        "must be a JSON object",
        "the argument at `/n`",
        "the arguments of `count`",
        "write it as a string",
        "Tier::Internal: 1 counted",
    ]) {
        assert!(line.contains(part), "{part}: {line}");
    }
    let counted = tools.counted();
    assert_eq!((counted.len(), &counted[0]["arguments"]), (1, &json!({ "n": 2 })), "in its canonical form");
}

async fn several_calls_take_the_time_of_the_slowest_and_keep_their_order(ground: Ground) {
    let tools = Counting::start().await;
    let host = calling(ground, &tools.config()).await;
    let id = host.submit(calls("all hangs {\"n\":1} | peek {} | hangs {\"n\":2} | count {} | count {\"n\":3}")).await;
    // All are under way before one is answered: in turn, the first would keep the others.
    tools.called_so_many(4).await;
    tools.counted_so_many(3).await;
    tools.release();
    let task = host.task(&id, "done").await;
    let lines = told(&task);
    assert!(lines[0].ends_with("counted") && lines[2].ends_with("counted") && lines[4].ends_with("counted"), "{lines:?}");
    assert!(lines[3].contains("required property"), "{lines:?}");
    let order: Vec<i64> = tools.counted().iter().map(|call| call["arguments"]["n"].as_i64().unwrap()).collect();
    assert_eq!(order.len(), 3);
    let refs: Vec<&str> = task["timeline"].as_array().unwrap().iter().map(|entry| entry["ref"].as_str().unwrap()).collect();
    assert_eq!(refs.len(), 6, "each is an entry of its own: {refs:?}");
}

async fn a_task_waits_for_a_server_that_is_away_and_goes_on(ground: Ground) {
    let tools = Counting::start().await;
    tools.away(true);
    let host = calling(ground, &tools.config()).await;
    let id = host.submit(calls("peek\ncount {\"n\":1}")).await;
    let parked = host.task(&id, "awaiting_backend").await;
    assert_eq!(parked["attempts"], 0);
    assert!(parked["waits_for"].as_str().unwrap().contains(&format!("the tool gateway at {}", tools.url())), "{parked}");
    let (status, ready) = host.get("/readyz").await;
    assert_eq!((status, &ready["gateway"]), (200, &json!("down")));
    assert!(ready["degraded"].to_string().contains("gateway"), "{ready}");
    tools.away(false);
    let task = host.task(&id, "done").await;
    assert_eq!(told(&task), ["Tier::Internal: 0 counted", "Tier::Internal: 1 counted"]);
    assert_eq!(tools.counted().len(), 1);
    host.logged("backend_back").await;
}

async fn a_call_that_was_not_let_in_is_made_again_and_happens_once(ground: Ground) {
    let tools = Counting::start().await;
    let host = calling(ground, &tools.config()).await;
    assert_eq!(said(&host, "peek").await.len(), 1);
    // Turned away: nothing was done, whatever the call would do.
    tools.order([Order::Status(429)]);
    let id = host.submit(calls("count {\"n\":1}")).await;
    host.task(&id, "awaiting_backend").await;
    assert_eq!(told(&host.task(&id, "done").await), ["Tier::Internal: 1 counted"]);
    // Broken: nobody knows, and the receiver knows the key again.
    tools.order([Order::Cut, Order::Cut]);
    let id = host.submit(calls("count_once {\"n\":2}")).await;
    host.task(&id, "awaiting_backend").await;
    assert_eq!(told(&host.task(&id, "done").await), ["Tier::Internal: 2 counted"]);
    let keys: Vec<Value> = tools.called().into_iter().skip(3).map(|mut call| call["key"].take()).collect();
    assert_eq!(keys.len(), 3);
    assert!(keys.iter().all(|key| *key == keys[0]), "the same key, however often it is sent: {keys:?}");
    assert_eq!(tools.counted().len(), 2);
}

async fn a_call_whose_answer_was_lost_is_never_made_again(ground: Ground) {
    let tools = Counting::start().await;
    let host = calling(ground, &tools.config()).await;
    for line in ["cuts {\"n\":1}", "all peek {} | cuts {\"n\":2}"] {
        let id = host.submit(calls(line)).await;
        let task = host.task(&id, "awaiting_approval").await;
        assert!(task["waits_for"].as_str().unwrap().contains("may or may not have happened"), "{task}");
    }
    assert_eq!(tools.counted().len(), 2);
    let host = host.kill().await.start().await;
    said(&host, "peek").await;
    assert_eq!(tools.counted().len(), 2);
}

async fn a_call_that_takes_too_long_is_given_up(ground: Ground) {
    let tools = Counting::start().await;
    let host = calling(ground, &tools.config().replace("[mcp]\n", "[mcp]\ncall_s = 1\n")).await;
    let id = host.submit(calls("hangs {\"n\":1}")).await;
    host.task(&id, "awaiting_approval").await;
    tools.order([Order::Hang]);
    let id = host.submit(calls("peek")).await;
    let parked = host.task(&id, "awaiting_backend").await;
    assert!(parked["waits_for"].as_str().unwrap().contains("no answer came within 1 s"), "{parked}");
    assert_eq!(told(&host.task(&id, "done").await), ["Tier::Internal: 1 counted"]);
}

async fn a_catalogue_that_cannot_be_read_is_not_an_empty_one(ground: Ground) {
    let tools = Counting::start().await;
    tools.catalogue_fails(Some(500));
    let host = calling(ground, &tools.config()).await;
    let id = host.submit(calls("search many")).await;
    host.task(&id, "awaiting_backend").await;
    tools.catalogue_fails(None);
    let task = host.task(&id, "done").await;
    assert!(told(&task)[0].contains("peek"), "{task}");
    // It was read once, and is kept.
    tools.catalogue_fails(Some(500));
    assert_eq!(said(&host, "search many\npeek").await[1], "Tier::Internal: 0 counted");
}

async fn a_lost_session_is_made_anew(ground: Ground) {
    let tools = Counting::start().await;
    let host = calling(ground, &tools.config()).await;
    said(&host, "count {\"n\":1}").await;
    tools.forget();
    assert_eq!(said(&host, "count {\"n\":2}\npeek").await, ["Tier::Internal: 2 counted"; 2]);
    assert_eq!(tools.counted().len(), 2);
}

async fn a_result_above_its_cap_is_cut_and_says_so(ground: Ground) {
    let tools = Counting::start().await;
    let host = calling(ground, &tools.config()).await;
    let task = host.done(calls("large {\"bytes\":3000000}")).await;
    let lines = told(&task);
    assert!(lines[0].len() < 20_000, "a quarter of what its journal may hold");
    assert!(lines[1].starts_with("[cut: 16384 of 3000000 bytes are told]"), "{}", lines[1]);
}

async fn results_raise_the_label_and_arguments_obey_it(ground: Ground) {
    let tools = Counting::start().await;
    let config = tools.config().replacen("class = \"A\"", "class = \"A\"\ntier = \"restricted\"\nclearance = \"restricted\"", 1);
    let host = calling(ground, &config).await;
    let task = host.done(calls("count {\"n\":1}\npeek\ncount {\"n\":2}\npeek")).await;
    let lines = told(&task);
    assert_eq!(
        (lines[0], lines[1], lines[3]),
        ("Tier::Internal: 1 counted", "Tier::Restricted: 1 counted", "Tier::Restricted: 1 counted")
    );
    assert!(lines[2].contains("clearance: the run has read restricted data and `count` is cleared for internal only"), "{lines:?}");
    assert_eq!((task["label"].as_str(), tools.counted().len()), (Some("restricted"), 1));
    let sealed = host.submit(json!({ "target_agent": "caller", "content": "count {\"n\":3}", "data_tier": "restricted" })).await;
    host.task(&sealed, "done").await;
    assert_eq!(tools.counted().len(), 1, "a restricted task sends nothing to a tool that is not cleared");
}

#[tokio::test]
async fn a_call_of_a_tool_is_a_span_of_its_own() {
    let (collector, tools) = (Collector::over_http().await, Counting::start().await);
    let ground = Ground { store: Store::Sqlite, protocol: Protocol::Openai };
    let host = calling(ground, &format!("{}{}", tools.config(), sends_to(&collector, "http"))).await;
    said(&host, "peek\ncount {\"n\":1,\"note\":\"canary-4711\"}").await;
    let has = |lines: &[String], name: &str| lines.iter().any(|line| line.contains(name) && line.contains("gen_ai.tool.name"));
    collector.until(|lines| has(lines, "execute_tool peek") && has(lines, "execute_tool count")).await;
    assert!(!collector.lines().concat().contains("canary-4711"), "arguments are content");
}

#[tokio::test]
async fn the_reference_server_serves_and_may_restart() {
    let server = Real::everything().await;
    let rules = "[[mcp.rules]]\ntools = \"*\"\nclass = \"A\"\nuntrusted = false\n";
    let setup = Setup::bare().and(&format!("[mcp]\nurl = \"{}\"\n{rules}[grants.caller]\ntools = [\"*\"]\n", server.url()));
    let agents = guests::with(&["caller"], setup.folder.path());
    std::fs::remove_file(agents.join("reporter.wasm")).unwrap();
    let host = setup.agents(agents).start().await;
    let lines = said(&host, "echo {\"message\":\"hello\"}\nget-sum {\"a\":2,\"b\":3}\necho {\"message\":1}").await;
    assert!(lines[0].contains("hello") && lines[1].contains('5') && lines[2].contains("`/message`"), "{lines:?}");
    let port = server.kill().await;
    let _server = Real::everything_at(port).await;
    assert!(said(&host, "echo {\"message\":\"again\"}").await[0].contains("again"));
}

#[tokio::test]
async fn a_server_of_the_newest_revision_serves_and_its_own_errors_are_told() {
    let server = Real::python().await;
    let config = format!("[mcp]\nurl = \"{}\"\ntrusted = true\n[grants.caller]\ntools = [\"*\"]\n", server.url());
    let setup = Setup::bare().and(&config);
    let agents = guests::with(&["caller"], setup.folder.path());
    std::fs::remove_file(agents.join("reporter.wasm")).unwrap();
    let host = setup.agents(agents).start().await;
    let lines = said(&host, "search adds numbers\nall add {\"a\":2,\"b\":3} | breaks {} | add {\"a\":1}").await;
    assert_eq!((lines[0].as_str(), lines[1].as_str()), ("add ActionClass::A", "Tier::Internal: 5"));
    assert!(lines[2].starts_with("error ") && lines[2].contains("it broke in Python"), "{lines:?}");
    assert!(lines[3].contains("required property"), "{lines:?}");
}
