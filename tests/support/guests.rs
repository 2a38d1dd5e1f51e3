//! The components under test, built once by the host's own `agent build`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// Where tests keep what they build, outside the source tree.
pub fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
}

/// The agents that ship.
pub fn shipped() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| build("agents")).clone()
}

/// The corpus of `tests/guests`.
pub fn corpus() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| build("tests/guests")).clone()
}

/// A folder with the shipped agents and some of the corpus.
pub fn with(ids: &[&str], into: &Path) -> PathBuf {
    let folder = into.join("agents");
    std::fs::create_dir_all(&folder).unwrap();
    let copies = ["triager", "note-maker", "reporter"].map(|id| shipped().join(format!("{id}.wasm")));
    for file in copies.into_iter().chain(ids.iter().map(|id| corpus().join(format!("{id}.wasm")))) {
        std::fs::copy(&file, folder.join(file.file_name().unwrap())).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    }
    folder
}

fn build(source: &str) -> PathBuf {
    let out = folder().join(source.replace('/', "-"));
    // A guest that was taken out of the corpus must not serve on.
    let _ = std::fs::remove_dir_all(&out);
    let built = Command::new(env!("CARGO_BIN_EXE_host"))
        .args(["agent", "build", "--source"])
        .arg(Path::new(ROOT).join(source))
        .arg("--out")
        .arg(&out)
        .status()
        .unwrap();
    assert!(built.success(), "`host agent build --source {source}` failed: see above");
    out
}
