//! Changes of the agents' folder, and SIGHUP, are followed while the host works.

use std::path::Path;
use std::sync::Arc;

use tokio::signal::unix::Signal;
use tokio_util::sync::CancellationToken;

use super::Fleet;
use super::changes::Changes;

impl Fleet {
    /// Looks again whenever a component in the folder changes or somebody signals, until `drain` is cancelled.
    pub async fn watch(self: Arc<Self>, mut hangup: Option<Signal>, drain: CancellationToken) {
        let folder = &self.config.agents.dir;
        let watched = std::fs::create_dir_all(folder).map_err(|error| error.to_string());
        let mut changes = match watched.and_then(|()| Changes::of(folder, matters).map_err(|error| error.to_string())) {
            Ok(changes) => Some(changes),
            Err(why) => {
                let folder = folder.display().to_string();
                tracing::warn!(event = "agents_unwatched", folder, why, "{folder} is not watched ({why}): SIGHUP reloads it");
                None
            }
        };
        // What changed between the first look and the watch.
        self.looked().await;
        loop {
            let changed = async {
                match &mut changes {
                    Some(changes) => changes.next().await,
                    None => std::future::pending().await,
                }
            };
            let signalled = async {
                match &mut hangup {
                    Some(hangup) => drop(hangup.recv().await),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = drain.cancelled() => return,
                () = signalled => {}
                file = changed => if file.is_none() { changes = None },
            }
            self.looked().await;
        }
    }

    async fn looked(&self) {
        if let Err(error) = self.reload().await {
            tracing::error!(event = "store_unavailable", %error, "agents stay as they are: {error}");
        }
    }
}

/// Components, and the signatures beside them, directly in the folder.
fn matters(path: &Path) -> bool {
    let known = path.extension().is_some_and(|extension| extension == "wasm" || extension == super::signature::EXTENSION);
    known && path.components().count() == 1
}
