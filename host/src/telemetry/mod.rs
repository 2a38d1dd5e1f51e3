//! Log lines: JSON, one event each; and spans. Content above the clearance of logs becomes `[restricted]`.

pub mod trace;

use std::io::IsTerminal;

use policy::tier::{Clearance, Labelled, Withheld};
use tracing_subscriber::EnvFilter;

/// Starts writing log lines to standard error: JSON, or readable where a person is looking.
pub fn start(filter: &str) {
    let mut filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    // It logs what servers say, which has a label that it knows nothing of.
    if let Ok(quiet) = "rmcp=off".parse() {
        filter = filter.add_directive(quiet);
    }
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    // A second start in one process (tests) keeps the first.
    let _ = if std::io::stderr().is_terminal() {
        lines.compact().try_init()
    } else {
        lines.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init()
    };
}

/// Text of a run, as a log line may show it.
#[must_use]
pub fn shown(text: &Labelled<String>) -> String {
    match text.open(Clearance::LOG) {
        Ok(text) => text.clone(),
        Err(withheld @ Withheld) => withheld.to_string(),
    }
}
