//! `hai auth`: which host, which token. Files are written whole, for their owner only; a token is never printed.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;

use serde_json::json;

use crate::cli::Auth;
use crate::error::{Error, Exit};
use crate::print;
use crate::settings::{self, Settings};

pub(crate) fn run(command: Auth) -> Result<Exit, Error> {
    match command {
        Auth::Init { endpoint } => init(&endpoint),
        Auth::SetToken { token } => set_token(token),
        Auth::Show { json } => show(json),
    }
}

/// Keeps whatever else the file says.
fn init(endpoint: &str) -> Result<Exit, Error> {
    let endpoint = settings::endpoint(endpoint).map_err(Error::Usage)?;
    let path = folder()?.join("config.toml");
    let mut table: toml::Table = match std::fs::read_to_string(&path) {
        Ok(text) => toml::from_str(&text).map_err(|error| Error::Usage(format!("{}: {error}", path.display())))?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => toml::Table::new(),
        Err(error) => return Err(Error::Usage(format!("{} cannot be read: {error}", path.display()))),
    };
    table.insert("endpoint".into(), endpoint.as_str().trim_end_matches('/').into());
    write("config.toml", &table.to_string())?;
    print::tell(&format!("{} now names {endpoint}; if it wants a token: hai auth set-token", path.display()));
    Ok(Exit::Done)
}

fn set_token(token: Option<String>) -> Result<Exit, Error> {
    let text = match token {
        Some(token) if token != "-" => token,
        _ => {
            if std::io::stdin().is_terminal() {
                print::tell("the token, then Enter (it shows while you type; pipe it in to keep it off the screen):");
            }
            let mut line = String::new();
            std::io::stdin().read_line(&mut line).map_err(|error| Error::Usage(format!("standard input: {error}")))?;
            line
        }
    };
    let token = settings::usable(&text, "this command")?;
    let path = write("token", &format!("{token}\n"))?;
    print::tell(&format!("{} holds {}", path.display(), masked(&token)));
    Ok(Exit::Done)
}

fn show(as_json: bool) -> Result<Exit, Error> {
    let settings = Settings::load()?;
    let token = settings.token.map(|token| (masked(&token.value), token.from));
    let token = token.unwrap_or_else(|| ("none".into(), "default".into()));
    let rows = [
        ("endpoint", settings.endpoint.value.as_str().trim_end_matches('/').to_owned(), settings.endpoint.from),
        ("token", token.0, token.1),
        ("poll_interval_s", settings.poll_interval.value.as_secs_f64().to_string(), settings.poll_interval.from),
        ("poll_timeout_s", settings.poll_timeout.value.as_secs_f64().to_string(), settings.poll_timeout.from),
    ];
    if as_json {
        let all: serde_json::Map<_, _> =
            rows.into_iter().map(|(name, value, from)| (name.to_owned(), json!({ "value": value, "from": from }))).collect();
        return print::json(&all);
    }
    let mut table = print::table(&["setting", "value", "from"]);
    for (name, value, from) in rows {
        table.add_row([name, &value, &from]);
    }
    print::out(&table.to_string())
}

/// The first 6 and the last 4; nothing of one that is so short that this would be most of it.
fn masked(token: &str) -> String {
    match (token.get(..6), token.get(token.len().saturating_sub(4)..)) {
        (Some(start), Some(end)) if token.len() >= 16 => format!("{start}…{end}"),
        _ => "…".into(),
    }
}

fn folder() -> Result<PathBuf, Error> {
    settings::folder().ok_or_else(|| Error::Usage("there is no HOME: name a folder in HAI_CONFIG_DIR".into()))
}

/// Writes a file of the folder, whole or not at all, with mode 0600.
fn write(name: &str, text: &str) -> Result<PathBuf, Error> {
    let folder = folder()?;
    let path = folder.join(name);
    let broken = |error: std::io::Error| Error::Usage(format!("{} cannot be written: {error}", path.display()));
    std::fs::create_dir_all(&folder).map_err(broken)?;
    // A temporary file is its owner's alone from the start.
    let mut file = tempfile::NamedTempFile::new_in(&folder).map_err(broken)?;
    file.write_all(text.as_bytes()).map_err(broken)?;
    file.as_file().sync_all().map_err(broken)?;
    file.persist(&path).map_err(|error| broken(error.error))?;
    Ok(path)
}
