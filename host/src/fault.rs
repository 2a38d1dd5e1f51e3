//! Places at which a test may hold the process, to end it exactly there: `HOST_FAULT=NAME` or `NAME:N`, at its N-th passage. It then
//! logs `fault_point` and waits to be killed, for two minutes at most.
//!
//! Must never be in what is shipped: without `debug_assertions` a point is nothing, and the variable is not read.

/// A place between two steps of a task, by name.
#[cfg(debug_assertions)]
pub async fn point(name: &'static str) {
    if armed::is_here(name) {
        tracing::warn!(event = "fault_point", name, "held at `{name}`");
        tokio::time::sleep(armed::LONGEST).await;
        tracing::error!(event = "fault_point_left", name, "nobody ended the process at `{name}`");
        std::process::abort();
    }
}

/// A place between two steps of a task: nothing.
#[cfg(not(debug_assertions))]
pub fn point(_name: &'static str) -> std::future::Ready<()> {
    std::future::ready(())
}

#[cfg(debug_assertions)]
mod armed {
    //! Which point is armed.

    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    /// How long a process is held.
    pub(super) const LONGEST: Duration = Duration::from_secs(120);

    /// The point, and at which of its passages.
    struct Armed {
        name: String,
        passage: u32,
    }

    /// Whether this passage is the one.
    pub(super) fn is_here(name: &str) -> bool {
        static PASSED: AtomicU32 = AtomicU32::new(0);
        let Some(armed) = armed().filter(|armed| armed.name == name) else { return false };
        PASSED.fetch_add(1, Ordering::SeqCst) + 1 == armed.passage
    }

    #[expect(clippy::disallowed_methods, reason = "no setting of the host: only a test sets it")]
    fn armed() -> Option<&'static Armed> {
        static ARMED: OnceLock<Option<Armed>> = OnceLock::new();
        let armed = ARMED.get_or_init(|| {
            let said = std::env::var("HOST_FAULT").ok()?;
            let (name, passage) = said.split_once(':').unwrap_or((&said, "1"));
            Some(Armed { name: name.to_owned(), passage: passage.parse().ok()? })
        });
        armed.as_ref()
    }
}
