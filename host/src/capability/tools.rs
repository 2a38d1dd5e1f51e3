//! WIT `tools` ⇄ the gateway. What a call may do without asking anybody is decided here, from what is known before it is sent.

use opentelemetry::trace::SpanKind;
use policy::call::{CallError, Effect, ToolCall, ToolMatching, ToolSearch};
use policy::class::{Class, Facts};
use policy::denied::Denied;
use policy::grant::Grant;
use policy::judge::{Destination, Granted};
use policy::pattern::Patterns;
use policy::task::Role;
use policy::tier::{Clearance, Label, Tier};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::act::{Act, Failed, Reply, Seen, Told, Who};
use super::model::{error, serves, tier};
use super::perform::{Answered, perform, perform_all, refuse};
use super::wit::homeaiops::agent::tools as wit;
use super::wit::homeaiops::agent::types;
use super::{Hop, Stop, World, arguments};
use crate::gateway::{Gateway, Observation, Tool, Trouble};
use crate::metrics::{self, name};
use crate::telemetry::trace::fact;

/// Most bytes of one result.
const MOST_RESULT: usize = 256 * 1024;
/// One result may fill this part of a run's journal.
const PART: u64 = 4;
/// Most tools of one search.
const MOST_FOUND: u32 = 50;

/// A tool as an agent sees it; also what the journal keeps of it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Shown {
    name: String,
    description: String,
    schema: String,
    class: Class,
    read_only: bool,
}

