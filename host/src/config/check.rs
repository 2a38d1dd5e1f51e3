//! What is wrong with a configuration: the key, the line, the nearest known key.

use serde::de::DeserializeOwned;
use toml::Table;

use super::{Config, Kind};

/// A configuration that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {said} ({hint})")]
pub struct ConfigError {
    /// File and line, or key.
    pub place: String,
    /// What is wrong, with the value.
    pub said: String,
    /// What to write instead.
    pub hint: String,
}

/// Tables as what they stand for; mistakes are looked up in `text`, the operator's file.
pub(super) fn typed<T: DeserializeOwned>(merged: Table, text: &str, file: &str) -> Result<T, ConfigError> {
    serde_path_to_error::deserialize(toml::Value::Table(merged)).map_err(|error| {
        let mut keys: Vec<String> = error
            .path()
            .iter()
            .filter_map(|segment| match segment {
                serde_path_to_error::Segment::Map { key } => Some(key.clone()),
                serde_path_to_error::Segment::Seq { .. }
                | serde_path_to_error::Segment::Enum { .. }
                | serde_path_to_error::Segment::Unknown => None,
            })
            .collect();
        let said = error.inner().message().to_owned();
        let mut quoted = said.split('`').skip(1).step_by(2).map(str::to_owned);
        let unknown = said.starts_with("unknown field").then(|| quoted.next()).flatten();
        let nearest = unknown.as_ref().and_then(|key| nearest(key, quoted));
        if let Some(key) = unknown
            && keys.last() != Some(&key)
        {
            keys.push(key);
        }
        ConfigError {
            place: place(&keys, text, file),
            said: format!("`{}`: {said}", keys.join(".")),
            hint: nearest.unwrap_or_else(|| "see `host config` for every setting".into()),
        }
    })
}

fn nearest(key: &str, known: impl Iterator<Item = String>) -> Option<String> {
    known
        .max_by(|a, b| strsim::jaro_winkler(a, key).total_cmp(&strsim::jaro_winkler(b, key)))
        .map(|best| format!("did you mean `{best}`?"))
}

/// The line where the last of `keys` stands in the operator's file, or the flags and environment if it is not there.
fn place(keys: &[String], text: &str, file: &str) -> String {
    let mut table = toml::de::DeTable::parse(text).ok().map(toml::Spanned::into_inner);
    let mut start = None;
    for key in keys {
        let Some(below) = table.take() else { break };
        let Some((name, value)) = below.into_iter().find(|(name, _)| name.get_ref() == key) else { break };
        start = Some(name.span().start);
        table = inside(value.into_inner());
    }
    match start {
        Some(start) => line_of(text, file, Some(start)),
        None => format!("{} (from a flag or a HOST_ variable)", keys.join(".")),
    }
}

