//! `host agent new NAME`: a folder with an agent that builds and validates as it comes. Its files are `agents/template` with the
//! names filled in. It never touches a folder that is there already.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use policy::manifest;

use crate::command::{Exit, tell};

const TEMPLATE: [(&str, &str); 4] = [
    ("agent.toml", include_str!("../../../../agents/template/agent.toml")),
    ("persona.md", include_str!("../../../../agents/template/persona.md")),
    ("src/lib.rs", include_str!("../../../../agents/template/src/lib.rs")),
    ("README.md", include_str!("../../../../agents/template/README.md")),
];
/// Beside the SDK an agent is a member of its workspace; elsewhere it is a workspace of its own.
const MEMBER: &str = include_str!("../../../../agents/template/Cargo.toml");
const OUTSIDE: &str = include_str!("../../../../agents/template/Cargo.outside.toml");

#[derive(Debug, Args)]
pub(in crate::command) struct Options {
    /// Its id, and its folder's name: a-z, 0-9 and `-`.
    #[arg(value_parser = id)]
    name: String,
    /// The folder in which to make it.
    #[arg(long, value_name = "DIR", default_value = "agents")]
    dir: PathBuf,
    /// The SDK that it is built with.
    #[arg(long, value_name = "DIR", default_value = "agents/sdk")]
    sdk: PathBuf,
}

/// A manifest's id that is a cargo package's name too.
fn id(text: &str) -> Result<String, String> {
    if manifest::is_id(text) && text.starts_with(|c: char| c.is_ascii_lowercase()) {
        return Ok(text.to_owned());
    }
    Err("an agent's id is 1 to 64 of a-z, 0-9 and `-`, and begins with a letter".into())
}

pub(super) fn run(options: &Options) -> anyhow::Result<Exit> {
    let Options { name, dir, sdk } = options;
    let found = sdk.canonicalize().ok().filter(|sdk| sdk.join("Cargo.toml").is_file());
    let found = found.with_context(|| {
        format!("there is no SDK at {}: say this in a clone of the repository, or name its agents/sdk with --sdk", sdk.display())
    })?;
    std::fs::create_dir_all(dir).with_context(|| format!("{} cannot be made", dir.display()))?;
    let folder = dir.join(name);
    match std::fs::create_dir(&folder) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            bail!("{} exists already: choose another name, or remove it first", folder.display())
        }
        made => made.with_context(|| format!("{} cannot be made", folder.display()))?,
    }

    let workspace = found.parent().unwrap_or(&found);
    let member = dir.canonicalize()? == workspace;
    let fill = |text: &str| {
        text.replace("my-agent", name)
            .replace("My agent", &title(name))
            .replace("PARENT_DIR", &dir.display().to_string())
            .replace("\"SDK_DIR\"", &toml::Value::from(found.display().to_string()).to_string())
    };
    for (file, text) in TEMPLATE {
        write(&folder.join(file), &fill(text))?;
    }
    write(&folder.join("Cargo.toml"), &fill(if member { MEMBER } else { OUTSIDE }))?;
    if !member {
        // The versions that the SDK is built with: nothing is compiled twice, and nothing needs a network.
        let locked = std::fs::read_to_string(workspace.join("Cargo.lock"));
        write(&folder.join("Cargo.lock"), &locked.context("the SDK's workspace has no Cargo.lock")?)?;
    }
    println!("{}", folder.display());
    tell(&format!("now: host agent dev {name} --dir {} --grant; its README.md says the rest", dir.display()));
    Ok(Exit::Done)
}

fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    let said = || format!("{} cannot be written", file.display());
    file.parent().map_or(Ok(()), std::fs::create_dir_all).with_context(said)?;
    std::fs::write(file, text).with_context(said)
}

/// `weather-watch` for people: `Weather watch`.
fn title(id: &str) -> String {
    let spaced = id.replace('-', " ");
    let mut letters = spaced.chars();
    letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect()
}
