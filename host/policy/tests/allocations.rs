//! A call that is allowed costs no memory: it is judged against what was compiled when its agent was loaded.

#![expect(clippy::expect_used, reason = "tests may panic")]

use allocation_counter::measure;
use policy::call::VaultRead;
use policy::grant::Grant;
use policy::judge::{Destination, cleared, within};
use policy::manifest::{Ceiling, Limits, Manifest, Wants};
use policy::tier::{Clearance, Label, Tier};

fn grant(patterns: usize) -> Grant {
    let limits =
        Limits { memory_mib: 1, cpu_ms: 1, wall_s: 1, host_calls: 1, output_tokens: 1, usd_micros: 1, journal_kib: 1, log_kib: 1 };
    let vault_read: Vec<String> = (0..patterns).map(|number| format!("notes/{number}/**/*.md")).collect();
    let wants = Wants { vault_read: vault_read.clone(), ..Wants::default() };
    let manifest = Manifest { id: "scout".into(), class_floor: "a".into(), wants, ..Manifest::default() };
    Grant::effective(&manifest, &Ceiling { vault_read, ..Ceiling::default() }, &limits, "here").expect("all is granted")
}

#[test]
fn a_call_that_is_allowed_allocates_nothing() {
    let grant = grant(64);
    let destination = Destination {
        name: "vault".into(),
        clearance: Clearance(Tier::Restricted),
        yields: Tier::Internal,
        untrusted: false,
        reason: String::new(),
    };
    let call = VaultRead { path: "notes/63/a/b/c.md".into() };
    let mut granted = None;
    let used = measure(|| {
        granted = within(&grant, call).and_then(|allowed| cleared(allowed, Label::of(Tier::Internal), destination)).ok();
    });
    assert!(granted.is_some_and(|granted| granted.call().path == "notes/63/a/b/c.md"));
    // Two texts are moved, none is made; they are dropped later.
    assert_eq!(used.count_total, 0);
    let denied = VaultRead { path: "notes/64/c.md".into() };
    assert!(measure(|| assert!(within(&grant, denied).is_err())).count_total > 0, "and it is counted at all");
}
