//! Listing and searching, without following links.

use cap_std::fs::Dir;
use policy::task::Timestamp;
use policy::tier::Tier;

use super::{VaultError, failed, load, modified};

/// Directory entries that one listing looks at.
const MOST: usize = 20_000;

/// A file in a listing.
#[derive(Clone, Debug)]
pub struct Found {
    /// Relative to the vault's root.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// When it was last changed.
    pub modified_at: Timestamp,
}

/// A line that was found.
#[derive(Clone, Debug)]
pub struct Hit {
    /// Relative to the vault's root.
    pub path: String,
    /// From 1.
    pub line: u32,
    /// The line.
    pub text: String,
}

/// The files that `admit` gives a tier, sorted by path.
pub(super) fn files(root: &Dir, admit: impl Fn(&str) -> Option<Tier>) -> Result<Vec<(Found, Tier)>, VaultError> {
    let mut found = Vec::new();
    let mut seen = 0;
    let mut folders = vec![String::new()];
    while let Some(folder) = folders.pop() {
        let listing = if folder.is_empty() { root.entries() } else { root.read_dir(&folder) };
        for entry in listing.map_err(failed(&folder))? {
            let entry = entry.map_err(failed(&folder))?;
            seen += 1;
            if seen > MOST {
                return Err(VaultError::Invalid(format!("the vault holds more than {MOST} entries: narrow the pattern")));
            }
            let Ok(name) = entry.file_name().into_string() else { continue };
            if name.starts_with('.') {
                continue;
            }
            let path = if folder.is_empty() { name } else { format!("{folder}/{name}") };
            let about = entry.metadata().map_err(failed(&path))?;
            if about.is_dir() {
                folders.push(path);
            } else if about.is_file()
                && let Some(tier) = admit(&path)
            {
                found.push((Found { bytes: about.len(), modified_at: modified(&about), path }, tier));
            }
        }
    }
    found.sort_by(|(a, _), (b, _)| a.path.cmp(&b.path));
    Ok(found)
}

/// The lines of those files that hold one of the words, without regard to case; and the highest tier among the files hit.
pub(super) fn search(root: &Dir, files: &[(Found, Tier)], words: &[String], limit: u32) -> Result<(Vec<Hit>, Tier), VaultError> {
    let words: Vec<String> = words.iter().filter(|word| !word.is_empty()).map(|word| word.to_lowercase()).collect();
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let (mut hits, mut highest) = (Vec::new(), Tier::Public);
    for (found, tier) in files {
        // A file that is no text, or too large, or gone since the listing, has no lines to find.
        let Ok(Some(file)) = load(root, &found.path) else { continue };
        for (number, line) in (1_u32..).zip(file.text.lines()) {
            let lower = line.to_lowercase();
            if words.iter().any(|word| lower.contains(word)) {
                if hits.len() >= limit {
                    return Ok((hits, highest));
                }
                highest = highest.max(*tier);
                hits.push(Hit { path: found.path.clone(), line: number, text: line.to_owned() });
            }
        }
    }
    Ok((hits, highest))
}
