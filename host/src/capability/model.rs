//! WIT `model` ⇄ the router.

use opentelemetry::trace::SpanKind;
use policy::call::{CallError, Complete, Embed, Message, Speaker};
use policy::denied::Denied;
use policy::grant::Grant;
use policy::judge::{Destination, Granted};
use policy::task::Timestamp;
use policy::tier::Tier;
use serde::{Deserialize, Serialize};
use tokio::sync::OwnedSemaphorePermit;

use super::act::{Act, Bound, Failed, Reply, Seen, Who};
use super::perform::{perform, refuse};
use super::wit::homeaiops::agent::{model, types};
use super::{Hop, World, schema};
use crate::id;
use crate::metrics::{self, name};
use crate::router::{Completion, Stop, Trouble};
use crate::store::journal::Usage;
use crate::store::{StoreError, backends};
use crate::telemetry::trace::fact;

/// Largest schema that is parsed, in bytes: parsing is the host's work, not the guest's.
const MOST_SCHEMA: usize = 64 * 1024;

/// What the journal keeps of an answer, and the agent is told.
#[derive(Serialize, Deserialize)]
pub struct Answer {
    text: String,
    stop: String,
    /// Why the text does not satisfy the schema of the request.
    schema_violation: Option<String>,
    cached: u64,
}

impl Act for Complete {
    type Answer = Answer;

    fn destinations(&self, world: &World, grant: &Grant) -> Result<Vec<Destination>, Denied> {
        let candidates = world.router.candidates(self, grant.local_only());
        let (decision, reason) = match &candidates {
            Ok(found) => ("local", found.first().map_or("", |first| first.reason.as_str())),
            Err(denied) => ("denied", denied.rule),
        };
        metrics::count(name::ROUTER, 1, &[("agent", grant.agent()), ("decision", decision), ("reason", reason)]);
        candidates
    }

    fn bound(&self, world: &World, destination: &Destination) -> Bound {
        Bound { output_tokens: u64::from(self.max_output_tokens), usd_micros: world.router.most_cost(&destination.name, self) }
    }

    fn seen(&self, world: &World, destination: Option<&str>) -> Seen {
        let asked = destination.unwrap_or(&self.group);
        let group = world.router.groups().find(|(name, _)| *name == asked).map(|(_, group)| group);
        let model = group.map_or("", |group| group.model.as_str());
        let mut facts = vec![
            fact("gen_ai.operation.name", "chat"),
            fact("gen_ai.request.model", model.to_owned()),
            fact("gen_ai.request.max_tokens", i64::from(self.max_output_tokens)),
            fact("homeaiops.group", asked.to_owned()),
        ];
        facts.extend(group.map(|group| fact("gen_ai.provider.name", group.kind.as_str())));
        facts.extend(self.temperature.map(|temperature| fact("gen_ai.request.temperature", f64::from(temperature))));
        Seen { name: format!("chat {model}"), kind: SpanKind::Client, facts }
    }

    async fn turn(world: &World, granted: &Granted<Self>) -> Result<Option<OwnedSemaphorePermit>, Failed> {
        world.router.turn(granted).await.map_err(|at| Failed::Busy { at })
    }

    async fn act(world: World, granted: Granted<Self>, who: Who) -> Result<Reply<Answer>, Failed> {
        let started = tokio::time::Instant::now();
        let mut heard = world.live.words(&who);
        let ended = world.router.complete(&granted, &mut heard).await;
        drop(heard);
        let group = granted.destination().name.as_str();
        let agent = who.grant.agent();
        let model = ended.as_ref().map_or("", |completion| completion.model.as_str()).to_owned();
        let labels = [("agent", agent), ("group", group), ("model", model.as_str())];
        let outcome = if ended.is_ok() { "ok" } else { "error" };
        let [a, b, c] = labels;
        metrics::count(name::CALLS, 1, &[a, b, c, ("outcome", outcome), ("trigger", "task")]);
        let completion = match ended.map_err(Trouble::apart) {
            Ok(completion) => completion,
            Err((trouble, charged)) => {
                let failed = match trouble {
                    Trouble::Call(text) => Failed::Told(CallError::Failed { text }),
                    Trouble::Resting(_) | Trouble::Away(_) | Trouble::Wrong(_) | Trouble::Midway(_) => {
                        let asked = !matches!(trouble, Trouble::Resting(_));
                        let at = world.router.backend(group).unwrap_or_default().to_owned();
                        Failed::Backend { said: trouble.to_string(), at, asked }
                    }
                };
                return Err(if charged { Failed::Charged(Box::new(failed)) } else { failed });
            }
        };
        let url = world.router.backend(group).filter(|_| world.router.served(group, id::now()) || who.parked);
        if let Some(url) = url {
            serves(&world, url).await?;
        }
        let usd_micros = world.router.cost(group, completion.input, completion.output);
        metrics::observe(name::LLM_SECONDS, started.elapsed().as_secs_f64(), &labels);
        #[expect(clippy::cast_precision_loss, reason = "micro-dollars of one call")]
        metrics::shift(name::COST, usd_micros as f64 / 1e6, &labels);
        metrics::count(name::TOKENS, completion.input, &[a, b, c, ("direction", "input")]);
        metrics::count(name::TOKENS, completion.output, &[a, b, c, ("direction", "output")]);
        let violation = violation(granted.call(), &completion);
        let Completion { text, stop, model, input, output, cached } = completion;
        let stop = match stop {
            Stop::End => "end",
            Stop::Length => "length",
            Stop::Refusal => "refusal",
        };
        let usage = Usage { model, input, output, usd_micros };
        Ok(Reply {
            answer: Answer { text, stop: stop.into(), schema_violation: violation, cached },
            tier: Tier::Public,
            usage: Some(usage),
            wrote: None,
        })
    }
}

