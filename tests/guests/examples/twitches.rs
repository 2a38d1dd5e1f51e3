//! Sleeps for ever, a moment at a time.

guests::guest!("twitches", |_| {}, |_| {
    loop {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
});