/// The gateway, or the refusal of a call where there is none.
fn gateway(world: &World) -> Result<&Gateway, Denied> {
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

/// Makes sure that the tools are known.
async fn look(world: &World, wanted: Option<&str>) -> Result<(), Stop> {
    let Some(gateway) = &world.gateway else { return Ok(()) };
    if let Err(trouble) = gateway.look(wanted).await {
        let asked = !matches!(trouble, Trouble::Resting(_));
        return Err(Stop::Backend { said: trouble.to_string(), at: gateway.url().to_owned(), asked });
    }
    if gateway.is_back() {
        serves(world, gateway.url()).await.map_err(|error| Stop::Store(error.to_string()))?;
    }
    Ok(())
}

/// Most bytes that one result may have: it must not end the run of its agent.
fn most(grant: &Grant) -> usize {
    usize::try_from(grant.limits().journal_kib.saturating_mul(1024) / PART).unwrap_or(MOST_RESULT).min(MOST_RESULT)
}

impl Act for ToolCall {
    type Answer = Observation;

    async fn learn(&mut self, world: &World, grant: &Grant) -> Result<(), Stop> {
        // What is not granted is refused whether or not there is such a tool.
        if grant.uses(&self.tool).is_ok() {
            look(world, Some(&self.tool)).await?;
        }
        let known = world.gateway.as_ref().and_then(|gateway| gateway.known());
        self.hints = known.and_then(|known| known.tool(&self.tool).map(|tool| tool.hints));
        Ok(())
    }

    fn destinations(&self, world: &World, grant: &Grant) -> Result<Vec<Destination>, Denied> {
        gateway(world)?;
        let rule = facts(world, self, grant, Label::of(Tier::Public)).and_then(|facts| facts.rule);
        Ok(vec![Destination {
            name: self.tool.clone(),
            clearance: rule.map_or(Clearance(Tier::Internal), |rule| rule.clearance),
            yields: rule.map_or(Tier::Internal, |rule| rule.tier),
            untrusted: rule.is_none_or(|rule| rule.untrusted),
            reason: String::new(),
        }])
    }

    fn approval(&self, world: &World, grant: &Grant, label: Label, role: Role) -> Result<(), Denied> {
        // One that there is not is said so, and nothing is sent.
        let (Some(facts), Some(_), Some(gateway)) = (facts(world, self, grant, label), self.hints, &world.gateway) else {
            return Ok(());
        };
        let class = facts.judge().class;
        if class > Class::A && role == Role::Household {
            // What the household may do without asking is a list of its own, which is not served yet.
            return Err(Denied {
                rule: "household",
                said: format!(
                    "`{}` changes something (class {}), and a member of the household asked for it",
                    self.tool,
                    class.as_str()
                ),
                at: "requester".into(),
                hint: "the operator may ask for it".into(),
            });
        }
        if class.is_free() {
            return Ok(());
        }
        let rule = if self.batched { "approval_in_batch" } else { "approval_needed" };
        Err(facts.refused(rule, &self.tool, grant.agent(), gateway.file()))
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
        let known = gateway.known();
        let tool = known.as_ref().and_then(|known| known.tool(&call.tool)).ok_or_else(gone)?;
        fits(tool, &call.arguments).map_err(|text| Failed::Told(CallError::Invalid { text }))?;

        let effect = call.effect(&world, granted.destination());
        let began = tokio::time::Instant::now();
        let ended = gateway.call(&granted, &who.key, effect != Effect::Once).await;
        let outcome = match &ended {
            Ok(observation) if observation.is_error => "error",
            Ok(_) => "ok",
            Err(Trouble::Silent(_)) => "unknown",
            Err(Trouble::Resting(_) | Trouble::Away(_)) => "unreachable",
        };
        metrics::count(name::TOOL_CALLS, 1, &[("agent", who.grant.agent()), ("tool", &call.tool), ("outcome", outcome)]);
        metrics::observe(name::TOOL_SECONDS, began.elapsed().as_secs_f64(), &[("tool", &call.tool)]);
        let observation = match ended {
            Ok(observation) => observation,
            Err(Trouble::Silent(said)) => return Err(Failed::Unknown(said)),
            Err(trouble) => {
                let asked = !matches!(trouble, Trouble::Resting(_));
                return Err(Failed::Backend { said: trouble.to_string(), at: gateway.url().to_owned(), asked });
            }
        };
        if gateway.is_back() || who.parked {
            serves(&world, gateway.url()).await?;
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

/// The catalogue of the operator's own server: what it tells is no result of a tool.
fn catalogue(world: &World) -> Result<Vec<Destination>, Denied> {
    gateway(world)?;
    Ok(vec![Destination {
        name: "tools".into(),
        clearance: Clearance::OPERATOR,
        yields: Tier::Internal,
        untrusted: false,
        reason: String::new(),
    }])
}

/// Tools as their agent sees them: those that its grant covers, each with the class of a call of which nothing is known but its tool.
fn shown<'t>(gateway: &Gateway, who: &Who, tools: impl Iterator<Item = &'t Tool>) -> Vec<Shown> {
    let nothing = Value::Object(Map::new());
    tools
        .filter(|tool| who.grant.uses(&tool.name).is_ok())
        .map(|tool| {
            let facts = gateway.facts(&tool.name, &nothing, tool.hints, who.grant.floor(), who.label.tainted);
            Shown {
                name: tool.name.clone(),
                description: tool.description.clone(),
                schema: tool.schema.to_string(),
                class: facts.judge().class,
                read_only: facts.effect() == Effect::None,
            }
        })
        .collect()
}

fn bytes(tool: &Shown) -> usize {
    tool.name.len() + tool.description.len() + tool.schema.len()
}

impl Act for ToolSearch {
    type Answer = Vec<Shown>;

    async fn learn(&mut self, world: &World, grant: &Grant) -> Result<(), Stop> {
        if grant.uses_anything().is_ok() { look(world, None).await } else { Ok(()) }
    }

    fn destinations(&self, world: &World, _grant: &Grant) -> Result<Vec<Destination>, Denied> {
        catalogue(world)
    }

    async fn act(world: World, granted: Granted<Self>, who: Who) -> Result<Reply<Vec<Shown>>, Failed> {
        let call = granted.call();
        let mut found = Vec::new();
        if let Some((gateway, known)) = world.gateway.as_deref().and_then(|gateway| Some((gateway, gateway.known()?))) {
            let best = known.search(&call.query);
            let limit = usize::try_from(call.limit.min(MOST_FOUND)).unwrap_or_default();
            let mut room = most(&who.grant);
            found = shown(gateway, &who, best.into_iter()).into_iter().take(limit).collect();
            // The best come first: what does not fit is what fits least.
            found.retain(|tool| match room.checked_sub(bytes(tool)) {
                Some(left) => {
                    room = left;
                    true
                }
                None => false,
            });
        }
        Ok(Reply { answer: found, tier: Tier::Public, usage: None, wrote: None })
    }
}

impl Act for ToolMatching {
    type Answer = Vec<Shown>;

    async fn learn(&mut self, world: &World, grant: &Grant) -> Result<(), Stop> {
        if grant.uses_anything().is_ok() { look(world, None).await } else { Ok(()) }
    }

    fn destinations(&self, world: &World, _grant: &Grant) -> Result<Vec<Destination>, Denied> {
        catalogue(world)
    }

    async fn act(world: World, granted: Granted<Self>, who: Who) -> Result<Reply<Vec<Shown>>, Failed> {
        let invalid = |text: String| Failed::Told(CallError::Invalid { text });
        let pattern = &granted.call().pattern;
        let patterns = Patterns::compile(std::slice::from_ref(pattern)).map_err(|bad| invalid(bad.to_string()))?;
        let mut found = Vec::new();
        if let Some((gateway, known)) = world.gateway.as_deref().and_then(|gateway| Some((gateway, gateway.known()?))) {
            found = shown(gateway, &who, known.tools().filter(|tool| patterns.covers(&tool.name)));
        }
        let (all, most) = (found.iter().map(bytes).sum::<usize>(), most(&who.grant));
        if all > most {
            let said =
                format!("`{pattern}` matches {} tools of {all} bytes, and at most {most} are told: ask for fewer", found.len());
            return Err(invalid(said));
        }
        Ok(Reply { answer: found, tier: Tier::Public, usage: None, wrote: None })
    }
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
    Ok(ToolCall { tool: action.tool, arguments, batched, hints: None })
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

fn listed(answered: Result<Told<Vec<Shown>>, CallError>) -> Result<Vec<wit::Tool>, types::Error> {
    let tool = |tool: Shown| wit::Tool {
        name: tool.name,
        description: tool.description,
        schema: tool.schema,
        class: match tool.class {
            Class::A => types::ActionClass::A,
            Class::B => types::ActionClass::B,
            Class::C => types::ActionClass::C,
            Class::D => types::ActionClass::D,
        },
        read_only: tool.read_only,
    };
    answered.map_err(error).map(|told| told.answer.into_iter().map(tool).collect())
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
