//! `host backup FILE`: a copy of the database, also while a host works on it. PostgreSQL has its own program for that.

use std::path::Path;

use super::Exit;
use crate::config::{Config, ConfigError};
use crate::store::{backup, sqlite_file, without_password};

pub(super) async fn run(config: &Config, to: &Path) -> anyhow::Result<Exit> {
    let url = config.database_url();
    let Some(from) = sqlite_file(&url)? else {
        let line = format!("pg_dump --format=custom --file='{}' --dbname='{}'", to.display(), without_password(&url));
        return Err(ConfigError {
            place: "[database] url".into(),
            said: "the database is PostgreSQL, which this command does not copy".into(),
            hint: format!("run: {line}"),
        }
        .into());
    };
    let copied = backup::copy(&from, to).await?;
    println!("{}: {} KiB, {} tasks", to.display(), copied.bytes.div_ceil(1024), copied.tasks);
    Ok(Exit::Done)
}
