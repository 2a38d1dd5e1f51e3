//! THE path: every call of every guest, in the order of design §3.
//!
//! Each step is one function, named as in the design; a step that has nothing to decide returns at once, but it is passed. There
//! is no other way to an effect: capabilities act on a [`Granted`] call, and only step 4 makes one.

use std::time::Duration;

use policy::call::{CallError, Effect};
use policy::denied::Denied;
use policy::judge::{self, Allowed, Destination, Granted};
use policy::tier::Label;
use serde::Serialize;
use tokio::time::{Instant, timeout};

use super::act::{Act, Failed, Reply, Told, Who};
use super::{Hop, Stop, TICK, spans};
use crate::metrics::{self, name};
use crate::store::StoreError;
use crate::store::journal::{self, Closing, Opening, Usage};
use crate::{id, telemetry};

/// One destination that was tried, as the journal keeps it.
#[derive(Serialize)]
struct Try {
    destination: String,
    reason: String,
    outcome: String,
}

/// What the agent is told of its call.
type Answered<C> = Result<Told<<C as Act>::Answer>, CallError>;

/// Performs one call. The outer error ends the run; the inner one is an answer to the agent.
///
/// # Errors
/// [`Stop`] if the host ends the run.
pub async fn perform<C: Act>(hop: &mut Hop, call: C) -> Result<Answered<C>, Stop> {
    let opening = open(hop, &call)?;
    if let Some(answer) = replayed::<C>(hop, &opening)? {
        return Ok(answer);
    }
    let mut tries = Vec::new();
    let ended = match destinations(hop, &call) {
        Ok(candidates) => {
            let attempted = attempt(hop, &opening, &call, candidates, &mut tries).await;
            attempted.inspect_err(|stop| spans::unanswered(hop, &call, &opening, stop))?
        }
        Err(denied) => Err(denied.into()),
    };
    recorded(hop, opening, Some(&call), ended, &tries).await
}

/// Steps 3 to 8 for each candidate in turn, until one answers or refuses.
async fn attempt<C: Act>(
    hop: &mut Hop,
    opening: &Opening,
    call: &C,
    candidates: Vec<Destination>,
    tries: &mut Vec<Try>,
) -> Result<Result<(Reply<C::Answer>, Destination), CallError>, Stop> {
    let mut last = Err(CallError::Failed { text: "there is nowhere to send it".into() });
    for destination in candidates {
        let tried = |outcome: &str| Try {
            destination: destination.name.clone(),
            reason: destination.reason.clone(),
            outcome: outcome.to_owned(),
        };
        let checked = within(hop, call.clone())
            .and_then(|allowed| cleared(hop, allowed, destination.clone()))
            .and_then(|granted| approved(hop, granted))
            .and_then(|granted| reserved(hop, granted));
        let granted = match checked {
            Ok(granted) => granted,
            Err(denied) => {
                tries.push(tried(denied.rule));
                last = Err(denied.into());
                continue;
            }
        };
        intended(hop, opening, granted.call()).await?;
        match effect(hop, granted).await {
            Ok(reply) => {
                tries.push(tried("answered"));
                return Ok(Ok((reply, destination)));
            }
            Err(Failed::Told(error)) => {
                tries.push(tried(error.kind()));
                return Ok(Err(error));
            }
            Err(Failed::Backend { said, at, asked }) => {
                tries.push(tried("backend"));
                last = Ok(Stop::Backend { said, at, asked });
            }
            Err(Failed::Overdue) => return Err(Stop::Limit("wall_s: the run took longer than that".into())),
            Err(Failed::Store(error)) => return Err(Stop::Store(error.to_string())),
        }
    }
    match last {
        Ok(trouble) => Err(trouble),
        Err(refusal) => Ok(Err(refusal)),
    }
}

/// Journals a call whose arguments make no sense: it is counted like any other, and the agent is told why.
///
/// # Errors
/// [`Stop`] if the host ends the run.
pub async fn refuse<C: Act>(hop: &mut Hop, text: String) -> Result<CallError, Stop> {
    let opening = place::<C>(hop, "null".into())?;
    if let Some(Err(error)) = replayed::<C>(hop, &opening)? {
        return Ok(error);
    }
    let refused = recorded::<C>(hop, opening, None, Err(CallError::Invalid { text: text.clone() }), &[]).await?;
    Ok(refused.err().unwrap_or(CallError::Invalid { text }))
}

