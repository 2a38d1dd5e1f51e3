//! How soon work goes on after a kill: from the start of the next host until the interrupted call is sent again.

use std::time::Duration;

use anyhow::Context;

use super::child::{self, Host, Log, Place};
use super::figure::{Aim, Figure, Samples, Unit};
use super::model::{Model, Mood};

/// Longer than an entry waits for company before it is written (`capability::draft`).
const WRITTEN: Duration = Duration::from_millis(200);
/// How long the call may take to come.
const PATIENCE: Duration = Duration::from_secs(60);

/// Kills the host in the middle of a call and starts it again, so often; the last host, and how long each took to send that call.
pub(super) async fn resumed(
    mut host: Host,
    (place, url, model): (&Place, &str, &Model),
    rounds: usize,
) -> anyhow::Result<(Host, Samples)> {
    let mut samples = Samples::new()?;
    for _ in 0..rounds {
        model.becomes(Mood::Holds);
        let mut calls = model.calls();
        child::post(&host.client, &host.base).await?;
        tokio::time::timeout(PATIENCE, calls.changed()).await.context("no call came")??;
        // What the run has said by now is on disk: it is resumed, and does not start anew.
        tokio::time::sleep(WRITTEN).await;
        host.kill().await?;
        model.becomes(Mood::Answers);
        calls.mark_unchanged();
        host = place.start(url, Log::Usual).await?;
        tokio::time::timeout(PATIENCE, calls.changed()).await.context("the call did not come again")??;
        let again = *calls.borrow_and_update();
        host.done().await?;
        samples.add(again.saturating_duration_since(host.began));
    }
    Ok((host, samples))
}

/// Its row, against a start with nothing to resume.
pub(super) fn figure(resumed: &Samples, starts: &Samples) -> anyhow::Result<Figure> {
    let half = |samples: &Samples| samples.quantile(0.5, Unit::Millis);
    half(resumed).figure("start to the call that a kill broke off p50", half(starts), Aim::OverFloor(56.0))
}
