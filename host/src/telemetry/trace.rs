//! One trace per task: the request is its root, and everything that is done for the task hangs below it, after a crash and on
//! another host too. Names and attributes are those of OpenTelemetry's GenAI conventions where they have one.
//!
//! The ids of spans are derived from what they stand for, so that whoever goes on with a task knows where to hang its work, and can
//! report a run that a crash swallowed. No content: attributes hold names, counts and reasons, as log lines do.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue, Value};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, SpanData, SpanExporter, SpanProcessor};
use policy::task::Timestamp;

use crate::id;

/// How long spans may wait for company.
const BATCH: Duration = Duration::from_secs(1);
/// How long the last spans may take when the host ends.
const FAREWELL: Duration = Duration::from_secs(5);

/// Where a span stands: its trace and its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    trace: TraceId,
    span: SpanId,
}

impl Place {
    /// The place that a `traceparent` names (W3C trace context), if it is a valid one.
    #[must_use]
    pub fn named(traceparent: &str) -> Option<Self> {
        let carrier = HashMap::from([("traceparent".to_owned(), traceparent.to_owned())]);
        let context = TraceContextPropagator::new().extract(&carrier);
        let span = context.span().span_context().clone();
        span.is_valid().then(|| Self { trace: span.trace_id(), span: span.span_id() })
    }

    /// A place in that trace (32 hexadecimal digits), known by `what` it stands for.
    #[must_use]
    pub fn of(trace: &str, what: &str) -> Self {
        Self { trace: TraceId::from_hex(trace).unwrap_or(TraceId::INVALID), span: span_id(what) }
    }

    /// Another place in the same trace, known by `what` it stands for.
    #[must_use]
    pub fn with(self, what: &str) -> Self {
        Self { span: span_id(what), ..self }
    }

    /// The same, as rows and headers keep it.
    #[must_use]
    pub fn traceparent(&self) -> String {
        format!("00-{}-{}-01", self.trace, self.span)
    }

    /// The trace: 32 hexadecimal digits.
    #[must_use]
    pub fn trace(&self) -> String {
        self.trace.to_string()
    }
}

fn span_id(what: &str) -> SpanId {
    let [a, b, c, d, e, f, g, h, ..] = id::sha256(what.as_bytes());
    SpanId::from_bytes([a, b, c, d, e, f, g, h])
}

/// What a span stands for, and so its id.
pub mod what {
    /// The request that became a task.
    #[must_use]
    pub fn request(task: &str) -> String {
        format!("{task}/request")
    }

    /// A lease of a task.
    #[must_use]
    pub fn lease(task: &str, lease: i64) -> String {
        format!("{task}/lease/{lease}")
    }

    /// The wait before a lease.
    #[must_use]
    pub fn wait(task: &str, lease: i64) -> String {
        format!("{task}/wait/{lease}")
    }

    /// A run of a hop.
    #[must_use]
    pub fn run(task: &str, hop: u32, run: u32) -> String {
        format!("{task}/run/{hop}.{run}")
    }

    /// A call of a run, by its `ref`.
    #[must_use]
    pub fn call(task: &str, reference: &str) -> String {
        format!("{task}/call/{reference}")
    }

    /// A call that had no answer under that lease.
    #[must_use]
    pub fn attempt(task: &str, reference: &str, lease: i64) -> String {
        format!("{task}/call/{reference}/lease/{lease}")
    }

    /// What a run did again under that lease.
    #[must_use]
    pub fn replay(task: &str, hop: u32, run: u32, lease: i64) -> String {
        format!("{task}/run/{hop}/{run}/replay/{lease}")
    }

    /// The wait of a call for its turn; `call` is what the call stands for.
    #[must_use]
    pub fn turn(call: &str) -> String {
        format!("{call}/turn")
    }
}

/// A span that has ended.
pub struct Span {
    /// Where it stands.
    pub at: Place,
    /// Below what.
    pub below: Option<Place>,
    /// What people see first.
    pub name: String,
    /// Who asks whom.
    pub kind: SpanKind,
    /// When it began.
    pub began: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// Facts, never content.
    pub facts: Vec<KeyValue>,
    /// Why it did not end well, as a log line may show it.
    pub error: Option<String>,
}

/// A fact of a span.
#[must_use]
pub fn fact(key: &'static str, value: impl Into<Value>) -> KeyValue {
    KeyValue::new(key, value)
}

/// Where spans go: a cheap handle. Without an endpoint they go nowhere.
#[derive(Clone, Default)]
pub struct Traces {
    sink: Option<Arc<BatchSpanProcessor>>,
}

impl Traces {
    /// Sends spans by that exporter.
    #[must_use]
    pub fn to(exporter: impl SpanExporter + 'static) -> Self {
        let config = BatchConfigBuilder::default().with_scheduled_delay(BATCH).build();
        let mut processor = BatchSpanProcessor::new(exporter, config);
        let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
        processor.set_resource(&Resource::builder_empty().with_service_name("homeaiops").with_attribute(version).build());
        Self { sink: Some(Arc::new(processor)) }
    }

    /// Sends a span, if spans go anywhere. It is made only then.
    pub fn record(&self, span: impl FnOnce() -> Span) {
        let Some(sink) = &self.sink else { return };
        let Span { at, below, name, kind, began, ended, facts, error } = span();
        sink.on_end(SpanData {
            span_context: SpanContext::new(at.trace, at.span, TraceFlags::SAMPLED, false, TraceState::NONE),
            parent_span_id: below.map_or(SpanId::INVALID, |below| below.span),
            parent_span_is_remote: false,
            span_kind: kind,
            name: name.into(),
            start_time: time(began),
            end_time: time(ended),
            attributes: facts,
            dropped_attributes_count: 0,
            events: opentelemetry_sdk::trace::SpanEvents::default(),
            links: opentelemetry_sdk::trace::SpanLinks::default(),
            status: error.map_or(Status::Unset, Status::error),
            instrumentation_scope: InstrumentationScope::builder("homeaiops").build(),
        });
    }

    /// Sends what still waits, within a few seconds. Blocks.
    pub fn end(&self) {
        if let Some(sink) = &self.sink
            && let Err(error) = sink.shutdown_with_timeout(FAREWELL)
        {
            tracing::warn!(event = "spans_lost", %error, "the last spans were not delivered: {error}");
        }
    }
}

fn time(at: Timestamp) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(at.0).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_callers_place_is_taken_only_if_it_is_valid() {
        let callers = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let place = Place::named(callers).unwrap();
        assert_eq!(place.traceparent(), callers);
        assert_eq!(place.trace(), "4bf92f3577b34da6a3ce929d0e0e4736");
        for bad in [
            "",
            "nonsense",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(Place::named(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_same_thing_stands_at_the_same_place() {
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        let root = Place::of(trace, &what::request("T"));
        assert_eq!(root, Place::of(trace, &what::request("T")));
        assert_eq!(root.with(&what::lease("T", 1)), Place::of(trace, &what::lease("T", 1)));
        assert_ne!(root.with(&what::lease("T", 1)), root.with(&what::lease("T", 2)));
    }
}
