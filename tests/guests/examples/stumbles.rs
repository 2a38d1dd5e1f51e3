//! Crashes while it should describe itself.

guests::guest!("stumbles", |_| panic!("who am I?"), |_| guests::answer("here"));
