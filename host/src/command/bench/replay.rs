//! How fast a run that is resumed is told again what it was told: the journal is read and each call passes the path that every call
//! takes, up to its answer. There is no guest around it: what that does with an answer is its own affair.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use jiff::tz::TimeZone;
use policy::grant::Grant;
use policy::manifest::{Ceiling, Limits, Manifest, Wants};
use policy::task::Role;
use policy::tier::{Label, Tier};
use tokio::sync::{Semaphore, watch};

use super::figure::Measured;
use super::record;
use crate::capability::{Asker, Beyond, Caps, Hop, Live, Secrets, Start, Tenure, World, perform};
use crate::config::Config;
use crate::egress::Client;
use crate::id;
use crate::markup::Links;
use crate::outbox::Outbox;
use crate::router::Router;
use crate::store::Db;
use crate::store::bench::Bare;
use crate::store::journal::{self, Position};
use crate::telemetry::trace::{Place, Traces};
use crate::vault::Vault;

/// Longer than any bench.
const FAR: Duration = Duration::from_secs(3600);

/// Replays a run whose calls are those of `record`: calls a second.
pub(super) async fn replayed(config: &Config, db: &Db, at: &Position) -> anyhow::Result<Measured> {
    let mut hop = hop(config, db, at).await?;
    let began = Instant::now();
    let behind = journal::behind(db, at).await?.context("the run that measures is not there")?;
    hop.past = behind.calls;
    let calls = hop.past.len();
    for seq in 1..=u32::try_from(calls)? {
        let answer = perform::perform(&mut hop, record::call(seq)).await?;
        ensure!(answer.is_ok(), "call {seq} of the run that measures was refused");
    }
    let took = began.elapsed();
    ensure!(hop.past.is_empty(), "the run that measures made other calls than before");
    Ok(Measured::rate(calls, took))
}

/// A bare look at the same rows: rows a second.
pub(super) async fn looked(bare: &mut Bare, task: &str) -> anyhow::Result<Measured> {
    let began = Instant::now();
    let rows = bare.answers(task).await?;
    Ok(Measured::rate(rows, began.elapsed()))
}

/// The state of a run without a guest, which may do nothing but replay.
async fn hop(config: &Config, db: &Db, at: &Position) -> anyhow::Result<Hop> {
    let folder = tempfile::tempdir()?;
    let mut vault = config.vault.clone();
    vault.root = folder.path().to_owned();
    let world = World {
        allowed: Arc::default(),
        outbox: Outbox::silent(),
        db: db.clone(),
        vault: Vault::open(&vault)?,
        router: Arc::new(Router::new(&config.inference, Client::new(std::iter::empty(), &[])?)),
        gateway: None,
        executing: Arc::new(Semaphore::new(1)),
        caps: Caps::of(&config.caps, TimeZone::UTC),
        secrets: Secrets::default(),
        links: Links::to(&[], "")?,
        live: Live::new(),
        traces: Traces::default(),
    };
    let most = Limits {
        memory_mib: 1,
        cpu_ms: u64::MAX,
        wall_s: FAR.as_secs(),
        host_calls: u64::MAX,
        output_tokens: u64::MAX,
        usd_micros: 0,
        journal_kib: u64::MAX,
        log_kib: u64::MAX,
    };
    let grant = Grant::effective(&manifest(most), &Ceiling::default(), &most, "bench");
    let grant = grant.map_err(|complaints| anyhow::anyhow!(complaints.join("; ")))?;
    // Nothing renews it: nothing is sent.
    let (_, until) = watch::channel(tokio::time::Instant::now() + FAR);
    let start = Start {
        world,
        grant: Arc::new(grant),
        digest: String::new(),
        mode: String::new(),
        at: at.clone(),
        past: BTreeMap::new(),
        beyond: Beyond::Live,
        tenure: Tenure { lease: 1, until },
        label: Label::of(Tier::Public),
        now: id::now(),
        trace_id: id::trace(),
        span: Place::of(&id::trace(), "bench"),
        asker: Asker { requester: "rob".into(), role: Role::Operator },
        parked: false,
    };
    Ok(Hop::new(start).await)
}

fn manifest(limits: Limits) -> Manifest {
    Manifest {
        id: "bench".into(),
        name: String::new(),
        emoji: String::new(),
        version: String::new(),
        purpose: String::new(),
        mode: String::new(),
        local_only: true,
        class_floor: String::new(),
        wants: Wants::default(),
        limits,
        persona: String::new(),
        examples: Vec::new(),
        extra: Vec::new(),
    }
}
