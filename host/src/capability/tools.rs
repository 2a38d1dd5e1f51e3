//! WIT `tools` ⇄ the gateway. What a call may do without asking anybody is decided here, from what is known before it is sent.

use opentelemetry::trace::SpanKind;
use policy::approval::{Undoer, Undoing};
use policy::call::{CallError, Effect, ToolCall, ToolMatching, ToolSearch};
use policy::class::{Class, Facts};
use policy::denied::Denied;
use policy::grant::Grant;
use policy::household;
use policy::judge::{Destination, Granted};
use policy::task::Role;
use policy::tier::{Clearance, Label, Tier};
use serde_json::Value;

use super::act::{Act, Asked, Asker, By, Failed, Need, Reply, Seen, Who};
use super::listing::listed;
use super::model::{error, serves, tier};
use super::perform::{Answered, perform, perform_all, refuse};
use super::wit::homeaiops::agent::tools as wit;
use super::wit::homeaiops::agent::types;
use super::{Hop, Stop, World, arguments};
use crate::gateway::{self, Gateway, Observation, Tool, Trouble};
use crate::metrics::{self, name};
use crate::telemetry::trace::fact;

/// Most bytes of one result.
const MOST_RESULT: usize = 256 * 1024;
/// One result may fill this part of a run's journal.
const PART: u64 = 4;

/// The gateway, or the refusal of a call where there is none.
pub(super) fn tools_of(world: &World) -> Result<&Gateway, Denied> {
    world.gateway.as_deref().ok_or_else(|| Denied {
        rule: "no_gateway",
        said: "no tool server is configured".into(),
        at: "[mcp] in the configuration".into(),
        hint: "add [mcp] url = \"http://…/mcp\" there".into(),
    })
}

/// What the class of a call follows from; none without a gateway.
fn facts<'w>(world: &'w World, call: &ToolCall, grant: &Grant, label: Label) -> Option<Facts<'w>> {
    let gateway = world.gateway.as_deref()?;
    Some(gateway.facts(&call.tool, &call.arguments, call.hints.unwrap_or_default(), grant.floor(), label.tainted))
}

/// A server in trouble keeps the run.
fn stopped(failed: &Trouble, at: String) -> Stop {
    let asked = !matches!(failed, Trouble::Resting(_));
    Stop::Backend { said: failed.to_string(), at, asked }
}

/// After a look: what came of it, and who serves again.
async fn looked(world: &World, gateway: &Gateway, how: Result<(), gateway::Failed>) -> Result<(), Stop> {
    how.map_err(|failed| stopped(&failed.trouble, failed.at))?;
    for url in gateway.back() {
        serves(world, &url).await.map_err(|error| Stop::Store(error.to_string()))?;
    }
    Ok(())
}

/// Makes sure that everything is known that one of these patterns could cover.
pub(super) async fn look_for(world: &World, patterns: &[&str]) -> Result<(), Stop> {
    let Some(gateway) = &world.gateway else { return Ok(()) };
    looked(world, gateway, gateway.look_for(patterns).await).await
}

/// Whether the household's list has that call, and what an entry of it wants to hold does. The look for that is the host's own: it is
/// made only if a rule of the operator says that its tool looks, and whatever goes wrong with it does not hold.
async fn listed_for(world: &World, call: &ToolCall, asker: &Asker) -> bool {
    for allow in world.allowed.of(&call.tool, &call.arguments) {
        let Some(when) = &allow.when else { return true };
        let Some(gateway) = &world.gateway else { return false };
        if gateway.look_at(&when.tool, when.arguments(&asker.requester)).await.is_some_and(|seen| when.holds(&seen)) {
            return true;
        }
    }
    false
}

/// US dollars as millionths.
fn micros(usd: f64) -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked with the configuration: 0 to 1e9")]
    let micros = (usd * 1e6).round() as u64;
    micros
}

/// Most bytes that one result may have: it must not end the run of its agent.
pub(super) fn most(grant: &Grant) -> usize {
    usize::try_from(grant.limits().journal_kib.saturating_mul(1024) / PART).unwrap_or(MOST_RESULT).min(MOST_RESULT)
}

