//! The operator's notes. Nothing here reaches outside the root: every path goes through a directory handle (cap-std) that
//! refuses to climb or to follow a link out, and every file is replaced whole.

mod note;
mod rules;
mod walk;

use std::io::{ErrorKind, Read, Write};
use std::path::{Component, Path};
use std::sync::Arc;

use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions};
use policy::call::{VaultAppend, VaultEntries, VaultRead, VaultSearch, VaultWrite};
use policy::judge::{Destination, Granted};
use policy::pattern::Patterns;
use policy::task::Timestamp;
use policy::tier::Tier;
use serde::{Deserialize, Serialize};

use crate::config;

pub use note::Author;
pub use rules::Rules;
pub use walk::{Found, Hit};

/// Largest file that is read or written, in bytes.
const MOST: u64 = 1024 * 1024;

/// A file whose presence stops new leases.
const PAUSED: &str = "_meta/PAUSED";

/// Why the vault did not do it.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The root cannot be used.
    #[error("the vault `{root}` cannot be used: {why}; set [vault] root to a folder that the host may write")]
    Root {
        /// As configured.
        root: String,
        /// What the system says.
        why: String,
    },
    /// The path or the text makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// There is no such file.
    #[error("there is no `{0}` in the vault")]
    NotFound(String),
    /// Somebody else's file.
    #[error("`{0}` is there already and this task did not write what it holds")]
    Conflict(String),
    /// The system said no.
    #[error("`{path}`: {why}")]
    Io {
        /// Which file.
        path: String,
        /// What the system says.
        why: std::io::Error,
    },
}

/// The vault: a cheap handle.
#[derive(Clone)]
pub struct Vault {
    inner: Arc<Inner>,
}

struct Inner {
    root: Dir,
    name: String,
    rules: Rules,
}

/// A file that was read.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct File {
    /// What it holds.
    pub text: String,
    /// When it was last changed.
    pub modified_at: Timestamp,
    /// The tier that it carries in its front matter, whatever the rules of its path say.
    #[serde(skip, default = "unread")]
    pub carries: Tier,
}

/// The tier of a file that comes from the journal: the label there says it.
fn unread() -> Tier {
    Tier::Restricted
}

impl Vault {
    /// Opens the folder, and makes it if it is not there.
    ///
    /// # Errors
    /// [`VaultError::Root`].
    pub fn open(config: &config::Vault) -> Result<Self, VaultError> {
        let failed = |why: String| VaultError::Root { root: config.root.display().to_string(), why };
        std::fs::create_dir_all(&config.root).map_err(|error| failed(error.to_string()))?;
        let root = Dir::open_ambient_dir(&config.root, ambient_authority()).map_err(|error| failed(error.to_string()))?;
        let rules = Rules::compile(config).map_err(|bad| failed(bad.to_string()))?;
        Ok(Self { inner: Arc::new(Inner { root, name: config.name.clone(), rules }) })
    }

    /// Its name in links.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Where a call on that path would go: the first rule that matches it, else internal data and a restricted clearance.
    #[must_use]
    pub fn destination(&self, path: &str) -> Destination {
        self.inner.rules.destination(path)
    }

    /// Whether the operator has paused the house.
    #[must_use]
    pub fn paused(&self) -> bool {
        self.inner.root.try_exists(PAUSED).unwrap_or(false)
    }

    /// Whether it can be written now.
    ///
    /// # Errors
    /// What the system says.
    pub fn ping(&self) -> Result<(), VaultError> {
        let probe = format!(".probe-{}", ulid::Ulid::generate());
        let io = |why| VaultError::Io { path: probe.clone(), why };
        self.inner.root.write(&probe, b"").map_err(io)?;
        self.inner.root.remove_file(&probe).map_err(io)
    }

    /// A file.
    ///
    /// # Errors
    /// [`VaultError`].
    pub async fn read(&self, granted: &Granted<VaultRead>) -> Result<File, VaultError> {
        let path = checked(&granted.call().path)?;
        self.blocking(move |root| load(root, &path)?.ok_or(VaultError::NotFound(path))).await
    }

    /// The files that match a pattern and that `visible` lets through, with the highest tier of their names.
    ///
    /// # Errors
    /// [`VaultError`].
    pub async fn entries(
        &self,
        granted: &Granted<VaultEntries>,
        visible: impl Fn(&str, Tier) -> bool + Send + 'static,
    ) -> Result<(Vec<Found>, Tier), VaultError> {
        let found = self.walk(&granted.call().pattern, visible).await?;
        let tier = found.iter().map(|(_, tier)| *tier).max().unwrap_or(Tier::Public);
        Ok((found.into_iter().map(|(found, _)| found).collect(), tier))
    }