/// The keys below a value; of a list of tables, those of the last.
fn inside(value: toml::de::DeValue<'_>) -> Option<toml::de::DeTable<'_>> {
    use toml::de::DeValue::{Array, Table};

    if let Table(table) = value {
        return Some(table);
    }
    let Array(items) = value else { return None };
    let last = items.into_iter().next_back()?.into_inner();
    if let Table(table) = last { Some(table) } else { None }
}

pub(super) fn line_of(text: &str, file: &str, start: Option<usize>) -> String {
    match start.and_then(|start| text.get(..start)) {
        Some(before) => format!("{file}:{}", before.matches('\n').count() + 1),
        None => file.to_owned(),
    }
}

pub(super) fn digest(text: &str, place: &str) -> Result<[u8; 32], ConfigError> {
    let bytes = hex::decode(text.trim()).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    bytes.ok_or_else(|| ConfigError {
        place: place.to_owned(),
        said: "`sha256` must be 64 hexadecimal digits".into(),
        hint: "printf %s TOKEN | sha256sum".into(),
    })
}

/// What parses but cannot be meant.
pub(super) fn sensible(config: &Config) -> Result<(), ConfigError> {
    let wrong = |place: &str, said: String, hint: &str| Err(ConfigError { place: place.to_owned(), said, hint: hint.to_owned() });
    let listen = config.server.listen;
    if !listen.ip().is_loopback() && config.auth.tokens.is_empty() {
        return wrong(
            "server.listen",
            format!("`{listen}` is not loopback and no token is configured: anyone who reaches it would be the operator"),
            "add an [[auth.tokens]] entry, or listen on 127.0.0.1",
        );
    }
    if config.server.workers == 0 || config.server.in_flight == 0 {
        return wrong("server.workers, server.in_flight", "must be at least 1".into(), "8 and 256 are the defaults");
    }
    let hint = "make a key with `host agent sign --generate`, and write its public half there: trusted_keys = [\"RW…\"]";
    if let Err(said) = config.agents.keys() {
        return wrong("agents.trusted_keys", said, hint);
    }
    if config.agents.require_signature && config.agents.trusted_keys.is_empty() {
        return wrong("agents.require_signature", "nobody is trusted, so no agent could serve".into(), hint);
    }
    for (name, group) in &config.inference.groups {
        let place = format!("[inference.groups.{name}]");
        if group.kind == Kind::Openai && group.remote.is_none() {
            return wrong(&place, "`remote` must be said for kind `openai`".into(), "remote = false if it is in the house");
        }
        if group.kind == Kind::Anthropic {
            return wrong(&place, "kind `anthropic` is not served by this version".into(), "use `ollama` or `openai`");
        }
        if group.remote == Some(true) && group.price().is_none() {
            let hint = "price = { input = 3.0, output = 15.0 }, in US dollars per million tokens; zeros if it is really free";
            return wrong(&place, "a remote group needs `price`: what is not known is not free".into(), hint);
        }
        if group.concurrency == 0 {
            return wrong(&place, "`concurrency` must be at least 1".into(), "concurrency = 1");
        }
        if let Some(unknown) = group.fallback.iter().find(|other| !config.inference.groups.contains_key(*other)) {
            return wrong(&place, format!("fallback `{unknown}` is no group"), "name groups of [inference.groups]");
        }
        if let Err(error) = reqwest::Url::parse(&group.url) {
            return wrong(&place, format!("url `{}`: {error}", group.url), "url = \"http://127.0.0.1:11434\"");
        }
    }
    let caps = config.caps;
    for (key, most) in [
        ("per_task_usd", caps.per_task_usd),
        ("per_agent_daily_usd", caps.per_agent_daily_usd),
        ("global_daily_usd", caps.global_daily_usd),
        ("global_weekly_usd", caps.global_weekly_usd),
    ] {
        if !(0.0..=1e9).contains(&most) {
            return wrong(
                &format!("caps.{key}"),
                format!("`{most}` is no sum of US dollars"),
                "5.0 is five dollars; 0.0 allows nothing",
            );
        }
    }
    for (id, grant) in &config.grants {
        if grant.cost_usd_per_task.is_some_and(|most| !(0.0..=1e9).contains(&most)) {
            return wrong(
                &format!("cost_usd_per_task in [grants.{id}]"),
                format!("`{}` is no sum of US dollars", grant.cost_usd_per_task.unwrap_or_default()),
                "1.0 is one dollar; 0.0 allows nothing",
            );
        }
    }
    if let Err(error) = jiff::tz::TimeZone::get(&config.server.timezone) {
        return wrong("server.timezone", error.to_string(), "an IANA name: \"Europe/Paris\", \"America/New_York\", \"UTC\"");
    }
    if let Some(mcp) = &config.mcp {
        mcp.sensible()?;
    }
    config.approvals.sensible()?;
    config.sinks.sensible()?;
    let allow = config.household.allow.as_deref().unwrap_or_default();
    if let Err(bad) = policy::household::Allowed::compile(allow) {
        return wrong("[[household.allow]]", bad.to_string(), "tools = \"ha_ha_call_service\"");
    }
    for (key, patterns) in [("egress.private", &config.egress.private), ("links.hosts", &config.links.hosts)] {
        if let Err(bad) = policy::pattern::Patterns::compile(patterns) {
            return wrong(key, bad.to_string(), "[\"*.lan\"]");
        }
    }
    for rule in &config.vault.rules {
        if let Err(bad) = policy::pattern::Patterns::compile(std::slice::from_ref(&rule.path)) {
            return wrong("[[vault.rules]]", bad.to_string(), "path = \"folder/**\"");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Flags, SHIPPED};

    fn complaint(text: &str) -> String {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("host.toml");
        std::fs::write(&path, text).expect("a writable folder");
        let flags = Flags { config: Some(path), ..Flags::default() };
        let error = Config::load(&flags).expect_err("the file has a mistake");
        error.to_string().replace(&format!("{}/", folder.path().display()), "")
    }

    #[test]
    fn a_mistake_names_its_line_and_the_nearest_key() {
        let said = complaint("[server]\nworkers = 2\nlisen = \"127.0.0.1:1\"\n");
        assert!(said.starts_with("host.toml:3: `server.lisen`"), "{said}");
        assert!(said.contains("did you mean `listen`?"), "{said}");

        let said = complaint("[grants.scout]\nvault_raed = [\"x\"]\n");
        assert!(said.starts_with("host.toml:2: `grants.scout.vault_raed`"), "{said}");
        assert!(said.contains("did you mean `vault_read`?"), "{said}");

        let said = complaint("[server]\n\nworkers = \"many\"\n");
        assert!(said.starts_with("host.toml:3: `server.workers`"), "{said}");

        let said = complaint("[server\n");
        assert!(said.starts_with("host.toml:1:"), "{said}");
    }

    #[test]
    fn an_open_port_without_a_token_is_refused() {
        let said = complaint("[server]\nlisten = \"0.0.0.0:8765\"\n");
        assert!(said.contains("no token is configured"), "{said}");
    }

    #[test]
    fn a_remote_group_without_a_price_is_refused() {
        let remote = "[inference.groups.cloud]\nkind = \"openai\"\nurl = \"http://127.0.0.1:1\"\nmodel = \"m\"\nremote = true\n";
        let said = complaint(remote);
        assert!(said.contains("[inference.groups.cloud]") && said.contains("needs `price`"), "{said}");
    }

    #[test]
    fn the_shipped_file_is_complete_and_overridable_by_flags() {
        let flags = Flags { listen: Some("127.0.0.1:9".into()), ..Flags::default() };
        let config = Config::load(&flags).expect("the shipped configuration is valid");
        assert_eq!(config.server.listen.port(), 9);
        assert!(SHIPPED.contains("[grants.note-maker]"));
        assert_eq!(config.database_url(), "sqlite://data/host.db");
    }
}
