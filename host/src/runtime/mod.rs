//! One run: a fresh instance of a component, one call into it, and why it ended.
//!
//! Knows nothing of queues or HTTP. Holds a permit only while the guest executes.

pub mod aside;
pub mod dry;
pub mod engine;
pub mod trial;

mod alone;
mod brief;
mod describe;

use policy::manifest::Manifest;
use policy::next::Fault;
use policy::task::Outcome;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use wasmtime::component::{Component, Linker, ResourceTableError};
use wasmtime::{Engine, Store, Trap, UpdateDeadline};
use wasmtime_wasi::WasiCtx;
use wasmtime_wasi::p2::pipe::MemoryOutputPipe;

use crate::capability::wit::EverythingPre;
use crate::capability::{self, Hop, MOST_HANDLES, Stop, Stream, TICK};
use crate::metrics::{self, name};

pub use brief::Brief;
pub use describe::describe;

/// How long a resumed run may compute until it is where it was, in milliseconds; longer only if it could take longer live.
const REPLAY_CPU_MS: u64 = 10_000;

/// A component that is ready to run: checked, compiled, linked to what it was granted.
#[derive(Clone)]
pub struct Ready {
    pre: EverythingPre<Hop>,
}

/// Links a component to what its manifest asks for.
///
/// # Errors
/// If it imports anything else: the error names it.
pub fn link(engine: &Engine, component: &Component, manifest: &Manifest) -> wasmtime::Result<Ready> {
    let mut linker = Linker::new(engine);
    capability::link(&mut linker, manifest)?;
    Ok(Ready { pre: EverythingPre::new(linker.instantiate_pre(component)?)? })
}

/// How a run ended, if not with an outcome.
#[derive(Debug)]
pub enum Ended {
    /// The agent's doing, or its limits'.
    Fault(Fault),
    /// Nobody's decision: our store is gone, or the lease. The task goes back as it was.
    Ours(Stop),
}

impl Ended {
    /// Whether the run only rests: it will go on where it was.
    #[must_use]
    pub fn resumes(&self) -> bool {
        match self {
            Self::Ours(_) => true,
            Self::Fault(fault) => fault.rests(),
        }
    }
}

/// Runs one hop: a fresh store, one call of `handle`. The hop comes back with what it has read and used.
pub async fn run(ready: &Ready, hop: Hop, brief: Brief) -> (Hop, Result<Outcome, Ended>) {
    let engine = ready.pre.engine().clone();
    let deadline = hop.deadline.subscribe();
    let mut store = Store::new(&engine, hop);
    store.limiter(|hop| &mut hop.room);
    store.set_hostcall_fuel(border(store.data()));
    store.set_max_component_handles(MOST_HANDLES);
    let output = MemoryOutputPipe::new(log_bytes(store.data()));
    let wasi = wasi(store.data(), &output);
    store.data_mut().wasi = wasi;

    // Armed when the guest starts, not when its task was leased: waiting is not billed to it.
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(|mut context| tick(context.data_mut()));
    let asked = std::time::Instant::now();
    let called = async {
        let world = ready.pre.instantiate_async(&mut store).await?;
        let seconds = asked.elapsed().as_secs_f64();
        metrics::observe(name::INSTANCE_SECONDS, seconds, &[]);
        tracing::debug!(event = "instance_start", seconds);
        world.homeaiops_agent_agent().call_handle(&mut store, &brief.into_wit()).await
    };
    let called = tokio::select! {
        called = called => Some(called),
        () = passed(deadline) => None,
    };
    let ended = match called {
        Some(Ok(Ok(outcome))) => store.data().clean_outcome(brief::outcome(outcome)).map_err(stopped),
        Some(Ok(Err(said))) => {
            let said = store.data().clean("its last words", brief::clean(said));
            Err(Ended::Fault(Fault::GaveUp(said)))
        }
        Some(Err(trap)) => Err(why(&trap, store.data())),
        None => Err(Ended::Fault(Fault::Limit("wall_s: the run took longer than that".into()))),
    };
    let mut hop = store.into_data();
    // One that will be resumed prints it all again.
    let resumes = ended.as_ref().is_err_and(Ended::resumes);
    let printed = if resumes { Ok(()) } else { said(&mut hop, &output) };
    let ended = match printed {
        // A guest whose output is full crashes on it: the limit is the reason, not the crash.
        Err(stop) if ended.is_err() => Err(stopped(stop)),
        Ok(()) | Err(_) => ended,
    };
    let ended = ended.map_err(|ended| with_last_lines(ended, &hop));
    (hop, ended)
}

/// Ends when the deadline has passed, wherever it has moved to by then.
async fn passed(mut deadline: watch::Receiver<Instant>) {
    loop {
        let at = *deadline.borrow_and_update();
        tokio::select! {
            () = sleep_until(at) => if *deadline.borrow() <= Instant::now() { return },
            moved = deadline.changed() => if moved.is_err() { return },
        }
    }
}

