//! The property of tiers: whatever runs read, and whatever they do with it, the texts that reach a place of some clearance never hold one
//! of a label above it; and what may go there does.
//!
//! Each flow is a random task of up to two hops on the real host. `FLOWS` says how many; 10,000 run in `.ci/deep`.

use std::collections::BTreeSet;

use futures::StreamExt;
use policy::tier::Tier;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use serde_json::json;

use super::guests;
use crate::support::fake::Model;
use crate::support::ground::{Ground, on_both_grounds};
use crate::support::mcp::Counting;
use crate::support::{Host, Setup};

on_both_grounds![no_flow_reaches_what_is_not_cleared_for_it];

const TIERS: [Tier; 3] = [Tier::Public, Tier::Internal, Tier::Restricted];
/// Groups, by their clearance.
const GROUPS: [&str; 3] = ["local-spark-coder", "local-spark", "local-p40"];
/// Flows under way at once.
const AT_ONCE: usize = 16;

fn mark(tier: Tier) -> String {
    format!("mark-{}", tier.as_str())
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Read(Tier),
    /// A group of that clearance.
    Ask(Tier),
    /// A folder of that clearance.
    Write(Tier),
    /// Takes internal, answers public.
    Count,
    /// Takes public, answers internal, and may lie.
    CountOnce,
    Log,
}

impl Step {
    fn random(random: &mut StdRng) -> Self {
        let tier = *TIERS.choose(random).unwrap();
        match random.random_range(0..6) {
            0 | 1 => Self::Read(tier),
            2 => Self::Ask(tier),
            3 => Self::Write(tier),
            4 => *[Self::Count, Self::CountOnce].choose(random).unwrap(),
            _ => Self::Log,
        }
    }

    fn words(self) -> String {
        match self {
            Self::Read(tier) => format!("read {}", tier.as_str()),
            Self::Ask(tier) => format!("ask {}", GROUPS[TIERS.iter().position(|one| *one == tier).unwrap()]),
            Self::Write(tier) => format!("write {}", tier.as_str()),
            Self::Count => "call count".into(),
            Self::CountOnce => "call count_once".into(),
            Self::Log => "log".into(),
        }
    }
}

/// What the design says of a run: its label, its taint, and what its agent may reach.
#[derive(Clone, Copy)]
struct Run {
    label: Tier,
    tainted: bool,
    ceiling: Tier,
}

impl Run {
    /// Whether the step is allowed; then the run has read what it answers.
    fn takes(&mut self, step: Step) -> bool {
        let (clearance, yields, writes) = match step {
            Step::Read(tier) => (Tier::Restricted, tier, false),
            Step::Ask(tier) | Step::Write(tier) => (tier, Tier::Public, false),
            Step::Count => (Tier::Internal, Tier::Public, true),
            Step::CountOnce => (Tier::Public, Tier::Internal, true),
            Step::Log => return true,
        };
        let after = self.label.max(yields);
        let allowed = self.label <= clearance && after <= self.ceiling && !(writes && self.tainted);
        if allowed {
            self.label = after;
            self.tainted |= matches!(step, Step::CountOnce);
        }
        allowed
    }
}

/// A task, and what must come of it.
struct Flow {
    tier: Tier,
    first: Vec<Step>,
    /// What the next agent does, if it is handed on.
    then: Option<Vec<Step>>,
}

impl Flow {
    fn random(random: &mut StdRng) -> Self {
        let mut steps = |most| (0..random.random_range(0..=most)).map(|_| Step::random(random)).collect::<Vec<_>>();
        let (first, then) = (steps(8), steps(5));
        let handed = random.random_bool(0.4);
        Self { tier: *TIERS.choose(random).unwrap(), first, then: handed.then_some(then) }
    }

    fn content(&self) -> String {
        let words = |steps: &[Step]| steps.iter().map(|step| step.words()).collect::<Vec<_>>().join(", ");
        let hand = if self.then.is_some() { ", hand" } else { "" };
        let then = self.then.as_deref().map(words).unwrap_or_default();
        format!("{} | {}{hand} | {then}", mark(self.tier), words(&self.first))
    }

    /// The lines that it tells, in order, or that the next agent may not even begin; and its label at the end.
    fn expected(&self) -> (Result<Vec<String>, ()>, Tier) {
        let line = |run: &mut Run, step: &Step| {
            let may = run.takes(*step);
            format!("{}: {}", step.words(), if may { "yes" } else { "no" })
        };
        let mut run = Run { label: self.tier, tainted: false, ceiling: Tier::Restricted };
        let mut told: Vec<String> = self.first.iter().map(|step| line(&mut run, step)).collect();
        let Some(then) = &self.then else { return (Ok(told), run.label) };
        run.ceiling = Tier::Internal;
        if run.label > run.ceiling {
            return (Err(()), run.label);
        }
        told.extend(then.iter().map(|step| line(&mut run, step)));
        (Ok(told), run.label)
    }
}

