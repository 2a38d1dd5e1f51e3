//! A bounded search for bytes that break what must hold for any bytes: the kept seeds, and what is near them. The unbounded search is
//! `cargo fuzz`, in `.ci/deep`.

mod targets;

use std::path::Path;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use crate::support::handmade;

const SEEDS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/seeds");

/// The seeds of a target. A component is made, since it is no text.
fn seeds(target: &str) -> Vec<Vec<u8>> {
    let kept = std::fs::read_dir(Path::new(SEEDS).join(target)).into_iter().flatten().map(|file| file.unwrap().path());
    let mut seeds: Vec<Vec<u8>> = kept.map(|path| std::fs::read(path).unwrap()).collect();
    if target == "component" {
        seeds.push(handmade::PLAIN.component());
    }
    seeds.sort();
    assert!(!seeds.is_empty(), "{target} has no seeds in {SEEDS}");
    seeds
}

/// A few small changes.
fn near(seed: &[u8], others: &[Vec<u8>], random: &mut StdRng) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..random.random_range(1..4) {
        let at = random.random_range(0..=bytes.len());
        let piece = others.choose(random).unwrap();
        let from = random.random_range(0..=piece.len());
        let piece = &piece[from..random.random_range(from..=piece.len()).min(from + 16)];
        match random.random_range(0..4) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.random_range(0..8),
            1 => bytes.truncate(at),
            2 => drop(bytes.splice(at..at, piece.iter().copied())),
            _ => bytes.insert(at, *b"\0\xff\"\\{}[]*?/.<!`\n".choose(random).unwrap()),
        }
    }
    bytes
}

#[test]
fn no_bytes_near_the_seeds_break_what_must_hold() {
    let mut random = StdRng::seed_from_u64(20_261_125);
    for (name, target) in targets::ALL {
        let seeds = seeds(name);
        seeds.iter().for_each(|seed| target(seed));
        // A component is compiled and run each time.
        let rounds = if matches!(name, "component" | "border") { 150 } else { 3000 };
        for _ in 0..rounds {
            let seed = seeds.choose(&mut random).unwrap();
            let bytes = near(seed, &seeds, &mut random);
            let caught = std::panic::catch_unwind(|| target(&bytes));
            assert!(caught.is_ok(), "{name} breaks for {:?}", String::from_utf8_lossy(&bytes));
        }
    }
}
