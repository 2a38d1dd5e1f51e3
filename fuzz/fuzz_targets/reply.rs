//! See `tests/fuzz/targets.rs`.
#![no_main]
#![allow(dead_code, reason = "each target uses its own part")]

#[path = "../../tests/support/handmade.rs"]
mod handmade;
#[path = "../../tests/fuzz/targets.rs"]
mod targets;

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::reply(data));
