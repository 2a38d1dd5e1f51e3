//! The agents of `tests/foreign`: one in Python, one in JavaScript, each built once for what its sources are by its language's own tool.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

use super::{fetched, guests, npm};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
const COMPONENTIZE_PY: &str = "componentize-py==0.25.1";
const COMPONENTIZE_JS: &str = "@bytecodealliance/componentize-js@0.23.0";

/// `py-greeter.wasm`.
pub fn python() -> PathBuf {
    built("py-greeter", &["python/app.py", "wit/world.wit"], |place, out| {
        let tool = fetched(COMPONENTIZE_PY, &[]);
        let app = place.join("app");
        std::fs::create_dir_all(&app).unwrap();
        // It leaves compiled files beside what it reads.
        std::fs::copy(source("python/app.py"), app.join("app.py")).unwrap();
        let mut build = Command::new(tool.join("bin/componentize-py"));
        build.env("PYTHONPATH", &tool).args(["-q", "-d"]).arg(place.join("wit")).args([
            "-w",
            "greeter",
            "componentize",
            "--stub-wasi",
        ]);
        build.arg("-p").arg(app).arg("app").arg("-o").arg(out);
        build
    })
}

/// `js-greeter.wasm`.
pub fn javascript() -> PathBuf {
    built("js-greeter", &["javascript/agent.js", "javascript/build.mjs", "wit/world.wit"], |place, out| {
        let mut build = Command::new("node");
        // From standard input, so that its packages are found in the folder in which it runs.
        build.current_dir(npm(COMPONENTIZE_JS)).stdin(std::fs::File::open(source("javascript/build.mjs")).unwrap());
        build.args(["--input-type=module", "-"]).arg(source("javascript/agent.js")).arg(place.join("wit")).arg("greeter").arg(out);
        build
    })
}

fn source(name: &str) -> PathBuf {
    Path::new(ROOT).join("tests/foreign").join(name).canonicalize().unwrap()
}

/// Neither tool makes the same bytes twice: what was built is kept as long as its sources are the same.
fn built(id: &str, sources: &[&str], build: impl FnOnce(&Path, &Path) -> Command) -> PathBuf {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock();
    let wit = Path::new(ROOT).join("wit/agent.wit");
    let files = sources.iter().map(|name| source(name)).chain([wit.clone()]);
    let all: Vec<u8> = files.flat_map(|file| std::fs::read(file).unwrap()).collect();
    let folder = guests::folder().join("foreign").join(&host::id::digest(&all)[..16]);
    let out = folder.join(format!("{id}.wasm"));
    if out.exists() {
        return out;
    }
    let place = tempfile::tempdir().unwrap();
    let dependency = place.path().join("wit/deps/homeaiops");
    std::fs::create_dir_all(&dependency).unwrap();
    std::fs::copy(wit, dependency.join("agent.wit")).unwrap();
    std::fs::copy(source("wit/world.wit"), place.path().join("wit/world.wit")).unwrap();
    let made = place.path().join("made.wasm");
    let done = build(place.path(), &made).stdout(Stdio::null()).output().unwrap();
    assert!(done.status.success(), "{id} cannot be built: {}", String::from_utf8_lossy(&done.stderr));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::copy(made, &out).unwrap();
    out
}
