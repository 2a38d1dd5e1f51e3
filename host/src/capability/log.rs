//! WIT `log` and the guest's standard output: lines of the host's log, counted, and shown only where their label may go.

use super::wit::homeaiops::agent::{log, types};
use super::{Hop, Stop};
use crate::telemetry;

impl types::Host for Hop {}

impl log::Host for Hop {
    async fn line(&mut self, level: log::Level, text: String, fields: Vec<(String, String)>) -> wasmtime::Result<()> {
        let fields: String = fields.iter().map(|(key, value)| format!(" {key}={value}")).collect();
        let word = match level {
            log::Level::Debug => "debug",
            log::Level::Info => "info",
            log::Level::Warn => "warn",
            log::Level::Error => "error",
        };
        self.say(word, format!("{text}{fields}"))?;
        Ok(())
    }
}

impl Hop {
    /// One line of the guest. It may hold anything that the run has read.
    pub(crate) fn say(&mut self, level: &str, text: String) -> Result<(), Stop> {
        let text = self.clean("a log line", text);
        self.remember(&text)?;
        if self.replays() {
            return Ok(());
        }
        let said = telemetry::shown(&self.labelled(text));
        let agent = self.grant.agent();
        tracing::info!(
            event = "agent_line",
            task_id = self.at.task,
            trace_id = self.trace_id,
            agent,
            mode = self.mode,
            persona = agent,
            agent_level = level,
            said,
            "{agent} says"
        );
        Ok(())
    }
}