impl Act for ToolCall {
    type Answer = Observation;

    async fn learn(&mut self, world: &World, grant: &Grant, asker: &Asker) -> Result<(), Stop> {
        // What is not granted is refused whether or not there is such a tool.
        if grant.uses(&self.tool).is_err() {
            return Ok(());
        }
        let Some(gateway) = &world.gateway else { return Ok(()) };
        looked(world, gateway, gateway.look(&self.tool).await).await?;
        let known = gateway.known();
        let tool = known.tool(&self.tool);
        self.hints = tool.map(|tool| tool.hints);
        self.unfit = tool.and_then(|tool| fits(tool, &self.arguments).err());
        self.allowed = asker.role == Role::Household && listed_for(world, self, asker).await;
        Ok(())
    }

    fn destinations(&self, world: &World, grant: &Grant) -> Result<Vec<Destination>, Denied> {
        tools_of(world)?;
        let rule = facts(world, self, grant, Label::of(Tier::Public)).and_then(|facts| facts.rule);
        Ok(vec![Destination {
            name: self.tool.clone(),
            clearance: rule.map_or(Clearance(Tier::Internal), |rule| rule.clearance),
            yields: rule.map_or(Tier::Internal, |rule| rule.tier),
            untrusted: rule.is_none_or(|rule| rule.untrusted),
            reason: String::new(),
        }])
    }

    fn consent(&self, world: &World, by: &By<'_>) -> Result<Need, Denied> {
        // What there is not, or does not fit, is said so, and nothing is sent.
        if self.unfit.is_some() {
            return Ok(Need::Nothing);
        }
        let (Some(facts), Some(_), Some(gateway)) = (facts(world, self, by.grant, by.label), self.hints, &world.gateway) else {
            return Ok(Need::Nothing);
        };
        let class = facts.judge().class;
        let unasked = match by.asker.role {
            Role::Operator | Role::System => class.is_free(),
            // The household changes nothing without being asked about, but for what its own list allows.
            Role::Household => {
                let own = facts.untainted().judge().class;
                class == Class::A || (self.allowed && household::unasked(own, by.label))
            }
        };
        if unasked {
            return Ok(Need::Nothing);
        }
        if self.batched {
            return Err(facts.refused("approval_in_batch", &self.tool, by.grant.agent(), gateway.file()));
        }
        let by_rule = facts.rule.and_then(|rule| rule.undo.as_ref()?.of(&self.arguments));
        let by_rule = by_rule.map(|(tool, arguments)| Undoing { by: Undoer::Rule, text: format!("{tool} {arguments}") });
        let claimed = || self.undo.clone().map(|text| Undoing { by: Undoer::Agent, text });
        Ok(Need::Consent(Asked {
            class,
            because: match by.asker.role {
                Role::Household if class.is_free() => "the household asks for it, and its list does not allow it".to_owned(),
                Role::Operator | Role::Household | Role::System => facts.because(&self.tool, by.grant.agent()),
            },
            why: self.why.clone(),
            undo: by_rule.or_else(claimed),
            usd_micros: facts.rule.and_then(|rule| rule.cost_usd).map(micros),
        }))
    }

    fn effect(&self, world: &World, _destination: &Destination) -> Effect {
        let Some(hints) = self.hints else { return Effect::None };
        let gateway = world.gateway.as_deref();
        // Neither floor nor taint says anything about a crash.
        gateway.map_or(Effect::None, |gateway| gateway.facts(&self.tool, &self.arguments, hints, Class::A, false).effect())
    }

    fn seen(&self, _world: &World, _destination: Option<&str>) -> Seen {
        let mut facts = vec![fact("gen_ai.operation.name", "execute_tool")];
        // A name that no server knows is the agent's own words.
        let name = self.hints.map(|_| self.tool.clone());
        facts.extend(name.clone().map(|name| fact("gen_ai.tool.name", name)));
        let name = name.map_or_else(|| "execute_tool".to_owned(), |name| format!("execute_tool {name}"));
        Seen { name, kind: SpanKind::Client, facts }
    }

