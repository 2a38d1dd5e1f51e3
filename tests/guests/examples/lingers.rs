//! Computes for ever in the allocator that its host calls to hand it an answer.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, Ordering};

struct Trap;

static SET: AtomicBool = AtomicBool::new(false);

// SAFETY: it is the system's allocator, or never returns.
unsafe impl GlobalAlloc for Trap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        while SET.load(Ordering::Relaxed) {
            std::hint::spin_loop();
        }
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Trap = Trap;

guests::guest!("lingers", |manifest| manifest.wants.vault_read.push("notes/**".into()), |_| {
    SET.store(true, Ordering::Relaxed);
    let told = guests::vault::read("notes/none.md");
    SET.store(false, Ordering::Relaxed);
    guests::answer(format!("{}", told.is_ok()))
});
