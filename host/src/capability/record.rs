//! Step 9: how a call ended becomes one journal record, with the label that the run has now and the money that it used; and what the
//! rest of the world may see of it.

use policy::call::{CallError, Effect};
use policy::judge::Destination;
use policy::tier::Label;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::act::{Act, Reply, Told};
use super::perform::{Answered, passed};
use super::{Hop, Stop, spans};
use crate::metrics::{self, name};
use crate::store::journal::{Closing, Opening, Usage, Write};
use crate::store::ledger::Bill;
use crate::{fault, id, telemetry};

/// One destination that was tried, as the journal keeps it.
#[derive(Serialize)]
pub(super) struct Try {
    pub(super) destination: String,
    pub(super) reason: String,
    pub(super) outcome: String,
}

/// What a call was answered, and by whom; or why not.
pub(super) type Outcome<A> = Result<(Reply<A>, Destination), CallError>;

/// How a call ended, and where it was tried.
pub(super) struct Ended<A> {
    pub(super) opening: Opening,
    pub(super) tries: Vec<Try>,
    pub(super) how: Outcome<A>,
    /// What becomes of what was reserved for it.
    pub(super) bill: Option<Bill>,
}

/// Records how a call ended; a refusal is a result like any other.
pub(super) async fn recorded<C: Act>(hop: &mut Hop, call: Option<&C>, ended: Ended<C::Answer>) -> Result<Answered<C>, Stop> {
    let Ended { opening, tries, mut how, bill } = ended;
    passed("result", opening.kind);
    let broken = |error: serde_json::Error| Stop::Store(error.to_string());
    let (state, answer) = match &mut how {
        Ok((reply, _)) => ("done", written(hop, opening.kind, &mut reply.answer)?),
        Err(error @ CallError::Denied { .. }) => ("denied", written(hop, opening.kind, error)?),
        Err(error) => ("failed", written(hop, opening.kind, error)?),
    };
    if let Ok((reply, destination)) = &how {
        let read = Label { tier: reply.tier.max(destination.yields), tainted: destination.untrusted };
        hop.label = hop.label.join(read);
    }
    let finished_at = id::now();
    let bytes = (opening.request.len() + answer.len()) as u64;
    let within = hop.journaled(answer.len());
    // What was charged, and what nobody may do twice, is on disk before anybody goes on.
    let at_once = opening.effect == Effect::Once || bill.as_ref().is_some_and(|bill| !matches!(bill, Bill::Free { .. }));
    let closing = Closing {
        state,
        answer,
        tries: serde_json::to_string(&tries).map_err(broken)?,
        destination: how.as_ref().ok().map(|(_, destination)| destination.name.clone()),
        label: hop.label,
        usage: how.as_ref().ok().and_then(|(reply, _)| reply.usage.clone()),
        bill,
        wrote: how.as_ref().ok().and_then(|(reply, _)| reply.wrote.clone()),
        finished_at,
    };
    let (kind, started_at, reference) = (opening.kind, opening.started_at, opening.at.reference());
    hop.beyond.note(&opening, how.as_ref().err(), closing.usage.as_ref());
    let entry = Write::Entry(opening, closing);
    match at_once {
        true => hop.draft.commit(vec![entry]).await.map(|_| ())?,
        false => hop.draft.note(entry).await?,
    }
    fault::point("after_record").await;
    // What was done is on record even if it is the last that the run may do.
    within?;
    hop.clock.advance(hop.beyond.moment(&hop.clock, (started_at, finished_at)));
    metrics::count(name::JOURNAL_BYTES, bytes, &[]);
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of one call")]
    metrics::observe(name::HOST_CALL_SECONDS, finished_at.since(started_at) as f64 / 1000.0, &[("kind", kind)]);

    let seen = spans::Ended {
        reference: reference.clone(),
        kind,
        state,
        destination: how.as_ref().ok().map(|(_, destination)| destination.name.as_str()),
        usage: how.as_ref().ok().and_then(|(reply, _)| reply.usage.as_ref()),
        error: how.as_ref().err(),
        began: started_at,
        ended: finished_at,
    };
    spans::called(hop, call, &seen);
    hop.queued = None;
    match how {
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

/// What is told, freed of the host's secrets, and the same as JSON.
fn written<T: Serialize + DeserializeOwned>(hop: &Hop, kind: &str, told: &mut T) -> Result<String, Stop> {
    let broken = |error: serde_json::Error| Stop::Store(error.to_string());
    let written = serde_json::to_string(told).map_err(broken)?;
    let Some(clean) = hop.cleaned(&format!("the answer of {kind}"), told, &written)? else { return Ok(written) };
    *told = clean;
    serde_json::to_string(told).map_err(broken)
}

/// Counts what a model used against the limits of the run.
pub(super) fn spent(hop: &mut Hop, usage: Option<&Usage>) {
    if let Some(usage) = usage {
        hop.spent.output_tokens = hop.spent.output_tokens.saturating_add(usage.output);
        hop.spent.usd_micros = hop.spent.usd_micros.saturating_add(usage.usd_micros);
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
