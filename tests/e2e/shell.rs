//! Questions and their answers as an operator has them: in the shell, and on the page of a link, at the width of a phone.

use serde_json::{Value, json};

use super::approvals::{calls, setup};
use super::cli::output;
use super::hai::{hai, parsed};
use crate::support::browser::Browser;
use crate::support::fake::Protocol;
use crate::support::fake_sinks::Services;
use crate::support::ground::{Ground, Store};
use crate::support::mcp::Counting;

const GROUND: Ground = Ground { store: Store::Sqlite, protocol: Protocol::Ollama };

#[tokio::test]
async fn hai_shows_what_waits_and_says_yes_no_and_later() {
    let tools = Counting::start().await;
    let host = setup(GROUND, &tools, "").await.start().await;
    let id = host.submit(calls("count {\"n\":1}\ncount {\"n\":2}")).await;
    host.task(&id, "awaiting_approval").await;
    let (code, said, _) = output(hai(&host).arg("awaiting")).await;
    assert_eq!(code, Some(0));
    for part in [
        "class C · caller",
        "would be sent, exactly so: tools.call {\"arguments\":{\"n\":1},\"tool\":\"count\"}",
        "why: the task says so",
        "asked by rob; the rule for `count` says so",
        "undo: count_once {\"n\":1}",
        "hai approve",
        "hai deny",
        "hai defer",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let (code, said, _) = output(hai(&host).args(["defer", &id])).await;
    assert_eq!((code, said.starts_with("put off until ")), (Some(0), true), "{said}");
    let (code, said, _) = output(hai(&host).args(["approve", &id])).await;
    assert_eq!((code, said.starts_with("approved; to watch it: hai task tail")), (Some(0), true), "{said}");
    tools.counted_so_many(1).await;
    host.task(&id, "awaiting_approval").await;
    let (_, said, _) = output(hai(&host).args(["awaiting", "--json"])).await;
    let question = parsed(&said)["approvals"][0]["id"].as_str().unwrap().to_owned();
    let (code, said, _) = output(hai(&host).args(["deny", &question, "--json"])).await;
    assert_eq!((code, &parsed(&said)["reaction"]), (Some(0), &json!("reject")));
    host.task(&id, "done").await;
    assert_eq!(tools.counted().len(), 1);
    let (code, _, complained) = output(hai(&host).args(["approve", &question])).await;
    assert_eq!(code, Some(1));
    assert!(complained.contains("already") || complained.contains("was decided"), "{complained}");
}

#[tokio::test]
async fn the_smoke_test_says_of_each_link_whether_it_holds() {
    let services = Services::start().await;
    // The public address is a host that runs: another one.
    let running = crate::support::Setup::bare().start().await;
    let public = format!("[server]\npublic_url = \"{}\"\n", running.base);
    let mut whole = crate::support::Setup::bare().and(&public).and(&services.config());
    whole.variables.extend(Services::variables());
    let (code, said, complained) = output(whole.command(&["smoke", "--json"]).env("RUST_LOG", "error")).await;
    assert_eq!(code, Some(0), "{said} {complained}");
    let links = parsed(&said);
    let names: Vec<&str> = links.as_array().unwrap().iter().map(|link| link["link"].as_str().unwrap()).collect();
    let expected = [
        "the configuration",
        "a call waits to be asked about",
        "a push to zulip",
        "a push to pushover",
        "a push to webhook",
        "the page of the link",
        "a forged token",
        "the word",
        "the effect, once and verified",
        "the public address",
    ];
    assert_eq!(names, expected, "{links:#}");
    assert_eq!(services.taken().len(), 3);

    // A key that is wrong, and a host that is not there, are each named.
    let mut broken = crate::support::Setup::bare().and("[server]\npublic_url = \"http://127.0.0.1:1\"\n").and(&services.config());
    broken.variables.extend(Services::variables());
    broken.variables.insert("FAKE_ZULIP_KEY", "another".into());
    let (code, said, _) = output(broken.command(&["smoke"]).env("RUST_LOG", "error")).await;
    assert_eq!(code, Some(1), "{said}");
    let lines: Vec<&str> = said.lines().filter(|line| line.contains("BROKEN")).collect();
    assert_eq!(lines.len(), 2, "{said}");
    assert!(said.contains("no host answers at http://127.0.0.1:1"), "{said}");
    services.faults();
}

#[tokio::test]
async fn the_page_of_a_link_is_read_and_answered_at_the_width_of_a_phone() {
    let (tools, services) = (Counting::start().await, Services::start().await);
    let mut setup = setup(GROUND, &tools, &services.config()).await;
    setup.variables.extend(Services::variables());
    let host = setup.start().await;
    let note = "a long word ".repeat(40);
    let id = host.submit(calls(&format!("count {}", json!({ "n": 1, "note": note })))).await;
    host.task(&id, "awaiting_approval").await;
    let messages = services.taken_so_many(2).await;
    let zulip = messages.iter().find(|message| message["service"] == "zulip").unwrap();
    let text = zulip["content"].as_str().unwrap();
    let (_, rest) = text.split_once("[Approve](").unwrap_or_else(|| panic!("{text}"));
    let path = rest.split_once(')').unwrap().0.splitn(4, '/').nth(3).unwrap();
    let script = r#"
        await page.setViewportSize({ width: 390, height: 844 });
        await page.goto(process.argv[1], { waitUntil: 'load' });
        const before = await page.evaluate(() => ({
            title: document.querySelector('h1').textContent,
            text: document.body.innerText,
            wide: document.documentElement.scrollWidth,
            button: document.querySelector('button').getBoundingClientRect().toJSON(),
            requests: performance.getEntriesByType('resource').length,
        }));
        await page.screenshot({ path: process.argv[2], fullPage: true });
        await Promise.all([page.waitForNavigation(), page.click('button')]);
        const after = await page.evaluate(() => document.querySelector('h1').textContent);
        return { before, after };
    "#;
    let shot = host.setup.folder.path().join("page.png");
    let seen = Browser::ready().run(script, &[&format!("{}/{path}", host.base), shot.to_str().unwrap()]).await;
    let before = &seen["before"];
    assert_eq!(before["title"], "Let this happen?", "{seen}");
    for part in ["Caller wants", "\"n\":1", "Undo", "Approve"] {
        assert!(before["text"].as_str().unwrap().contains(part), "{part}: {seen}");
    }
    let number = |value: &Value| value.as_f64().unwrap();
    assert!(number(&before["wide"]) <= 390.0, "nothing is cut off at the side: {seen}");
    assert!(number(&before["button"]["height"]) >= 44.0, "a thumb finds it: {seen}");
    assert_eq!((&before["requests"], &seen["after"]), (&json!(0), &json!("Approved. It is being done now.")));
    host.task(&id, "done").await;
    assert_eq!(tools.counted().len(), 1);
}