/// A server that was away served: whoever waits for it goes on.
pub(super) async fn serves(world: &World, url: &str) -> Result<(), StoreError> {
    let now = id::now();
    // Who only reads the database tells nobody.
    if world.db.only_reads() {
        return Ok(());
    }
    if let Some(since) = backends::recovered(&world.db, url.to_owned(), now).await? {
        let away_s = now.since(Timestamp(since)) / 1000;
        tracing::info!(event = "backend_back", url, away_s, "{url} serves again after {away_s} s");
    }
    world.db.bell().ring();
    Ok(())
}

/// Why an answer does not satisfy the schema that it was asked for. Servers promise it by grammar; some do not keep it.
fn violation(call: &Complete, completion: &Completion) -> Option<String> {
    let schema = call.schema.as_ref()?;
    let value: serde_json::Value = match serde_json::from_str(&completion.text) {
        Ok(value) => value,
        Err(error) => return Some(format!("it is no JSON: {error}")),
    };
    // It compiled when the call was taken; if it did not now, that would be said of the answer, never left unsaid.
    let compiled = match schema::compiled(schema) {
        Ok(compiled) => compiled,
        Err(error) => return Some(error),
    };
    compiled.validate(&value).err().map(|error| format!("at `{}`: {}", error.instance_path(), error.masked()))
}

impl Act for Embed {
    type Answer = Vec<Vec<f32>>;

    fn destinations(&self, _world: &World, _grant: &Grant) -> Result<Vec<Destination>, Denied> {
        Err(Denied {
            rule: "not_served",
            said: "embeddings are not served by this version".into(),
            at: "model.embed".into(),
            hint: "search the vault by words".into(),
        })
    }

    async fn act(_world: World, _granted: Granted<Self>, _who: Who) -> Result<Reply<Self::Answer>, Failed> {
        Err(Failed::Told(CallError::Failed { text: "embeddings are not served by this version".into() }))
    }
}

impl model::Host for Hop {
    async fn complete(&mut self, request: model::Request) -> wasmtime::Result<Result<model::Reply, types::Error>> {
        let call = match asked(request) {
            Ok(call) => call,
            Err(text) => return Ok(Err(error(refuse::<Complete>(self, text).await?))),
        };
        Ok(perform(self, call).await?.map_err(error).map(|told| {
            let usage = told.usage.unwrap_or_default();
            let violation = told.answer.schema_violation.map(|why| ("schema-violation".to_owned(), why));
            model::Reply {
                ref_: told.reference,
                text: told.answer.text,
                calls: Vec::new(),
                stop: match told.answer.stop.as_str() {
                    "length" => model::Stop::Length,
                    "refusal" => model::Stop::Refusal,
                    _ => model::Stop::End,
                },
                served_by: told.destination,
                model: usage.model,
                usage: model::Usage {
                    input: usage.input,
                    output: usage.output,
                    cached: told.answer.cached,
                    usd_micros: usage.usd_micros,
                },
                tier: tier(told.label.tier),
                extra: violation.into_iter().collect(),
            }
        }))
    }

    async fn embed(&mut self, group: String, texts: Vec<String>) -> wasmtime::Result<Result<Vec<Vec<f32>>, types::Error>> {
        Ok(perform(self, Embed { group, texts }).await?.map_err(error).map(|told| told.answer))
    }
}

/// A request as the policy sees it: the schema is parsed once, and a schema that is none is refused before anything is sent.
fn asked(request: model::Request) -> Result<Complete, String> {
    if request.max_output_tokens == 0 {
        return Err("max-output-tokens is 0: say how long the answer may be".into());
    }
    if !request.tools.is_empty() || request.messages.iter().any(|message| !message.calls.is_empty()) {
        return Err("tools are not served by this version: leave `tools` and `calls` empty".into());
    }
    if request.temperature.is_some_and(|temperature| !(0.0..=2.0).contains(&temperature)) {
        return Err("temperature must be between 0 and 2".into());
    }
    if request.schema.as_ref().is_some_and(|schema| schema.len() > MOST_SCHEMA) {
        return Err(format!("the schema is larger than {MOST_SCHEMA} bytes"));
    }
    let schema: Option<serde_json::Value> = request
        .schema
        .map(|text| serde_json::from_str(&text).map_err(|error| format!("the schema is no JSON: {error}")))
        .transpose()?;
    if let Some(schema) = &schema {
        schema::compiled(schema)?;
    }
    let messages = request
        .messages
        .into_iter()
        .map(|message| Message {
            role: match message.role {
                model::Role::System => Speaker::System,
                model::Role::User => Speaker::User,
                model::Role::Assistant => Speaker::Assistant,
                model::Role::Tool => Speaker::Tool,
            },
            text: message.text,
        })
        .collect();
    Ok(Complete {
        group: request.group,
        messages,
        schema,
        temperature: request.temperature,
        max_output_tokens: request.max_output_tokens,
    })
}

/// A refusal or failure, as the guest sees it.
pub(super) fn error(error: CallError) -> types::Error {
    match error {
        CallError::Denied { rule, said, at, hint } => {
            types::Error::Denied(types::Denial { rule: format!("{rule}: {said}"), at, hint })
        }
        CallError::Invalid { text } => types::Error::Invalid(text),
        CallError::Failed { text } => types::Error::Failed(text),
        CallError::NotFound { text } => types::Error::NotFound(text),
        CallError::Conflict { text } => types::Error::Conflict(text),
    }
}

/// A tier, as the guest sees it.
pub(crate) fn tier(tier: Tier) -> types::Tier {
    match tier {
        Tier::Public => types::Tier::Public,
        Tier::Internal => types::Tier::Internal,
        Tier::Restricted => types::Tier::Restricted,
    }
}
