//! Does what its task says, step by step.

use guests::script::{Edition, play, wishes};

guests::guest!("scripted", wishes, |brief| play(&brief, Edition::First));
