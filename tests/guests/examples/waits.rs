//! Waits for a clock that only its host moves.

guests::guest!("waits", |_| {}, |_| {
    let began = std::time::Instant::now();
    while began.elapsed() < std::time::Duration::from_millis(1) {}
    guests::answer("it moved")
});