    async fn act(world: World, granted: Granted<Self>, who: Who) -> Result<Reply<Observation>, Failed> {
        let call = granted.call();
        let gone = || {
            Failed::Told(CallError::NotFound {
                text: format!("there is no tool `{}`: `search` or `matching` tell which there are", call.tool),
            })
        };
        let Some(gateway) = world.gateway.as_deref().filter(|_| call.hints.is_some()) else { return Err(gone()) };
        if let Some(text) = &call.unfit {
            return Err(Failed::Told(CallError::Invalid { text: text.clone() }));
        }
        let effect = call.effect(&world, granted.destination());
        let began = tokio::time::Instant::now();
        let ended = gateway.call(&granted, &who.key, effect != Effect::Once).await;
        let outcome = match &ended {
            Ok(observation) if observation.is_error => "error",
            Ok(_) => "ok",
            Err(gateway::Failed { trouble: Trouble::Silent(_), .. }) => "unknown",
            Err(gateway::Failed { trouble: Trouble::Resting(_) | Trouble::Away(_), .. }) => "unreachable",
        };
        metrics::count(name::TOOL_CALLS, 1, &[("agent", who.grant.agent()), ("tool", &call.tool), ("outcome", outcome)]);
        metrics::observe(name::TOOL_SECONDS, began.elapsed().as_secs_f64(), &[("tool", &call.tool)]);
        let observation = match ended {
            Ok(observation) => observation,
            Err(gateway::Failed { trouble: Trouble::Silent(said), .. }) => return Err(Failed::Unknown(said)),
            Err(gateway::Failed { trouble, at }) => {
                let asked = !matches!(trouble, Trouble::Resting(_));
                return Err(Failed::Backend { said: trouble.to_string(), at, asked });
            }
        };
        let own = gateway.at(&call.tool).filter(|_| who.parked).map(str::to_owned);
        for url in gateway.back().into_iter().chain(own) {
            serves(&world, &url).await?;
        }
        Ok(Reply { answer: cut(observation, most(&who.grant)), tier: Tier::Public, usage: None, wrote: None })
    }
}

/// Whether the arguments are as the tool's schema wants them; if not, where.
fn fits(tool: &Tool, arguments: &Value) -> Result<(), String> {
    let schema = jsonschema::validator_for(&tool.schema).map_err(|error| {
        format!("the schema of `{}` does not compile, so nothing can be sent to it: {}", tool.name, error.masked())
    })?;
    match schema.validate(arguments) {
        Ok(()) => Ok(()),
        Err(error) => {
            let at = error.instance_path().to_string();
            let place = if at.is_empty() { "the arguments".to_owned() } else { format!("the argument at `{at}`") };
            Err(format!("{place} of `{}`: {error}", tool.name))
        }
    }
}

/// A result within its bounds; what is left out is said.
fn cut(observation: Observation, most: usize) -> Observation {
    let Observation { mut text, mut data, is_error } = observation;
    let mut left_out = String::new();
    if let Some(all) = data.take_if(|data| data.len() > most) {
        left_out = format!("\n[left out: a structured result of {} bytes; at most {most} are told]", all.len());
    }
    let room = most - data.as_ref().map_or(0, String::len);
    if text.len() > room {
        let (all, end) = (text.len(), text.floor_char_boundary(room));
        text.truncate(end);
        left_out = format!("\n[cut: {end} of {all} bytes are told]{left_out}");
    }
    Observation { text: text + &left_out, data, is_error }
}

impl wit::Host for Hop {
    async fn search(&mut self, query: String, limit: u32) -> wasmtime::Result<Result<Vec<wit::Tool>, types::Error>> {
        Ok(listed(perform(self, ToolSearch { query, limit }).await?))
    }

    async fn matching(&mut self, pattern: String) -> wasmtime::Result<Result<Vec<wit::Tool>, types::Error>> {
        Ok(listed(perform(self, ToolMatching { pattern }).await?))
    }

