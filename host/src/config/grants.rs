//! `[grants.ID]` on their own: another file of them, and one of them as text.

use std::collections::BTreeMap;
use std::path::Path;

use policy::manifest::Ceiling;
use serde::Deserialize;

use super::check::{self, ConfigError};
use super::{Config, sources};

/// A file that holds nothing but grants.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    grants: BTreeMap<String, Ceiling>,
}

impl Config {
    /// Takes the grants of another file in place of those of the same agents.
    ///
    /// # Errors
    /// [`ConfigError`] if the file holds anything else.
    pub fn grant_from(&mut self, path: &Path) -> Result<(), ConfigError> {
        let (text, file) = (sources::read(path)?, path.display().to_string());
        let table = sources::parse(&text, &file)?;
        let File { grants } = check::typed(table, &text, &file)?;
        self.own_grants.extend(grants.keys().cloned());
        self.grants.extend(grants);
        self.file = file;
        check::sensible(self)
    }
}

/// A grant as configuration, without what is the default anyway.
#[must_use]
pub fn lines(id: &str, ceiling: &Ceiling) -> String {
    let table = |ceiling: &Ceiling| toml::Table::try_from(ceiling).unwrap_or_default();
    let (mut set, usual) = (table(ceiling), table(&Ceiling::default()));
    set.retain(|key, value| usual.get(key) != Some(value));
    format!("[grants.{id}]\n{set}")
}
