//! How fast the disk can promise anything: the floor of every commit.

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use super::figure::Samples;

/// About what a small commit writes.
const PAGE: [u8; 4096] = [7; 4096];

/// Appends a page and waits until it is on the disk, again and again.
pub(super) async fn fsyncs(folder: &Path, rounds: usize) -> anyhow::Result<Samples> {
    let folder = folder.to_owned();
    tokio::task::spawn_blocking(move || {
        let (mut file, mut samples) = (tempfile::tempfile_in(folder)?, Samples::new()?);
        for _ in 0..rounds {
            file.write_all(&PAGE)?;
            let began = Instant::now();
            file.sync_data()?;
            samples.add(began.elapsed());
        }
        Ok(samples)
    })
    .await?
}

/// From the start of this program to its end, with nothing in between.
pub(super) async fn spawns(rounds: usize) -> anyhow::Result<Samples> {
    let mut samples = Samples::new()?;
    for _ in 0..rounds {
        let began = Instant::now();
        let mut command = tokio::process::Command::new(std::env::current_exe()?);
        let ended = command.arg("--version").stdout(std::process::Stdio::null()).status().await?;
        anyhow::ensure!(ended.success(), "`host --version` failed");
        samples.add(began.elapsed());
    }
    Ok(samples)
}

/// The memory of this program when its runtime is up and nothing else.
pub(super) async fn at_rest() -> anyhow::Result<u64> {
    use tokio::io::{AsyncBufReadExt, BufReader};
    let mut command = tokio::process::Command::new(std::env::current_exe()?);
    command.args(["bench", "--at-rest"]).stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut child = command.kill_on_drop(true).spawn()?;
    let said = child.stdout.take().map(BufReader::new).map(|reader| reader.lines());
    let said = match said {
        Some(mut lines) => tokio::time::timeout(Duration::from_secs(60), lines.next_line()).await??,
        None => None,
    };
    let pid = child.id().filter(|_| said.is_some());
    let memory = super::process::memory(pid.ok_or_else(|| anyhow::anyhow!("a process at rest could not be started"))?)?;
    child.kill().await?;
    Ok(memory)
}
