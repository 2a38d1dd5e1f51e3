//! THE path: every call of every guest, in the order of design §3.
//!
//! Each step is one function, named as in the design; a step that has nothing to decide returns at once, but it is passed. There
//! is no other way to an effect: capabilities act on a [`Granted`] call, and only step 4 makes one. Step 1 is in `replay`, step 5 in `consent`,
//! step 9 in `record`.

use std::collections::VecDeque;
use std::time::Duration;

use futures::future::join_all;
use policy::call::{CallError, Effect};
use policy::denied::Denied;
use policy::judge::{self, Allowed, Destination, Granted};
use policy::task::Timestamp;
use policy::tier::Label;
use tokio::time::{Instant, timeout};

use super::act::{Act, Bound, Failed, Reply, Told, Who};
use super::caps::Refused;
use super::consent::{Consent, Held, approved, consent};
use super::draft::Draft;
use super::learn::learnt;
use super::opening::{key, open, place};
use super::record::{Ended, Outcome, Try, recorded};
use super::replay::{Replayed, replayed};
use super::{Hop, Stop, TICK, spans};
use crate::store::backends;
use crate::store::journal::{Opening, Write};
use crate::store::ledger::{Bill, OverCap, Reservation};
use crate::{fault, id};

/// What the agent is told of its call.
pub type Answered<C> = Result<Told<<C as Act>::Answer>, CallError>;

/// Performs one call. The outer error ends the run; the inner one is an answer to the agent.
///
/// # Errors
/// [`Stop`] if the host ends the run.
pub async fn perform<C: Act>(hop: &mut Hop, call: C) -> Result<Answered<C>, Stop> {
    let answered = perform_all(hop, vec![call]).await?;
    answered.into_iter().next().ok_or_else(|| Stop::Store("a call has no answer: this is a mistake of the host".into()))
}

/// Performs calls at the same time. Each is an entry of its own, judged against the label at the start; answers are in the order
/// of the calls. When the run goes on after an interruption, only those without a result are performed again.
///
/// # Errors
/// [`Stop`] if the host ends the run.
pub async fn perform_all<C: Act>(hop: &mut Hop, calls: Vec<C>) -> Result<Vec<Answered<C>>, Stop> {
    let label = hop.label;
    let mut members = Vec::with_capacity(calls.len());
    for mut call in calls {
        let opening = Opening { label, ..open(hop, &mut call)? };
        members.push(match replayed::<C>(hop, &opening)? {
            Replayed::Answer(answer) => Member::Past(answer),
            Replayed::Live(since) => {
                let learnt = learnt(hop, &mut call).await;
                learnt.inspect_err(|stop| spans::unanswered(hop, &call, &opening, stop))?;
                let asks = since.known && hop.beyond.is_live();
                let consent = if asks { consent(hop.world.db.clone(), &opening, &since).await? } else { Consent::default() };
                Member::Live(Box::new(Trip::new(hop, call, opening, since.first_at, consent)))
            }
        });
    }
    let mut stop = None;
    while stop.is_none() && members.iter().any(Member::under_way) {
        stop = round(hop, label, &mut members).await.err();
    }
    let mut answers = Vec::with_capacity(members.len());
    for member in members {
        match member {
            Member::Past(answer) => answers.push(answer),
            Member::Live(trip) => {
                let Trip { call, opening, tries, ended, bill, .. } = *trip;
                match (ended, &stop) {
                    // Whatever ends the run: what has been answered is on record.
                    (Some(how), _) => match recorded(hop, Some(&call), Ended { opening, tries, how, bill }).await {
                        Ok(answer) => answers.push(answer),
                        Err(ends) => stop = stop.or(Some(ends)),
                    },
                    (None, Some(ends)) => {
                        spans::unanswered(hop, &call, &opening, ends);
                        if matches!(ends, Stop::Consent { .. }) {
                            // What is asked stands beside it; the run goes on from here when somebody has answered.
                            hop.draft.note(Write::Asked(opening)).await?;
                        }
                    }
                    (None, None) => {}
                }
            }
        }
    }
    stop.map_or(Ok(answers), Err)
}