/// Three servers, one for each clearance, and a host whose every place has one.
async fn house(ground: Ground) -> ([Model; 3], Counting, Host) {
    let models = [ground.model().await, ground.model().await, ground.model().await];
    let tools = Counting::start().await;
    let setup = ground.bare().await;
    // Its rules are ours to make.
    let mut config = tools.config().split("[[").next().unwrap().to_owned();
    for ((model, group), tier) in models.iter().zip(GROUPS).zip(TIERS) {
        let groups: toml::Table = toml::from_str(&model.groups()).unwrap();
        let mut one = groups["inference"]["groups"][group].clone();
        one.as_table_mut().unwrap().insert("clearance".into(), tier.as_str().into());
        config.push_str(&format!("[inference.groups.{group}]\n{one}\n", one = toml::to_string(&one).unwrap()));
    }
    config.push_str("[vault]\nrules = [\n");
    for tier in TIERS.map(Tier::as_str) {
        config.push_str(&format!("{{ path = \"flow/{tier}.md\", tier = \"{tier}\" }},\n"));
        config.push_str(&format!("{{ path = \"out/{tier}/**\", tier = \"{tier}\", clearance = \"{tier}\" }},\n"));
    }
    config.push_str("]\n");
    for (tool, tier, clearance, untrusted) in [("count", "public", "internal", false), ("count_once", "internal", "public", true)] {
        config.push_str(&format!(
            "[[mcp.rules]]\ntools = \"{tool}\"\nclass = \"B\"\ntier = \"{tier}\"\nclearance = \"{clearance}\"\nuntrusted = {untrusted}\n"
        ));
    }
    for (id, clearance) in [("flows", "restricted"), ("relays", "internal")] {
        config.push_str(&format!(
            "[grants.{id}]\nmodels = [\"local-p40\", \"local-spark\", \"local-spark-coder\"]\nvault_read = [\"flow/**\"]\n\
             vault_write = [\"out/**\"]\ntools = [\"count*\"]\nhandoff = [\"relays\"]\nclearance = \"{clearance}\"\n"
        ));
    }
    let agents = setup.folder.path().join("agents");
    std::fs::create_dir_all(&agents).unwrap();
    for id in ["flows", "relays"] {
        std::fs::copy(guests::corpus().join(format!("{id}.wasm")), agents.join(format!("{id}.wasm"))).unwrap();
    }
    let vault = setup.vault();
    std::fs::create_dir_all(vault.join("flow")).unwrap();
    for tier in TIERS {
        std::fs::write(vault.join(format!("flow/{}.md", tier.as_str())), mark(tier)).unwrap();
    }
    let host = Setup { config: format!("{config}{}", setup.config), ..setup }.agents(agents).start().await;
    (models, tools, host)
}

async fn run(host: &Host, flow: &Flow) {
    let content = flow.content();
    let envelope = json!({
        "target_agent": "flows", "content": content, "data_tier": flow.tier.as_str(), "retry_policy": { "max_attempts": 1 },
    });
    let id = host.submit(envelope).await;
    let (told, label) = flow.expected();
    let status = if told.is_ok() { "done" } else { "failed" };
    let task = host.task(&id, status).await;
    assert_eq!(task["label"], label.as_str(), "{content}: {task:#}");
    match told {
        Err(()) => assert_eq!(task["error"]["code"], "denied", "{content}: {task:#}"),
        Ok(told) => {
            let hops = task["hops"].as_array().unwrap();
            let lines =
                hops.iter().flat_map(|hop| serde_json::from_str::<Vec<String>>(hop["outcome"]["data"].as_str().unwrap()).unwrap());
            let lines: Vec<String> = lines.map(|line| line.splitn(3, ": ").take(2).collect::<Vec<_>>().join(": ")).collect();
            assert_eq!(lines, told, "{content}: {task:#}");
        }
    }
}

/// The marks that a place holds, with the clearance that it has.
fn within(place: &str, clearance: Tier, texts: impl Iterator<Item = String>) {
    let mut found = BTreeSet::new();
    for text in texts {
        found.extend(TIERS.into_iter().filter(|tier| text.contains(&mark(*tier))));
    }
    let above: Vec<&Tier> = found.iter().filter(|tier| **tier > clearance).collect();
    assert!(above.is_empty(), "{place} is cleared for {clearance:?} and holds {above:?}");
    assert!(found.contains(&clearance), "{place} holds what it may, or nothing is shown: {found:?}");
}

async fn no_flow_reaches_what_is_not_cleared_for_it(ground: Ground) {
    let (models, tools, host) = house(ground).await;
    let said = |name: &str| host::config::variable(name).and_then(|text| text.parse().ok());
    let (count, seed) = (said("FLOWS").unwrap_or(120), said("FLOWS_SEED").unwrap_or(20_261_125));
    let mut random = StdRng::seed_from_u64(seed);
    let flows: Vec<Flow> = (0..count).map(|_| Flow::random(&mut random)).collect();
    futures::stream::iter(&flows).for_each_concurrent(AT_ONCE, |flow| run(&host, flow)).await;

    for ((model, group), tier) in models.iter().zip(GROUPS).zip(TIERS) {
        within(group, tier, model.heard().into_iter().map(|request| request.to_string()));
    }
    let called = tools.called();
    for (tool, clearance) in [("count", Tier::Internal), ("count_once", Tier::Public)] {
        within(tool, clearance, called.iter().filter(|call| call["tool"] == tool).map(ToString::to_string));
    }
    for tier in TIERS {
        let folder = host.setup.vault().join("out").join(tier.as_str());
        let files = std::fs::read_dir(folder).unwrap().map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap());
        within(tier.as_str(), tier, files);
    }
    within("the log", Tier::Internal, host.log().into_iter());
    let (_, metrics) = host.get("/metrics").await;
    assert!(!metrics.to_string().contains("mark-"));
}
