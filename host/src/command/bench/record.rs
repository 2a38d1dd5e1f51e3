//! What a record in the journal costs, alone and in company; and how fast a run that is resumed passes what it has on record.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use policy::call::{Effect, VaultRead};
use policy::tier::{Label, Tier};
use tokio::task::JoinSet;

use super::figure::{Aim, Figure, Measured, Samples, Unit};
use super::replay;
use crate::capability::fingerprint;
use crate::config::Config;
use crate::id;
use crate::store::Db;
use crate::store::bench::{Bare, Past};
use crate::store::journal::{self, Closing, Opening, Position, Write, Written};
use crate::vault::File;

/// Records at a time.
const TOGETHER: u32 = 64;
/// Bytes that each call was told.
const LONG: usize = 1024;

/// A run that reads one file after another.
struct Run {
    db: Db,
    task: String,
    lease: i64,
}

/// What it asks with its call `seq`.
pub(super) fn call(seq: u32) -> VaultRead {
    VaultRead { path: format!("notes/{seq}.md") }
}

impl Run {
    /// Writes one record in a commit of its own, or in one that others share.
    async fn record(&self, seq: u32) -> anyhow::Result<()> {
        const KIND: &str = "vault.read";

        let (label, now) = (Label::of(Tier::Internal), id::now());
        let request = serde_json_canonicalizer::to_string(&call(seq))?;
        let opening = Opening {
            at: Position { task: self.task.clone(), hop: 1, run: 1, seq },
            lease: self.lease,
            kind: KIND,
            fingerprint: fingerprint(KIND, &request),
            request,
            label,
            effect: Effect::None,
            started_at: now,
        };
        let file = File { text: "a".repeat(LONG), modified_at: now, carries: Tier::Internal };
        let closing = Closing {
            state: "done",
            answer: serde_json::to_string(&file)?,
            tries: "[]".into(),
            destination: Some("vault".into()),
            label,
            usage: None,
            bill: None,
            wrote: None,
            finished_at: now,
        };
        let written = journal::write(&self.db, &self.task, self.lease, vec![Write::Entry(opening, closing)]).await?;
        ensure!(written == Written::Yes, "the task that measures is not held any more");
        Ok(())
    }
}

/// Records one after the other, each in a commit of its own, against the disk; many at a time, against bare statements that share a
/// commit in the same way; and all of them replayed, against a bare look at their rows.
pub(super) async fn figures(
    (config, url, fsyncs): (&Config, &str, &Samples),
    (bare, past): (&mut Bare, &Past),
    rounds: u32,
) -> anyhow::Result<Vec<Figure>> {
    let db = Db::open(url).await?;
    let (task, copy) = (id::task(), id::task());
    let lease = bare.lease(past, &task).await?;
    bare.lease(past, &copy).await?;
    let run = Arc::new(Run { db, task, lease });
    let mut alone = Samples::new()?;
    for seq in 0..rounds {
        let began = Instant::now();
        run.record(seq).await?;
        alone.add(began.elapsed());
    }
    let (mut together, mut floor) = (Duration::ZERO, Duration::ZERO);
    for round in 0..rounds {
        let first = rounds + round * TOGETHER;
        let began = Instant::now();
        let mut writes = JoinSet::new();
        for seq in first..first + TOGETHER {
            let run = run.clone();
            writes.spawn(async move { run.record(seq).await });
        }
        while let Some(written) = writes.join_next().await {
            written??;
        }
        together += began.elapsed();
        let began = Instant::now();
        bare.entries((&run.task, &copy), first..first + TOGETHER).await?;
        floor += began.elapsed();
    }
    let half = |samples: &Samples| samples.quantile(0.5, Unit::Micros);
    let all = usize::try_from(rounds * TOGETHER)?;
    let each = |took: Duration| Measured::share(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), all, Unit::Micros);
    let at = Position { task: run.task.clone(), hop: 1, run: 1, seq: 0 };
    let replayed = replay::replayed(config, &run.db, &at).await?;
    let looked = replay::looked(bare, &run.task).await?;
    Ok(vec![
        half(&alone).figure("journal record alone p50, against fsync", half(fsyncs), Aim::TimesFloor(1.5))?,
        each(together).figure(format!("journal record, {TOGETHER} at a time"), each(floor), Aim::AtMost(40.0))?,
        replayed.figure("calls replayed", looked, Aim::AtLeast(50_000.0))?,
    ])
}
