//! The guest's time and chance. Between host calls nothing moves: the clock starts at the hop's start and advances to the end of
//! each call; a sleep is a journaled call; randomness is a stream seeded by task and hop. So a run can be repeated.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use policy::call::{Effect, Sleep};
use policy::denied::Denied;
use policy::grant::Grant;
use policy::judge::{Destination, Granted};
use policy::task::Timestamp;
use policy::tier::{Clearance, Tier};
use rand::SeedableRng;
use rand::rngs::StdRng;
use wasmtime::component::{HasData, Linker, Resource, ResourceTable};
use wasmtime_wasi::WasiView;
use wasmtime_wasi::cli::{WasiCli, WasiCliView};
use wasmtime_wasi::clocks::{WasiClocks, WasiClocksView};
use wasmtime_wasi::filesystem::{WasiFilesystem, WasiFilesystemView};
use wasmtime_wasi::p2::bindings::{cli, clocks, filesystem, random};
use wasmtime_wasi::p2::{DynPollable, Pollable, subscribe};
use wasmtime_wasi::random::{WasiRandom, WasiRandomView};

use super::act::{Act, Failed, Reply, Who};
use super::perform::perform;
use super::{Hop, Stop, World};
use crate::id;

/// A longer sleep suspends the run (design §5), in nanoseconds.
const IN_MEMORY: u64 = 1_000_000_000;

/// The time that one guest sees.
#[derive(Clone)]
pub struct GuestClock {
    started: Timestamp,
    now: Arc<AtomicI64>,
}

impl GuestClock {
    /// A clock that stands at `started`.
    #[must_use]
    pub fn starting(started: Timestamp) -> Self {
        Self { started, now: Arc::new(AtomicI64::new(started.0)) }
    }

    /// What it shows.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        Timestamp(self.now.load(Ordering::Relaxed))
    }

    /// Moves it forward; it never goes back.
    pub fn advance(&self, to: Timestamp) {
        self.now.fetch_max(to.0, Ordering::Relaxed);
    }

    /// Nanoseconds since the start.
    fn monotonic(&self) -> u64 {
        u64::try_from(self.now().since(self.started)).unwrap_or_default().saturating_mul(1_000_000)
    }
}

/// The randomness of one hop: the same each time it runs.
pub struct Stream;

impl Stream {
    /// The generator of a hop; `kind` keeps its streams apart.
    #[must_use]
    pub fn of(task: &str, hop: u32, kind: &str) -> StdRng {
        StdRng::from_seed(id::sha256(format!("{task}\0{hop}\0{kind}").as_bytes()))
    }
}

impl Act for Sleep {
    type Answer = ();

    fn destinations(&self, _world: &World, _grant: &Grant) -> Result<Vec<Destination>, Denied> {
        let clearance = Clearance(Tier::Restricted);
        Ok(vec![Destination { name: "clock".into(), clearance, yields: Tier::Public, untrusted: false, reason: String::new() }])
    }

    /// Its start must be on disk if it is long: the run rests meanwhile.
    fn effect(&self, _world: &World, _destination: &Destination) -> Effect {
        if self.nanoseconds > IN_MEMORY { Effect::Repeatable } else { Effect::None }
    }

    async fn act(_world: World, granted: Granted<Self>, who: Who) -> Result<Reply<()>, Failed> {
        let nanoseconds = granted.call().nanoseconds;
        let whole = i64::try_from(nanoseconds.div_ceil(1_000_000)).unwrap_or(i64::MAX);
        let left = whole.saturating_sub(id::now().since(who.first_at).max(0)).max(0);
        if nanoseconds > IN_MEMORY && left > 0 {
            return Err(Failed::Asleep { pause: left });
        }
        tokio::time::sleep(Duration::from_nanos(nanoseconds.min(IN_MEMORY)).min(Duration::from_millis(left.unsigned_abs()))).await;
        Ok(Reply { answer: (), tier: Tier::Public, usage: None, wrote: None })
    }
}

/// A moment that has come: the sleep itself was the host call that made it.
struct Past;

#[wasmtime_wasi::async_trait]
impl Pollable for Past {
    async fn ready(&mut self) {}
}

impl wasmtime_wasi::HostWallClock for GuestClock {
    fn resolution(&self) -> Duration {
        Duration::from_millis(1)
    }

    fn now(&self) -> Duration {
        Duration::from_millis(u64::try_from(GuestClock::now(self).0).unwrap_or_default())
    }
}

/// Sleeps as a host call, and then hands the guest a moment that has already come. Timers are so taken one after the other, in the
/// order in which the guest makes them.
async fn slept(hop: &mut Hop, nanoseconds: u64) -> wasmtime::Result<Resource<DynPollable>> {
    let whole = Duration::from_nanos(nanoseconds);
    if !hop.replays() && whole > Duration::from_millis(hop.wall_left()) {
        let most = hop.grant.limits().wall_s;
        return Err(Stop::Limit(format!("wall_s = {most}: the agent wants to sleep for {whole:?}")).into());
    }
    let woken = hop.clock.now().plus(i64::try_from(nanoseconds.div_ceil(1_000_000)).unwrap_or(i64::MAX));
    if perform(hop, Sleep { nanoseconds }).await?.is_ok() {
        hop.clock.advance(woken);
    }
    let past = hop.table.push(Past)?;
    subscribe(&mut hop.table, past)
}

struct Io;

