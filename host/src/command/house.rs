//! The composition root: config → store → vault → engine → fleet → world → loops → drain. A list.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use jiff::tz::TimeZone;
use policy::household::Allowed;
use policy::task::Role;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::capability::{Caps, Live, Secrets, World};
use crate::config::{Config, Mcp};
use crate::egress::{Client, otlp};
use crate::fleet::Fleet;
use crate::gateway::Gateway;
use crate::ingress::{Backlog, Ingress};
use crate::markup::Links;
use crate::metrics;
use crate::outbox::{Letters, Outbox, Tokens};
use crate::router::Router;
use crate::runtime::engine::{self, Cache, Compiler, Size};
use crate::sink::Sink;
use crate::store::{Db, links};
use crate::surface::{self, State};
use crate::telemetry::trace::Traces;
use crate::vault::Vault;
use crate::worker::Worker;

/// Everything of a running host but its port.
pub(super) struct House {
    pub(super) state: State,
    worker: Worker,
    /// Whether it serves its outbox.
    tells: bool,
}

impl House {
    pub(super) async fn open(config: Config) -> anyhow::Result<Self> {
        for setting in config.unserved() {
            tracing::warn!(event = "setting_unserved", setting, "{setting} is set, and this version does not serve it");
        }
        let prefix: &'static str = Box::leak(config.metrics.prefix.clone().into_boxed_str());
        let rendered = metrics::install(prefix).context("metrics cannot be recorded")?;
        let db = Db::open(&config.database_url()).await?;
        let vault = Vault::open(&config.vault)?;
        let (engine, cache) = sandbox(&config)?;
        let config = Arc::new(config);
        let fleet = Arc::new(Fleet::load(&engine, &cache, &config, &db).await?);
        let tools = config.mcp.iter().flat_map(Mcp::servers).map(|(_, server)| server.url.as_str());
        let collector = std::iter::once(config.telemetry.otlp_endpoint.as_str());
        let sinks = config.sinks.urls().map(|(_, url)| url);
        let urls = config.inference.groups.values().map(|group| group.url.as_str()).chain(collector).chain(tools).chain(sinks);
        let client = Client::new(urls, &config.egress.private)?;
        let traces = match config.telemetry.otlp_endpoint.is_empty() {
            true => Traces::default(),
            false => Traces::to(otlp::exporter(&config.telemetry, client.clone())?),
        };
        let gateway = config.mcp.as_ref().map(|mcp| Gateway::new(mcp, &config.file, client.clone()));
        let gateway = gateway.transpose()?.map(Arc::new);
        let world = World {
            db: db.clone(),
            vault,
            gateway,
            outbox: outbox(&config, &db, &client).await?,
            allowed: Arc::new(Allowed::compile(config.household.allow.as_deref().unwrap_or_default())?),
            router: Arc::new(Router::new(&config.inference, client)),
            executing: Arc::new(Semaphore::new(config.server.workers)),
            caps: Caps::of(&config.caps, TimeZone::get(&config.server.timezone)?),
            secrets: Secrets::of(&config.secrets())?,
            links: Links::to(&config.links.hosts, &config.server.public_url)?,
            live: Live::new(),
            traces: traces.clone(),
        };
        let worker = Worker {
            world: world.clone(),
            fleet: fleet.clone(),
            in_flight: config.server.in_flight,
            grace: Duration::from_secs(config.server.drain_s),
        };
        let ingress = Ingress { db, fleet: fleet.clone(), config: config.clone(), traces, backlog: Backlog::default() };
        let state = State { ingress, world, fleet, config, metrics: rendered, drain: CancellationToken::new() };
        Ok(Self { state, worker, tells: true })
    }

    /// Serves and works until `drain` is cancelled and running hops have had their grace. At each `hangup` it looks at its agents again.
    pub(super) async fn run(self, listener: TcpListener, hangup: Option<Signal>, drain: CancellationToken) -> anyhow::Result<()> {
        let routes = surface::routes(State { drain: drain.clone(), ..self.state });
        let serving = axum::serve(listener, routes).with_graceful_shutdown(drain.clone().cancelled_owned());
        let (grace, traces) = (self.worker.grace, self.worker.world.traces.clone());
        tokio::spawn(self.worker.fleet.clone().watch(hangup, drain.clone()));
        let world = &self.worker.world;
        let outbox = if self.tells { world.outbox.clone() } else { Outbox::silent() };
        let telling = tokio::spawn(outbox.run(world.db.clone(), drain.clone()));
        let worker = tokio::spawn(self.worker.run(drain.clone()));
        // A connection that stalls in the middle of a request must not keep the process alive.
        let overdue = async {
            drain.cancelled().await;
            tokio::time::sleep(grace).await;
        };
        let served = tokio::select! {
            served = serving.into_future() => served.context("the server ended"),
            () = overdue => Ok(()),
        };
        drain.cancel();
        worker.await.context("the worker ended")?;
        telling.await.context("the outbox ended")?;
        tokio::task::spawn_blocking(move || traces.end()).await.context("the last spans were being sent")?;
        served
    }

    /// The same, which leaves its outbox alone.
    pub(super) fn telling_nobody(self) -> Self {
        Self { tells: false, ..self }
    }

    /// Its worker, for a command that works without a port.
    pub(super) fn worker(&self) -> Worker {
        self.worker.clone()
    }
}

/// The way to people.
async fn outbox(config: &Config, db: &Db, client: &Client) -> anyhow::Result<Outbox> {
    let key = match &config.approvals.key {
        Some(key) => key.clone(),
        None => links::secret(db, "approval key", hex::encode(rand::random::<[u8; 32]>())).await?,
    };
    let operator = config.requesters.iter().find(|(_, requester)| requester.role == Role::Operator);
    let operator = operator.map_or("operator", |(name, _)| name.as_str());
    let links = Links::to(&config.links.hosts, &config.server.public_url)?;
    let letters = Letters::new(Tokens::new(&key, &config.server.public_url), links, operator.to_owned());
    let ttl = config.approvals.ttl_ms().map_err(anyhow::Error::msg)?;
    Ok(Outbox::new(Sink::configured(&config.sinks, client), letters, ttl))
}

/// The engine and its cache, as every command that looks at components uses them.
pub(super) fn sandbox(config: &Config) -> anyhow::Result<(wasmtime::Engine, Cache)> {
    let size = Size { in_flight: config.server.in_flight, memory_mib: config.limits.memory_mib };
    let engine = engine::start(size).map_err(|error| anyhow::anyhow!("the sandbox cannot start: {error:#}"))?;
    let program = std::env::current_exe().context("this program does not know its own file")?;
    Ok((engine, Cache::in_folder(&config.server.data, Compiler::Aside(program))))
}

/// Binds the configured port.
pub(super) async fn bind(config: &Config) -> anyhow::Result<TcpListener> {
    let at = config.server.listen;
    TcpListener::bind(at).await.with_context(|| format!("cannot listen on {at}: is it in use? Choose another with --listen"))
}

/// Cancelled by the first Ctrl-C or SIGTERM; the second ends the process at once.
pub(super) fn on_signal() -> anyhow::Result<CancellationToken> {
    let drain = CancellationToken::new();
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let token = drain.clone();
    tokio::spawn(async move {
        for round in 0..2 {
            tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
            if round == 0 {
                tracing::info!(event = "draining", "no new leases; running hops get their grace time");
                token.cancel();
            }
        }
        std::process::exit(130);
    });
    Ok(drain)
}
