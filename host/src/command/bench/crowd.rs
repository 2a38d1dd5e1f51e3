//! Many tasks at a time: what sharing commits is worth. The floor is as many tasks written side by side by bare statements, each of
//! their commits one for all of them; and what a host holds in memory of tasks that wait for a server.

use std::time::{Duration, Instant};

use super::child::Host;
use super::figure::{Aim, Figure, Measured};
use super::model::{Model, Mood};
use super::process;
use super::task::Used;
use crate::id;
use crate::store::bench::{Bare, Gauge, Past};

/// Tasks at a time.
pub(super) const IN_FLIGHT: usize = 64;

/// What a crowd used, and how long it took.
pub(super) struct Crowd {
    used: Used,
    took: Duration,
}

impl Crowd {
    fn rate(&self) -> Measured {
        Measured::rate(self.used.tasks, self.took)
    }
}

/// Through the host.
pub(super) async fn host(host: &mut Host, url: &str, tasks: usize) -> anyhow::Result<Crowd> {
    host.crowd(IN_FLIGHT, IN_FLIGHT).await?;
    let (gauge, before) = (Gauge::start(url).await?, process::cpu(host.pid)?);
    let took = host.crowd(tasks, IN_FLIGHT).await?;
    let cpu = process::cpu(host.pid)?.saturating_sub(before);
    Ok(Crowd { used: Used { tasks, cpu, written: gauge.stop().await? }, took })
}

/// By bare statements.
pub(super) async fn bare(bare: &mut Bare, url: &str, past: &Past, tasks: usize) -> anyhow::Result<Crowd> {
    let ids = || -> Vec<String> { (0..IN_FLIGHT).map(|_| id::task()).collect() };
    bare.tasks(past, &ids()).await?;
    let (gauge, this) = (Gauge::start(url).await?, std::process::id());
    let (before, began) = (process::cpu(this)?, Instant::now());
    let rounds = tasks.div_ceil(IN_FLIGHT);
    for _ in 0..rounds {
        bare.tasks(past, &ids()).await?;
    }
    let (took, cpu) = (began.elapsed(), process::cpu(this)?.saturating_sub(before));
    Ok(Crowd { used: Used { tasks: rounds * IN_FLIGHT, cpu, written: gauge.stop().await? }, took })
}

/// The rows of a crowd.
pub(super) fn figures(crowd: &Crowd, floor: &Crowd) -> anyhow::Result<Vec<Figure>> {
    let name = |what: &str| format!("{IN_FLIGHT} in flight, {what}");
    Ok(vec![
        crowd.used.micros().figure(name("processor time of a task"), floor.used.micros(), Aim::TimesFloor(3.0))?,
        crowd.used.commits().figure(name("commits of a task"), floor.used.commits(), Aim::TimesFloor(3.0))?,
        crowd.rate().figure(name("tasks done"), floor.rate(), Aim::None)?,
    ])
}

/// What a host holds of tasks that wait for a server that is away. It has worked before, so that its memory is as large as work makes
/// it.
pub(super) async fn parked(host: &mut Host, model: &Model, tasks: usize) -> anyhow::Result<Figure> {
    let before = process::memory(host.pid)?;
    model.becomes(Mood::Away);
    let parked = host.park(tasks).await;
    let held = process::memory(host.pid)?;
    model.becomes(Mood::Answers);
    parked?;
    Measured::memory(held).figure(format!("memory, {tasks} tasks parked"), Measured::memory(before), Aim::OverFloor(2.0))
}
