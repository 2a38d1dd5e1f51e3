//! Panics, after a line that should be found in the report of the crash.

guests::guest!("panics", |_| {}, |brief| {
    guests::log::line(guests::log::Level::Info, "about to divide by the number of cats", &[]);
    panic!("no cats in `{}`", brief.task.id);
});
