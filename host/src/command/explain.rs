//! `host agents explain ID CALL`: may that agent make that call, and which line says so? Nobody is asked and nothing is done; what
//! only a server knows (what it says of its tools) is not known here. Exit code 1 if it may not.

use anyhow::{Context, bail};
use clap::Args;
use policy::call::{Call, Complete, ToolCall, VaultAppend, VaultRead, VaultWrite};
use policy::class::{Hints, Rules};
use policy::denied::Denied;
use policy::grant::Grant;
use policy::judge::{self, Destination};
use policy::route::{self, Ask};
use policy::tier::{Clearance, Label, Tier};
use serde_json::{Value, json};

use super::{Exit, house};
use crate::config::Config;
use crate::fleet::validate::examine;
use crate::router::Router;
use crate::vault::Rules as VaultRules;

#[derive(Debug, Args)]
pub(super) struct Options {
    /// Which agent.
    id: String,
    /// The call: `vault.read PATH`, `vault.write PATH`, `vault.append PATH`, `model.complete GROUP`, `tools.call TOOL [ARGUMENTS]`
    /// or `handoff AGENT`.
    #[arg(required = true, num_args = 1..=3)]
    call: Vec<String>,
    /// What the run has read so far: public, internal or restricted.
    #[arg(long, value_name = "TIER", default_value = "internal")]
    label: String,
    /// It has also read what may lie.
    #[arg(long)]
    tainted: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// One step that a call takes, and the line that decides it.
struct Step {
    name: &'static str,
    passed: Result<String, Denied>,
}

pub(super) async fn run(config: &Config, options: &Options) -> anyhow::Result<Exit> {
    let tier = Tier::named(&options.label);
    let tier = tier.with_context(|| format!("--label `{}` is none of public, internal, restricted", options.label))?;
    let label = Label { tier, tainted: options.tainted };
    let (engine, cache) = house::sandbox(config)?;
    let file = config.agents.dir.join(format!("{}.wasm", options.id));
    let accepted = match examine(&engine, &cache, config, &file).await.verdict {
        Ok(accepted) => accepted,
        Err(complaints) => bail!("`{}` does not serve, so it may do nothing: {}", options.id, complaints.join("; ")),
    };
    let steps = Explanation { config, grant: &accepted.grant, label }.of(&options.call)?;
    let allowed = steps.iter().all(|step| step.passed.is_ok());
    if options.json {
        let steps: Vec<Value> = steps.iter().map(json_of).collect();
        println!("{}", serde_json::to_string_pretty(&json!({ "agent": options.id, "allowed": allowed, "steps": steps }))?);
    } else {
        for Step { name, passed } in &steps {
            match passed {
                Ok(by) => println!("  ✓ {name:<6} {by}"),
                Err(denied) => println!("  ✗ {name:<6} {} (at {}); {}", denied.said, denied.at, denied.hint),
            }
        }
        let (verb, call) = (if allowed { "may" } else { "may not" }, options.call.join(" "));
        println!("{} {verb} make this call: {call}", options.id);
    }
    Ok(if allowed { Exit::Done } else { Exit::Failed })
}

fn json_of(step: &Step) -> Value {
    match &step.passed {
        Ok(by) => json!({ "step": step.name, "passed": true, "by": by }),
        Err(denied) => {
            json!({ "step": step.name, "passed": false, "rule": denied.rule, "said": denied.said, "at": denied.at, "hint": denied.hint })
        }
    }
}

struct Explanation<'e> {
    config: &'e Config,
    grant: &'e Grant,
    label: Label,
}

