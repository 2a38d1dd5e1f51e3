//! Zulip: what is said to it, what a reply in it decides, and whether its own client agrees with the fake of the tests.

use std::time::Duration;

use serde_json::json;

use super::approvals::{calls, question, setup};
use super::sinks::page;
use crate::support::fake::Protocol;
use crate::support::fake_sinks::Services;
use crate::support::fetched;
use crate::support::ground::{Ground, Store};
use crate::support::mcp::Counting;

/// In the cluster, Zulip is reached by another name than it answers to.
#[tokio::test]
async fn zulip_is_called_by_the_name_that_it_answers_to() {
    let (tools, services) = (Counting::start().await, Services::start().await);
    services.demand_host("chat.example.com");
    let config = services.config().replacen("[sinks.zulip]\n", "[sinks.zulip]\nhost = \"chat.example.com\"\n", 1);
    let ground = Ground { store: Store::Sqlite, protocol: Protocol::Ollama };
    let mut setup = setup(ground, &tools, &config).await;
    setup.variables.extend(Services::variables());
    let host = setup.start().await;
    host.done(calls("peek")).await;
    assert_eq!(services.taken_so_many(2).await.len(), 2);
}

/// An outgoing webhook of Zulip, as its documentation shows one.
fn reply(token: &str, sender: i64, text: &str) -> String {
    json!({
        "bot_email": "homeaiops-bot@chat.example.com", "bot_full_name": "Home AI ops", "data": text, "token": token,
        "trigger": "direct_message",
        "message": { "sender_id": sender, "sender_email": "rob@example.com", "content": text, "type": "private", "id": 1 },
    })
    .to_string()
}

/// A reply in chat is a word like any other; nobody else's is, and none without the bot's token.
#[tokio::test]
async fn a_reply_in_zulip_answers() {
    let (tools, services) = (Counting::start().await, Services::start().await);
    let config = services.config().replacen("[sinks.zulip]\n", "[sinks.zulip]\nwebhook_token_env = \"HOOK\"\n", 1);
    let ground = Ground { store: Store::Sqlite, protocol: Protocol::Ollama };
    let mut setup = setup(ground, &tools, &config).await;
    setup.variables.extend(Services::variables());
    setup.variables.insert("HOOK", "the token of the webhook".into());
    let host = setup.start().await;
    let id = host.submit(calls("count {\"n\":1}\nwipe")).await;
    host.task(&id, "awaiting_approval").await;
    // Both messages about the first question, before it is answered: then nothing is said of it any more.
    services.taken_so_many(2).await;
    let say = async |token: &str, sender, text: String| host.post("/bridges/zulip", reply(token, sender, &text)).await;
    let token = "the token of the webhook";
    assert_eq!(say("another", 8, format!("approve {id}")).await.0, 401);
    for (sender, text, part) in [
        (9, format!("approve {id}"), "Only the operator"),
        (8, "approve it, please".to_owned(), "I understand `approve ID`"),
        (8, "approve 01NONE".to_owned(), "Nothing of that id"),
    ] {
        let (status, said) = say(token, sender, text).await;
        assert!(status == 200 && said["content"].as_str().unwrap().contains(part), "{part}: {said}");
    }
    assert_eq!(tools.counted().len(), 0);
    let (_, said) = say(token, 8, format!("@**Home AI ops** Approve {id}")).await;
    assert_eq!(said["content"], "Approved. It is being done now.");
    tools.counted_so_many(1).await;
    // Class D: the link that went through Zulip and the reply there are one channel.
    host.task(&id, "awaiting_approval").await;
    let asked = question(&host).await;
    let (_, said) = say(token, 8, format!("approve {}", asked["id"].as_str().unwrap())).await;
    assert!(said["content"].as_str().unwrap().contains("a second one"), "{said}");
    let messages = services.taken_so_many(4).await;
    let push = messages.iter().rfind(|message| message["service"] == "zulip").unwrap();
    let link = page(push["content"].as_str().unwrap(), "Approve");
    let form = link.split_once('?').unwrap().1.to_owned();
    let post =
        host.request(reqwest::Method::POST, "/approval").header("content-type", "application/x-www-form-urlencoded").body(form);
    assert_eq!(post.send().await.unwrap().status(), 409, "the same channel");
    assert_eq!(super::approvals::say(&host, &asked["id"], "approve").await.0, 200);
    host.task(&id, "done").await;
    assert_eq!(tools.counted().len(), 2);
}

/// Zulip's own client agrees with the fake, and so with what the host speaks to.
#[tokio::test]
async fn the_official_zulip_client_agrees_with_the_fake() {
    const CLIENT: &str = "import sys, zulip\n\
        client = zulip.Client(email=sys.argv[2], api_key=sys.argv[3], site=sys.argv[1])\n\
        print(client.send_message({'type': 'direct', 'to': [8], 'content': 'hello'})['result'])\n\
        print(client.send_message({'type': 'stream', 'to': 'tasks', 'topic': 't', 'content': 'hello'})['result'])\n\
        print(client.send_message({'type': 'direct', 'to': [4711], 'content': 'hello'})['result'])\n";
    use crate::support::fake_sinks::{BOT, KEY};
    let services = Services::start().await;
    let mut client = tokio::process::Command::new("python3");
    client.args(["-c", CLIENT, services.url(), BOT, KEY]).env("PYTHONPATH", fetched("zulip==0.9.1", &[])).kill_on_drop(true);
    let said = tokio::time::timeout(Duration::from_secs(60), client.output()).await.unwrap().unwrap();
    assert_eq!(String::from_utf8_lossy(&said.stdout), "success\nsuccess\nerror\n", "{}", String::from_utf8_lossy(&said.stderr));
    services.faults();
    assert_eq!(services.taken().len(), 2);
}
