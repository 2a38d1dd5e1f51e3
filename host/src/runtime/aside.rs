//! Compiling in a process of its own: a component of a kilobyte can be made so that compiling it takes all the memory of a machine, or
//! for ever. The process has its bounds, and ends with nothing but an answer.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{Resource, Rlimit, setrlimit};
use wasmtime::component::Component;
use wasmtime::{Config, Engine};

use super::engine;

/// The word by which this program compiles what it reads.
pub const WORD: &str = "compile-aside";
/// Memory that it may ask for, in bytes. The largest interpreters in components take a quarter of it.
const MOST_MEMORY: u64 = 4 << 30;
/// Processor time that it may use, in seconds.
const MOST_SECONDS: u64 = 120;

/// Lets `program` compile these bytes.
///
/// # Errors
/// What is wrong with them, in the compiler's words, or that they ask for too much.
pub(super) fn compiled(program: &Path, bytes: &[u8]) -> wasmtime::Result<Vec<u8>> {
    let mut compiler = Command::new(program)
        .arg(WORD)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| wasmtime::Error::msg(format!("the compiler cannot be started ({}): {error}", program.display())))?;
    if let Some(mut input) = compiler.stdin.take() {
        // One that ends before it has read everything says why below.
        let _ = input.write_all(bytes);
    }
    let done = compiler.wait_with_output()?;
    if done.status.success() {
        return Ok(done.stdout);
    }
    let said = String::from_utf8_lossy(&done.stderr);
    // What it says of a component is one line, and begins so; anything else is how it was ended.
    let why = said.lines().find_map(|line| line.strip_prefix(SAID)).map_or_else(
        || format!("compiling it takes more than {} GiB or {MOST_SECONDS} s of a processor", MOST_MEMORY >> 30),
        str::to_owned,
    );
    Err(wasmtime::Error::msg(why))
}

/// Before the compiler's own words.
const SAID: &str = "component: ";

/// Compiles what stands on standard input to standard output, within its bounds.
///
/// # Errors
/// If the bounds cannot be set, or nothing can be read or written; what is wrong with the component is said on standard error.
pub fn compile() -> wasmtime::Result<bool> {
    let bound = |most| Rlimit { current: Some(most), maximum: Some(most) };
    setrlimit(Resource::As, bound(MOST_MEMORY))?;
    setrlimit(Resource::Cpu, bound(MOST_SECONDS))?;
    setrlimit(Resource::Core, bound(0))?;
    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes)?;
    // As the host's, but that it makes no instances and so reserves no room for them.
    let settings: Config = engine::settings(None);
    let compiled = Component::new(&Engine::new(&settings)?, &bytes).and_then(|component| component.serialize());
    match compiled {
        Ok(compiled) => {
            std::io::stdout().write_all(&compiled)?;
            Ok(true)
        }
        Err(error) => {
            let said = error.root_cause().to_string().replace('\n', " ");
            writeln!(std::io::stderr(), "{SAID}{said}")?;
            Ok(false)
        }
    }
}
