//! Sleeps for as many milliseconds as its task says, and tells how long its clocks say that took.

use std::time::{Duration, Instant, SystemTime};

guests::guest!("naps", |manifest| manifest.limits.wall_s = 3600, |brief| {
    let asked = Duration::from_millis(brief.task.content.parse().unwrap_or_default());
    let (by_steady, by_wall) = (Instant::now(), SystemTime::now());
    std::thread::sleep(asked);
    let wall = by_wall.elapsed().unwrap_or_default();
    guests::answer(format!("{} {}", by_steady.elapsed() >= asked, wall >= asked))
});