    async fn call(&mut self, action: wit::Action) -> wasmtime::Result<Result<wit::Observation, types::Error>> {
        match asked(action, false) {
            Ok(call) => Ok(observed(perform(self, call).await?)),
            Err(text) => Ok(Err(error(refuse::<ToolCall>(self, text).await?))),
        }
    }

    async fn call_all(&mut self, actions: Vec<wit::Action>) -> wasmtime::Result<Vec<Result<wit::Observation, types::Error>>> {
        Ok(all(self, actions).await?)
    }
}

/// Every call at the same time; those whose arguments make no sense are refused before, each in its place of the answer.
async fn all(hop: &mut Hop, actions: Vec<wit::Action>) -> Result<Vec<Result<wit::Observation, types::Error>>, Stop> {
    let (mut answers, mut calls) = (Vec::new(), Vec::new());
    for action in actions {
        answers.push(match asked(action, true) {
            Ok(call) => {
                calls.push(call);
                None
            }
            Err(text) => Some(Err(error(refuse::<ToolCall>(hop, text).await?))),
        });
    }
    let mut performed = perform_all(hop, calls).await?.into_iter().map(observed);
    let missing = || Stop::Store("a call of several has no answer: this is a mistake of the host".into());
    answers.into_iter().map(|answer| answer.or_else(|| performed.next()).ok_or_else(missing)).collect()
}

/// A call as the policy sees it. What the agent claims of it (`why`, `undo`) is for those who are asked to approve it.
fn asked(action: wit::Action, batched: bool) -> Result<ToolCall, String> {
    let arguments = arguments::parse(&action.arguments)?;
    let wit::Action { tool, why, undo, .. } = action;
    Ok(ToolCall { tool, arguments, batched, hints: None, why: brief(why), undo: undo.map(brief), allowed: false, unfit: None })
}

/// What an agent says of its call to whoever is asked: as much as a person reads.
fn brief(text: String) -> String {
    const MOST: usize = 2000;
    text.chars().take(MOST).map(|letter| if letter == '\0' { '\u{fffd}' } else { letter }).collect()
}

fn observed(answered: Answered<ToolCall>) -> Result<wit::Observation, types::Error> {
    answered.map_err(error).map(|told| wit::Observation {
        ref_: told.reference,
        text: told.answer.text,
        data: told.answer.data,
        is_error: told.answer.is_error,
        tier: tier(told.label.tier),
    })
}

#[cfg(test)]
mod tests {
    use policy::class::Hints;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_result_above_its_cap_is_cut_where_a_letter_ends_and_says_so() {
        let long = Observation { text: "ü".repeat(10), data: Some("[1,2,3]".into()), is_error: false };
        let whole = cut(long.clone(), 27);
        assert_eq!(whole, long);
        let short = cut(long.clone(), 12);
        assert_eq!((short.text.as_str(), short.data.as_deref()), ("üü\n[cut: 4 of 20 bytes are told]", Some("[1,2,3]")));
        let bare = cut(long, 6);
        assert!(bare.text.starts_with("üüü\n[cut") && bare.text.contains("a structured result of 7 bytes"), "{}", bare.text);
        assert_eq!(bare.data, None);
    }

    #[test]
    fn arguments_that_do_not_fit_are_told_their_place() {
        let schema = json!({ "type": "object", "properties": { "n": { "type": "integer" } }, "required": ["n"] });
        let tool = Tool { name: "count".into(), description: String::new(), schema, hints: Hints::default() };
        assert_eq!(fits(&tool, &json!({ "n": 1 })), Ok(()));
        let said = fits(&tool, &json!({ "n": "one" })).expect_err("n is no number");
        assert!(said.starts_with("the argument at `/n` of `count`: "), "{said}");
        let said = fits(&tool, &json!({})).expect_err("n is missing");
        assert!(said.starts_with("the arguments of `count`: ") && said.contains("\"n\""), "{said}");
    }
}
