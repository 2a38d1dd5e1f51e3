//! A real browser: Debian's Chromium, driven by Playwright. Both are fetched once into the cache; Chromium is taken from the system if
//! it is there, else installed with apt, as its libraries are many.

use std::path::{Path, PathBuf};
use std::process::{Command as Program, Stdio};
use std::sync::Mutex;

use serde_json::Value;
use tokio::process::Command;

use super::{PATIENCE, npm};

const PLAYWRIGHT: &str = "playwright-core@1.65.1";
const CHROMIUM: &str = "/usr/bin/chromium";

/// A browser that can be started.
pub struct Browser {
    playwright: PathBuf,
}

impl Browser {
    /// Sees to it that there is one.
    pub fn ready() -> Self {
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _turn = ONE_AT_A_TIME.lock();
        if !Path::new(CHROMIUM).exists() {
            install();
        }
        Self { playwright: npm(PLAYWRIGHT).join("node_modules/playwright-core/index.mjs") }
    }

    /// Runs the body of a function over a fresh `page`; `arguments` are `process.argv` from 1 on. What it returns.
    pub async fn run(&self, body: &str, arguments: &[&str]) -> Value {
        let program = format!(
            "import {{ chromium }} from {:?};\n\
             const browser = await chromium.launch({{ executablePath: {CHROMIUM:?}, args: ['--no-sandbox', '--disable-gpu', '--disable-quic', \
             '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'] }});\n\
             try {{ const page = await browser.newPage(); const said = await (async () => {{ {body} }})(); console.log(JSON.stringify(said)); }}\n\
             finally {{ await browser.close(); }}\n",
            self.playwright.display().to_string()
        );
        let mut node = Command::new("node");
        node.args(["--input-type=module", "--eval", &program, "--"]).args(arguments).stdin(Stdio::null()).kill_on_drop(true);
        let ended = tokio::time::timeout(PATIENCE, node.output()).await.expect("the browser ends").unwrap();
        let said = String::from_utf8_lossy(&ended.stdout);
        serde_json::from_str(&said).unwrap_or_else(|_| panic!("{said}{}", String::from_utf8_lossy(&ended.stderr)))
    }
}

fn install() {
    let apt = |what: &[&str]| {
        let mut apt = Program::new("apt-get");
        let done = apt.arg("-qq").args(what).env("DEBIAN_FRONTEND", "noninteractive").output();
        done.as_ref().is_ok_and(|done| done.status.success()).then_some(()).ok_or(format!("{done:?}"))
    };
    let done = apt(&["update"]).and_then(|()| apt(&["install", "--yes", "--no-install-recommends", "chromium"]));
    done.unwrap_or_else(|why| panic!("the tests need Chromium: apt-get install chromium. It said: {why}"));
}
