//! `host serve`.

use tokio::signal::unix::{SignalKind, signal};

use super::Exit;
use super::house::{self, House};
use crate::config::{self, Config};
use crate::telemetry;

pub(super) async fn run(config: Config) -> anyhow::Result<Exit> {
    telemetry::start(&config::variable("RUST_LOG").unwrap_or_else(|| "info,sqlx=warn".into()));
    let drain = house::on_signal()?;
    let listener = house::bind(&config).await?;
    let address = listener.local_addr()?;
    // From now on it ends nothing: whoever starts a server from a terminal may close that.
    let hangup = signal(SignalKind::hangup())?;
    let house = House::open(config).await?;
    tracing::info!(event = "serving", %address, "serving on http://{address}");
    house.run(listener, Some(hangup), drain).await?;
    tracing::info!(event = "stopped", "drained");
    Ok(Exit::Done)
}