/// Called in each epoch in which the guest executes; the first after a wait is not billed to it.
fn tick(hop: &mut Hop) -> wasmtime::Result<UpdateDeadline> {
    if std::mem::take(&mut hop.waited) {
        return Ok(UpdateDeadline::Yield(1));
    }
    let tick = u64::try_from(TICK.as_millis()).unwrap_or(1);
    if hop.replays() {
        // What it does again was billed before; it has a budget of its own (design §5).
        hop.spent.replay_ms += tick;
        let most = hop.grant.limits().cpu_ms.max(REPLAY_CPU_MS);
        return match hop.spent.replay_ms <= most {
            true => Ok(UpdateDeadline::Yield(1)),
            false => Err(Stop::Limit(format!("replay takes longer than {most} ms")).into()),
        };
    }
    hop.spent.cpu_ms += tick;
    let most = hop.grant.limits().cpu_ms;
    if hop.spent.cpu_ms > most {
        return Err(Stop::Limit(format!("cpu_ms = {most}: the agent computes longer than that")).into());
    }
    Ok(UpdateDeadline::Yield(1))
}

/// WASI with nothing in it but the hop's own time and randomness.
fn wasi(hop: &Hop, output: &MemoryOutputPipe) -> WasiCtx {
    let stream = |kind: &str| Stream::of(&hop.at.task, hop.at.hop, kind);
    let seed = crate::id::sha256(format!("{}\0{}\0seed", hop.at.task, hop.at.hop).as_bytes());
    let seed = seed.into_iter().take(16).fold(0_u128, |seed, byte| (seed << 8) | u128::from(byte));
    WasiCtx::builder()
        .stdout(output.clone())
        .stderr(output.clone())
        .secure_random(stream("secure"))
        .insecure_random(stream("insecure"))
        .insecure_random_seed(seed)
        .wall_clock(hop.clock.clone())
        .build()
}

/// The log limit in bytes.
fn log_bytes(hop: &Hop) -> usize {
    usize::try_from(hop.grant.limits().log_kib).unwrap_or(1).saturating_mul(1024)
}

/// Standard output and error become log lines.
fn said(hop: &mut Hop, output: &MemoryOutputPipe) -> Result<(), Stop> {
    let bytes = output.contents();
    if bytes.len() >= log_bytes(hop) {
        return Err(Stop::Limit(format!("log_kib = {}: the agent prints more than that", hop.grant.limits().log_kib)));
    }
    for line in String::from_utf8_lossy(&bytes).lines() {
        hop.say("output", line.to_owned())?;
    }
    Ok(())
}

/// Most bytes that one call may carry out of a guest, or its outcome: what is larger would end the run by its journal or its log
/// anyway, and must not be copied before that is known. Lists cost the host more than they hold.
fn border(hop: &Hop) -> usize {
    const AROUND: u64 = 64 * 1024;
    const COPIES: u64 = 2;
    let limits = hop.grant.limits();
    let most = limits.journal_kib.max(limits.log_kib).saturating_mul(1024 * COPIES).saturating_add(AROUND);
    usize::try_from(most).unwrap_or(usize::MAX)
}

/// A trap with our own cause is that cause, and one at a limit is the limit; any other is the guest's.
fn why(trap: &wasmtime::Error, hop: &Hop) -> Ended {
    if let Some(stop) = trap.downcast_ref::<Stop>() {
        return stopped(stop.clone());
    }
    let limit = |said: String| Ended::Fault(Fault::Limit(said));
    if let Some(said) = hop.room.refusal() {
        return limit(said.to_owned());
    }
    if trap.downcast_ref::<Trap>() == Some(&Trap::StackOverflow) {
        return limit(format!("stack = {} KiB: the agent calls itself deeper than that", engine::STACK_KIB));
    }
    let said = trap.root_cause().to_string();
    // wasmtime keeps the types of two of these to itself.
    if said.contains("fuel allocated for hostcalls") {
        return limit(format!("border = {} KiB: the agent sends more than that at once", border(hop) >> 10));
    }
    if trap.downcast_ref::<ResourceTableError>().is_some() || said.contains("handle limit exceeded") {
        return limit(format!("handles = {MOST_HANDLES}: the agent holds more than that"));
    }
    Ended::Fault(Fault::Trapped(said))
}

fn stopped(stop: Stop) -> Ended {
    match stop {
        Stop::Limit(said) => Ended::Fault(Fault::Limit(said)),
        Stop::Backend { said, at, asked } => Ended::Fault(Fault::Backend { said, at, asked }),
        Stop::Diverged(said) => Ended::Fault(Fault::Diverged(said)),
        Stop::Busy { at } => Ended::Fault(Fault::Busy { at }),
        Stop::Budget { said, pause } => Ended::Fault(Fault::Budget { said, pause }),
        Stop::Asleep { pause } => Ended::Fault(Fault::Asleep { pause }),
        Stop::Unknown { reference, kind } => Ended::Fault(Fault::Unknown { reference, kind }),
        Stop::Consent { reference, to, question } => Ended::Fault(Fault::Consent { reference, to, question }),
        Stop::Store(_) | Stop::LeaseLost => Ended::Ours(stop),
    }
}

fn with_last_lines(ended: Ended, hop: &Hop) -> Ended {
    match ended {
        Ended::Fault(Fault::Trapped(said)) if !hop.last_lines.is_empty() => {
            let lines: Vec<&str> = hop.last_lines.iter().map(String::as_str).collect();
            Ended::Fault(Fault::Trapped(format!("{said}; its last lines:\n{}", lines.join("\n"))))
        }
        Ended::Fault(_) | Ended::Ours(_) => ended,
    }
}
