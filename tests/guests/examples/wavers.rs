//! Describes itself by chance and by the clock, and would rather be another each time.

use std::hash::BuildHasher;
use std::time::SystemTime;

guests::guest!(
    "wavers",
    |manifest| {
        let chance = std::hash::RandomState::new().hash_one(1);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        manifest.version = format!("{chance}.{now}");
    },
    |_| guests::answer("here")
);
