//! What a host call costs before it is performed: the grant and the tier, with 64 patterns on each side.

#![expect(clippy::expect_used, reason = "a bench may panic")]

use criterion::{Criterion, criterion_group, criterion_main};
use policy::call::{ToolCall, VaultRead};
use policy::grant::Grant;
use policy::judge::{Destination, cleared, within};
use policy::manifest::{Ceiling, Limits, Manifest, Wants};
use policy::tier::{Clearance, Label, Tier};
use std::hint::black_box;

const GRANTS: usize = 64;

fn grant() -> Grant {
    let limits =
        Limits { memory_mib: 1, cpu_ms: 1, wall_s: 1, host_calls: 1, output_tokens: 1, usd_micros: 1, journal_kib: 1, log_kib: 1 };
    let vault_read: Vec<String> = (0..GRANTS).map(|number| format!("notes/{number}/**/*.md")).collect();
    let tools: Vec<String> = (0..GRANTS).map(|number| format!("server{number}_*")).collect();
    let ceiling = Ceiling { vault_read: vault_read.clone(), tools: tools.clone(), ..Ceiling::default() };
    let manifest = Manifest {
        id: "scout".into(),
        class_floor: "a".into(),
        wants: Wants { vault_read, tools, ..Wants::default() },
        ..Manifest::default()
    };
    Grant::effective(&manifest, &ceiling, &limits, "here").expect("all is granted")
}

fn destination() -> Destination {
    Destination {
        name: String::new(),
        clearance: Clearance(Tier::Restricted),
        yields: Tier::Internal,
        untrusted: false,
        reason: String::new(),
    }
}

fn judge(criterion: &mut Criterion) {
    let grant = grant();
    let label = Label::of(Tier::Internal);
    criterion.bench_function("vault.read, the last of 64 patterns", |bencher| {
        let call = || (VaultRead { path: "notes/63/a/b/c.md".into() }, destination());
        let judged =
            |(call, destination)| within(&grant, black_box(call)).and_then(|allowed| cleared(allowed, label, destination)).is_ok();
        bencher.iter_batched(call, judged, criterion::BatchSize::SmallInput);
    });
    criterion.bench_function("tools.call, the last of 64 patterns", |bencher| {
        let arguments = serde_json::Value::Null;
        let call = || (ToolCall::new("server63_search", arguments.clone()), destination());
        let judged =
            |(call, destination)| within(&grant, black_box(call)).and_then(|allowed| cleared(allowed, label, destination)).is_ok();
        bencher.iter_batched(call, judged, criterion::BatchSize::SmallInput);
    });
    criterion.bench_function("vault.read, beyond the grant", |bencher| {
        let call = || VaultRead { path: "private/63/a/b/c.md".into() };
        bencher.iter_batched(call, |call| within(&grant, black_box(call)).is_err(), criterion::BatchSize::SmallInput);
    });
}

criterion_group!(benches, judge);
criterion_main!(benches);
