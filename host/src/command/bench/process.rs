//! What a process has used, as the kernel counts it. Another process is only looked at.

use std::time::Duration;

use anyhow::Context;

/// The kernel shows processor time in this unit on every machine that this program is built for.
const TICK: Duration = Duration::from_millis(10);

/// Processor time that a process has used so far, in user and in kernel mode, exact to a tick.
pub(super) fn cpu(pid: u32) -> anyhow::Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let text = std::fs::read_to_string(&path).with_context(|| format!("{path} cannot be read: is the process gone?"))?;
    // Fields 14 and 15 of proc(5); the second field, the name, may hold spaces and ends with the last parenthesis.
    let fields = text.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    let ticks = fields.map(str::parse::<u32>).sum::<Result<u32, _>>().with_context(|| format!("{path} is not as documented"))?;
    Ok(TICK * ticks)
}

/// Memory that a process holds in RAM, in bytes, its share of the program's own file included.
pub(super) fn memory(pid: u32) -> anyhow::Result<u64> {
    let path = format!("/proc/{pid}/status");
    let text = std::fs::read_to_string(&path).with_context(|| format!("{path} cannot be read: is the process gone?"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: u64 = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse().ok()).context("no VmRSS in /proc")?;
    Ok(kib * 1024)
}

/// The machine, in a line.
pub(super) fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':')).map_or("", |(_, name)| name.trim());
    format!("{cores} cores {cpu}, Linux {}", kernel.trim())
}
