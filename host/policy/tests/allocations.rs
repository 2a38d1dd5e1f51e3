//! A call that is allowed costs no memory: it is judged against what was compiled when its agent was loaded.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use policy::call::VaultRead;
use policy::grant::Grant;
use policy::judge::{Destination, cleared, within};
use policy::manifest::{Ceiling, Limits, Manifest, Wants};
use policy::tier::{Clearance, Label, Tier};

thread_local! {
    static COUNTED: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

#[expect(unsafe_code, reason = "an allocator is unsafe by its trait")]
// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNTED.with(|counted| counted.set(counted.get() + 1));
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn grant(patterns: usize) -> Grant {
    let limits =
        Limits { memory_mib: 1, cpu_ms: 1, wall_s: 1, host_calls: 1, output_tokens: 1, usd_micros: 1, journal_kib: 1, log_kib: 1 };
    let vault_read: Vec<String> = (0..patterns).map(|number| format!("notes/{number}/**/*.md")).collect();
    let wants = Wants { vault_read: vault_read.clone(), ..Wants::default() };
    let manifest = Manifest { id: "scout".into(), class_floor: "a".into(), wants, ..Manifest::default() };
    Grant::effective(&manifest, &Ceiling { vault_read, ..Ceiling::default() }, &limits, "here").expect("all is granted")
}

#[test]
fn a_call_that_is_allowed_allocates_nothing() {
    let grant = grant(64);
    let destination = Destination {
        name: "vault".into(),
        clearance: Clearance(Tier::Restricted),
        yields: Tier::Internal,
        untrusted: false,
        reason: String::new(),
    };
    let call = VaultRead { path: "notes/63/a/b/c.md".into() };
    let before = COUNTED.with(Cell::get);
    let granted = within(&grant, call).and_then(|allowed| cleared(allowed, Label::of(Tier::Internal), destination));
    let counted = COUNTED.with(Cell::get) - before;
    assert!(granted.is_ok());
    assert_eq!(counted, 0);
    let denied = within(&grant, VaultRead { path: "notes/64/c.md".into() });
    assert!(denied.is_err() && COUNTED.with(Cell::get) > before, "and it is counted at all");
}
