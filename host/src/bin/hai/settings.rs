//! The settings of the shell, and where each came from: variables win over `config.toml`, which wins over defaults. The token is
//! never part of an error.

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use host::config::variable;
use reqwest::Url;
use serde::Deserialize;

use crate::error::Error;

/// Where a host listens if nobody says otherwise.
const ENDPOINT: &str = "http://127.0.0.1:8765";
/// Seconds between two tries.
const POLL_INTERVAL_S: f64 = 2.0;
/// Seconds after which a host counts as lost.
const POLL_TIMEOUT_S: f64 = 600.0;

/// A setting and its origin.
#[derive(Clone, Debug)]
pub(crate) struct Setting<T> {
    /// What it is.
    pub(crate) value: T,
    /// The variable or file, or `default`.
    pub(crate) from: String,
}

/// Everything that the shell goes by.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The host.
    pub(crate) endpoint: Setting<Url>,
    /// What it knows us by.
    pub(crate) token: Option<Setting<String>>,
    /// Pause between two tries to reach a host that went away.
    pub(crate) poll_interval: Setting<Duration>,
    /// How long such a host may be away.
    pub(crate) poll_timeout: Setting<Duration>,
}

/// `config.toml`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    endpoint: Option<String>,
    poll_interval_s: Option<f64>,
    poll_timeout_s: Option<f64>,
}

impl Settings {
    /// The settings in force.
    pub(crate) fn load() -> Result<Self, Error> {
        let folder = folder();
        let path = folder.as_ref().map(|folder| folder.join("config.toml"));
        let file = path.as_deref().map(file).transpose()?.unwrap_or_default();
        let path = path.map(|path| path.display().to_string()).unwrap_or_default();
        let found = |name: &str, own: Option<String>, otherwise: &str| match (variable(name), own) {
            (Some(value), _) => Setting { value, from: name.to_owned() },
            (None, Some(value)) => Setting { value, from: path.clone() },
            (None, None) => Setting { value: otherwise.to_owned(), from: "default".into() },
        };
        let seconds = |name: &str, own: Option<f64>, otherwise: f64| {
            duration(found(name, own.map(|own| own.to_string()), &otherwise.to_string()))
        };
        Ok(Self {
            endpoint: located(found("HAI_ENDPOINT", file.endpoint, ENDPOINT))?,
            token: token(folder.as_deref())?,
            poll_interval: seconds("HAI_POLL_INTERVAL_S", file.poll_interval_s, POLL_INTERVAL_S)?,
            poll_timeout: seconds("HAI_POLL_TIMEOUT_S", file.poll_timeout_s, POLL_TIMEOUT_S)?,
        })
    }
}

/// The folder of `config.toml` and `token`.
pub(crate) fn folder() -> Option<PathBuf> {
    let home = || variable("HOME").map(|home| Path::new(&home).join(".config/hai"));
    variable("HAI_CONFIG_DIR").map(PathBuf::from).or_else(home)
}

fn file(path: &Path) -> Result<File, Error> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(File::default()),
        Err(error) => return Err(Error::Usage(format!("{} cannot be read: {error}", path.display()))),
    };
    toml::from_str(&text).map_err(|error| Error::Usage(format!("{}: {error}", path.display())))
}

/// A URL that a host may have.
pub(crate) fn endpoint(text: &str) -> Result<Url, String> {
    let url = Url::parse(text.trim()).map_err(|error| format!("`{text}` is no URL: {error}; write it like {ENDPOINT}"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err(format!("`{text}` is no http:// or https:// URL; write it like {ENDPOINT}"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("an endpoint holds no user or password; `hai auth set-token` keeps the token".into());
    }
    Ok(url)
}

fn located(setting: Setting<String>) -> Result<Setting<Url>, Error> {
    let value = endpoint(&setting.value).map_err(|said| Error::Usage(format!("endpoint of {}: {said}", setting.from)))?;
    Ok(Setting { value, from: setting.from })
}

fn duration(setting: Setting<String>) -> Result<Setting<Duration>, Error> {
    let number = setting.value.trim().parse::<f64>().ok();
    let value = number.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()).filter(|time| !time.is_zero());
    let wrong = || Error::Usage(format!("`{}` of {} is no number of seconds above 0", setting.value, setting.from));
    Ok(Setting { value: value.ok_or_else(wrong)?, from: setting.from.clone() })
}

fn token(folder: Option<&Path>) -> Result<Option<Setting<String>>, Error> {
    let found = match variable("HAI_TOKEN") {
        Some(value) => Some(Setting { value, from: "HAI_TOKEN".into() }),
        None => folder.map(|folder| kept(&folder.join("token"))).transpose()?.flatten(),
    };
    found.map(|found| Ok(Setting { value: usable(&found.value, &found.from)?, from: found.from })).transpose()
}

/// The token in the file: only if nobody else can read it.
fn kept(path: &Path) -> Result<Option<Setting<String>>, Error> {
    let shown = path.display();
    let unreadable = |error: std::io::Error| Error::Usage(format!("{shown} cannot be read: {error}"));
    let mut file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error)),
    };
    let mode = file.metadata().map_err(unreadable)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(Error::Usage(format!("the token in {shown} is open to others (mode {mode:03o}): chmod 600 {shown}")));
    }
    let mut value = String::new();
    file.read_to_string(&mut value).map_err(unreadable)?;
    Ok(Some(Setting { value, from: shown.to_string() }))
}

/// A token that fits into a header.
pub(crate) fn usable(text: &str, from: &str) -> Result<String, Error> {
    let token = text.trim();
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Error::Usage(format!("the token of {from} must be one word of visible ASCII: `hai auth set-token`")));
    }
    Ok(token.to_owned())
}
