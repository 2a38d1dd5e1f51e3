//! What may not happen before a person has said so: asked about, consented to, done once, shown with its result.

use serde_json::{Value, json};

use crate::support::fake::Protocol;
use crate::support::fake_sinks::Services;
use crate::support::ground::{Ground, Store, on_both_grounds};
use crate::support::mcp::Counting;
use crate::support::{Host, Setup, guests};

/// The host that asked is gone: another one on the same database takes the word, also by a link that the first one sent.
#[tokio::test]
async fn another_host_goes_on_with_what_was_asked() {
    let (tools, services) = (Counting::start().await, Services::start().await);
    let ground = Ground { store: Store::Postgres, protocol: Protocol::Openai };
    let mut first = setup(ground, &tools, &services.config()).await;
    first.variables.extend(Services::variables());
    let mut second = setup(ground, &tools, &services.config()).await;
    second.database.clone_from(&first.database);
    second.variables.extend(Services::variables());
    let first = first.start().await;
    let id = first.submit(calls("peek\ncount {\"n\":1}")).await;
    first.task(&id, "awaiting_approval").await;
    let messages = services.taken_so_many(2).await;
    first.kill().await;
    let second = second.start().await;
    let text = messages.iter().find(|message| message["service"] == "zulip").unwrap()["content"].as_str().unwrap().to_owned();
    let (_, rest) = text.split_once("[Approve](").unwrap();
    let form = rest.split_once(')').unwrap().0.split_once('?').unwrap().1.to_owned();
    let post = second.request(reqwest::Method::POST, "/approval").header("content-type", "application/x-www-form-urlencoded");
    assert_eq!(post.body(form).send().await.unwrap().status(), 200, "the key is the database's");
    let task = second.task(&id, "done").await;
    assert_eq!((told(&task).len(), tools.counted().len()), (2, 1));
    assert_eq!(
        services.taken().iter().filter(|message| message.to_string().contains("needs approval")).count(),
        2,
        "asked once each"
    );
}

on_both_grounds![
    a_call_waits_for_a_word_and_is_made_once_exactly_as_it_stood,
    a_no_is_told_to_the_agent_and_nothing_happens,
    a_d_takes_two_words_through_two_channels,
    a_question_that_is_put_off_waits_longer_and_says_so,
    a_question_that_nobody_answers_ends_its_task_and_nothing_happens,
    a_word_that_is_said_twice_or_too_late_changes_nothing,
    a_question_survives_a_restart,
    a_plan_is_asked_about_before_it_begins,
];

/// A host with the guest `caller`; `count` is C with an undo, `wipe` is D.
async fn asking(ground: Ground, tools: &Counting, more: &str) -> Host {
    setup(ground, tools, more).await.start().await
}

pub(crate) async fn setup(ground: Ground, tools: &Counting, more: &str) -> Setup {
    let rule = "[[mcp.rules]]\ntools = \"count\"\nuntrusted = false\nclass = \"C\"\nundo = { tool = \"count_once\", args = { n = \"{/n}\" } }\n";
    let config = tools.config().replacen("[[mcp.rules]]", &format!("{rule}[[mcp.rules]]"), 1);
    let setup =
        ground.bare().await.and(&config).and("[grants.caller]\ntools = [\"*\"]\n[grants.plans]\napprovals = true\n").and(more);
    let agents = guests::with(&["caller", "plans"], setup.folder.path());
    // The reporter would ask a model: the caller's own answer is what is looked at.
    std::fs::remove_file(agents.join("reporter.wasm")).unwrap();
    setup.agents(agents)
}

pub(crate) fn calls(lines: &str) -> Value {
    json!({ "target_agent": "caller", "content": lines, "retry_policy": { "max_attempts": 1 } })
}

pub(crate) fn told(task: &Value) -> Vec<String> {
    task["hops"][0]["outcome"]["text"].as_str().unwrap().lines().map(str::to_owned).collect()
}

/// The one question that waits.
pub(crate) async fn question(host: &Host) -> Value {
    let (status, all) = host.get("/approvals").await;
    assert_eq!(status, 200, "{all}");
    let [only] = all["approvals"].as_array().unwrap().as_slice() else { panic!("{all:#}") };
    only.clone()
}

pub(crate) async fn say(host: &Host, id: &Value, reaction: &str) -> (u16, Value) {
    host.post(&format!("/approvals/{}", id.as_str().unwrap()), json!({ "reaction": reaction }).to_string()).await
}