/// One call of those that are performed together.
enum Member<C: Act> {
    /// The journal held its answer.
    Past(Answered<C>),
    /// It is on its way.
    Live(Box<Trip<C>>),
}

impl<C: Act> Member<C> {
    fn under_way(&self) -> bool {
        matches!(self, Self::Live(trip) if trip.ended.is_none())
    }
}

/// A call on its way from one candidate to the next.
struct Trip<C: Act> {
    call: C,
    opening: Opening,
    /// When it was first made, in this life of its run or an earlier one.
    first_at: Timestamp,
    key: String,
    candidates: VecDeque<Destination>,
    tries: Vec<Try>,
    /// What became of the latest try.
    last: Result<Stop, CallError>,
    ended: Option<Outcome<C::Answer>>,
    bill: Option<Bill>,
    consent: Consent,
}

impl<C: Act> Trip<C> {
    fn new(hop: &mut Hop, call: C, opening: Opening, first_at: Timestamp, consent: Consent) -> Self {
        let key = key(hop, &opening);
        let (candidates, last) = match destinations(hop, &call) {
            Ok(candidates) => (candidates.into(), CallError::Failed { text: "there is nowhere to send it".into() }),
            Err(denied) => (VecDeque::new(), denied.into()),
        };
        Self { call, opening, first_at, key, candidates, tries: Vec::new(), last: Err(last), ended: None, bill: None, consent }
    }

    fn tried(&mut self, destination: &Destination, outcome: &str, last: Result<Stop, CallError>) {
        let (destination, reason) = (destination.name.clone(), destination.reason.clone());
        self.tries.push(Try { destination, reason, outcome: outcome.to_owned() });
        self.last = last;
    }
}

/// A call that may go, and what is to be reserved for it.
struct Admitted<'t, C: Act> {
    trip: &'t mut Trip<C>,
    granted: Granted<C>,
    reservation: Option<Reservation>,
}

/// Steps 3 to 8 with the next candidate of each call that has not ended: one commit for all intents, the effects at the same time.
async fn round<C: Act>(hop: &mut Hop, label: Label, members: &mut [Member<C>]) -> Result<(), Stop> {
    let (mut admitted, mut together) = (Vec::new(), Bound::default());
    for member in members {
        let Member::Live(trip) = member else { continue };
        if trip.ended.is_none()
            && let Some((granted, reservation)) = next(hop, label, trip, &mut together)?
        {
            admitted.push(Admitted { trip, granted, reservation });
        }
    }
    if admitted.is_empty() {
        return Ok(());
    }
    match intended(hop, label, &mut admitted).await? {
        Some(over) => {
            capped(hop, admitted, &over);
            Ok(())
        }
        None => effects(hop, label, admitted).await,
    }
}

/// A call that may go to one destination, and what is to be reserved for it.
type Cleared<C> = (Granted<C>, Option<Reservation>);

/// The next candidate that passes steps 3 to 6; `None` if the call has ended without one.
fn next<C: Act>(hop: &Hop, label: Label, trip: &mut Trip<C>, together: &mut Bound) -> Result<Option<Cleared<C>>, Stop> {
    while let Some(destination) = trip.candidates.pop_front() {
        let checked = within(hop, trip.call.clone())
            .and_then(|allowed| cleared(label, allowed, destination.clone()))
            .map_err(Held::Denied)
            .and_then(|granted| approved(hop, label, granted, (&trip.opening, &mut trip.consent)))
            .and_then(|granted| reserved(hop, granted, together).map_err(Held::Denied));
        match checked {
            Ok(granted) => return Ok(Some(granted)),
            Err(Held::Denied(denied)) => trip.tried(&destination, denied.rule, Err(denied.into())),
            Err(Held::Asks(question)) => {
                let (reference, to) = (trip.opening.at.reference(), destination.name.clone());
                trip.tried(&destination, "approval", Ok(Stop::Consent { reference, to, question }));
            }
        }
    }
    match &trip.last {
        Ok(stop) => Err(stop.clone()),
        Err(refusal) => {
            trip.ended = Some(Err(refusal.clone()));
            Ok(None)
        }
    }
}