    /// The lines that hold one of the words, in files that match a pattern and that `visible` lets through.
    ///
    /// # Errors
    /// [`VaultError`].
    pub async fn search(
        &self,
        granted: &Granted<VaultSearch>,
        visible: impl Fn(&str, Tier) -> bool + Send + Sync + 'static,
    ) -> Result<(Vec<Hit>, Tier), VaultError> {
        let call = granted.call().clone();
        if call.words.len() > walk::MOST_WORDS || call.limit > walk::MOST_HITS {
            let (words, hits) = (walk::MOST_WORDS, walk::MOST_HITS);
            return Err(VaultError::Invalid(format!("a search takes at most {words} words and answers at most {hits} lines")));
        }
        let visible = std::sync::Arc::new(visible);
        let of_file = visible.clone();
        let found = self.walk(&call.pattern, move |path, tier| visible(path, tier)).await?;
        self.blocking(move |root| walk::search(root, &found, &call, |path, tier| of_file(path, tier))).await
    }

    async fn walk(
        &self,
        pattern: &str,
        visible: impl Fn(&str, Tier) -> bool + Send + 'static,
    ) -> Result<Vec<(Found, Tier)>, VaultError> {
        let patterns = Patterns::compile(&[pattern.to_owned()]).map_err(|bad| VaultError::Invalid(bad.to_string()))?;
        let vault = self.clone();
        let pattern = pattern.to_owned();
        self.blocking(move |root| {
            // The pattern is the guest's: what it begins with is a path like any other.
            let below = walk::start(&pattern);
            if !below.is_empty() {
                checked(below)?;
                without_links(root, below)?;
            }
            walk::files(root, below, |path| {
                let tier = vault.destination(path).yields;
                (patterns.covers(path) && visible(path, tier)).then_some(tier)
            })
        })
        .await
    }

    /// The whole text of the note that a call would write, with who wrote it.
    ///
    /// # Errors
    /// [`VaultError::Invalid`].
    pub fn compose(call: &VaultWrite, author: &Author) -> Result<String, VaultError> {
        checked(&call.path)?;
        note::compose(call, author)
    }

    /// The whole text of the file after an append by a run of that tier, if it holds one of the contents `own`. What already stands at its end is not
    /// added again, so that the call can be repeated.
    ///
    /// # Errors
    /// [`VaultError::Conflict`] if it holds anything else, or is not there.
    pub async fn extended(&self, call: &VaultAppend, own: Vec<String>, tier: Tier) -> Result<String, VaultError> {
        let path = checked(&call.path)?;
        let text = call.text.clone();
        self.blocking(move |root| match load(root, &path)? {
            Some(file) if !own.contains(&crate::id::digest(file.text.as_bytes())) => Err(VaultError::Conflict(path)),
            Some(file) if file.carries < tier => {
                let (tier, carries) = (tier.as_str(), file.carries.as_str());
                Err(VaultError::Invalid(format!("`{path}` is {carries} and this run has read {tier} data: write another file")))
            }
            Some(file) if file.text.ends_with(&text) => Ok(file.text),
            Some(file) => Ok(file.text + &text),
            None => Err(VaultError::NotFound(path)),
        })
        .await
    }

    /// Creates the file, or replaces it if it holds one of the contents `own` (SHA-256, hex). A file that already holds `text` is
    /// left alone, which is success.
    ///
    /// # Errors
    /// [`VaultError::Conflict`] if it holds anything else.
    pub async fn write(&self, granted: &Granted<VaultWrite>, text: String, own: Vec<String>) -> Result<(), VaultError> {
        self.replace(&granted.call().path, text, own).await
    }

    /// Replaces the file by its longer self, under the same rule as [`Vault::write`].
    ///
    /// # Errors
    /// [`VaultError::Conflict`] if it holds anything else.
    pub async fn append(&self, granted: &Granted<VaultAppend>, text: String, own: Vec<String>) -> Result<(), VaultError> {
        self.replace(&granted.call().path, text, own).await
    }

    async fn replace(&self, path: &str, text: String, own: Vec<String>) -> Result<(), VaultError> {
        let path = checked(path)?;
        if text.len() as u64 > MOST {
            return Err(VaultError::Invalid(format!("`{path}` would be larger than {MOST} bytes")));
        }
        self.blocking(move |root| match load(root, &path)? {
            Some(file) if file.text == text => Ok(()),
            Some(file) if !own.contains(&crate::id::digest(file.text.as_bytes())) => Err(VaultError::Conflict(path)),
            there => put(root, &path, &text, there.is_some()),
        })
        .await
    }

