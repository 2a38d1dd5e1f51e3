//! Where settings come from, and how they are laid over each other.

use std::path::Path;

use toml::{Table, Value};

use super::check::{self, ConfigError};
use super::tools;
use super::{Config, Flags, Mcp, SHIPPED};

/// Variables that stand for a flag. Every other setting is `HOST_` and its keys joined by `__`.
const SHORT: [(&str, [&str; 2]); 5] = [
    ("HOST_LISTEN", ["server", "listen"]),
    ("HOST_DATA", ["server", "data"]),
    ("HOST_DATABASE_URL", ["database", "url"]),
    ("HOST_VAULT", ["vault", "root"]),
    ("HOST_AGENTS", ["agents", "dir"]),
];

pub(super) fn load(flags: &Flags) -> Result<Config, ConfigError> {
    let shipped: Table = parse(SHIPPED, "the shipped configuration")?;
    let path = flags.config.clone().or_else(|| variable("HOST_CONFIG").map(Into::into));
    let (text, file) = match &path {
        Some(path) => (read(path)?, path.display().to_string()),
        None => (String::new(), "host.toml".into()),
    };
    let own = parse(&text, &file)?;
    let own_grants = own.get("grants").and_then(Value::as_table).map(|grants| grants.keys().cloned().collect());

    let mut merged = shipped;
    lay_over(&mut merged, own);
    let environment = from_environment(&merged);
    lay_over(&mut merged, environment);
    lay_over(&mut merged, from_flags(flags));

    let mut config: Config = check::typed(merged, &text, &file)?;
    config.file = file;
    config.own_grants = own_grants.unwrap_or_default();
    secrets(&mut config)?;
    tools::add(&mut config)?;
    check::sensible(&config)?;
    Ok(config)
}

#[expect(clippy::disallowed_methods, reason = "the configuration is the one reader of the environment")]
pub(super) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

pub(super) fn read(path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path).map_err(|error| ConfigError {
        place: path.display().to_string(),
        said: format!("cannot be read: {error}"),
        hint: "give an existing file with --config, or none for the defaults".into(),
    })
}

pub(super) fn parse(text: &str, file: &str) -> Result<Table, ConfigError> {
    toml::from_str(text).map_err(|error| ConfigError {
        place: check::line_of(text, file, error.span().map(|span| span.start)),
        said: error.message().to_owned(),
        hint: "see `host config` for every setting".into(),
    })
}

/// Tables merge key by key; everything else replaces.
fn lay_over(below: &mut Table, above: Table) {
    for (key, value) in above {
        match (below.get_mut(&key), value) {
            (Some(Value::Table(old)), Value::Table(new)) => lay_over(old, new),
            (_, value) => {
                below.insert(key, value);
            }
        }
    }
}

/// `HOST_SERVER__WORKERS=4` is `server.workers = 4`. A name with `-` is found by writing `_`.
#[expect(clippy::disallowed_methods, reason = "the configuration is the one reader of the environment")]
fn from_environment(known: &Table) -> Table {
    let mut found = Table::new();
    for (name, text) in std::env::vars() {
        let short = SHORT.iter().find(|(short, _)| *short == name).map(|(_, keys)| keys.map(str::to_owned).to_vec());
        let nested = || {
            let keys = name.strip_prefix("HOST_").filter(|rest| rest.contains("__"))?;
            Some(keys.split("__").map(str::to_lowercase).collect())
        };
        if let Some(keys) = short.or_else(nested) {
            set(&mut found, Some(known), &keys, value(text));
        }
    }
    found
}

fn set(into: &mut Table, known: Option<&Table>, keys: &[String], value: Value) {
    let Some((first, rest)) = keys.split_first() else { return };
    let name = known.and_then(|table| table.keys().find(|key| key.replace('-', "_") == *first)).unwrap_or(first).clone();
    if rest.is_empty() {
        into.insert(name, value);
        return;
    }
    let below = known.and_then(|table| table.get(&name)).and_then(Value::as_table);
    if let Value::Table(table) = into.entry(name).or_insert_with(|| Value::Table(Table::new())) {
        set(table, below, rest, value);
    }
}

/// Numbers, booleans and lists as in TOML; everything else is text.
fn value(text: String) -> Value {
    toml::from_str::<Table>(&format!("value = {text}"))
        .ok()
        .and_then(|mut table| table.remove("value"))
        .unwrap_or(Value::String(text))
}

fn from_flags(flags: &Flags) -> Table {
    let mut found = Table::new();
    for (keys, flag) in [
        (["server", "listen"], &flags.listen),
        (["server", "data"], &flags.data),
        (["database", "url"], &flags.database),
        (["vault", "root"], &flags.vault),
        (["agents", "dir"], &flags.agents),
    ] {
        if let Some(text) = flag {
            set(&mut found, None, &keys.map(str::to_owned), Value::String(text.clone()));
        }
    }
    found
}

/// Reads the variables that the configuration names.
fn secrets(config: &mut Config) -> Result<(), ConfigError> {
    let missing = |place: String, name: &str| ConfigError {
        place,
        said: format!("the variable `{name}` is not set"),
        hint: format!("set {name} where the host is started"),
    };
    for (name, group) in &mut config.inference.groups {
        if let Some(env) = &group.api_key_env {
            let place = format!("api_key_env in [inference.groups.{name}]");
            group.api_key = Some(variable(env).ok_or_else(|| missing(place, env))?);
        }
    }
    config.mcp = config.mcp.take().map(Mcp::normal);
    for (name, server) in config.mcp.iter_mut().flat_map(Mcp::servers_mut) {
        if let Some(env) = &server.token_env {
            let place = if name == "mcp" { "token_env in [mcp]".into() } else { format!("token_env in [mcp.servers.{name}]") };
            server.token = Some(variable(env).ok_or_else(|| missing(place, env))?);
        }
    }
    if let Some(env) = &config.telemetry.otlp_headers_env {
        let place = "otlp_headers_env in [telemetry]";
        let found = variable(env).ok_or_else(|| missing(place.into(), env))?;
        for pair in found.split(',') {
            let Some((key, value)) = pair.split_once('=') else {
                let (said, hint) = ("is no list of headers".into(), format!("set {env} to key=value,key=value"));
                return Err(ConfigError { place: place.into(), said, hint });
            };
            config.telemetry.headers.insert(key.trim().to_owned(), value.trim().to_owned());
        }
    }
    if let Some(env) = &config.approvals.key_env {
        config.approvals.key = Some(variable(env).ok_or_else(|| missing("key_env in [approvals]".into(), env))?);
    }
    if let Some((place, env)) = config.sinks.read(variable).into_iter().next() {
        return Err(missing(place.to_owned(), &env));
    }
    for token in &mut config.auth.tokens {
        let place = format!("[[auth.tokens]] `{}`", token.name);
        token.digest = match (&token.sha256, &token.env) {
            (Some(digest), None) => check::digest(digest, &place)?,
            (None, Some(env)) => {
                let value = variable(env).ok_or_else(|| missing(place, env))?;
                let digest = crate::id::sha256(value.as_bytes());
                token.value = Some(value);
                digest
            }
            (Some(_), Some(_)) | (None, None) => {
                return Err(ConfigError {
                    place,
                    said: "needs `sha256` or `env`, and not both".into(),
                    hint: "write the SHA-256 of the token, or the name of the variable that holds it".into(),
                });
            }
        };
    }
    Ok(())
}
