//! What becomes of a call that the journal of its run does not answer. A run that works makes it; a rehearsal does not: it ends
//! there, or asks models and nobody else. A rehearsal never has an effect and never writes anything down.

use std::collections::{BTreeMap, VecDeque};

use policy::call::{Call, CallError, Complete, Effect, Sleep};
use policy::denied::Denied;
use policy::judge::Destination;
use policy::task::Timestamp;
use policy::tier::{Label, Tier};

use super::act::Bound;
use super::{GuestClock, Hop, Stop};
use crate::store::journal::{Opening, Past, Usage};

/// How a run goes on where its journal ends.
pub enum Beyond {
    /// It makes its calls: a run that works, for the first time or again.
    Live,
    /// It ends: what was done is only compared. Holds the call that the journal does not answer, once there is one.
    Stop(Option<Box<Opening>>),
    /// It asks models anew, and is answered or refused everything else.
    Ask(Box<Ask>),
}

/// What a rehearsal that asks models knows, and what came of it so far.
#[derive(Default)]
pub struct Ask {
    /// What the finished run was answered, by fingerprint, in order: the n-th equal call gets the n-th answer.
    known: BTreeMap<String, VecDeque<Past>>,
    /// Its calls so far.
    pub made: Vec<Made>,
}

/// One call of a rehearsal.
#[derive(Clone, Debug)]
pub struct Made {
    /// The `ref`.
    pub reference: String,
    /// `interface.function`.
    pub kind: &'static str,
    /// Canonical JSON.
    pub request: String,
    /// Why it was not answered, if it was not.
    pub error: Option<CallError>,
    /// What a model used now.
    pub usage: Option<Usage>,
}

impl Beyond {
    /// Whether the run works, and leaves its traces.
    #[must_use]
    pub fn is_live(&self) -> bool {
        matches!(self, Self::Live)
    }

    /// Whether a call that may cost so much may be made: no rehearsal spends money.
    ///
    /// # Errors
    /// [`Denied`] if it could cost something.
    pub(super) fn affords(&self, destination: &Destination, bound: Bound) -> Result<(), Denied> {
        match self {
            Self::Ask(_) if bound.usd_micros > 0 => {
                #[expect(clippy::cast_precision_loss, reason = "micro-dollars of one call")]
                let usd = bound.usd_micros as f64 / 1e6;
                Err(Denied {
                    rule: "rehearsal",
                    said: format!("`{}` costs money: this call up to ${usd:.4}", destination.name),
                    at: "host rehearse --live".into(),
                    hint: "nobody bills a rehearsal, so it asks only what is free".into(),
                })
            }
            Self::Live | Self::Stop(_) | Self::Ask(_) => Ok(()),
        }
    }

    /// The effect of a call that is about to be made. A rehearsal makes none that has one.
    pub(super) fn makes(&self, kind: &str, effect: Effect) -> Result<Effect, Stop> {
        match (self, effect) {
            (Self::Live, _) | (Self::Ask(_), Effect::None) => Ok(effect),
            (Self::Stop(_), _) | (Self::Ask(_), Effect::Repeatable | Effect::Once) => {
                Err(Stop::Diverged(format!("a rehearsal does not make {kind}")))
            }
        }
    }

    /// Notes a call that was made, and what came of it.
    pub(super) fn note(&mut self, opening: &Opening, error: Option<&CallError>, usage: Option<&Usage>) {
        if let Self::Ask(ask) = self {
            ask.note(opening, error.cloned(), usage.cloned());
        }
    }

    /// When a call ended by the guest's clock. That of a rehearsal is the finished run's: it moves on by as long as the call took.
    pub(super) fn moment(&self, clock: &GuestClock, (began, ended): (Timestamp, Timestamp)) -> Timestamp {
        if self.is_live() { ended } else { clock.now().plus(ended.since(began)) }
    }
}

impl Ask {
    /// Knows what the finished run was answered.
    #[must_use]
    pub fn knowing(calls: impl IntoIterator<Item = Past>) -> Self {
        let mut known: BTreeMap<String, VecDeque<Past>> = BTreeMap::new();
        for call in calls.into_iter().filter(|call| call.answer.is_some()) {
            known.entry(call.fingerprint.clone()).or_default().push_back(call);
        }
        Self { known, made: Vec::new() }
    }

    fn note(&mut self, opening: &Opening, error: Option<CallError>, usage: Option<Usage>) {
        let (reference, kind, request) = (opening.at.reference(), opening.kind, opening.request.clone());
        self.made.push(Made { reference, kind, request, error, usage });
    }

    /// The answer of a call that no model gives: the journal's if it has one; time passes by itself; the rest is refused.
    fn answer(&mut self, opening: &Opening) -> Result<Past, Stop> {
        if let Some(past) = self.known.get_mut(&opening.fingerprint).and_then(VecDeque::pop_front) {
            return Ok(past);
        }
        let made_up = |state: &str, answer: String| Past {
            kind: opening.kind.into(),
            fingerprint: opening.fingerprint.clone(),
            state: state.into(),
            answer: Some(answer),
            destination: "rehearsal".into(),
            label: Label::of(Tier::Public),
            usage: None,
            effect: Effect::None,
            started_at: opening.started_at,
            finished_at: opening.started_at,
        };
        if opening.kind == Sleep::KIND {
            return Ok(made_up("done", "null".into()));
        }
        let refusal = CallError::Denied {
            rule: "rehearsal".into(),
            said: format!("the finished run did not make this {}, and a rehearsal has no effects", opening.kind),
            at: "host rehearse --live".into(),
            hint: "only a real task can make it".into(),
        };
        Ok(made_up("denied", serde_json::to_string(&refusal).map_err(|error| Stop::Store(error.to_string()))?))
    }
}

impl Hop {
    /// What the journal holds of a call. A rehearsal makes no call that it does not hold: it ends, or the call is answered anyhow;
    /// `None` there means a model that is to be asked.
    pub(super) fn past_of(&mut self, opening: &Opening) -> Result<Option<Past>, Stop> {
        match &mut self.beyond {
            Beyond::Live => Ok(self.past.remove(&opening.at.seq)),
            Beyond::Stop(strayed) => match self.past.remove(&opening.at.seq).filter(|past| past.answer.is_some()) {
                Some(past) if past.fingerprint == opening.fingerprint => Ok(Some(past)),
                Some(_) | None => {
                    *strayed = Some(Box::new(opening.clone()));
                    Err(Stop::Diverged(format!("call {} is not the one in the journal", opening.at.reference())))
                }
            },
            Beyond::Ask(_) if opening.kind == Complete::KIND => Ok(None),
            Beyond::Ask(ask) => {
                // The guest's clock is the finished run's: it moves on by what the journal says, never to now.
                let past = ask.answer(&Opening { started_at: self.clock.now(), ..opening.clone() })?;
                let refused = past.answer.as_ref().filter(|_| past.state != "done");
                let error = refused.and_then(|answer| serde_json::from_str(answer).ok());
                ask.note(opening, error, None);
                Ok(Some(past))
            }
        }
    }
}