async fn a_call_waits_for_a_word_and_is_made_once_exactly_as_it_stood(ground: Ground) {
    let tools = Counting::start().await;
    let host = asking(ground, &tools, "").await;
    let id = host.submit(calls("peek\ncount {\"n\": 2.0, \"note\": \"ü\"}\npeek")).await;
    let waits = host.task(&id, "awaiting_approval").await;
    assert_eq!(waits["waits_for"], "call 1.1.2 of `caller` (`count`, class C) waits for a person's consent");
    assert_eq!((waits["attempts"].as_i64(), tools.counted().len()), (Some(0), 0));
    assert_eq!(waits["timeline"][2]["state"], "asked", "{waits:#}");
    let asked = question(&host).await;
    assert_eq!(asked["kind"], "call");
    assert_eq!(asked["request"], json!({ "tool": "count", "arguments": { "n": 2, "note": "ü" } }), "as it would be sent");
    assert_eq!((&asked["class"], &asked["needs"], &asked["why"]), (&json!("C"), &json!(1), &json!("the task says so")));
    assert_eq!((&asked["undo"], &asked["undo_by"]), (&json!("count_once {\"n\":2}"), &json!("rule")));
    assert_eq!((&asked["requester"], &asked["agent"]), (&json!("rob"), &json!("caller")));
    let (status, said) = say(&host, &asked["id"], "approve").await;
    assert_eq!((status, &said["status"], &said["reaction"]), (200, &json!("decided"), &json!("approve")), "{said}");
    let task = host.task(&id, "done").await;
    assert_eq!(told(&task), ["Tier::Internal: 0 counted", "Tier::Internal: 1 counted", "Tier::Internal: 1 counted"]);
    assert_eq!(tools.counted()[0]["arguments"], json!({ "n": 2, "note": "ü" }));
    assert_eq!((tools.counted().len(), task["hops"][0]["run"].as_i64()), (1, Some(1)), "it went on where it was");
    assert_eq!(host.get("/approvals").await.1["approvals"], json!([]));
}

async fn a_no_is_told_to_the_agent_and_nothing_happens(ground: Ground) {
    let tools = Counting::start().await;
    let host = asking(ground, &tools, "").await;
    let id = host.submit(calls("count {\"n\":1}\npeek")).await;
    host.task(&id, "awaiting_approval").await;
    let asked = question(&host).await;
    assert_eq!(say(&host, &asked["id"], "reject").await.0, 200);
    let lines = told(&host.task(&id, "done").await);
    assert!(lines[0].contains("approval_denied") && lines[0].contains("rob"), "{lines:?}");
    assert_eq!((lines[1].as_str(), tools.counted().len()), ("Tier::Internal: 0 counted", 0));
}

async fn a_d_takes_two_words_through_two_channels(ground: Ground) {
    let tools = Counting::start().await;
    let token = |name: &str| format!("[[auth.tokens]]\nname = \"{name}\"\nenv = \"TOKEN_{name}\"\nrole = \"operator\"\n");
    let mut setup = setup(ground, &tools, &(token("A") + &token("B"))).await;
    setup.variables.insert("TOKEN_A", "the first token".into());
    setup.variables.insert("TOKEN_B", "the second token".into());
    let mut host = setup.start().await;
    host.token = Some("the first token".into());
    let id = host.submit(calls("wipe")).await;
    host.task(&id, "awaiting_approval").await;
    let asked = question(&host).await;
    assert_eq!((&asked["class"], &asked["needs"], &asked["undo"]), (&json!("D"), &json!(2), &json!(null)));
    let (status, said) = say(&host, &asked["id"], "approve").await;
    assert_eq!(
        (status, &said["status"], &said["yes"]),
        (200, &json!("open"), &json!([{ "actor": "A", "channel": "A" }])),
        "{said}"
    );
    let (status, said) = say(&host, &asked["id"], "approve").await;
    assert_eq!((status, &said["error"]["code"]), (409, &json!("same_channel")), "{said}");
    assert_eq!(tools.counted().len(), 0);
    host.token = Some("the second token".into());
    assert_eq!(say(&host, &asked["id"], "approve").await.0, 200);
    host.task(&id, "done").await;
    assert_eq!(tools.counted().len(), 1);
}