/// Takes the next place in the journal for a call.
fn open<C: Act>(hop: &mut Hop, call: &C) -> Result<Opening, Stop> {
    let request = serde_json_canonicalizer::to_string(call).map_err(|error| Stop::Store(error.to_string()))?;
    place::<C>(hop, request)
}

/// The next place in the journal, within the limits of the run.
fn place<C: Act>(hop: &mut Hop, request: String) -> Result<Opening, Stop> {
    let limits = *hop.grant.limits();
    hop.at.seq += 1;
    hop.spent.host_calls += 1;
    if hop.spent.host_calls > limits.host_calls {
        return Err(Stop::Limit(format!("host_calls = {}: the agent makes more calls than that", limits.host_calls)));
    }
    journaled(hop, request.len())?;
    Ok(Opening {
        at: hop.at.clone(),
        lease: hop.tenure.lease,
        kind: C::KIND,
        fingerprint: fingerprint(C::KIND, &request),
        request,
        label: hop.label,
        started_at: id::now(),
    })
}

/// Counts bytes that go into the journal.
fn journaled(hop: &mut Hop, bytes: usize) -> Result<(), Stop> {
    let most = hop.grant.limits().journal_kib;
    hop.spent.journal_bytes = hop.spent.journal_bytes.saturating_add(bytes as u64);
    if hop.spent.journal_bytes > most.saturating_mul(1024) {
        return Err(Stop::Limit(format!("journal_kib = {most}: the agent asks or is told more than that")));
    }
    Ok(())
}

/// Version, kind and canonical request, hashed.
fn fingerprint(kind: &str, request: &str) -> String {
    const VERSION: u8 = 1;
    format!("{VERSION:02x}{}", id::digest(format!("{kind}\0{request}").as_bytes()))
}

/// Step 1. Does the journal hold the result of this call? Then it is returned, and nothing is judged, sent, billed or recorded
/// again. A call that was started and has no answer is none: its truth is unknown, and it is made again.
fn replayed<C: Act>(hop: &mut Hop, opening: &Opening) -> Result<Option<Answered<C>>, Stop> {
    passed("replay", C::KIND);
    let Some(past) = hop.past.remove(&opening.at.seq) else { return Ok(None) };
    let reference = opening.at.reference();
    if past.fingerprint != opening.fingerprint {
        metrics::count(name::REPLAYS, 1, &[("result", "diverged")]);
        let (was, is) = (&past.fingerprint, &opening.fingerprint);
        let (before, now) = (&past.kind, C::KIND);
        return Err(Stop::Diverged(format!("call {reference} was `{before}` ({was}) and is `{now}` ({is}) now")));
    }
    let Some(answer) = past.answer else { return Ok(None) };
    hop.label = hop.label.join(past.label);
    journaled(hop, answer.len())?;
    hop.clock.advance(past.finished_at);
    spent(hop, past.usage.as_ref());
    if !hop.replays() {
        metrics::count(name::REPLAYS, 1, &[("result", "resumed")]);
    }
    let unreadable = |error: serde_json::Error| Stop::Diverged(format!("the answer of call {reference} cannot be read: {error}"));
    if past.state != "done" {
        return Ok(Some(Err(serde_json::from_str(&answer).map_err(unreadable)?)));
    }
    let answer = serde_json::from_str(&answer).map_err(unreadable)?;
    Ok(Some(Ok(Told { reference: reference.clone(), answer, label: hop.label, destination: past.destination, usage: past.usage })))
}

/// Counts what a model used against the limits of the run.
fn spent(hop: &mut Hop, usage: Option<&Usage>) {
    if let Some(usage) = usage {
        hop.spent.output_tokens = hop.spent.output_tokens.saturating_add(usage.output);
        hop.spent.usd_micros = hop.spent.usd_micros.saturating_add(usage.usd_micros);
    }
}

