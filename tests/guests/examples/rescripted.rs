//! The next edition of `scripted`: of the same id, and not quite the same.

use guests::script::{Edition, play, wishes};

guests::guest!("scripted", wishes, |brief| play(&brief, Edition::Second));