impl Explanation<'_> {
    fn of(&self, call: &[String]) -> anyhow::Result<Vec<Step>> {
        let word = |at: usize| call.get(at).map(String::as_str);
        let what = || word(1).with_context(|| format!("`{}` of what? Write it behind the word", word(0).unwrap_or_default()));
        let path = || what().map(str::to_owned);
        Ok(match word(0).unwrap_or_default() {
            "vault.read" => {
                let path = path()?;
                self.steps(VaultRead { path: path.clone() }, "vault_read", &path, Ok(Some(self.vault(&path)?)))
            }
            "vault.write" => {
                let path = path()?;
                let call = VaultWrite { path: path.clone(), front_matter: Vec::new(), body: String::new() };
                self.steps(call, "vault_write", &path, Ok(Some(written(self.vault(&path)?))))
            }
            "vault.append" => {
                let path = path()?;
                let call = VaultAppend { path: path.clone(), text: String::new() };
                self.steps(call, "vault_write", &path, Ok(Some(written(self.vault(&path)?))))
            }
            "model.complete" => {
                let group = path()?;
                let call =
                    Complete { group: group.clone(), messages: Vec::new(), schema: None, temperature: None, max_output_tokens: 1 };
                let ask = Ask { group: &group, local_only: self.grant.local_only(), tokens: 1 };
                let candidates = route::candidates(ask, &Router::facts(&self.config.inference));
                let to = candidates.map(|found| found.into_iter().next().map(|one| (one, format!("[inference.groups.{group}]"))));
                self.steps(call, "models", &group, to)
            }
            "tools.call" => self.tool(what()?, word(2))?,
            "handoff" => {
                let to = what()?;
                let denied = || Denied {
                    rule: "handoff",
                    said: format!("handoff does not cover `{to}`"),
                    at: self.grant.at().to_owned(),
                    hint: format!("add \"{to}\" to `handoff` there, and to `handoff` of `wants` in agent.toml"),
                };
                let passed = if self.grant.hands_to(to) { self.by("handoff", to) } else { None };
                vec![Step { name: "grant", passed: passed.ok_or_else(denied) }]
            }
            other => {
                bail!("`{other}` is no call: write vault.read, vault.write, vault.append, model.complete, tools.call or handoff")
            }
        })
    }

    /// Grant, then tier.
    fn steps<C: Call>(&self, call: C, key: &str, name: &str, to: Result<Option<(Destination, String)>, Denied>) -> Vec<Step> {
        let allowed = judge::within(self.grant, call);
        let grant = match &allowed {
            Ok(_) => Ok(self.by(key, name).unwrap_or_else(|| "the grant covers it".into())),
            Err(denied) => Err(denied.clone()),
        };
        let mut steps = vec![Step { name: "grant", passed: grant }];
        let tier = match (allowed, to) {
            (Err(_), _) => return steps,
            (_, Err(denied)) => Err(denied),
            (_, Ok(None)) => return steps,
            (Ok(allowed), Ok(Some((destination, line)))) => {
                let Destination { clearance, yields, .. } = destination.clone();
                let (label, after) = (self.label.tier.as_str(), self.grant.clearance().as_str());
                judge::cleared(allowed, self.label, destination).map(|_| {
                    let (takes, gives) = (clearance.0.as_str(), yields.as_str());
                    format!(
                        "{line}: takes up to {takes} and the run has read {label}; answers {gives} and the agent may reach {after}"
                    )
                })
            }
        };
        steps.push(Step { name: "tier", passed: tier });
        steps
    }

    /// Grant, tier and class.
    fn tool(&self, tool: &str, arguments: Option<&str>) -> anyhow::Result<Vec<Step>> {
        let arguments: Value = serde_json::from_str(arguments.unwrap_or("{}")).context("ARGUMENTS are no JSON")?;
        let none = || Denied {
            rule: "no_gateway",
            said: "no tool server is configured".into(),
            at: "[mcp] in the configuration".into(),
            hint: "add [mcp] url = \"http://…/mcp\" there".into(),
        };
        let call = ToolCall::new(tool, arguments.clone());
        let Some(mcp) = &self.config.mcp else { return Ok(self.steps(call, "tools", tool, Err(none()))) };
        let rules = Rules::compile(&mcp.rules).unwrap_or_default();
        let rule = rules.of(tool, &arguments);
        let line = rule
            .map_or_else(|| "no rule of [[mcp.rules]]".into(), |rule| format!("the rule for `{}` in [[mcp.rules]]", rule.tools));
        let destination = Destination {
            name: tool.to_owned(),
            clearance: rule.map_or(Clearance(Tier::Internal), |rule| rule.clearance),
            yields: rule.map_or(Tier::Internal, |rule| rule.tier),
            untrusted: rule.is_none_or(|rule| rule.untrusted),
            reason: String::new(),
        };
        let mut steps = self.steps(call, "tools", tool, Ok(Some((destination, line.clone()))));
        if steps.iter().all(|step| step.passed.is_ok()) {
            let (trusted, floor, tainted) = (mcp.trusted, self.grant.floor(), self.label.tainted);
            let undoes = rule.and_then(|rule| rule.undo.as_ref()?.of(&arguments)).is_some();
            let facts = policy::class::Facts { rule, hints: Hints::default(), trusted, floor, tainted, undoes };
            let class = facts.judge().class;
            let passed = match class.is_free() {
                true => Ok(format!("{line}: class {}, nobody is asked; its server may say that it is more", class.as_str())),
                false => Err(facts.refused("approval_needed", tool, self.grant.agent(), &self.config.file)),
            };
            steps.push(Step { name: "class", passed });
        }
        Ok(steps)
    }

    fn vault(&self, path: &str) -> anyhow::Result<(Destination, String)> {
        let rules = VaultRules::compile(&self.config.vault)?;
        let line =
            rules.line(path).map_or_else(|| "no rule of [[vault.rules]]".into(), |rule| format!("`{rule}` in [[vault.rules]]"));
        Ok((rules.destination(path), line))
    }

    /// The lines by which the grant covers a name.
    fn by(&self, key: &str, name: &str) -> Option<String> {
        let (wanted, allowed) = self.grant.lines(key, name)?;
        Some(format!("`{wanted}` in `wants` of its manifest, `{allowed}` in `{key}` in {}", self.grant.at()))
    }
}

/// What a write answers is nothing that was read.
fn written((destination, line): (Destination, String)) -> (Destination, String) {
    (Destination { yields: Tier::Public, ..destination }, line)
}
