//! What people are told: once it is on disk, to each service by itself, until the service has it; and what they may answer.

use std::time::Duration;

use serde_json::{Value, json};

use super::approvals::{calls, question, say, setup};
use crate::support::Host;
use crate::support::fake_sinks::{Order, Service, Services};
use crate::support::ground::{Ground, on_both_grounds};
use crate::support::mcp::Counting;
use crate::support::ntfy::{Ntfy, press};

on_both_grounds![
    a_push_asks_and_its_button_answers,
    every_attack_on_a_token_does_nothing_but_say_so,
    a_get_decides_nothing_and_shows_what_will_happen,
    what_a_sink_may_not_see_it_is_not_shown,
    a_sink_that_is_down_delays_its_own_messages_and_nothing_else,
    what_a_service_refuses_is_a_dead_letter_of_the_outbox,
    a_dead_letter_is_pushed_once_with_what_can_be_done,
    a_lapse_tells_its_people_and_does_nothing,
    a_wish_of_the_household_waits_for_the_operator_and_they_hear_of_it,
];

async fn told(ground: Ground, tools: &Counting, services: &Services, more: &str) -> Host {
    let mut setup = setup(ground, tools, &(services.config() + more)).await;
    setup.variables.extend(Services::variables());
    setup.start().await
}

