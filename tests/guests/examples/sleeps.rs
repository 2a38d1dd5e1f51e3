//! Sleeps longer than its wall clock allows.

guests::guest!("sleeps", |manifest| manifest.limits.wall_s = 1, |_| {
    std::thread::sleep(std::time::Duration::from_secs(3600));
    guests::answer("well rested")
});
