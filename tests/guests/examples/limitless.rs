//! Promises no limit on its execution.

guests::guest!("limitless", |manifest| manifest.limits.cpu_ms = 0, |_| guests::answer("free"));
