//! Logs without end.

guests::guest!("logs", |_| {}, |_| {
    loop {
        guests::log::line(guests::log::Level::Info, &"x".repeat(512), &[]);
    }
});
