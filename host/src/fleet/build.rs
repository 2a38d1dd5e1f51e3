//! Builds guests wherever it runs: with the installed target, or, on Debian, with the matched compiler and library source that
//! Debian packages; otherwise the error is the line to type.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;

use super::provenance;
use crate::id;

/// Guests are built for this.
const TARGET: &str = "wasm32-wasip2";
/// The package that agents are made with.
const SDK: &str = "homeaiops-sdk";
/// Debian's compiler, the sources of its library, and the C library for guests.
const PACKAGES: [&str; 4] = ["rustc-web", "libstd-rust-web-dev", "rust-web-src", "wasi-libc"];

/// Why guests could not be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// No compiler for the target.
    #[error("no compiler for {TARGET} here ({0}); install it with: rustup target add {TARGET}")]
    NoTarget(String),
    /// A program failed.
    #[error("`{program}` failed: {said}")]
    Program {
        /// Which.
        program: String,
        /// What it said.
        said: String,
    },
    /// A file could not be used.
    #[error("{path}: {why}")]
    File {
        /// Which.
        path: String,
        /// What the system says.
        why: std::io::Error,
    },
    /// Nothing to build.
    #[error("{0} holds no agent: a package whose crate-type is cdylib")]
    Nothing(String),
}

/// How much of a source folder is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Every agent of its workspace.
    Workspace,
    /// The one agent whose `Cargo.toml` lies there.
    Package,
}

/// Builds the agents of the folder `source` into `out/ID.wasm`; what it made. `tell` hears of each long step.
///
/// # Errors
/// [`BuildError`] says what to do.
pub fn build(source: &Path, scope: Scope, out: &Path, cache: &Path, tell: &dyn Fn(&str)) -> Result<Vec<PathBuf>, BuildError> {
    let source = source.canonicalize().map_err(file(source))?;
    let workspace = workspace(&source)?;
    let target = cache.join("guest-target");
    let mut cargo = Command::new("cargo");
    cargo.current_dir(&source).args(["build", "--lib", "--release", "--target", TARGET, "--target-dir"]).arg(&target);
    if scope == Scope::Workspace {
        cargo.args(["--workspace", "--examples"]);
    }
    // The flags and wrappers of an outer build are not for guests.
    for outer in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "RUSTC", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "CARGO_TARGET_DIR"] {
        cargo.env_remove(outer);
    }
    // Packages of one name and place in two workspaces are one to a shared target folder. The SDK and its `agent!` read these, so
    // that cargo builds anew what another workspace built last.
    cargo.env("HOMEAIOPS_WORKSPACE", &workspace.workspace_root);
    if workspace.packages.iter().any(|package| package.name == SDK) {
        cargo.env("HOMEAIOPS_SDK", &workspace.workspace_root);
    }
    let has_library = matches!(installed_library(), Ok(folder) if folder.is_dir());
    if !has_library {
        Debian::prepare(cache, tell)?.apply(&mut cargo)?;
    }
    let what = if scope == Scope::Workspace { "the agents of" } else { "the agent in" };
    tell(&format!("building {what} {} (the standard library too, the first time)", source.display()));
    let done = cargo.stdin(Stdio::null()).stdout(Stdio::null()).status().map_err(file(Path::new("cargo")))?;
    if !done.success() {
        return Err(BuildError::Program { program: "cargo build".into(), said: "see its messages above".into() });
    }
    collect(workspace, (&source, scope), (&target.join(TARGET).join("release"), cache), out)
}

fn installed_library() -> Result<PathBuf, BuildError> {
    Ok(output(Command::new("rustc").args(["--print", "target-libdir", "--target", TARGET]))?.into())
}

/// Debian's compiler, unpacked beside nothing else.
struct Debian {
    root: PathBuf,
}

impl Debian {
    /// Downloads (apt verifies what it fetches) and unpacks the packages once, without installing them.
    fn prepare(cache: &Path, tell: &dyn Fn(&str)) -> Result<Self, BuildError> {
        let root = cache.join("guest-compiler");
        let ready = root.join(".complete");
        if ready.exists() {
            return Ok(Self { root });
        }
        if !Path::new("/etc/debian_version").exists() || !cfg!(target_arch = "x86_64") {
            return Err(BuildError::NoTarget("and this is not Debian on x86-64, where there is another way".into()));
        }
        tell("the target wasm32-wasip2 is not installed: fetching Debian's compiler for guests (about 150 MB, once)");
        let debs = tempfile::tempdir_in(parent(&root)?).map_err(file(&root))?;
        if download(debs.path()).is_err() {
            tell("refreshing the list of packages");
            output(Command::new("apt-get").arg("update"))
                .and_then(|_| download(debs.path()))
                .map_err(|error| BuildError::NoTarget(format!("and Debian's could not be fetched: {error}")))?;
        }
        let unpacked = tempfile::tempdir_in(parent(&root)?).map_err(file(&root))?;
        for entry in std::fs::read_dir(debs.path()).map_err(file(debs.path()))?.filter_map(Result::ok) {
            output(Command::new("dpkg").arg("-x").arg(entry.path()).arg(unpacked.path()))?;
        }
        std::fs::write(unpacked.path().join(".complete"), b"").map_err(file(&ready))?;
        if root.exists() {
            std::fs::remove_dir_all(&root).map_err(file(&root))?;
        }
        std::fs::rename(unpacked.keep(), &root).map_err(file(&root))?;
        Ok(Self { root })
    }