async fn a_push_asks_and_its_button_answers(ground: Ground) {
    let (tools, ntfy) = (Counting::start().await, Ntfy::start().await);
    let host = setup(ground, &tools, &ntfy.config()).await.start().await;
    let id = host.submit(calls("count {\"n\":1}")).await;
    let push = ntfy.messages(1).await.remove(0);
    assert_eq!(push["title"], "Caller needs approval");
    let text = push["message"].as_str().unwrap();
    for part in [
        "You asked: count",
        "Proposed: tools.call",
        "\"n\":1",
        "Class: 🟡 C",
        "Undo: count_once {\"n\":1}",
        "Cost: not known",
        id.as_str(),
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!((&push["tags"], push["actions"].as_array().unwrap().len()), (&json!(["warning"]), 3));
    assert_eq!(press(&push, "Defer 4h", &host.base).await, (200, json!({ "task_id": id, "status": "deferred" })));
    assert_eq!(press(&push, "Approve", &host.base).await, (200, json!({ "task_id": id, "status": "approved" })));
    host.task(&id, "done").await;
    assert_eq!(tools.counted().len(), 1);
    let (status, again) = press(&push, "Approve", &host.base).await;
    assert_eq!((status, &again["error"]["code"]), (409, &json!("spent")), "{again}");
    let (status, late) = press(&push, "Reject", &host.base).await;
    assert_eq!((status, &late["error"]["code"]), (409, &json!("already_decided")), "{late}");
    assert_eq!((tools.counted().len(), ntfy.messages(1).await.len()), (1, 1));
}

/// The body of a button, as its phone would post it.
fn body(push: &Value, label: &str) -> Value {
    let action = push["actions"].as_array().unwrap().iter().find(|action| action["label"] == label).unwrap();
    serde_json::from_str(action["body"].as_str().unwrap()).unwrap()
}

/// `homeaiops.md` §8.8, one by one.
async fn every_attack_on_a_token_does_nothing_but_say_so(ground: Ground) {
    let (tools, ntfy) = (Counting::start().await, Ntfy::start().await);
    let mut host =
        setup(ground, &tools, &(ntfy.config() + "[[auth.tokens]]\nname = \"cli\"\nenv = \"CLI\"\nrole = \"operator\"\n")).await;
    host.variables.insert("CLI", "the only token".into());
    let mut host = host.start().await;
    host.token = Some("the only token".into());
    let first = host.submit(calls("count {\"n\":1}")).await;
    host.task(&first, "awaiting_approval").await;
    let second = host.submit(calls("count {\"n\":2}")).await;
    host.task(&second, "awaiting_approval").await;
    let pushes = ntfy.messages(2).await;
    let (approve, reject, other) = (body(&pushes[0], "Approve"), body(&pushes[0], "Reject"), body(&pushes[1], "Approve"));
    host.token = None;
    let with = |key: &str, value: Value| {
        let mut changed = approve.clone();
        changed[key] = value;
        changed
    };
    let token = approve["approval_token"].as_str().unwrap();
    let longer = token.replacen("ntfy", "cli", 1);
    for (attack, status, code) in [
        (json!({ "task_id": first, "reaction": "approve", "approval_token": "junk", "actor": "rob" }), 401, "forged"),
        (with("approval_token", json!(longer)), 401, "forged"),
        (with("approval_token", json!(&token[..token.len() - 2])), 401, "forged"),
        (with("reaction", json!("reject")), 401, "swapped"),
        (with("actor", json!("renee")), 401, "swapped"),
        (with("task_id", json!(second)), 401, "swapped"),
        (with("approval_token", reject["approval_token"].clone()), 401, "swapped"),
        (with("approval_token", other["approval_token"].clone()), 401, "swapped"),
        (with("approval_token", json!(null)), 422, "schema"),
        (with("and", json!("more")), 422, "schema"),
    ] {
        let (got, answer) = host.post("/approval", attack.to_string()).await;
        assert_eq!((got, &answer["error"]["code"]), (status, &json!(code)), "{attack}");
    }
    host.token = Some("the only token".into());
    for id in [&first, &second] {
        host.task(id, "awaiting_approval").await;
    }
    let (_, metrics) = host.get("/metrics").await;
    for (reason, count) in [("forged", 3), ("swapped", 5)] {
        let line = format!("langgraph_approval_token_refused_total{{reason=\"{reason}\"}} {count}");
        assert!(metrics.as_str().unwrap().contains(&line), "{line}: {metrics}");
    }
    // A token of another host's key, of a task that has ended, and one that was used.
    let asked = question_of(&host, &first).await;
    assert_eq!(say(&host, &asked["id"], "reject").await.0, 200);
    host.task(&first, "done").await;
    host.token = None;
    let (status, answer) = host.post("/approval", approve.to_string()).await;
    assert_eq!((status, &answer["error"]["code"]), (409, &json!("already_decided")), "{answer}");
    assert_eq!(host.post("/approval", other.to_string()).await.0, 200);
    assert_eq!(host.post("/approval", other.to_string()).await.0, 409);
    host.token = Some("the only token".into());
    host.task(&second, "done").await;
    assert_eq!(tools.counted().len(), 1, "only what was consented to");
}

async fn question_of(host: &Host, task: &str) -> Value {
    let (_, all) = host.get("/approvals").await;
    all["approvals"].as_array().unwrap().iter().find(|one| one["task_id"] == task).unwrap_or_else(|| panic!("{all:#}")).clone()
}

/// The page behind a link of a message.
pub(super) fn page(text: &str, label: &str) -> String {
    let (_, rest) = text.split_once(&format!("[{label}](")).unwrap_or_else(|| panic!("no [{label}]: {text}"));
    let url = rest.split_once(')').unwrap().0;
    format!("/{}", url.splitn(4, '/').nth(3).unwrap())
}

async fn a_get_decides_nothing_and_shows_what_will_happen(ground: Ground) {
    let (tools, services) = (Counting::start().await, Services::start().await);
    let host = told(ground, &tools, &services, "").await;
    let id = host.submit(calls("count {\"n\":1, \"note\":\"<b>&\\\"bold\\\"\"}")).await;
    host.task(&id, "awaiting_approval").await;
    let messages = services.taken_so_many(2).await;
    let zulip = messages.iter().find(|message| message["service"] == "zulip").unwrap();
    assert_eq!((&zulip["type"], &zulip["to"]), (&json!("direct"), &json!([8])), "{zulip}");
    let approve = page(zulip["content"].as_str().unwrap(), "Approve");
    for _ in 0..3 {
        let (status, shown) = host.get(&approve).await;
        let shown = shown.as_str().unwrap();
        assert_eq!(status, 200, "{shown}");
        assert!(shown.contains("&lt;b&gt;&amp;") && !shown.contains("<b>"), "what an agent says is text: {shown}");
        assert!(shown.contains("Let this happen?") && shown.contains("<form method=\"post\" action=\"/approval\">"), "{shown}");
    }
    host.task(&id, "awaiting_approval").await;
    assert_eq!(tools.counted().len(), 0);
    let response = host.request(reqwest::Method::GET, &approve).send().await.unwrap();
    let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
    assert!(header("content-security-policy").contains("default-src 'none'"));
    assert_eq!((header("cache-control"), header("referrer-policy")), ("no-store".into(), "same-origin".into()));
    let (status, _) = host.get(&approve.replace("reaction=approve", "reaction=reject")).await;
    assert_eq!(status, 401);
    // The button of the page posts a form.
    let form = approve.split_once('?').unwrap().1.to_owned();
    let post =
        host.request(reqwest::Method::POST, "/approval").header("content-type", "application/x-www-form-urlencoded").body(form);
    let posted = post.send().await.unwrap();
    assert_eq!(posted.status(), 200);
    assert!(posted.text().await.unwrap().contains("Approved. It is being done now."));
    host.task(&id, "done").await;
    assert_eq!(tools.counted().len(), 1);
    assert_eq!(host.get(&approve).await.0, 409, "the link was used");
}

async fn what_a_sink_may_not_see_it_is_not_shown(ground: Ground) {
    let (tools, services) = (Counting::start().await, Services::start().await);
    let config = tools.config().replacen("class = \"A\"", "class = \"A\"\ntier = \"restricted\"\nclearance = \"restricted\"", 1);
    let rule = "[[mcp.rules]]\ntools = \"count\"\nclass = \"C\"\nundo = { tool = \"count\" }\ntier = \"restricted\"\nclearance = \"restricted\"\n";
    let config = config.replacen("[[mcp.rules]]", &format!("{rule}[[mcp.rules]]"), 1);
    let mut setup = ground
        .bare()
        .await
        .and(&config)
        .and("[grants.caller]\ntools = [\"*\"]\nclearance = \"restricted\"\n")
        .and(&services.config());
    let agents = crate::support::guests::with(&["caller"], setup.folder.path());
    std::fs::remove_file(agents.join("reporter.wasm")).unwrap();
    setup.variables.extend(Services::variables());
    let host = setup.agents(agents).start().await;
    let id = host.submit(calls("peek\ncount {\"n\":77777}")).await;
    host.task(&id, "awaiting_approval").await;
    for message in services.taken_so_many(2).await {
        let text = message.to_string();
        assert!(!text.contains("77777") && text.contains("[restricted]") && text.contains(&id), "{text}");
    }
    let zulip = services.taken().into_iter().find(|message| message["service"] == "zulip").unwrap();
    let open = page(zulip["content"].as_str().unwrap(), "Open to approve");
    let (status, shown) = host.get(&open).await;
    let shown = shown.as_str().unwrap();
    assert_eq!(status, 200);
    assert!(!shown.contains("77777") && !shown.contains("<form"), "nobody consents to what they do not see: {shown}");
    let form = open.split_once('?').unwrap().1.to_owned();
    let post = host.request(reqwest::Method::POST, "/approval").header("content-type", "application/x-www-form-urlencoded");
    assert_eq!(post.body(form).send().await.unwrap().status(), 403, "nor by force");
    assert_eq!(
        (question(&host).await["request"]["arguments"]["n"].clone(), tools.counted().len()),
        (json!(77777), 0),
        "the operator sees it"
    );
}

async fn a_sink_that_is_down_delays_its_own_messages_and_nothing_else(ground: Ground) {
    let (tools, services) = (Counting::start().await, Services::start().await);
    services.order(Service::Webhook, [Order::Status(500), Order::Cut, Order::Busy(1), Order::Lost]);
    let host = told(ground, &tools, &services, "").await;
    let task = host.done(calls("peek")).await;
    // Zulip has its report while the webhook fails; then the webhook has it too, twice: nobody knows what became of the lost answer.
    let (id, key) = (task["task_id"].as_str().unwrap(), |message: &Value| message["key"].clone());
    let taken = services.taken_so_many(3).await;
    let of = |service: &str| taken.iter().filter(|message| message["service"] == service).collect::<Vec<_>>();
    assert_eq!((of("zulip").len(), of("webhook").len()), (1, 2), "{taken:#?}");
    let hooks = of("webhook");
    assert_eq!(key(hooks[0]), key(hooks[1]), "under the same key");
    assert_eq!((&hooks[0]["kind"], &hooks[0]["task_id"]), (&json!("report"), &json!(id)), "{:#}", hooks[0]);
    assert!(of("zulip")[0]["content"].as_str().unwrap().contains(id));
    assert_eq!(services.tried().iter().filter(|service| **service == Service::Webhook).count(), 5);
    host.logged("delivery_failed").await;
    // A crash in the middle loses nothing: what was not sent is sent by the next host.
    services.away(true);
    let task = host.done(calls("peek")).await;
    let host = host.kill().await.start().await;
    services.away(false);
    let taken = services.taken_so_many(5).await;
    let id = task["task_id"].as_str().unwrap();
    assert_eq!(taken.iter().filter(|message| message.to_string().contains(id)).count(), 2, "{taken:#?}");
    drop(host);
}

async fn what_a_service_refuses_is_a_dead_letter_of_the_outbox(ground: Ground) {
    let (tools, services) = (Counting::start().await, Services::start().await);
    services.order(Service::Webhook, [Order::Status(422)]);
    let host = told(ground, &tools, &services, "").await;
    let task = host.done(calls("peek")).await;
    services.taken_so_many(1).await;
    let dead = host.logged("delivery_dead").await;
    assert_eq!((&dead["sink"], &dead["task_id"]), (&json!("webhook"), &task["task_id"]));
    let (status, letters) = host.get("/outbox?status=dead").await;
    assert_eq!(status, 200, "{letters}");
    let [letter] = letters["deliveries"].as_array().unwrap().as_slice() else { panic!("{letters}") };
    assert_eq!((&letter["sink"], &letter["kind"], &letter["attempts"]), (&json!("webhook"), &json!("report"), &json!(1)));
    services.forget_orders();
    let (status, again) = host.post(&format!("/outbox/{}/retry", letter["id"].as_str().unwrap()), "").await;
    assert_eq!(status, 200, "{again}");
    services.taken_so_many(2).await;
    // An answer that is none of the service's own is no delivery, nor is a word of somebody else; one that takes too long may be one.
    services.order(Service::Zulip, [Order::Garbage, Order::Elsewhere, Order::Slow(Duration::from_secs(11))]);
    let (first, second) = (host.done(calls("peek")).await, host.done(calls("peek")).await);
    let of = |task: &Value| format!("/outbox?task={}", task["task_id"].as_str().unwrap());
    let (_, garbled) = host.get(&of(&first)).await;
    assert_eq!(garbled["deliveries"].as_array().unwrap().len(), 2, "{garbled}");
    let zulips = |seen: &Value| seen["deliveries"].as_array().unwrap().iter().find(|one| one["sink"] == "zulip").unwrap().clone();
    let ended = async |task: &Value| {
        let ends = async {
            loop {
                let one = zulips(&host.get(&of(task)).await.1);
                if one["status"] != "pending" {
                    return one["status"].clone();
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(crate::support::PATIENCE, ends).await.expect("it is sent, or given up")
    };
    assert_eq!((ended(&first).await, ended(&second).await), (json!("sent"), json!("sent")), "what is mended is told after all");
    let (_, metrics) = host.get("/metrics").await;
    assert!(metrics.as_str().unwrap().contains("langgraph_delivery_total{sink=\"webhook\",outcome=\"dead\"} 1"), "{metrics}");
    assert!(metrics.as_str().unwrap().contains("langgraph_outbox_pending{sink=\"zulip\"} 0"), "{metrics}");
}

async fn a_dead_letter_is_pushed_once_with_what_can_be_done(ground: Ground) {
    let (tools, services) = (Counting::start().await, Services::start().await);
    let host = told(ground, &tools, &services, "").await;
    let fails = || json!({ "target_agent": "caller", "content": "count {\"n\":1}", "retry_policy": { "max_attempts": 1 } });
    let mut pages = Vec::new();
    for round in 1..=3 {
        // A person gives an ambiguous call up: the task becomes a letter.
        tools.order([crate::support::mcp::Order::Cut]);
        let id = host.submit(fails()).await;
        host.task(&id, "awaiting_approval").await;
        let asked = question_of(&host, &id).await;
        // What is answered before it is pushed is not pushed.
        services.taken_so_many(round * 6 - 4).await;
        assert_eq!(say(&host, &asked["id"], "approve").await.0, 200);
        let unknown = host.task(&id, "awaiting_approval").await;
        assert!(unknown["waits_for"].as_str().unwrap().contains("may or may not have happened"), "{unknown}");
        let asked = question_of(&host, &id).await;
        services.taken_so_many(round * 6 - 2).await;
        assert_eq!(say(&host, &asked["id"], "fail").await.0, 200);
        host.task(&id, "failed").await;
        let mine = |all: &[Value]| {
            all.iter().filter(|one| one["service"] == "zulip" && one.to_string().contains(&id)).cloned().collect::<Vec<_>>()
        };
        // An approval, a question, and the letter.
        let all = services.taken_so_many(round * 6).await;
        let messages = mine(&all);
        assert_eq!(messages.len(), 3, "{messages:#?}");
        let asks = messages[1]["content"].as_str().unwrap();
        assert!(asks.contains("did it happen?") && asks.contains("hai answer") && !asks.contains("[Approve]"), "{asks}");
        let text = messages[2]["content"].as_str().unwrap().to_owned();
        assert!(text.contains("approval_denied") && text.contains(&format!("/tasks/{id}")), "{text}");
        pages.push((id, ["Retry", "Edit", "Discard"].map(|label| page(&text, label))));
    }
    let press = async |page: &str, more: &str| {
        let (status, shown) = host.get(page).await;
        assert_eq!(status, 200, "{shown}");
        let form = format!("{}{more}", page.split_once('?').unwrap().1);
        let post = host.request(reqwest::Method::POST, "/approval").header("content-type", "application/x-www-form-urlencoded");
        let posted = post.body(form).send().await.unwrap();
        (posted.status().as_u16(), shown.as_str().unwrap().to_owned(), posted.text().await.unwrap())
    };
    let [(retried, first), (edited, second), (discarded, third)] = pages.try_into().unwrap();
    let (status, shown, _) = press(&first[0], "&again=true").await;
    assert!(status == 200 && shown.contains("must not be done twice") && shown.contains("name=\"again\""), "{status}: {shown}");
    host.task(&retried, "awaiting_approval").await;
    assert_eq!(host.get(&first[0]).await.0, 409, "once");
    let (status, _, said) = press(&second[1], "&again=true&content=peek").await;
    assert!(status == 200 && said.contains("It starts anew"), "{said}");
    host.task(&edited, "done").await;
    let (status, _, _) = press(&third[2], "").await;
    assert_eq!(status, 200);
    assert_eq!(host.get("/dlq").await.1["letters"], json!([]));
    let (_, kept) = host.get(&format!("/tasks/{discarded}")).await;
    assert_eq!(kept["status"], "failed");
}

async fn a_lapse_tells_its_people_and_does_nothing(ground: Ground) {
    let (tools, services) = (Counting::start().await, Services::start().await);
    let host = told(ground, &tools, &services, "[approvals]\nttl = \"2s\"\n").await;
    let id = host.submit(calls("count {\"n\":1}")).await;
    host.task(&id, "expired").await;
    let taken = services.taken_so_many(5).await;
    let lapsed: Vec<&Value> = taken.iter().filter(|message| message.to_string().contains("Nobody answered in time")).collect();
    let services_told: Vec<&Value> = lapsed.iter().map(|message| &message["service"]).collect();
    assert_eq!(services_told.len(), 3, "{taken:#?}");
    assert!(services_told.contains(&&json!("pushover")), "{taken:#?}");
    let link = taken.iter().find(|message| message["service"] == "zulip" && message.to_string().contains("Approve")).unwrap();
    let approve = page(link["content"].as_str().unwrap(), "Approve");
    assert_eq!(host.get(&approve).await.0, 410);
    // Somebody of the household hears that nothing came of it, and not that it waits.
    let wish = json!({ "target_agent": "caller", "content": "count {\"n\":1}", "requester": "renee", "intent": "action", "zulip_user_id": 9 });
    let id = host.submit(wish).await;
    host.task(&id, "expired").await;
    let said = async {
        loop {
            let all = services.taken();
            if all.iter().any(|one| one["to"] == json!([9]) && one["content"].as_str().unwrap().contains("nothing was done")) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(crate::support::PATIENCE, said).await.expect("renee hears of it");
    assert_eq!(tools.counted().len(), 0);
}

async fn a_wish_of_the_household_waits_for_the_operator_and_they_hear_of_it(ground: Ground) {
    let (tools, services) = (Counting::start().await, Services::start().await);
    let allow = "[household]\nallow = [{ tools = \"count_once\", args = { \"/n\" = [\"1\"] } }]\n";
    let host = told(ground, &tools, &services, allow).await;
    let wish = |lines: &str| json!({ "target_agent": "caller", "content": lines, "requester": "renee", "intent": "action", "zulip_user_id": 9, "retry_policy": { "max_attempts": 1 } });
    let task = host.done(wish("peek\ncount_once {\"n\":1}")).await;
    assert_eq!((task["requester"].as_str(), tools.counted().len()), (Some("renee"), 1), "what the list allows needs no asking");
    let id = host.submit(wish("count_once {\"n\":2}")).await;
    host.task(&id, "awaiting_approval").await;
    assert_eq!(tools.counted().len(), 1);
    let asked = question(&host).await;
    assert_eq!((&asked["requester"], &asked["role"]), (&json!("renee"), &json!("household")));
    // Reports of both tasks go to renee, not to the operator; the question goes to the operator, tagged.
    let all = services.taken_so_many(5).await;
    let to = |user: i64| -> Vec<String> {
        let his = all.iter().filter(|message| message["to"] == json!([user]));
        his.map(|message| message["content"].as_str().unwrap().to_owned()).collect()
    };
    let operators = to(8);
    assert!(operators.iter().any(|text| text.contains("For the household: renee asks")), "{all:#?}");
    assert!(operators.iter().all(|text| text.contains("needs approval")), "{operators:?}");
    let hers = to(9);
    assert!(hers.iter().any(|text| text.contains("somebody has to say yes first")), "{hers:?}");
    assert!(hers.iter().all(|text| !text.contains("count_once {")), "no machinery: {hers:?}");
    assert_eq!(say(&host, &asked["id"], "approve").await.0, 200);
    host.task(&id, "done").await;
    assert_eq!(tools.counted().len(), 2);
    // One that the operator calls off is no silence.
    let id = host.submit(wish("count_once {\"n\":3}")).await;
    host.task(&id, "awaiting_approval").await;
    assert_eq!(host.post(&format!("/tasks/{id}/cancel"), "").await.0, 200);
    let told =
        |message: &Value| message["to"] == json!([9]) && message["content"].as_str().unwrap().contains("That was called off");
    let mut taken = 5;
    while !services.taken_so_many(taken).await.iter().any(told) {
        taken += 1;
    }
    assert_eq!(tools.counted().len(), 2);
}
