//! What changes in a folder, told once whoever writes has finished.

use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio::time::timeout;

/// A file is written in several steps: a change is told when this long nothing has happened.
const QUIET: Duration = Duration::from_millis(150);

/// The changes of one folder since it was watched.
pub struct Changes {
    arrived: UnboundedReceiver<PathBuf>,
    /// The last that arrived and is not told yet.
    latest: Option<PathBuf>,
    _watcher: RecommendedWatcher,
}

impl Changes {
    /// Those of the folder and what lies in it, as far as `matters` says so of their path in it.
    ///
    /// # Errors
    /// If it cannot be watched.
    pub fn of(folder: &Path, matters: fn(&Path) -> bool) -> notify::Result<Self> {
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

    /// The file that changed last, once it is quiet; `None` if the folder is not watched any more. Nothing is lost if this is dropped
    /// before it answers.
    pub async fn next(&mut self) -> Option<PathBuf> {
        if self.latest.is_none() {
            self.latest = self.arrived.recv().await;
        }
        while let Ok(Some(path)) = timeout(QUIET, self.arrived.recv()).await {
            self.latest = Some(path);
        }
        self.latest.take()
    }
}

/// Whether a change there makes another agent. What cargo and editors leave beside the sources does not.
#[must_use]
pub fn in_sources(path: &Path) -> bool {
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
            assert!(in_sources(Path::new(path)), "{path}");
        }
        for path in ["", "Cargo.lock", "target/release/x", ".persona.md.swp", "persona.md~", "src/.lib.rs.swx", "README.md"] {
            assert!(!in_sources(Path::new(path)), "{path}");
        }
    }
}