/// Sends those back that a cap allows no money, each to its next candidate; the others try the same again.
fn capped<C: Act>(hop: &Hop, admitted: Vec<Admitted<'_, C>>, over: &OverCap) {
    for Admitted { trip, granted, reservation } in admitted {
        let destination = granted.destination();
        let Some(reservation) = reservation else {
            trip.candidates.push_front(destination.clone());
            continue;
        };
        let last = match hop.world.caps.refused(over, &hop.grant, reservation.usd_micros, id::now()) {
            Refused::Denied(denied) => Err(denied.into()),
            Refused::Waits(stop) => Ok(stop),
        };
        trip.tried(destination, "cap", last);
    }
}

/// Journals a call whose arguments make no sense: it is counted like any other, and the agent is told why.
///
/// # Errors
/// [`Stop`] if the host ends the run.
pub async fn refuse<C: Act>(hop: &mut Hop, text: String) -> Result<CallError, Stop> {
    let opening = place::<C>(hop, "null".into())?;
    if let Replayed::Answer(Err(error)) = replayed::<C>(hop, &opening)? {
        return Ok(error);
    }
    let how = Err(CallError::Invalid { text: text.clone() });
    let refused = recorded::<C>(hop, None, Ended { opening, tries: Vec::new(), how, bill: None }).await?;
    Ok(refused.err().unwrap_or(CallError::Invalid { text }))
}

/// Step 2. Where would it go?
fn destinations<C: Act>(hop: &Hop, call: &C) -> Result<Vec<Destination>, Denied> {
    passed("destination", C::KIND);
    call.destinations(&hop.world, &hop.grant)
}

/// Step 3. Is it within the effective grant?
fn within<C: Act>(hop: &Hop, call: C) -> Result<Allowed<'_, C>, Denied> {
    passed("grant", C::KIND);
    judge::within(&hop.grant, call)
}

/// Step 4. Is the run's label within the clearance of the destination?
fn cleared<C: Act>(label: Label, allowed: Allowed<'_, C>, destination: Destination) -> Result<Granted<C>, Denied> {
    passed("tier", C::KIND);
    judge::cleared(allowed, label, destination)
}