    /// File systems block: they get a thread of their own.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Dir) -> Result<T, VaultError> + Send + 'static,
    ) -> Result<T, VaultError> {
        let vault = self.clone();
        let done = tokio::task::spawn_blocking(move || work(&vault.inner.root)).await;
        done.unwrap_or_else(|error| Err(VaultError::Invalid(format!("the vault's thread ended: {error}"))))
    }
}

/// A relative path of plain names. Climbing and absolute paths are refused here with their reason; cap-std would refuse them
/// again.
///
/// # Errors
/// [`VaultError::Invalid`] says which rule it breaks.
pub fn checked(path: &str) -> Result<String, VaultError> {
    let refused = |why: &str| Err(VaultError::Invalid(format!("`{path}` is no path in the vault: {why}")));
    if path.is_empty() || path.len() > 512 || path.contains('\\') || path.contains(char::is_control) {
        return refused("it is empty, too long, or holds a backslash or a control character");
    }
    if !Path::new(path).components().all(|component| matches!(component, Component::Normal(_))) {
        return refused("it must be relative and must not climb with `..`");
    }
    if path.split('/').any(|name| name.is_empty() || name.starts_with('.')) {
        return refused("names must not be empty or start with a dot");
    }
    Ok(path.to_owned())
}

fn failed(path: &str) -> impl FnOnce(std::io::Error) -> VaultError + '_ {
    move |why| {
        if why.kind() == ErrorKind::PermissionDenied {
            // What cap-std answers to a link that leads out.
            return VaultError::Invalid(format!("`{path}` leads out of the vault, or may not be opened: {why}"));
        }
        VaultError::Io { path: path.to_owned(), why }
    }
}

/// Grants and rules speak of the path as it is written: a link would lead to another one.
fn without_links(root: &Dir, path: &str) -> Result<(), VaultError> {
    for (end, _) in path.match_indices('/').chain([(path.len(), "")]) {
        let part = path.get(..end).unwrap_or(path);
        match root.symlink_metadata(part) {
            Ok(about) if about.is_symlink() => {
                return Err(VaultError::Invalid(format!("`{path}` goes through the link `{part}`: name the file itself")));
            }
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(()),
            Err(error) => return Err(failed(path)(error)),
        }
    }
    Ok(())
}

fn load(root: &Dir, path: &str) -> Result<Option<File>, VaultError> {
    without_links(root, path)?;
    let odd = || VaultError::Invalid(format!("`{path}` is not a file of at most {MOST} bytes"));
    // Before it is opened: a pipe would keep its reader waiting.
    if root.symlink_metadata(path).is_ok_and(|about| !about.is_file()) {
        return Err(odd());
    }
    let file = match root.open(path) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
        Err(error) => return Err(failed(path)(error)),
    };
    let about = file.metadata().map_err(failed(path))?;
    if !about.is_file() || about.len() > MOST {
        return Err(odd());
    }
    let mut bytes = Vec::new();
    file.take(MOST).read_to_end(&mut bytes).map_err(failed(path))?;
    let text = String::from_utf8(bytes).map_err(|_| VaultError::Invalid(format!("`{path}` is not text in UTF-8")))?;
    let carries = note::carried(&text).unwrap_or(Tier::Public);
    Ok(Some(File { text, modified_at: modified(&about), carries }))
}

fn modified(about: &cap_std::fs::Metadata) -> Timestamp {
    let since = about.modified().ok().and_then(|time| time.into_std().duration_since(std::time::UNIX_EPOCH).ok());
    Timestamp(since.and_then(|since| i64::try_from(since.as_millis()).ok()).unwrap_or_default())
}

/// Temporary file, flush, then one step into place: a rename over our own file, or a link that fails if a file appeared there
/// since we looked.
fn put(root: &Dir, path: &str, text: &str, replace: bool) -> Result<(), VaultError> {
    let (folder, name) = path.rsplit_once('/').unwrap_or((".", path));
    root.create_dir_all(folder).map_err(failed(path))?;
    let folder = root.open_dir(folder).map_err(failed(path))?;
    let temporary = format!(".{name}.{}.tmp", ulid::Ulid::generate());
    let placed = (|| {
        let mut file = folder.open_with(&temporary, OpenOptions::new().write(true).create_new(true))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        if replace {
            folder.rename(&temporary, &folder, name)?;
        } else {
            folder.hard_link(&temporary, &folder, name)?;
            folder.remove_file(&temporary)?;
        }
        folder.open(".")?.sync_all()
    })();
    placed.map_err(|error| {
        // Nothing else would ever remove it; if that fails too, the first error is the one to tell.
        let _ = folder.remove_file(&temporary);
        if error.kind() == ErrorKind::AlreadyExists { VaultError::Conflict(path.to_owned()) } else { failed(path)(error) }
    })
}
