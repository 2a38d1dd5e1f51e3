//! `/inbox` under a steady load: requests leave when the clock says, whether or not the earlier ones are answered, and each is
//! measured from when it was due, so that a stall counts for every request that it delays.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::child::{self, Host};
use super::figure::{Aim, Figure, Samples, Unit};
use super::process;
use crate::id;
use crate::store::bench::{Bare, Past};

/// A load.
#[derive(Clone, Copy)]
pub(super) struct Load {
    /// Requests a second.
    pub(super) rate: u32,
    pub(super) seconds: u32,
}

impl Load {
    fn requests(self) -> u32 {
        self.rate * self.seconds
    }

    /// When each request is due.
    fn due(self, began: Instant, at: u32) -> Instant {
        began + Duration::from_secs(1) * at / self.rate
    }
}

/// Through the host's door.
pub(super) async fn requests(host: &Host, load: Load) -> anyhow::Result<Samples> {
    let (mut samples, mut under_way) = (Samples::new()?, JoinSet::new());
    let began = Instant::now();
    for at in 0..load.requests() {
        let due = load.due(began, at);
        sleep_until(due).await;
        let (client, base) = (host.client.clone(), host.base.clone());
        under_way.spawn(async move { child::post(&client, &base).await.map(|_| due.elapsed()) });
        while let Some(answered) = under_way.try_join_next() {
            samples.add(answered??);
        }
    }
    while let Some(answered) = under_way.join_next().await {
        samples.add(answered??);
    }
    Ok(samples)
}

/// Through the host's door, and the most memory that the host held meanwhile, in bytes.
pub(super) async fn at_most(host: &Host, load: Load) -> anyhow::Result<(Samples, u64)> {
    let mut most = process::memory(host.pid)?;
    let mut ticks = interval(Duration::from_millis(50));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut answered = std::pin::pin!(requests(host, load));
    loop {
        tokio::select! {
            samples = &mut answered => return Ok((samples?, most)),
            _ = ticks.tick() => most = most.max(process::memory(host.pid)?),
        }
    }
}

/// By bare statements: whatever is due is one commit.
pub(super) async fn inserts(bare: &mut Bare, past: &Past, load: Load) -> anyhow::Result<Samples> {
    let mut samples = Samples::new()?;
    let (began, mut at) = (Instant::now(), 0);
    while at < load.requests() {
        sleep_until(load.due(began, at)).await;
        let now = Instant::now();
        let due = (at..load.requests()).take_while(|at| load.due(began, *at) <= now).count().max(1);
        let ids: Vec<String> = (0..due).map(|_| id::task()).collect();
        bare.enqueue(past, &ids).await?;
        for _ in 0..due {
            samples.add(load.due(began, at).elapsed());
            at += 1;
        }
    }
    Ok(samples)
}

/// The rows of one load.
pub(super) fn figures(what: &str, load: Load, samples: &Samples, floor: &Samples) -> anyhow::Result<Vec<Figure>> {
    let quantile = |of: f64, name: &str, aim| {
        let name = format!("/inbox {name} at {}/s, {what}", load.rate);
        samples.quantile(of, Unit::Millis).figure(name, floor.quantile(of, Unit::Millis), aim)
    };
    Ok(vec![quantile(0.5, "p50", Aim::None)?, quantile(0.99, "p99", Aim::AtMost(20.0))?])
}
