//! Listing and searching, without following links.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use cap_std::fs::Dir;
use policy::call::VaultSearch;
use policy::task::Timestamp;
use policy::tier::Tier;

use super::{VaultError, failed, load, modified};

/// Directory entries that one listing looks at.
const MOST: usize = 20_000;
/// Words of one search.
pub(super) const MOST_WORDS: usize = 32;
/// Lines that one search answers.
pub(super) const MOST_HITS: u32 = 1000;
/// Characters of one such line.
const MOST_LINE: usize = 500;
/// How long one search may take: its thread cannot be stopped from outside.
const PATIENCE: Duration = Duration::from_secs(10);

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

/// The folder below which everything lies that a pattern can cover.
pub(super) fn start(pattern: &str) -> &str {
    let literal = pattern.find(['*', '?', '[', '{', '\\']).unwrap_or(pattern.len());
    let literal = pattern.get(..literal).unwrap_or_default();
    literal.rfind('/').and_then(|end| literal.get(..end)).unwrap_or_default()
}

/// The files below a folder that `admit` gives a tier, sorted by path; their names have that tier.
pub(super) fn files(root: &Dir, below: &str, admit: impl Fn(&str) -> Option<Tier>) -> Result<Vec<(Found, Tier)>, VaultError> {
    let mut found = Vec::new();
    let mut seen = 0;
    let mut folders = vec![below.to_owned()];
    while let Some(folder) = folders.pop() {
        // A sync client makes and removes files all the time: what is gone again is not there.
        let listing = if folder.is_empty() { root.entries() } else { root.read_dir(&folder) };
        let Some(listing) = there(&folder, listing)? else { continue };
        for entry in listing {
            let entry = entry.map_err(failed(&folder))?;
            seen += 1;
            if seen > MOST {
                return Err(VaultError::Invalid(format!("more than {MOST} entries lie there: begin the pattern with a folder")));
            }
            let Ok(name) = entry.file_name().into_string() else { continue };
            if name.starts_with('.') {
                continue;
            }
            let path = if folder.is_empty() { name } else { format!("{folder}/{name}") };
            let Some(about) = there(&path, entry.metadata())? else { continue };
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

fn there<T>(path: &str, looked: std::io::Result<T>) -> Result<Option<T>, VaultError> {
    match looked {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        looked => looked.map(Some).map_err(failed(path)),
    }
}

/// The lines that hold one of the words, without regard to case, in files whose carried tier `visible` lets through; and the highest
/// tier among the files hit.
pub(super) fn search(
    root: &Dir,
    files: &[(Found, Tier)],
    call: &VaultSearch,
    visible: impl Fn(&str, Tier) -> bool,
) -> Result<(Vec<Hit>, Tier), VaultError> {
    let started = Instant::now();
    let words: Vec<String> = call.words.iter().filter(|word| !word.is_empty()).map(|word| word.to_lowercase()).collect();
    let limit = usize::try_from(call.limit).unwrap_or(usize::MAX);
    let (mut hits, mut highest) = (Vec::new(), Tier::Public);
    for (found, tier) in files {
        if started.elapsed() > PATIENCE {
            return Err(VaultError::Invalid(format!("the search took longer than {PATIENCE:?}: narrow the pattern")));
        }
        // A file that is no text, or too large, or gone since the listing, has no lines to find.
        let Ok(Some(file)) = load(root, &found.path) else { continue };
        let tier = (*tier).max(file.carries);
        if !visible(&found.path, tier) {
            continue;
        }
        for (number, line) in (1_u32..).zip(file.text.lines()) {
            let lower = line.to_lowercase();
            if words.iter().any(|word| lower.contains(word)) {
                if hits.len() >= limit {
                    return Ok((hits, highest));
                }
                highest = highest.max(tier);
                hits.push(Hit { path: found.path.clone(), line: number, text: line.chars().take(MOST_LINE).collect() });
            }
        }
    }
    Ok((hits, highest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_starts_at_its_last_whole_folder() {
        for (pattern, folder) in [
            ("notes/**", "notes"),
            ("notes/house/*.md", "notes/house"),
            ("notes/ho*/x", "notes"),
            ("*.md", ""),
            ("**", ""),
            ("notes/a.md", "notes"),
            ("a.md", ""),
        ] {
            assert_eq!(start(pattern), folder, "{pattern}");
        }
    }
}
