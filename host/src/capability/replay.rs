//! Step 1: a run that goes on is told what it was told before, without anything being judged, sent, billed or recorded again.

use policy::call::Effect;
use policy::task::Timestamp;

use super::act::{Act, Told};
use super::perform::{Answered, passed};
use super::{Hop, Stop, record, spans};
use crate::metrics::{self, name};
use crate::store::journal::Opening;

/// What the journal knows of a call.
pub(super) enum Replayed<C: Act> {
    /// Its answer.
    Answer(Answered<C>),
    /// None: it is to be made.
    Live(Since),
}

/// What became of a call that is to be made, in an earlier life of its run.
pub(super) struct Since {
    /// When it was first made.
    pub(super) first_at: Timestamp,
    /// Whether it is in the journal: a person was asked about it, or it was sent.
    pub(super) known: bool,
    /// Whether it was sent, and never answered.
    pub(super) begun: bool,
}

/// Step 1. Does the journal hold the result of this call? Then it is returned, and nothing is judged, sent, billed or recorded
/// again. A call that was started and has no answer is none: its truth is unknown. It is made again, unless only a person may do that.
pub(super) fn replayed<C: Act>(hop: &mut Hop, opening: &Opening) -> Result<Replayed<C>, Stop> {
    passed("replay", C::KIND);
    *hop.made.entry(opening.fingerprint.clone()).or_default() += 1;
    let fresh = Since { first_at: opening.started_at, known: false, begun: false };
    let Some(past) = hop.past_of(opening)? else { return Ok(Replayed::Live(fresh)) };
    let reference = opening.at.reference();
    if past.fingerprint != opening.fingerprint {
        metrics::count(name::REPLAYS, 1, &[("result", "diverged")]);
        let (was, is) = (&past.fingerprint, &opening.fingerprint);
        let (before, now) = (&past.kind, C::KIND);
        return Err(Stop::Diverged(format!("call {reference} was `{before}` ({was}) and is `{now}` ({is}) now")));
    }
    let Some(answer) = past.answer else {
        return match past.effect {
            Effect::Once => Err(Stop::Unknown { reference, kind: past.kind }),
            Effect::None | Effect::Repeatable => {
                Ok(Replayed::Live(Since { first_at: past.started_at, known: true, begun: past.state == "started" }))
            }
        };
    };
    hop.label = hop.label.join(past.label);
    hop.journaled(answer.len())?;
    hop.clock.advance(past.finished_at);
    record::spent(hop, past.usage.as_ref());
    if hop.beyond.is_live() && !hop.replays() {
        metrics::count(name::REPLAYS, 1, &[("result", "resumed")]);
        spans::replayed(hop);
    }
    let unreadable = |error: serde_json::Error| Stop::Diverged(format!("the answer of call {reference} cannot be read: {error}"));
    if past.state != "done" {
        return Ok(Replayed::Answer(Err(serde_json::from_str(&answer).map_err(unreadable)?)));
    }
    let answer = serde_json::from_str(&answer).map_err(unreadable)?;
    let told = Told { reference: reference.clone(), answer, label: hop.label, destination: past.destination, usage: past.usage };
    Ok(Replayed::Answer(Ok(told)))
}
