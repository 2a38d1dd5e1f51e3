//! A run that reaches nobody: models say the smallest thing that was asked for, everything else is refused, time passes by itself. What
//! an agent does then must be the same each time, or it could never be resumed after a crash.

use std::fmt::Write as _;
use std::time::Duration;

use policy::manifest::Limits;
use policy::task::Outcome;
use tokio::time::timeout;
use wasmtime::Engine;
use wasmtime::component::types::{self, ComponentFunc, Type};
use wasmtime::component::{Component, Val};

use super::alone::{self, Alone};
use super::{Brief, brief, dry};
use crate::capability;
use crate::capability::wit::Everything;
use crate::id;

/// Calls of one trial that are looked at.
const MOST_CALLS: usize = 200;
/// What a trial may take of this machine, in MiB, whatever its manifest says.
const MOST_MIB: u64 = 256;
/// How long a trial may compute, in milliseconds, whatever its manifest says.
const MOST_CPU_MS: u64 = 1000;

/// What an agent did in a trial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trial {
    /// Its calls, in order, with their arguments.
    pub calls: Vec<String>,
    /// `answer`, `handoff` or `reject`; or why it came to none.
    pub ended: Result<&'static str, String>,
}

/// Lets a component work on one task alone.
///
/// # Errors
/// If it does not even link.
pub async fn run(engine: &Engine, component: &Component, limits: &Limits, brief: Brief) -> wasmtime::Result<Trial> {
    let mut linker = alone::link(engine, component, answered)?;
    capability::link_own_time(&mut linker, |alone: &mut Alone| (&alone.clock, &mut alone.table))?;
    let cpu = Duration::from_millis(limits.cpu_ms.min(MOST_CPU_MS));
    let mut store = alone::store(engine, limits.memory_mib.min(MOST_MIB), cpu, brief.now);
    let handled = timeout(alone::WALL, async {
        let world = Everything::instantiate_async(&mut store, component, &linker).await?;
        world.homeaiops_agent_agent().call_handle(&mut store, &brief.into_wit()).await
    });
    let ended = match handled.await {
        Ok(Ok(Ok(outcome))) => Ok(brief::outcome(outcome)),
        Ok(Ok(Err(said))) => Err(format!("it gives up: {}", brief::clean(said))),
        Ok(Err(trap)) => Err(alone::refusal(&store).unwrap_or_else(|| trap.root_cause().to_string())),
        Err(_) => Err(format!("it takes longer than {:?}", alone::WALL)),
    };
    // What it says counts too: the next agent reads it.
    let mut calls = store.into_data().calls;
    let ended = ended.map(|outcome: Outcome| {
        calls.push(kept(format!("{outcome:?}")));
        outcome.kind()
    });
    Ok(Trial { calls, ended })
}

/// A call as it is kept: how a long one goes on stands for itself by its digest.
fn kept(mut call: String) -> String {
    const MOST: usize = 2048;
    if call.len() > MOST {
        let digest = id::digest(call.as_bytes());
        call.truncate(call.floor_char_boundary(MOST));
        call.push_str(&format!("… ({digest})"));
    }
    call
}

/// A call is noted, and answered without asking anybody.
fn answered(
    alone: &mut Alone,
    import: &str,
    signature: &ComponentFunc,
    arguments: &[Val],
    results: &mut [Val],
) -> wasmtime::Result<()> {
    if alone.calls.len() == MOST_CALLS {
        return Err(wasmtime::Error::msg(format!("it makes more than {MOST_CALLS} calls though nothing comes of them")));
    }
    let mut call = import.to_owned();
    for argument in arguments {
        write!(call, " {argument:?}")?;
    }
    alone.calls.push(kept(call));
    let is_model = import.contains("/model@") && import.ends_with("#complete");
    for (result, kind) in results.iter_mut().zip(signature.results()) {
        *result = if is_model { said(&kind, arguments) } else { refused(&kind, arguments) }?;
    }
    Ok(())
}

/// What a model says: the smallest value of the asked schema, or nothing.
fn said(kind: &Type, arguments: &[Val]) -> wasmtime::Result<Val> {
    let asked = arguments.first().and_then(|request| field(request, "schema"));
    let schema = asked.and_then(|schema| {
        let Val::Option(Some(schema)) = schema else { return None };
        let Val::String(text) = &**schema else { return None };
        serde_json::from_str(text).ok()
    });
    let text = schema.map_or_else(String::new, |schema| dry::smallest(&schema).to_string());
    let Type::Result(result) = kind else { return least(kind) };
    let mut reply = result.ok().map(|ok| least(&ok)).transpose()?;
    if let Some(Val::Record(fields)) = &mut reply {
        for (_, value) in fields.iter_mut().filter(|(name, _)| name == "text") {
            *value = Val::String(text.clone());
        }
    }
    Ok(Val::Result(Ok(reply.map(Box::new))))
}

fn field<'v>(record: &'v Val, name: &str) -> Option<&'v Val> {
    let Val::Record(fields) = record else { return None };
    fields.iter().find(|(field, _)| field == name).map(|(_, value)| value)
}

/// The refusal of a call, as far as its type can say one; of each call, where several are made at once.
fn refused(kind: &Type, arguments: &[Val]) -> wasmtime::Result<Val> {
    match (kind, arguments.first()) {
        (Type::Result(result), _) => {
            let text = |text: &str| Val::String(text.into());
            let denial = Val::Record(vec![
                ("rule".into(), text("trial")),
                ("at".into(), text("host validate")),
                ("hint".into(), text("only a real task can make this call")),
            ]);
            let denied = Val::Variant("denied".into(), Some(Box::new(denial)));
            Ok(Val::Result(Err(result.err().map(|_| Box::new(denied)))))
        }
        (Type::List(list), Some(Val::List(asked))) => {
            asked.iter().map(|_| refused(&list.ty(), &[])).collect::<Result<_, _>>().map(Val::List)
        }
        _ => least(kind),
    }
}

/// The least value of a type.
#[expect(clippy::wildcard_enum_match_arm, reason = "what no agent is told has no least value here")]
fn least(kind: &Type) -> wasmtime::Result<Val> {
    let of_record = |record: &types::Record| {
        record
            .fields()
            .map(|field| Ok((field.name.to_owned(), least(&field.ty)?)))
            .collect::<wasmtime::Result<_>>()
            .map(Val::Record)
    };
    Ok(match kind {
        Type::Bool => Val::Bool(false),
        Type::S8 => Val::S8(0),
        Type::U8 => Val::U8(0),
        Type::S16 => Val::S16(0),
        Type::U16 => Val::U16(0),
        Type::S32 => Val::S32(0),
        Type::U32 => Val::U32(0),
        Type::S64 => Val::S64(0),
        Type::U64 => Val::U64(0),
        Type::Float32 => Val::Float32(0.0),
        Type::Float64 => Val::Float64(0.0),
        Type::Char => Val::Char(' '),
        Type::String => Val::String(String::new()),
        Type::List(_) => Val::List(Vec::new()),
        Type::Option(_) => Val::Option(None),
        Type::Record(record) => of_record(record)?,
        Type::Tuple(tuple) => Val::Tuple(tuple.types().map(|kind| least(&kind)).collect::<Result<_, _>>()?),
        Type::Enum(words) => Val::Enum(words.names().next().unwrap_or_default().to_owned()),
        other => return Err(wasmtime::Error::msg(format!("nothing can be said as {other:?}"))),
    })
}