/// Step 2. Where would it go?
fn destinations<C: Act>(hop: &Hop, call: &C) -> Result<Vec<Destination>, Denied> {
    passed("destination", C::KIND);
    call.destinations(&hop.world, &hop.grant)
}

/// Step 3. Is it within the effective grant?
fn within<C: Act>(hop: &Hop, call: C) -> Result<Allowed<C>, Denied> {
    passed("grant", C::KIND);
    judge::within(&hop.grant, call)
}

/// Step 4. Is the run's label within the clearance of the destination?
fn cleared<C: Act>(hop: &Hop, allowed: Allowed<C>, destination: Destination) -> Result<Granted<C>, Denied> {
    passed("tier", C::KIND);
    judge::cleared(allowed, hop.label, destination)
}

/// Step 5. Does it need an approval? No call that is linked today is above class B, and B needs none.
#[expect(clippy::unnecessary_wraps, reason = "a step that may refuse, in its place")]
fn approved<C: Act>(_hop: &Hop, granted: Granted<C>) -> Result<Granted<C>, Denied> {
    passed("approval", C::KIND);
    Ok(granted)
}

/// Step 6. Is there budget for it? Within the run's own limits; the caps of task, agent, day and week have no ledger yet.
fn reserved<C: Act>(hop: &Hop, granted: Granted<C>) -> Result<Granted<C>, Denied> {
    passed("budget", C::KIND);
    let bound = granted.call().bound(&hop.world, granted.destination());
    let limits = hop.grant.limits();
    for (limit, most, used, more) in [
        ("output_tokens", limits.output_tokens, hop.spent.output_tokens, bound.output_tokens),
        ("usd_micros", limits.usd_micros, hop.spent.usd_micros, bound.usd_micros),
    ] {
        if used.saturating_add(more) > most {
            return Err(Denied {
                rule: "run_limit",
                said: format!("{limit} = {most}: {used} are used and this call could use {more} more"),
                at: "`limits` in agent.toml".into(),
                hint: format!("ask for less, or raise {} there", limit.replace('_', "-")),
            });
        }
    }
    Ok(granted)
}

/// Step 7. The intent of a call with an effect is on disk before the effect, under a lease that is surely held.
async fn intended<C: Act>(hop: &mut Hop, opening: &Opening, call: &C) -> Result<(), Stop> {
    passed("intent", C::KIND);
    if Instant::now() >= *hop.tenure.until.borrow() {
        return Err(Stop::LeaseLost);
    }
    match C::EFFECT {
        Effect::None => Ok(()),
        Effect::Repeatable => {
            let artefact = match call.prepare(&hop.world, &who(hop)).await {
                Ok(artefact) => artefact,
                Err(Failed::Store(error)) => return Err(Stop::Store(error.to_string())),
                // Whatever else is wrong shows again in the effect, which tells the agent.
                Err(Failed::Told(_) | Failed::Backend { .. } | Failed::Overdue) => None,
            };
            held(journal::start(&hop.world.db, opening.clone(), artefact).await)
        }
    }
}

/// Step 8. The effect, with a deadline. The guest's permit is given back meanwhile: waiting is not executing.
async fn effect<C: Act>(hop: &mut Hop, granted: Granted<C>) -> Result<Reply<C::Answer>, Failed> {
    passed("effect", C::KIND);
    let who = who(hop);
    hop.world.live.began(&who, C::KIND);
    drop(hop.permit.take());
    let began = Instant::now();
    // Waiting for one's turn at a busy server is nobody's fault: the wall clock stands still meanwhile.
    let (frozen, asked) = (hop.freeze(), id::now());
    let turn = C::turn(&hop.world, &granted).await;
    hop.queued = Some((asked, id::now()));
    hop.thaw(frozen);
    let left = Duration::from_millis(hop.wall_left());
    let ended = timeout(left, C::act(hop.world.clone(), granted, who)).await;
    drop(turn);
    let frozen = hop.freeze();
    hop.permit = hop.world.executing.clone().acquire_owned().await.ok();
    hop.thaw(frozen);
    hop.waited |= began.elapsed() >= TICK;
    ended.unwrap_or(Err(Failed::Overdue))
}

