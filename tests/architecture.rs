//! The rules that keep the house, held by a machine.

use std::fs;
use std::path::{Path, PathBuf};

use host::fleet::BUNDLED;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![Path::new(ROOT).join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    found
}

/// Whether `source` names the module: `crate::module`, or inside the braces of a `use crate::{…}`.
fn imports(source: &str, module: &str) -> bool {
    let whole = |text: &str| text.split(|c: char| !(c.is_alphanumeric() || c == '_')).next() == Some(module);
    let direct = source.match_indices("crate::").any(|(at, found)| whole(&source[at + found.len()..]));
    let grouped = source.match_indices("use crate::{").any(|(at, found)| {
        let group = &source[at + found.len()..];
        let group = &group[..group.find(';').unwrap_or(group.len())];
        group.split([',', '{']).any(|item| whole(item.trim()))
    });
    direct || grouped
}

#[test]
fn modules_import_only_downward() {
    let lib = fs::read_to_string(Path::new(ROOT).join("host/src/lib.rs")).unwrap();
    let order: Vec<&str> = lib.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    assert!(order.len() > 10, "{order:?}");
    let mut upward = Vec::new();
    for (path, source) in sources("host/src") {
        let inside = path.strip_prefix(Path::new(ROOT).join("host/src")).unwrap();
        let module = inside.components().next().unwrap().as_os_str().to_str().unwrap().trim_end_matches(".rs");
        let Some(rank) = order.iter().position(|name| *name == module) else { continue };
        for above in &order[..rank] {
            if imports(&source, above) {
                upward.push(format!("{} imports `{above}`", inside.display()));
            }
        }
    }
    assert!(upward.is_empty(), "imports point upward:\n{}", upward.join("\n"));
}

#[test]
fn the_rule_sees_through_groups_and_whole_words() {
    assert!(imports("use crate::worker;", "worker"));
    assert!(imports("use crate::{id, worker::hop};", "worker"));
    assert!(imports("use crate::store::{tasks};", "store"));
    assert!(!imports("use crate::workers;", "worker"));
    assert!(!imports("use crate::store::tasks;", "tasks"));
}

#[test]
fn policy_is_pure() {
    let manifest = fs::read_to_string(Path::new(ROOT).join("host/policy/Cargo.toml")).unwrap();
    for impure in ["tokio", "sqlx", "wasmtime", "reqwest", "futures", "jiff", "tracing"] {
        assert!(!manifest.contains(impure), "policy depends on {impure}");
    }
    for (path, source) in sources("host/policy/src") {
        for impure in ["std::fs", "std::net", "std::time", "std::env", "std::thread", "async fn", ".await"] {
            assert!(!source.contains(impure), "{} uses {impure}", path.display());
        }
    }
}

#[test]
fn sql_and_the_driver_stay_in_the_store() {
    for (path, source) in sources("host/src") {
        let stored = path.components().any(|part| part.as_os_str() == "store");
        assert!(stored || !source.contains("sqlx::"), "{} uses sqlx", path.display());
    }
}

#[test]
fn every_file_says_what_it_is_for_and_fits_in_a_head() {
    const MOST: usize = 450;
    let agents: Vec<String> = ["sdk", "template"].iter().chain(&BUNDLED).map(|name| format!("agents/{name}")).collect();
    for folder in ["host/src", "host/policy/src", "tests"].into_iter().chain(agents.iter().map(String::as_str)) {
        for (path, source) in sources(folder) {
            assert!(source.starts_with("//!"), "{} has no module doc", path.display());
            assert!(source.lines().count() <= MOST, "{} has more than {MOST} lines", path.display());
        }
    }
}

#[test]
fn both_databases_have_the_same_migrations() {
    for name in ["sqlite", "postgres"] {
        assert_eq!(
            crate::support::names(&Path::new(ROOT).join("migrations").join(name)),
            [
                "0001_tasks.sql",
                "0002_journal.sql",
                "0003_todos.sql",
                "0004_waiting.sql",
                "0005_components.sql",
                "0006_ledger.sql",
                "0007_verdicts.sql",
                "0008_editions.sql",
                "0009_consent.sql"
            ],
            "{name}"
        );
    }
}

#[test]
fn a_shipped_program_has_no_fault_points() {
    const EMPTY: &str = "pub fn point(_name: &'static str) -> std::future::Ready<()> {\n    std::future::ready(())\n}\n";
    let source = fs::read_to_string(Path::new(ROOT).join("host/src/fault.rs")).unwrap();
    for item in ["pub async fn point(", "mod armed {"] {
        assert!(source.contains(&format!("\n#[cfg(debug_assertions)]\n{item}")), "`{item}` is not for tests only");
    }
    assert!(source.contains(&format!("\n#[cfg(not(debug_assertions))]\n{EMPTY}")), "a shipped point does something");
    // At the left margin, nothing else has a body; and nobody else knows of it.
    let bodies = source.lines().filter(|line| !line.starts_with([' ', '/']) && line.ends_with('{')).count();
    assert_eq!(bodies, 3, "an item of host/src/fault.rs that this test does not know");
    for (path, source) in sources("host/src") {
        assert!(path.ends_with("fault.rs") || !source.contains("HOST_FAULT"), "{} reads HOST_FAULT", path.display());
    }
}
