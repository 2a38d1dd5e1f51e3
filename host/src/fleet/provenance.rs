//! Where a component of a bundled agent's name comes from. The grants that ship are for the agents that ship: a file that only bears
//! such a name gets none of them (design §9).

use std::path::Path;

/// Folder of the cache in which every component that was built from the agents of this project leaves its digest.
const BUILT: &str = "built";

/// Notes a component that was built here from the agents that ship.
///
/// # Errors
/// What the system says.
pub fn note(cache: &Path, agent: &str, digest: &str) -> std::io::Result<()> {
    let folder = cache.join(BUILT);
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join(format!("{agent}-{digest}")), b"")
}

/// Whether that component was built here from the agents that ship.
#[must_use]
pub fn built_here(cache: &Path, agent: &str, digest: &str) -> bool {
    cache.join(BUILT).join(format!("{agent}-{digest}")).exists()
}
