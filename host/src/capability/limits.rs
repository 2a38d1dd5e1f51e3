//! What a run has used of the limits of its manifest, and what one instance may take of this machine whatever its manifest says.

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

/// Core instances that one component may be made of. One that componentize-py makes has 38.
pub const MOST_INSTANCES: u32 = 64;
/// Linear memories of one component.
pub const MOST_MEMORIES: u32 = 4;
/// Tables of one component.
pub const MOST_TABLES: u32 = 32;
/// Elements of all its tables together.
pub const MOST_ELEMENTS: u32 = 100_000;
/// Handles of streams, pollables and the like that one run may hold at once.
pub const MOST_HANDLES: usize = 4096;

/// What one instance may take of this machine: all its linear memories together, and all its tables.
#[derive(Debug)]
pub struct Room {
    most: usize,
    bytes: usize,
    elements: usize,
    refused: Option<String>,
}

impl Room {
    /// At most so many MiB.
    #[must_use]
    pub fn mib(most: u64) -> Self {
        let most = usize::try_from(most).unwrap_or(usize::MAX).saturating_mul(1024 * 1024);
        Self { most, bytes: 0, elements: 0, refused: None }
    }

    /// What was refused, if something was.
    #[must_use]
    pub fn refusal(&self) -> Option<&str> {
        self.refused.as_deref()
    }
}

impl ResourceLimiter for Room {
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let total = self.bytes.saturating_sub(current).saturating_add(desired);
        if total > self.most {
            self.refused = Some(format!("memory_mib = {}: the agent wanted more than that", self.most >> 20));
            return Ok(false);
        }
        self.bytes = total;
        Ok(true)
    }

    fn table_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let total = self.elements.saturating_sub(current).saturating_add(desired);
        if total > MOST_ELEMENTS as usize {
            self.refused = Some(format!("tables = {MOST_ELEMENTS} elements: the agent wanted more than that"));
            return Ok(false);
        }
        self.elements = total;
        Ok(true)
    }

    fn instances(&self) -> usize {
        MOST_INSTANCES as usize
    }

    fn memories(&self) -> usize {
        MOST_MEMORIES as usize
    }

    fn tables(&self) -> usize {
        MOST_TABLES as usize
    }
}