/// Step 6. Is there budget for it? Within the run's own limits, with the calls that are made together with it; what a priced call
/// could cost at most is reserved with its intent, within every cap or not at all.
fn reserved<C: Act>(hop: &Hop, granted: Granted<C>, together: &mut Bound) -> Result<Cleared<C>, Denied> {
    passed("budget", C::KIND);
    let bound = granted.call().bound(&hop.world, granted.destination());
    hop.beyond.affords(granted.destination(), bound)?;
    let limits = hop.grant.limits();
    for (limit, most, used, more) in [
        (
            "output_tokens",
            limits.output_tokens,
            hop.spent.output_tokens.saturating_add(together.output_tokens),
            bound.output_tokens,
        ),
        ("usd_micros", limits.usd_micros, hop.spent.usd_micros.saturating_add(together.usd_micros), bound.usd_micros),
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
    together.output_tokens = together.output_tokens.saturating_add(bound.output_tokens);
    together.usd_micros = together.usd_micros.saturating_add(bound.usd_micros);
    let reservation = (bound.usd_micros > 0).then(|| Reservation {
        usd_micros: bound.usd_micros,
        agent: hop.grant.agent().to_owned(),
        group: granted.destination().name.clone(),
        tier: hop.label.tier,
        caps: hop.world.caps.of_call(&hop.at.task, &hop.grant, id::now()),
    });
    Ok((granted, reservation))
}

/// Step 7. The intent of a call with an effect, or with a price, is on disk before it is sent, under a lease that is surely held. The
/// cap that does not allow one of the reservations, if one does not: then no intent is written.
async fn intended<C: Act>(hop: &mut Hop, label: Label, admitted: &mut [Admitted<'_, C>]) -> Result<Option<OverCap>, Stop> {
    passed("intent", C::KIND);
    let mut intents = Vec::new();
    for Admitted { trip, granted, reservation } in admitted {
        let effect = hop.beyond.makes(C::KIND, granted.call().effect(&hop.world, granted.destination()))?;
        trip.opening.effect = effect;
        // If its answer is ever told by somebody else, it carries what it would have carried.
        let (tier, tainted) = (granted.destination().yields, granted.destination().untrusted);
        trip.opening.label = label.join(Label { tier, tainted });
        let spends = trip.consent.spends.take();
        if effect == Effect::None && reservation.is_none() && spends.is_none() {
            continue;
        }
        intents.extend(spends.map(|approval| Write::Spend(approval, id::now())));
        let artefact = match granted.call().prepare(&hop.world, &who(hop, label, trip)).await.map_err(Failed::apart) {
            Ok(artefact) => artefact,
            Err((Failed::Store(error), _)) => return Err(Stop::Store(error.to_string())),
            // Whatever else is wrong shows again in the effect, which tells the agent.
            Err(_) => None,
        };
        intents.push(Write::Intent(trip.opening.clone(), artefact, reservation.clone()));
    }
    let over = if intents.is_empty() { None } else { committed(&hop.draft, intents).await? };
    if Instant::now() >= *hop.tenure.until.borrow() {
        return Err(Stop::LeaseLost);
    }
    Ok(over)
}

/// Commits intents, with what waits.
async fn committed(draft: &Draft, intents: Vec<Write>) -> Result<Option<OverCap>, Stop> {
    fault::point("before_intent").await;
    let over = draft.commit(intents).await?;
    fault::point("after_intent").await;
    Ok(over)
}

/// Step 8. The effects, with a deadline. The guest's permit is given back meanwhile: waiting is not executing.
async fn effects<C: Act>(hop: &mut Hop, label: Label, admitted: Vec<Admitted<'_, C>>) -> Result<(), Stop> {
    passed("effect", C::KIND);
    drop(hop.permit.take());
    let began = Instant::now();
    // Waiting for one's turn at a busy server is nobody's fault: the wall clock stands still meanwhile.
    let (frozen, asked) = (hop.freeze(), id::now());
    let turns = join_all(admitted.iter().map(|one| C::turn(&hop.world, &one.granted))).await;
    hop.queued = (began.elapsed() >= TICK).then(|| (asked, id::now()));
    hop.thaw(frozen);
    let left = Duration::from_millis(hop.wall_left());
    let (mut under_way, mut sent) = (Vec::new(), Vec::new());
    for (Admitted { trip, granted, reservation }, turn) in admitted.into_iter().zip(turns) {
        let (who, world, destination) = (who(hop, label, trip), hop.world.clone(), granted.destination().clone());
        hop.world.live.began(&who, C::KIND);
        sent.push((trip, destination, reservation));
        under_way.push(async move {
            let turn = turn?;
            let acted = timeout(left, C::act(world, granted, who)).await.unwrap_or(Err(Failed::Overdue));
            drop(turn);
            acted
        });
    }
    let acted = join_all(under_way).await;
    fault::point("after_effect").await;
    let frozen = hop.freeze();
    hop.permit = hop.world.executing.clone().acquire_owned().await.ok();
    hop.thaw(frozen);
    hop.waited |= began.elapsed() >= TICK;

    let mut stop = None;
    for ((trip, destination, reservation), acted) in sent.into_iter().zip(acted) {
        let_in(hop, &destination);
        let stopped = arrived(hop, trip, (destination, reservation), acted).await;
        stop = stop.or(stopped.err());
    }
    stop.map_or(Ok(()), Err)
}

/// What a try came to: the call has ended, goes on to its next candidate, or ends the run.
async fn arrived<C: Act>(
    hop: &mut Hop,
    trip: &mut Trip<C>,
    (destination, reservation): (Destination, Option<Reservation>),
    acted: Result<Reply<C::Answer>, Failed>,
) -> Result<(), Stop> {
    let (failed, charged) = match acted.map_err(Failed::apart) {
        Ok(reply) => {
            trip.tried(&destination, "answered", Err(CallError::Failed { text: String::new() }));
            trip.bill = reply.usage.as_ref().map(|usage| match reservation {
                Some(_) => Bill::Charged(usage.usd_micros),
                None => Bill::Free { agent: hop.grant.agent().to_owned(), group: destination.name.clone(), tier: hop.label.tier },
            });
            trip.ended = Some(Ok((reply, destination)));
            return Ok(());
        }
        Err(apart) => apart,
    };
    let bill = reservation.map(|_| if charged { Bill::Assumed } else { Bill::Released });
    let stop = match failed {
        Failed::Told(error) => {
            trip.tried(&destination, error.kind(), Err(error.clone()));
            (trip.ended, trip.bill) = (Some(Err(error)), bill);
            return Ok(());
        }
        Failed::Backend { said, at, asked } => {
            let stop = Stop::Backend { said: hop.clean("an error", said), at, asked };
            trip.tried(&destination, "backend", Ok(stop.clone()));
            if trip.opening.effect == Effect::Once {
                // Nothing was sent: whoever makes it again must not take it for one that may have happened.
                trip.opening.effect = Effect::None;
                hop.draft.commit(vec![Write::Intent(trip.opening.clone(), None, None)]).await?;
            }
            // Nowhere else to go: there the run ends.
            trip.candidates.is_empty().then_some(stop)
        }
        Failed::Busy { at } => Some(Stop::Busy { at }),
        Failed::Asleep { pause } => Some(Stop::Asleep { pause }),
        Failed::Unknown(_) => Some(Stop::Unknown { reference: trip.opening.at.reference(), kind: C::KIND.to_owned() }),
        Failed::Overdue => Some(Stop::Limit("wall_s: the run took longer than that".into())),
        Failed::Store(error) => return Err(Stop::Store(error.to_string())),
        Failed::Charged(_) => None,
    };
    if let Some(bill) = bill {
        hop.draft.commit(vec![Write::Bill(trip.opening.at.clone(), bill, id::now())]).await?;
    }
    stop.map_or(Ok(()), Err)
}

/// A turn at a server is free again: one of those who wait for it as rows may come in.
fn let_in(hop: &Hop, destination: &Destination) {
    let Some(url) = hop.world.router.waits_outside(&destination.name).map(str::to_owned) else { return };
    let world = hop.world.clone();
    tokio::spawn(async move {
        match backends::let_in(&world.db, url.clone(), id::now()).await {
            Ok(false) => {}
            Ok(true) => {
                world.router.waits_still(&url);
                world.db.bell().ring();
            }
            // They try by themselves after a while.
            Err(_) => world.router.waits_still(&url),
        }
    });
}

fn who<C: Act>(hop: &Hop, label: Label, trip: &Trip<C>) -> Who {
    Who {
        at: trip.opening.at.clone(),
        digest: hop.digest.clone(),
        label,
        grant: hop.grant.clone(),
        parked: hop.parked,
        key: trip.key.clone(),
        first_at: trip.first_at,
    }
}

/// Leaves a trace of each step, so that a test can see that none is skipped.
pub(super) fn passed(step: &'static str, kind: &'static str) {
    tracing::trace!(event = "call_step", step, kind);
}
