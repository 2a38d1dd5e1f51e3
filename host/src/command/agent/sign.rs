//! `host agent sign`: whoever holds the key stands for components under the grants of now. Keys and signatures are minisign's.

use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use minisign::{KeyPair, SecretKey, SecretKeyBox};

use crate::command::{Exit, house, tell};
use crate::config::{self, Config};
use crate::fleet::signature::{Statement, beside};
use crate::fleet::validate::examine;

#[derive(Debug, Args)]
pub(in crate::command) struct Options {
    /// The components.
    #[arg(required_unless_present = "generate")]
    files: Vec<PathBuf>,
    /// The secret key; by default `sign.key` in ~/.config/homeaiops. One with a password needs HOST_SIGN_PASSWORD.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Make the key, and print its public half for `trusted_keys` in [agents].
    #[arg(long)]
    generate: bool,
}

pub(super) async fn run(config: Config, options: &Options) -> anyhow::Result<Exit> {
    let place = options.key.clone().unwrap_or_else(|| config::settings_dir().join("sign.key"));
    if options.generate {
        println!("{}", generated(&place)?);
        tell(&format!(
            "the secret half is in {}: keep it, and write the line above to `trusted_keys` in [agents]",
            place.display()
        ));
    }
    if options.files.is_empty() {
        return Ok(Exit::Done);
    }
    let key = read(&place)?;
    let (engine, cache) = house::sandbox(&config)?;
    for file in &options.files {
        let report = examine(&engine, &cache, &config, file).await;
        let Some(manifest) = report.manifest else {
            let why = report.verdict.err().unwrap_or_default().join("; ");
            bail!("{} is no agent, so there is nothing to stand for: {why}", file.display());
        };
        let grants = config.grants.get(&manifest.id).cloned().unwrap_or_default();
        let signed = Statement::of(&report.digest, &manifest, &grants)?.sign(&key)?;
        let signature = beside(file);
        // Written aside and renamed: a host that watches the folder never reads half of it.
        let mut aside = tempfile::NamedTempFile::new_in(
            file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")),
        )?;
        aside.write_all(signed.as_bytes())?;
        // It is no secret, and a host may run as somebody else.
        aside.as_file().set_permissions(std::fs::Permissions::from_mode(0o644))?;
        aside.persist(&signature).with_context(|| format!("{} cannot be written", signature.display()))?;
        println!("{}", signature.display());
    }
    Ok(Exit::Done)
}

/// Makes a key at that place; its public half.
fn generated(place: &Path) -> anyhow::Result<String> {
    let pair = KeyPair::generate_unencrypted_keypair()?;
    let text = pair.sk.to_box(Some("secret key of homeaiops agents"))?.into_string();
    if let Some(folder) = place.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    }
    // Never over another key, and for its owner only.
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(place);
    let mut file = file.with_context(|| format!("{} cannot be made: is there a key already?", place.display()))?;
    file.write_all(text.as_bytes())?;
    Ok(pair.pk.to_base64())
}

fn read(place: &Path) -> anyhow::Result<SecretKey> {
    let at = place.display();
    let text = std::fs::read_to_string(place)
        .with_context(|| format!("{at} cannot be read: make a key with `host agent sign --generate`"))?;
    let sealed = || SecretKeyBox::from_string(&text).with_context(|| format!("{at} is no key of minisign"));
    if let Ok(key) = sealed()?.into_unencrypted_secret_key() {
        return Ok(key);
    }
    let password =
        config::variable("HOST_SIGN_PASSWORD").with_context(|| format!("{at} has a password: set HOST_SIGN_PASSWORD"))?;
    sealed()?.into_secret_key(Some(password)).with_context(|| format!("HOST_SIGN_PASSWORD does not open {at}"))
}