async fn a_question_that_is_put_off_waits_longer_and_says_so(ground: Ground) {
    let tools = Counting::start().await;
    let host = asking(ground, &tools, "").await;
    let id = host.submit(calls("count {\"n\":1}")).await;
    host.task(&id, "awaiting_approval").await;
    let before = question(&host).await;
    let (status, after) = say(&host, &before["id"], "defer").await;
    assert_eq!((status, &after["status"]), (200, &json!("open")), "{after}");
    let at = |time: &Value| time.as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    let hours = |later: &Value, earlier: &Value| (at(later) - at(earlier)).total(jiff::Unit::Hour).unwrap().round();
    assert_eq!(hours(&after["expires_at"], &before["expires_at"]), 4.0);
    assert_eq!(hours(&before["expires_at"], &before["created_at"]), 24.0);
    assert_eq!(hours(&after["silent_until"], &before["created_at"]), 4.0);
    assert_eq!(say(&host, &before["id"], "approve").await.0, 200);
    host.task(&id, "done").await;
    assert_eq!(tools.counted().len(), 1);
}

async fn a_question_that_nobody_answers_ends_its_task_and_nothing_happens(ground: Ground) {
    let tools = Counting::start().await;
    let host = asking(ground, &tools, "[approvals]\nttl = \"1s\"\n").await;
    let id = host.submit(calls("count {\"n\":1}")).await;
    let task = host.task(&id, "expired").await;
    assert_eq!(task["error"]["code"], "approval_expired", "{task}");
    assert_eq!((tools.counted().len(), &task["approvals"][0]["status"]), (0, &json!("closed")));
    let (status, said) = say(&host, &task["approvals"][0]["id"], "approve").await;
    assert_eq!(status, 409, "{said}");
    assert_eq!(tools.counted().len(), 0);
}

async fn a_word_that_is_said_twice_or_too_late_changes_nothing(ground: Ground) {
    let tools = Counting::start().await;
    let host = asking(ground, &tools, "").await;
    let id = host.submit(calls("count {\"n\":1}\ncount {\"n\":2}")).await;
    host.task(&id, "awaiting_approval").await;
    let first = question(&host).await;
    // Of two at once, one counts.
    let (one, other) = futures::join!(say(&host, &first["id"], "approve"), say(&host, &first["id"], "approve"));
    let mut codes = [one.0, other.0];
    codes.sort_unstable();
    assert_eq!(codes, [200, 409], "{one:?} {other:?}");
    host.task(&id, "awaiting_approval").await;
    assert_eq!(say(&host, &first["id"], "reject").await.0, 409);
    for (reaction, expected) in [("retry", 422), ("done", 422), ("yes", 422)] {
        let second = question(&host).await;
        assert_eq!(say(&host, &second["id"], reaction).await.0, expected, "{reaction}");
    }
    let (status, _) = host.post(&format!("/tasks/{id}/cancel"), "").await;
    assert_eq!(status, 200);
    let task = host.get(&format!("/tasks/{id}")).await.1;
    assert_eq!(say(&host, &task["approvals"][1]["id"], "approve").await.0, 409);
    assert_eq!(tools.counted().len(), 1, "what was consented to, and nothing more");
}

async fn a_question_survives_a_restart(ground: Ground) {
    let tools = Counting::start().await;
    let host = asking(ground, &tools, "").await;
    let id = host.submit(calls("peek\ncount {\"n\":1}")).await;
    host.task(&id, "awaiting_approval").await;
    let host = host.kill().await.start().await;
    let asked = question(&host).await;
    assert_eq!(say(&host, &asked["id"], "approve").await.0, 200);
    let task = host.task(&id, "done").await;
    assert_eq!((told(&task).len(), tools.counted().len()), (2, 1));
}

async fn a_plan_is_asked_about_before_it_begins(ground: Ground) {
    let tools = Counting::start().await;
    let host = asking(ground, &tools, "").await;
    for (reaction, said) in [("approve", "approved"), ("reject", "denied")] {
        let id = host.submit(json!({ "target_agent": "plans", "content": "move the house" })).await;
        host.task(&id, "awaiting_approval").await;
        let asked = question(&host).await;
        assert_eq!((&asked["call"], &asked["class"], &asked["undo_by"]), (&json!("approvals.ask"), &json!("C"), &json!("agent")));
        assert_eq!(asked["request"]["summary"], "move the house");
        assert_eq!(say(&host, &asked["id"], reaction).await.0, 200);
        assert_eq!(told(&host.task(&id, "done").await), [said]);
    }
}
