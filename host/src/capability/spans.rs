//! The spans of calls, below the span of their run.

use opentelemetry::KeyValue;
use opentelemetry::trace::SpanKind;
use policy::call::CallError;
use policy::task::Timestamp;

use super::act::Act;
use super::{Hop, Stop};
use crate::store::journal::{Opening, Usage};
use crate::telemetry::trace::{Span, fact, what};

/// How a call looks in a trace.
pub struct Seen {
    /// What people see first.
    pub name: String,
    /// Whether it leaves this process.
    pub kind: SpanKind,
    /// Facts, never content.
    pub facts: Vec<KeyValue>,
}

/// What is known of a call that has ended.
pub(super) struct Ended<'e> {
    pub(super) reference: String,
    pub(super) kind: &'static str,
    pub(super) state: &'static str,
    pub(super) destination: Option<&'e str>,
    pub(super) usage: Option<&'e Usage>,
    pub(super) error: Option<&'e CallError>,
    pub(super) began: Timestamp,
    pub(super) ended: Timestamp,
}

/// Records the span of a call; `None` for one whose arguments made no sense.
pub(super) fn called<C: Act>(hop: &Hop, call: Option<&C>, ended: &Ended<'_>) {
    record(hop, call, ended, what::call(&hop.at.task, &ended.reference));
}

fn record<C: Act>(hop: &Hop, call: Option<&C>, ended: &Ended<'_>, id: String) {
    queued(hop, &id);
    hop.world.traces.record(|| {
        let plain = || Seen { name: ended.kind.into(), kind: SpanKind::Internal, facts: Vec::new() };
        let seen = call.map_or_else(plain, |call| call.seen(&hop.world, ended.destination));
        let mut facts = seen.facts;
        facts.push(fact("homeaiops.call", ended.kind));
        facts.push(fact("homeaiops.ref", ended.reference.clone()));
        facts.push(fact("homeaiops.state", ended.state));
        facts.extend(ended.usage.into_iter().flat_map(used));
        if let Some(CallError::Denied { rule, .. }) = ended.error {
            facts.push(fact("homeaiops.rule", (*rule).to_owned()));
        }
        let error = ended.error.map(|error| crate::telemetry::shown(&hop.labelled(error.to_string())));
        facts.extend(ended.error.map(|error| fact("error.type", error.kind())));
        Span {
            at: hop.span.with(&id),
            below: Some(hop.span),
            name: seen.name,
            kind: seen.kind,
            began: ended.began,
            ended: ended.ended,
            facts,
            error,
        }
    });
}

/// Records the span of a call that ended its run.
pub(super) fn unanswered<C: Act>(hop: &Hop, call: &C, opening: &Opening, stop: &Stop) {
    let error = CallError::Failed { text: stop.to_string() };
    let ended = Ended {
        reference: opening.at.reference(),
        kind: opening.kind,
        state: "unanswered",
        destination: None,
        usage: None,
        error: Some(&error),
        began: opening.started_at,
        ended: crate::id::now(),
    };
    // The call is made again when its run is resumed: each try is a span of its own.
    record(hop, Some(call), &ended, what::attempt(&hop.at.task, &ended.reference, hop.tenure.lease));
}

/// Records what a run did again without doing anything: one span, however many calls it passed.
pub(super) fn replayed(hop: &mut Hop) {
    let Some(began) = hop.replaying_since.take() else { return };
    let (ended, calls) = (crate::id::now(), i64::from(hop.at.seq));
    hop.world.traces.record(|| Span {
        at: hop.span.with(&what::replay(&hop.at.task, hop.at.hop, hop.at.run, hop.tenure.lease)),
        below: Some(hop.span),
        name: "replay".into(),
        kind: SpanKind::Internal,
        began,
        ended,
        facts: vec![fact("homeaiops.replayed", true), fact("homeaiops.calls", calls)],
        error: None,
    });
}

/// Records that a call waited for its turn at a busy server: with the call, since a wait alone would hang below nothing.
fn queued(hop: &Hop, call: &str) {
    let Some((began, ended)) = hop.queued.filter(|(began, ended)| began < ended) else { return };
    hop.world.traces.record(|| Span {
        at: hop.span.with(&what::turn(call)),
        below: Some(hop.span.with(call)),
        name: "wait for a turn".into(),
        kind: SpanKind::Internal,
        began,
        ended,
        facts: Vec::new(),
        error: None,
    });
}

fn used(usage: &Usage) -> Vec<KeyValue> {
    let count = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    #[expect(clippy::cast_precision_loss, reason = "micro-dollars of one call")]
    let usd = usage.usd_micros as f64 / 1e6;
    vec![
        fact("gen_ai.response.model", usage.model.clone()),
        fact("gen_ai.usage.input_tokens", count(usage.input)),
        fact("gen_ai.usage.output_tokens", count(usage.output)),
        fact("gen_ai.usage.cost", usd),
    ]
}
