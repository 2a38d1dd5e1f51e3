//! `host smoke`: one approval from end to end against the configuration as it is, and a verdict for each link of the chain: a call that
//! waits, a push to each sink, the page behind its link, the word, the effect, once, verified, reported. On a database, a vault and a tool
//! server that are thrown away: nothing of the house is touched but the sinks, which get one message each that says what it is.

mod server;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::Args;
use comfy_table::Table;
use policy::class::{Class, Rule, Undo};
use policy::next::ERRANDS;
use policy::task::{ApprovalStatus, Reaction, Timestamp};
use policy::tier::Clearance;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::Exit;
use super::house::House;
use crate::config::{self, Config, Mcp};
use crate::egress::Client;
use crate::ingress::{Caller, Ingress, Request};
use crate::outbox::{Claim, Tokens};
use crate::sink::{Kind, Message, Name, Urgency};
use crate::store::approvals::{self, Approval, Filter};
use crate::store::{Db, deliveries, hops, links};
use crate::{envelope, id, telemetry};

/// How long each link may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// What the effect writes.
const WORDS: &str = "the smoke test was here";
/// Who says yes in it.
const CHANNEL: &str = "smoke";

#[derive(Debug, Args)]
pub(super) struct Options {
    /// Send nothing to the sinks.
    #[arg(long)]
    quiet: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What became of one link.
#[derive(Serialize)]
struct Link {
    link: String,
    ok: bool,
    ms: u128,
    said: String,
}

/// The chain, as far as it was followed.
#[derive(Default)]
struct Chain(Vec<Link>);

impl Chain {
    /// Follows one link; what it found, if it holds.
    async fn link<T>(&mut self, name: impl Into<String>, follows: impl Future<Output = anyhow::Result<(T, String)>>) -> Option<T> {
        let began = Instant::now();
        let late = |_| Err(anyhow::anyhow!("nothing came of it within {} s", PATIENCE.as_secs()));
        let ended = tokio::time::timeout(PATIENCE, follows).await.unwrap_or_else(late);
        let (ok, said, found) = match ended {
            Ok((found, said)) => (true, said, Some(found)),
            Err(error) => (false, format!("{error:#}"), None),
        };
        self.0.push(Link { link: name.into(), ok, ms: began.elapsed().as_millis(), said });
        found
    }
}

pub(super) async fn run(config: Config, options: Options) -> anyhow::Result<Exit> {
    telemetry::start(&config::variable("RUST_LOG").unwrap_or_else(|| "error".into()));
    let folder = tempfile::tempdir()?;
    let mut chain = Chain::default();
    let (public, private) = (config.server.public_url.clone(), config.egress.private.clone());
    followed(&mut chain, config, folder.path(), &options).await?;
    chain.link("the public address", reachable(&public, &private)).await;
    let ok = chain.0.iter().all(|link| link.ok);
    print(&chain.0, options.json)?;
    Ok(if ok { Exit::Done } else { Exit::Failed })
}

/// The configuration as it is, but for its database, its vault and its tools.
async fn apart(mut config: Config, folder: &Path) -> anyhow::Result<Config> {
    config.database.url = format!("sqlite://{}", folder.join("smoke.db").display());
    config.vault.root = folder.join("vault");
    let rule = |tool: &str, class, undo| Rule { undo, untrusted: false, ..Rule::of(tool, class) };
    let undo = Undo { tool: server::WRITE.into(), args: serde_json::Map::new() };
    let rules = vec![rule(server::WRITE, Class::C, Some(undo)), rule(server::READ, Class::A, None)];
    config.mcp = Some(Mcp::at(server::start(folder.join("effect.txt")).await?, rules));
    Ok(config)
}

async fn followed(chain: &mut Chain, config: Config, folder: &Path, options: &Options) -> anyhow::Result<()> {
    let config = apart(config, folder).await?;
    let opened = async {
        let house = House::open(config).await?;
        ensure!(house.state.fleet.serves(ERRANDS), "the agent `{ERRANDS}` is not loaded: `host agent build` makes it");
        Ok((house, format!("`{ERRANDS}` serves")))
    };
    let Some(house) = chain.link("the configuration", opened).await else { return Ok(()) };
    let (db, outbox) = (house.state.world.db.clone(), house.state.world.outbox.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.context("no port of loopback is free")?;
    let base = format!("http://{}", listener.local_addr()?);
    let drain = CancellationToken::new();
    // Its own pushes would say more than a trial should: they are sent by hand below.
    let ingress = house.state.ingress.clone();
    let serving = tokio::spawn(house.telling_nobody().run(listener, None, drain.clone()));
    let http = Client::new(std::iter::once(base.as_str()), &[])?;

    let asked = chain.link("a call waits to be asked about", asked(&ingress, &db)).await;
    if let Some(approval) = asked {
        if !options.quiet {
            for sink in outbox.names() {
                let push = async {
                    outbox.send(sink, &push(sink, &approval)).await?;
                    Ok(((), "it took the message".to_owned()))
                };
                chain.link(format!("a push to {sink}"), push).await;
            }
        }
        answered(chain, (&http, &base), &db, (outbox.tokens(), &approval)).await?;
        chain.link("the effect, once and verified", effect(&db, &approval, folder)).await;
    }
    drain.cancel();
    serving.await.context("the host ended")??;
    Ok(())
}

/// A task whose one call has to be asked about.
async fn asked(ingress: &Ingress, db: &Db) -> anyhow::Result<(Approval, String)> {
    let errand = json!({
        "call": { "tool": server::WRITE, "arguments": { "text": WORDS }, "why": "a smoke test of the way of an approval" },
        "verify": { "tool": server::READ, "arguments": {} }, "undo": null, "action_class": "C", "finding_path": null,
    });
    let envelope =
        json!({ "task_id": "smoke", "source": "test", "content": errand.to_string(), "target_agent": ERRANDS }).to_string();
    let request =
        Request { envelope: envelope::parse(envelope.as_bytes())?, body: id::digest(envelope.as_bytes()), traceparent: None };
    ingress.accept(&Caller::loopback(), request).await?;
    loop {
        let open = Filter { status: Some(ApprovalStatus::Open), limit: 1, ..Filter::default() };
        if let Some(approval) = approvals::list(db, open).await?.pop() {
            return Ok((approval, "nothing is done before somebody says so".into()));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn push(sink: Name, approval: &Approval) -> Message {
    Message {
        key: id::task(),
        task: approval.at.task.clone(),
        kind: Kind::Notice,
        title: "A smoke test".into(),
        text: format!("`host smoke` sends this through {sink}. Nothing waits for you."),
        urgency: Urgency::Low,
        tags: Vec::new(),
        buttons: Vec::new(),
        open: None,
        to: None,
    }
}

/// The page, a word of somebody else, the word, and the word again.
async fn answered(
    chain: &mut Chain,
    (http, base): (&Client, &str),
    db: &Db,
    (tokens, approval): (&Tokens, &Approval),
) -> anyhow::Result<()> {
    let reaction = Reaction::Approve.as_str().to_owned();
    let (actor, channel) = (CHANNEL.to_owned(), CHANNEL.to_owned());
    let expires_at = approval.expires_at.unwrap_or(Timestamp(i64::MAX));
    let claim = Claim { subject: approval.id.clone(), reaction, channel, actor, expires_at };
    let token = tokens.sign(&claim);
    links::add(db, approval.id.clone(), vec![Tokens::hash(&token)]).await?;
    let page = tokens.page(&approval.at.task, &claim).replacen(tokens.base(), base, 1);
    let open = async || {
        Ok::<_, anyhow::Error>(approvals::find(db, &approval.id).await?.is_some_and(|one| one.status == ApprovalStatus::Open))
    };
    let said = async |token: &str| {
        let body =
            json!({ "task_id": approval.at.task, "reaction": claim.reaction, "approval_token": token, "actor": claim.actor });
        let answer = http.post_json(&format!("{base}/approval"), &body)?.send().await?;
        let (status, body) = (answer.status().as_u16(), answer.json::<Value>().await?);
        Ok::<_, anyhow::Error>((status, body))
    };
    let looked = async {
        let shown = http.get(&page)?.send().await?;
        ensure!(shown.status().is_success(), "the page answered {}", shown.status());
        ensure!(shown.text().await?.contains(WORDS), "the page does not show what will happen");
        ensure!(open().await?, "looking at the page decided something");
        Ok(((), "it shows what will happen, and decides nothing".to_owned()))
    };
    chain.link("the page of the link", looked).await;
    let forged = async {
        let (status, _) = said(&token.replacen(CHANNEL, "forged", 1)).await?;
        ensure!(status == 401 && open().await?, "a forged token was answered {status}");
        Ok(((), "it was refused, and nothing happened".to_owned()))
    };
    chain.link("a forged token", forged).await;
    let word = async {
        let (status, body) = said(&token).await?;
        ensure!(status == 200, "the word was answered {status}: {body}");
        let (again, _) = said(&token).await?;
        ensure!(again == 409, "the same link was answered {again} when it was used again");
        Ok(((), "it counts, once".to_owned()))
    };
    chain.link("the word", word).await;
    Ok(())
}

/// What came of the call: written once, looked at afterwards, handed on. Who works on it next is not waited for: that takes a model.
async fn effect(db: &Db, approval: &Approval, folder: &Path) -> anyhow::Result<((), String)> {
    let task = &approval.at.task;
    let hop = loop {
        let hop = hops::of(db, task).await?.into_iter().next().context("it had no hop")?;
        let why = hop.error.as_ref().and_then(|error| error.open(Clearance::OPERATOR).ok());
        ensure!(hop.status != "failed", "the errand failed: {}", why.map_or("nobody says why", String::as_str));
        if hop.status == "done" {
            break hop;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let outcome = hop.handed().map(|handed| serde_json::to_string(&handed.outcome)).transpose()?.unwrap_or_default();
    let written = tokio::fs::read_to_string(folder.join("effect.txt")).await.context("nothing was written")?;
    ensure!(written == format!("{WORDS}\n"), "it was written so: {written:?}");
    ensure!(outcome.contains("Afterwards"), "it was not looked at afterwards: {outcome}");
    let told = deliveries::of(db, task).await?.len();
    Ok(((), format!("the errand is done; {told} messages wait in its outbox, which is thrown away")))
}

/// Whether links that lead to the public address reach a host.
async fn reachable(public: &str, private: &[String]) -> anyhow::Result<((), String)> {
    let http = Client::new(std::iter::once(public), private)?;
    let junk = format!("{}/approval?task_id=smoke&reaction=approve&approval_token=junk&actor=smoke", public.trim_end_matches('/'));
    let request = http.get(&junk)?.timeout(Duration::from_secs(10));
    let answer = request.send().await.with_context(|| format!("no host answers at {public}: is `host serve` running there?"))?;
    let status = answer.status().as_u16();
    ensure!(status == 401, "{public} answered {status}, and a host refuses such a link with 401: is public_url right?");
    Ok(((), format!("a host answers at {public}, and refuses what it did not sign")))
}

fn print(links: &[Link], as_json: bool) -> anyhow::Result<()> {
    if as_json {
        println!("{}", serde_json::to_string_pretty(links)?);
        return Ok(());
    }
    let mut table = Table::new();
    table.load_style(comfy_table::presets::UTF8_FULL_CONDENSED);
    table.set_header(["link", "verdict", "ms", "what was seen"]);
    for link in links {
        let verdict = if link.ok { "ok" } else { "BROKEN" };
        table.add_row([link.link.as_str(), verdict, &link.ms.to_string(), &link.said]);
    }
    println!("{table}");
    Ok(())
}
