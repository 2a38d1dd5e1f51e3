//! What changes in an agent's folder, told once an editor has finished.

use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio::time::timeout;

/// An editor writes a file in several steps: a change is told when this long nothing has happened.
const QUIET: Duration = Duration::from_millis(150);

/// The changes of one folder since it was watched.
pub(super) struct Changes {
    arrived: UnboundedReceiver<PathBuf>,
    /// The last that arrived and is not told yet.
    latest: Option<PathBuf>,
    _watcher: RecommendedWatcher,
}

impl Changes {
    pub(super) fn of(folder: &Path) -> notify::Result<Self> {
        let (tell, arrived) = mpsc::unbounded_channel();
        let root = folder.to_owned();
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            let Ok(event) = event else { return };
            if event.kind.is_access() {
                return;
            }
            for path in event.paths.iter().filter_map(|path| path.strip_prefix(&root).ok()).filter(|path| matters(path)) {
                // Nobody listens any more: the command is ending.
                let _ = tell.send(path.to_owned());
            }
        })?;
        watcher.watch(folder, RecursiveMode::Recursive)?;
        Ok(Self { arrived, latest: None, _watcher: watcher })
    }

    /// The file that changed last, once it is quiet. Nothing is lost if this is dropped before it answers.
    pub(super) async fn next(&mut self) -> anyhow::Result<PathBuf> {
        if self.latest.is_none() {
            self.latest = self.arrived.recv().await;
        }
        while let Ok(Some(path)) = timeout(QUIET, self.arrived.recv()).await {
            self.latest = Some(path);
        }
        self.latest.take().ok_or_else(|| anyhow::anyhow!("the agent's folder is not watched any more"))
    }
}

/// Whether a change there makes another agent. What cargo and editors leave beside the sources does not.
fn matters(path: &Path) -> bool {
    let mut parts = path.components().map(|part| part.as_os_str().to_string_lossy());
    let first = parts.next().unwrap_or_default();
    let aside = |name: &str| name.starts_with('.') || name.ends_with('~');
    !first.is_empty()
        && !["target", "Cargo.lock", "README.md"].contains(&&*first)
        && !aside(&first)
        && !parts.any(|name| aside(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_beside_the_sources_is_no_change() {
        for path in ["persona.md", "agent.toml", "Cargo.toml", "src/lib.rs", "src/prompts/long.md"] {
            assert!(matters(Path::new(path)), "{path}");
        }
        for path in ["", "Cargo.lock", "target/release/x", ".persona.md.swp", "persona.md~", "src/.lib.rs.swx", "README.md"] {
            assert!(!matters(Path::new(path)), "{path}");
        }
    }
}
