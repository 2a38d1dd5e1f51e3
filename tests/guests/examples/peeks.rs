//! Looks around in its sandbox: variables, arguments, files, sockets, time and chance.

use std::time::{Duration, Instant, SystemTime};

guests::guest!("peeks", |_| {}, |brief| {
    let started = Instant::now();
    let wall = SystemTime::now();
    for x in 0..1_000_000_u64 {
        std::hint::black_box(x);
    }
    let stood_still = started.elapsed() == Duration::ZERO && wall == SystemTime::now();
    let from_brief = wall.duration_since(SystemTime::UNIX_EPOCH).is_ok_and(|since| since.as_millis() == u128::from(brief.now));
    std::thread::sleep(Duration::from_millis(20));
    let slept = started.elapsed() >= Duration::from_millis(20);
    let random: u64 = std::hash::BuildHasher::hash_one(&std::collections::hash_map::RandomState::new(), 1);
    guests::answer(format!(
        "variables {} arguments {} root {} stood-still {stood_still} from-brief {from_brief} slept {slept} random {random}",
        std::env::vars().count(),
        std::env::args().count(),
        std::fs::read_dir("/").is_ok(),
    ))
});
