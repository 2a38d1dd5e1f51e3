//! WIT `tools`, the half that only tells which tools there are: those that an agent's grant covers, and no others.

use policy::call::{CallError, Effect, ToolMatching, ToolSearch};
use policy::class::Class;
use policy::denied::Denied;
use policy::grant::Grant;
use policy::judge::{Destination, Granted};
use policy::pattern::Patterns;
use policy::tier::{Clearance, Tier};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::act::{Act, Asker, Failed, Reply, Told, Who};
use super::model::error;
use super::tools::{look_for, most, tools_of};
use super::wit::homeaiops::agent::tools as wit;
use super::wit::homeaiops::agent::types;
use super::{Stop, World};
use crate::gateway::{Gateway, Tool};

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

/// The catalogue of the operator's own server: what it tells is no result of a tool.
fn catalogue(world: &World) -> Result<Vec<Destination>, Denied> {
    tools_of(world)?;
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

    async fn learn(&mut self, world: &World, grant: &Grant, _asker: &Asker) -> Result<(), Stop> {
        if grant.uses_anything().is_ok() { look_for(world, &grant.tools()).await } else { Ok(()) }
    }

    fn destinations(&self, world: &World, _grant: &Grant) -> Result<Vec<Destination>, Denied> {
        catalogue(world)
    }

    async fn act(world: World, granted: Granted<Self>, who: Who) -> Result<Reply<Vec<Shown>>, Failed> {
        let call = granted.call();
        let mut found = Vec::new();
        if let Some(gateway) = world.gateway.as_deref() {
            let known = gateway.known();
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

    async fn learn(&mut self, world: &World, grant: &Grant, _asker: &Asker) -> Result<(), Stop> {
        if grant.uses_anything().is_ok() { look_for(world, &[self.pattern.as_str()]).await } else { Ok(()) }
    }

    fn destinations(&self, world: &World, _grant: &Grant) -> Result<Vec<Destination>, Denied> {
        catalogue(world)
    }

    async fn act(world: World, granted: Granted<Self>, who: Who) -> Result<Reply<Vec<Shown>>, Failed> {
        let invalid = |text: String| Failed::Told(CallError::Invalid { text });
        let pattern = &granted.call().pattern;
        let patterns = Patterns::compile(std::slice::from_ref(pattern)).map_err(|bad| invalid(bad.to_string()))?;
        let mut found = Vec::new();
        if let Some(gateway) = world.gateway.as_deref() {
            let known = gateway.known();
            found = shown(gateway, &who, known.tools().into_iter().filter(|tool| patterns.covers(&tool.name)));
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

/// As the WIT has it.
pub(super) fn listed(answered: Result<Told<Vec<Shown>>, CallError>) -> Result<Vec<wit::Tool>, types::Error> {
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