    /// Debian's compiler builds the library from its matching source; the linker is the installed toolchain's.
    fn apply(&self, cargo: &mut Command) -> Result<(), BuildError> {
        let sysroot = PathBuf::from(output(Command::new("rustc").args(["--print", "sysroot"]))?);
        let linkers = sysroot.join("lib/rustlib/x86_64-unknown-linux-gnu/bin");
        let path = output(Command::new("sh").args(["-c", "printf %s \"$PATH\""]))?;
        let path = format!("{}:{}:{path}", linkers.display(), linkers.join("gcc-ld").display());
        let libraries = self.root.join("usr/lib/wasm32-wasi");
        cargo
            .args(["-Z", "build-std=std,panic_abort"])
            .env("PATH", path)
            .env("RUSTC", self.root.join("usr/bin/rustc"))
            .env("LD_LIBRARY_PATH", self.root.join("usr/lib/x86_64-linux-gnu"))
            .env("RUSTC_BOOTSTRAP", "1")
            .env("CARGO_TARGET_WASM32_WASIP2_RUSTFLAGS", format!("-L native={} -Clink-self-contained=no", libraries.display()));
        Ok(())
    }
}

fn download(folder: &Path) -> Result<(), BuildError> {
    let depends = output(Command::new("apt-cache").args(["depends", "--recurse", "--important", "rustc-web"]))?;
    let versioned = depends.lines().filter(|name| {
        let numbered = |prefix| name.strip_prefix(prefix).is_some_and(|rest: &str| rest.starts_with(|c: char| c.is_ascii_digit()));
        numbered("libstd-rust-web-") || numbered("libllvm")
    });
    let mut apt = Command::new("apt-get");
    apt.current_dir(folder).args(["download", "--quiet"]).args(PACKAGES).args(versioned);
    output(&mut apt).map(|_| ())
}

fn parent(path: &Path) -> Result<&Path, BuildError> {
    let folder = path.parent().unwrap_or(path);
    std::fs::create_dir_all(folder).map_err(file(folder))?;
    Ok(folder)
}

#[derive(Deserialize)]
struct Workspace {
    workspace_root: PathBuf,
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: PathBuf,
    targets: Vec<Target>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
    crate_types: Vec<String>,
}

fn workspace(source: &Path) -> Result<Workspace, BuildError> {
    let mut cargo = Command::new("cargo");
    let json = output(cargo.current_dir(source).args(["metadata", "--no-deps", "--format-version", "1"]))?;
    serde_json::from_str(&json).map_err(|error| BuildError::Program { program: "cargo metadata".into(), said: error.to_string() })
}

/// Copies each component to `out/ID.wasm`: a package's library by the package's name, an example by its own.
fn collect(
    workspace: Workspace,
    (source, scope): (&Path, Scope),
    (built, cache): (&Path, &Path),
    out: &Path,
) -> Result<Vec<PathBuf>, BuildError> {
    std::fs::create_dir_all(out).map_err(file(out))?;
    // The workspace beside the source of this very program is the one of the agents that ship.
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("../agents").canonicalize().ok();
    let ships = ours.is_some_and(|ours| workspace.workspace_root.canonicalize().ok() == Some(ours));
    let mut made = Vec::new();
    let built_now = |package: &Package| scope == Scope::Workspace || package.manifest_path.parent() == Some(source);
    for package in workspace.packages.into_iter().filter(built_now) {
        for target in package.targets.iter().filter(|target| target.crate_types.iter().any(|kind| kind == "cdylib")) {
            let example = target.kind.iter().any(|kind| kind == "example");
            if example && scope == Scope::Package {
                continue;
            }
            let folder = if example { built.join("examples") } else { built.to_owned() };
            let from = folder.join(format!("{}.wasm", target.name.replace('-', "_")));
            let to = out.join(format!("{}.wasm", if example { &target.name } else { &package.name }));
            // Copied aside and renamed: a host that watches the folder never sees half a file.
            let aside = tempfile::NamedTempFile::new_in(out).map_err(file(out))?;
            std::fs::copy(&from, aside.path()).map_err(file(&from))?;
            aside.persist(&to).map_err(|error| file(&to)(error.error))?;
            if ships && !example {
                let digest = id::digest(&std::fs::read(&from).map_err(file(&from))?);
                provenance::note(cache, &package.name, &digest).map_err(file(cache))?;
            }
            made.push(to);
        }
    }
    if made.is_empty() { Err(BuildError::Nothing(source.display().to_string())) } else { Ok(made) }
}

fn file(path: &Path) -> impl FnOnce(std::io::Error) -> BuildError + '_ {
    move |why| BuildError::File { path: path.display().to_string(), why }
}

/// What a program prints, or what it complains of.
fn output(command: &mut Command) -> Result<String, BuildError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let failed = |said: String| BuildError::Program { program: program.clone(), said };
    let done = command.stdin(Stdio::null()).output().map_err(|error| failed(error.to_string()))?;
    if !done.status.success() {
        return Err(failed(String::from_utf8_lossy(&done.stderr).trim().to_owned()));
    }
    Ok(String::from_utf8_lossy(&done.stdout).trim_end().to_owned())
}
