//! A guest that reaches nobody: to be described, or to be tried. Its time and its chance are its own and the same each time; what it
//! takes of this machine has its bounds.

use std::time::Duration;

use policy::task::Timestamp;
use wasmtime::component::types::{ComponentFunc, ComponentItem};
use wasmtime::component::{Component, Linker, ResourceTable, Val};
use wasmtime::{Engine, Store, StoreContextMut, UpdateDeadline};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use crate::capability::{self, GuestClock, MOST_HANDLES, Room, Stream, TICK};

/// Most bytes that cross the border at once: a manifest, persona and all.
const BORDER: usize = 1024 * 1024;
/// How long it may take by the clock on the wall, whatever it computes.
pub(super) const WALL: Duration = Duration::from_secs(5);

/// Its state.
pub(super) struct Alone {
    pub(super) room: Room,
    pub(super) clock: GuestClock,
    pub(super) table: ResourceTable,
    /// What it has asked for.
    pub(super) calls: Vec<String>,
    wasi: WasiCtx,
    ticks_left: u64,
}

impl WasiView for Alone {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

/// A store of such a guest: so much memory, so much computing, its clock at `now`.
pub(super) fn store(engine: &Engine, mib: u64, cpu: Duration, now: Timestamp) -> Store<Alone> {
    let (clock, stream) = (GuestClock::starting(now), |kind: &str| Stream::of("alone", 0, kind));
    let wasi = WasiCtx::builder()
        .secure_random(stream("secure"))
        .insecure_random(stream("insecure"))
        .insecure_random_seed(0)
        .wall_clock(clock.clone())
        .build();
    let ticks_left = u64::try_from(cpu.as_millis() / TICK.as_millis()).unwrap_or(u64::MAX);
    let alone = Alone { room: Room::mib(mib), clock, table: capability::handles(), calls: Vec::new(), wasi, ticks_left };
    let mut store = Store::new(engine, alone);
    store.limiter(|alone| &mut alone.room);
    store.set_hostcall_fuel(BORDER);
    store.set_max_component_handles(MOST_HANDLES);
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(move |mut context| {
        let left = &mut context.data_mut().ticks_left;
        *left = left.checked_sub(1).ok_or_else(|| wasmtime::Error::msg(format!("it computes longer than {cpu:?}")))?;
        Ok(UpdateDeadline::Yield(1))
    });
    store
}

/// What it is told for one of its calls: the import, its type, its arguments, and where the answers go.
pub(super) type Answers = fn(&mut Alone, &str, &ComponentFunc, &[Val], &mut [Val]) -> wasmtime::Result<()>;

/// WASI with nothing in it, and every function of our own interfaces, answered so.
pub(super) fn link(engine: &Engine, component: &Component, answers: Answers) -> wasmtime::Result<Linker<Alone>> {
    let mut linker = Linker::<Alone>::new(engine);
    capability::link_empty_wasi(&mut linker)?;
    for (import, item) in component.component_type().imports(engine) {
        let ComponentItem::ComponentInstance(interface) = item.ty else { continue };
        if import.starts_with("wasi:") {
            continue;
        }
        let mut instance = linker.instance(import)?;
        for (function, item) in interface.exports(engine) {
            if let ComponentItem::ComponentFunc(_) = item.ty {
                let name = format!("{import}#{function}");
                instance.func_new(function, move |mut store: StoreContextMut<'_, Alone>, signature, arguments, results| {
                    answers(store.data_mut(), &name, &signature, arguments, results)
                })?;
            }
        }
    }
    Ok(linker)
}

/// Why it ended, if it took more than it may.
pub(super) fn refusal(store: &Store<Alone>) -> Option<String> {
    store.data().room.refusal().map(str::to_owned)
}
