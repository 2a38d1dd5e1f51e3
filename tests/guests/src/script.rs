//! A guest that does what its task says, step by step, and folds everything that it sees into what it asks next: whatever is not
//! the same the second time shows in its next call, and in its outcome.

use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime};

use crate::{Brief, Outcome, answer, log, model, question, said, toolbox, vault};

/// Every way to chance that there is: the standard library takes only one of them.
mod chance {
    wit_bindgen::generate!({
        inline: "
            package wasi:random@0.2.6;
            interface random { get-random-bytes: func(len: u64) -> list<u8>; get-random-u64: func() -> u64; }
            interface insecure { get-insecure-random-bytes: func(len: u64) -> list<u8>; get-insecure-random-u64: func() -> u64; }
            interface insecure-seed { insecure-seed: func() -> tuple<u64, u64>; }
            world chance { import random; import insecure; import insecure-seed; }
        ",
        world: "chance",
    });
}
use chance::wasi::random::{insecure, insecure_seed, random};

/// Which of two components it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Edition {
    First,
    /// It writes something else, answers something else when told to `sign`, and crashes when told to `stumble`.
    Second,
}

/// What was seen so far: of the world, and of time, which no two runs share.
struct Seen {
    world: u64,
    time: u64,
}

/// FNV-1a: order matters, and nothing of it depends on the machine.
fn fold(hash: &mut u64, bytes: &[u8]) {
    for byte in bytes {
        *hash = (*hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
}

impl Seen {
    fn world(&mut self, what: &str) {
        fold(&mut self.world, what.as_bytes());
    }

    fn time(&mut self, since: u128) {
        fold(&mut self.time, &since.to_le_bytes());
    }

    fn words(&self) -> String {
        format!("world {:016x} time {:016x}", self.world, self.time)
    }

    fn told<T>(&mut self, told: Result<T, crate::Error>, how: impl FnOnce(&mut Self, T)) {
        match told {
            Ok(answer) => how(self, answer),
            Err(error) => self.world(&said(&error)),
        }
    }
}

/// Runs the steps of the task: a JSON list of lists of words.
pub fn play(brief: &Brief, edition: Edition) -> Result<Outcome, String> {
    let steps: Vec<Vec<String>> = serde_json::from_str(&brief.task.content).map_err(|error| error.to_string())?;
    let started = Instant::now();
    let mut seen = Seen { world: 0xcbf2_9ce4_8422_2325, time: brief.now };
    let mut signature = "";
    for step in &steps {
        let word = |at: usize| step.get(at).map_or("", String::as_str);
        match word(0) {
            "model" => {
                let told = model::complete(&question("local-p40", seen.words(), 10));
                seen.told(told, |seen, reply| seen.world(&format!("{} {} {:?}", reply.ref_, reply.text, reply.usage)));
            }
            "read" => {
                let told = vault::read(word(1));
                seen.told(told, |seen, file| {
                    seen.world(&format!("{} {} {:?}", file.ref_, file.text, file.tier));
                    seen.time(file.modified_at.into());
                });
            }
            "list" => {
                let told = vault::entries(word(1));
                seen.told(told, |seen, entries| {
                    for entry in entries {
                        seen.world(&format!("{} {}", entry.path, entry.bytes));
                        seen.time(entry.modified_at.into());
                    }
                });
            }
            "write" => {
                let text = if edition == Edition::Second { "another edition" } else { "an edition" };
                // Written without the time, so that its size is the same in every run.
                let told = vault::write(word(1), &[], &format!("{text} {:016x}", seen.world));
                seen.told(told, |seen, reference| seen.world(&reference));
            }
            "append" => {
                let told = vault::append(word(1), &format!("{:016x}\n", seen.world));
                seen.told(told, |seen, reference| seen.world(&reference));
            }
            "together" => {
                let number = seen.world % 1000;
                let actions = [
                    toolbox::action("large", &serde_json::json!({ "bytes": number % 50 }), "to look"),
                    toolbox::action("count_once", &serde_json::json!({ "n": number }), "to act"),
                    toolbox::action("large", &serde_json::json!({ "bytes": 7 }), "to look again"),
                ];
                let actions: Vec<_> = actions.into_iter().flatten().collect();
                for told in toolbox::call_all(&actions) {
                    seen.told(told, |seen, saw| seen.world(&format!("{} {} {:?}", saw.ref_, saw.text, saw.tier)));
                }
            }
            "sleep" => std::thread::sleep(Duration::from_millis(word(1).parse().unwrap_or(1))),
            "clock" => {
                let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_err(|error| error.to_string())?;
                seen.time(wall.as_nanos());
                seen.time(started.elapsed().as_nanos());
            }
            "map" => {
                let map: HashMap<u32, ()> = (0..24).map(|key| (key, ())).collect();
                seen.world(&format!("{:?}", map.keys().collect::<Vec<_>>()));
            }
            "random" => {
                seen.world(&format!("{:?} {}", random::get_random_bytes(9), random::get_random_u64()));
                seen.world(&format!("{:?}", insecure::get_insecure_random_bytes(9)));
                seen.world(&format!("{} {:?}", insecure::get_insecure_random_u64(), insecure_seed::insecure_seed()));
            }
            "log" => log::line(log::Level::Info, &seen.words(), &[]),
            "stumble" if edition == Edition::Second => panic!("it stumbled"),
            "sign" if edition == Edition::Second => signature = ", signed",
            "stumble" | "sign" => {}
            other => return Err(format!("there is no step `{other}`")),
        }
    }
    answer(format!("{} steps, {}{signature}", steps.len(), seen.words()))
}

/// What it asks for.
pub fn wishes(manifest: &mut crate::Manifest) {
    manifest.wants.models.push("local-p40".into());
    manifest.wants.tools.push("*".into());
    manifest.wants.vault_read.push("**".into());
    manifest.wants.vault_write.push("**".into());
    manifest.limits.host_calls = 200;
    manifest.limits.output_tokens = 5000;
    manifest.limits.journal_kib = 1024;
    manifest.limits.log_kib = 256;
    manifest.limits.cpu_ms = 2000;
}
