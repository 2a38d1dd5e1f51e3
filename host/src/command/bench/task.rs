//! What a task of three hops costs beside its model: time, processor, statements, commits, log. Its floor is the same task written by
//! bare statements, in the fewest commits, in turn with the host's so that the machine's moods hit both.

use std::time::{Duration, Instant};

use super::child::Host;
use super::figure::{Aim, Figure, Measured, Samples, Unit};
use super::model::Model;
use super::{instance, process};
use crate::id;
use crate::store::bench::{Bare, Gauge, Past, Written};

/// Ticks of processor time below which a sum says nothing.
const ENOUGH: Duration = Duration::from_millis(20);

/// What tasks have used.
pub(super) struct Used {
    pub(super) tasks: usize,
    pub(super) cpu: Duration,
    pub(super) written: Written,
}

impl Used {
    /// Processor time of one task.
    pub(super) fn micros(&self) -> Measured {
        Measured::share(u64::try_from(self.cpu.as_micros()).unwrap_or(u64::MAX), self.tasks, Unit::Micros)
    }

    /// Commits of one task.
    pub(super) fn commits(&self) -> Measured {
        Measured::share(self.written.commits, self.tasks, Unit::Times)
    }
}

/// What the host uses for `least` tasks, and for more until the kernel's clock has seen it.
pub(super) async fn used(host: &mut Host, url: &str, least: usize) -> anyhow::Result<Used> {
    let gauge = Gauge::start(url).await?;
    let (before, mut tasks) = (process::cpu(host.pid)?, 0);
    while tasks < least || process::cpu(host.pid)? - before < ENOUGH {
        host.task().await?;
        tasks += 1;
    }
    let cpu = process::cpu(host.pid)?.saturating_sub(before);
    Ok(Used { tasks, cpu, written: gauge.stop().await? })
}

/// What bare statements use for as much. This process does nothing else meanwhile.
pub(super) async fn used_bare(bare: &mut Bare, url: &str, past: &Past, least: usize) -> anyhow::Result<Used> {
    // The first task of a connection prepares its statements, and gives a fresh log something to begin with.
    bare.tasks(past, &[id::task()]).await?;
    let gauge = Gauge::start(url).await?;
    let (this, mut tasks) = (std::process::id(), 0);
    let before = process::cpu(this)?;
    while tasks < least || process::cpu(this)?.saturating_sub(before) < ENOUGH {
        bare.tasks(past, &[id::task()]).await?;
        tasks += 1;
    }
    let cpu = process::cpu(this)?.saturating_sub(before);
    Ok(Used { tasks, cpu, written: gauge.stop().await? })
}

/// The rows of what was used. The bare task is written with the fewest statements, and its fewest commits are those without which
/// something would be promised or sent before it is on disk.
pub(super) fn costs(used: &Used, bare: &Used, past: &Past, statements: (u64, usize)) -> anyhow::Result<Vec<Figure>> {
    let count = |of: usize| Measured::share(u64::try_from(of).unwrap_or(u64::MAX), 1, Unit::Times);
    let log = |used: &Used| Measured::share(used.written.bytes, used.tasks, Unit::Bytes);
    Ok(vec![
        used.micros().figure("task, processor time", bare.micros(), Aim::None)?,
        Measured::share(statements.0, statements.1, Unit::Times).figure("task, statements", count(past.statements()), Aim::None)?,
        used.commits().figure("task, commits", count(past.commits()), Aim::None)?,
        log(used).figure("task, log written", log(bare), Aim::None)?,
    ])
}

/// How long tasks took, and their instances.
pub(super) struct Timed {
    overhead: Samples,
    floor: Samples,
    instances: Samples,
}

/// Tasks one at a time, each followed by its bare twin.
pub(super) async fn timed(host: &mut Host, model: &Model, bare: &mut Bare, past: &Past, rounds: usize) -> anyhow::Result<Timed> {
    let mut timed = Timed { overhead: Samples::new()?, floor: Samples::new()?, instances: Samples::new()? };
    model.took();
    for _ in 0..rounds {
        let done = host.task().await?;
        timed.overhead.add(done.took.saturating_sub(model.took()));
        done.instances.into_iter().for_each(|took| timed.instances.add(took));
        let began = Instant::now();
        bare.tasks(past, &[id::task()]).await?;
        timed.floor.add(began.elapsed());
    }
    Ok(timed)
}

impl Timed {
    /// The rows of what was timed.
    pub(super) fn figures(&self, bare: &instance::Bare) -> anyhow::Result<Vec<Figure>> {
        let against = |samples: &Samples, of, name, aim| {
            samples.quantile(of, Unit::Micros).figure(name, bare.at_once.quantile(of, Unit::Micros), aim)
        };
        let instance = |of, name, aim| against(&self.instances, of, name, aim);
        let overhead =
            |of, name, aim| self.overhead.quantile(of, Unit::Millis).figure(name, self.floor.quantile(of, Unit::Millis), aim);
        Ok(vec![
            instance(0.5, "instance start p50", Aim::AtMost(50.0))?,
            instance(0.99, "instance start p99", Aim::None)?,
            against(&bare.rested, 0.5, "bare instance after a pause p50", Aim::None)?,
            overhead(0.5, "task of three hops, overhead p50", Aim::TimesFloor(1.5))?,
            overhead(0.99, "task of three hops, overhead p99", Aim::None)?,
        ])
    }
}