impl HasData for Io {
    type Data<'a> = &'a mut ResourceTable;
}

/// WASI 0.2 with nothing in it: no folder, no variable, no argument, no network. Sockets and HTTP are not linked at all; the
/// monotonic clock is somebody else's to link.
pub(crate) fn link_empty_wasi<T: WasiView + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    use wasmtime_wasi_io::bindings::wasi::io;

    io::error::add_to_linker::<T, Io>(linker, |state| state.ctx().table)?;
    io::poll::add_to_linker::<T, Io>(linker, |state| state.ctx().table)?;
    io::streams::add_to_linker::<T, Io>(linker, |state| state.ctx().table)?;
    clocks::wall_clock::add_to_linker::<T, WasiClocks>(linker, T::clocks)?;
    random::random::add_to_linker::<T, WasiRandom>(linker, T::random)?;
    random::insecure::add_to_linker::<T, WasiRandom>(linker, T::random)?;
    random::insecure_seed::add_to_linker::<T, WasiRandom>(linker, T::random)?;
    filesystem::types::add_to_linker::<T, WasiFilesystem>(linker, T::filesystem)?;
    filesystem::preopens::add_to_linker::<T, WasiFilesystem>(linker, T::filesystem)?;
    cli::exit::add_to_linker::<T, WasiCli>(linker, T::cli)?;
    cli::environment::add_to_linker::<T, WasiCli>(linker, T::cli)?;
    cli::stdin::add_to_linker::<T, WasiCli>(linker, T::cli)?;
    cli::stdout::add_to_linker::<T, WasiCli>(linker, T::cli)?;
    cli::stderr::add_to_linker::<T, WasiCli>(linker, T::cli)?;
    cli::terminal_input::add_to_linker::<T, WasiCli>(linker, T::cli)?;
    cli::terminal_output::add_to_linker::<T, WasiCli>(linker, T::cli)?;
    cli::terminal_stdin::add_to_linker::<T, WasiCli>(linker, T::cli)?;
    cli::terminal_stdout::add_to_linker::<T, WasiCli>(linker, T::cli)?;
    cli::terminal_stderr::add_to_linker::<T, WasiCli>(linker, T::cli)?;
    Ok(())
}

/// The name under which guests import the monotonic clock; a later patch version finds it too.
const MONOTONIC: &str = "wasi:clocks/monotonic-clock@0.2.6";

/// A monotonic clock that always shows its beginning, and on which nobody can wait.
pub(crate) fn link_no_time<T: 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    let waits = || wasmtime::Error::msg("it waits, and a description needs no time");
    let mut monotonic = linker.instance(MONOTONIC)?;
    monotonic.func_wrap("now", |_, (): ()| Ok((0_u64,)))?;
    monotonic.func_wrap("resolution", |_, (): ()| Ok((1_000_000_u64,)))?;
    for name in ["subscribe-duration", "subscribe-instant"] {
        monotonic.func_wrap(name, move |_, (_,): (u64,)| -> wasmtime::Result<(Resource<DynPollable>,)> { Err(waits()) })?;
    }
    Ok(())
}

/// A monotonic clock that nothing real moves: whoever waits has waited.
pub(crate) fn link_own_time<T: 'static>(
    linker: &mut Linker<T>,
    own: impl Fn(&mut T) -> (&GuestClock, &mut ResourceTable) + Copy + Send + Sync + 'static,
) -> wasmtime::Result<()> {
    let waited = move |state: &mut T, nanoseconds: u64| -> wasmtime::Result<(Resource<DynPollable>,)> {
        let (clock, table) = own(state);
        clock.advance(clock.now().plus(i64::try_from(nanoseconds.div_ceil(1_000_000)).unwrap_or(i64::MAX)));
        let past = table.push(Past)?;
        Ok((subscribe(table, past)?,))
    };
    let mut monotonic = linker.instance(MONOTONIC)?;
    monotonic.func_wrap("now", move |mut store, (): ()| Ok((own(store.data_mut()).0.monotonic(),)))?;
    monotonic.func_wrap("resolution", |_, (): ()| Ok((1_000_000_u64,)))?;
    monotonic.func_wrap("subscribe-duration", move |mut store, (nanoseconds,): (u64,)| waited(store.data_mut(), nanoseconds))?;
    monotonic.func_wrap("subscribe-instant", move |mut store, (when,): (u64,)| {
        let left = when.saturating_sub(own(store.data_mut()).0.monotonic());
        waited(store.data_mut(), left)
    })
}

/// The monotonic clock of a hop: it stands still but for what the hop waits for.
pub(super) fn link_time(linker: &mut Linker<Hop>) -> wasmtime::Result<()> {
    let mut monotonic = linker.instance(MONOTONIC)?;
    monotonic.func_wrap("now", |store, (): ()| Ok((store.data().clock.monotonic(),)))?;
    monotonic.func_wrap("resolution", |_, (): ()| Ok((1_000_000_u64,)))?;
    monotonic.func_wrap_async("subscribe-duration", |mut store, (nanoseconds,): (u64,)| {
        Box::new(async move { Ok((slept(store.data_mut(), nanoseconds).await?,)) })
    })?;
    monotonic.func_wrap_async("subscribe-instant", |mut store, (when,): (u64,)| {
        Box::new(async move {
            let left = when.saturating_sub(store.data().clock.monotonic());
            Ok((slept(store.data_mut(), left).await?,))
        })
    })
}
