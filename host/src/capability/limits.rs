//! What an instance has used of its limits.

use wasmtime::ResourceLimiter;

/// What a run has used of its limits.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spent {
    /// Host calls.
    pub host_calls: u64,
    /// Tokens that models wrote.
    pub output_tokens: u64,
    /// Millionths of a US dollar.
    pub usd_micros: u64,
    /// Bytes of arguments and results.
    pub journal_bytes: u64,
    /// Bytes of log lines.
    pub log_bytes: u64,
    /// Milliseconds of execution.
    pub cpu_ms: u64,
    /// Milliseconds of execution that only repeated what was done before.
    pub replay_ms: u64,
}

/// All linear memories of one instance together, and its tables.
#[derive(Debug)]
pub struct Memory {
    most: usize,
    used: usize,
    refused: bool,
}

impl Memory {
    /// At most so many MiB.
    #[must_use]
    pub fn mib(most: u64) -> Self {
        Self { most: usize::try_from(most).unwrap_or(usize::MAX).saturating_mul(1024 * 1024), used: 0, refused: false }
    }
}

impl Memory {
    /// What was refused, if something was.
    #[must_use]
    pub fn refusal(&self) -> Option<String> {
        self.refused.then(|| format!("memory_mib = {}: the agent wanted more than that", self.most >> 20))
    }
}

impl ResourceLimiter for Memory {
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let total = self.used.saturating_sub(current).saturating_add(desired);
        if total > self.most {
            self.refused = true;
            return Ok(false);
        }
        self.used = total;
        Ok(true)
    }

    fn table_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= 100_000)
    }
}