/// Step 9. Result, label and use become one journal record; a refusal is a result like any other.
async fn recorded<C: Act>(
    hop: &mut Hop,
    opening: Opening,
    call: Option<&C>,
    ended: Result<(Reply<C::Answer>, Destination), CallError>,
    tries: &[Try],
) -> Result<Answered<C>, Stop> {
    passed("result", opening.kind);
    let broken = |error: serde_json::Error| Stop::Store(error.to_string());
    let (state, answer) = match &ended {
        Ok((reply, _)) => ("done", serde_json::to_string(&reply.answer).map_err(broken)?),
        Err(error @ CallError::Denied { .. }) => ("denied", serde_json::to_string(error).map_err(broken)?),
        Err(error) => ("failed", serde_json::to_string(error).map_err(broken)?),
    };
    if let Ok((reply, destination)) = &ended {
        let read = Label { tier: reply.tier.max(destination.yields), tainted: false };
        hop.label = hop.label.join(read);
    }
    let finished_at = id::now();
    let bytes = (opening.request.len() + answer.len()) as u64;
    let within = journaled(hop, answer.len());
    let closing = Closing {
        state,
        answer,
        tries: serde_json::to_string(tries).map_err(broken)?,
        destination: ended.as_ref().ok().map(|(_, destination)| destination.name.clone()),
        label: hop.label,
        usage: ended.as_ref().ok().and_then(|(reply, _)| reply.usage.clone()),
        wrote: ended.as_ref().ok().and_then(|(reply, _)| reply.wrote.clone()),
        finished_at,
    };
    let (kind, started_at, reference) = (opening.kind, opening.started_at, opening.at.reference());
    // What was done is on record even if it is the last that the run may do.
    held(journal::record(&hop.world.db, opening, closing).await)?;
    within?;
    hop.clock.advance(finished_at);
    metrics::count(name::JOURNAL_BYTES, bytes, &[]);
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of one call")]
    metrics::observe(name::HOST_CALL_SECONDS, finished_at.since(started_at) as f64 / 1000.0, &[("kind", kind)]);

    let seen = spans::Ended {
        reference: reference.clone(),
        kind,
        state,
        destination: ended.as_ref().ok().map(|(_, destination)| destination.name.as_str()),
        usage: ended.as_ref().ok().and_then(|(reply, _)| reply.usage.as_ref()),
        error: ended.as_ref().err(),
        began: started_at,
        ended: finished_at,
    };
    spans::called(hop, call, &seen);
    hop.queued = None;
    match ended {
        Ok((reply, destination)) => {
            spent(hop, reply.usage.as_ref());
            let (answer, usage) = (reply.answer, reply.usage);
            Ok(Ok(Told { reference, answer, label: hop.label, destination: destination.name, usage }))
        }
        Err(error) => {
            if let CallError::Denied { rule, .. } = &error {
                note_denial(hop, kind, rule, &error);
            }
            Ok(Err(error))
        }
    }
}

/// Whether a journal entry was written: it is not, if another worker has the task.
fn held(written: Result<bool, StoreError>) -> Result<(), Stop> {
    match written {
        Ok(true) => Ok(()),
        Ok(false) => Err(Stop::LeaseLost),
        Err(error) => Err(Stop::Store(error.to_string())),
    }
}

fn note_denial(hop: &Hop, kind: &str, rule: &str, error: &CallError) {
    let agent = hop.grant.agent();
    metrics::count(name::DENIED, 1, &[("agent", agent), ("rule", rule)]);
    let why = telemetry::shown(&hop.labelled(error.to_string()));
    tracing::warn!(
        event = "call_denied",
        task_id = hop.at.task,
        trace_id = hop.trace_id,
        agent,
        mode = hop.mode,
        persona = agent,
        kind,
        rule,
        why,
        "denied {kind} of {agent} by {rule}"
    );
}

fn who(hop: &Hop) -> Who {
    Who { at: hop.at.clone(), digest: hop.digest.clone(), label: hop.label, grant: hop.grant.clone(), parked: hop.parked }
}

/// Leaves a trace of each step, so that a test can see that none is skipped.
fn passed(step: &'static str, kind: &'static str) {
    tracing::trace!(event = "call_step", step, kind);
}
