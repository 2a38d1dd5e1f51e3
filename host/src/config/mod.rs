//! What the operator decided: shipped defaults, then the file, then `HOST_*` variables, then flags, merged key by key.
//!
//! The only reader of the environment. Nothing here acts on what it reads.

mod approvals;
mod check;
mod grants;
mod inference;
pub mod mcp;
mod prices;
mod secrets;
pub mod sinks;
mod sources;
mod tools;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use policy::household::Allow;
use policy::manifest::{Ceiling, Limits};
use policy::task::{Intent, Role, Source};
use policy::tier::{Clearance, Tier};
use serde::Deserialize;

pub use approvals::Approvals;
pub use check::ConfigError;
pub use grants::lines as grant_lines;
pub use inference::{Group, Inference, Kind, Price};
pub use mcp::Mcp;
pub use sinks::Sinks;

/// Every setting with its default: the file that ships.
pub const SHIPPED: &str = include_str!("../../../deploy/host.toml");

/// Flags of the command line that win over everything.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// `--config`
    pub config: Option<PathBuf>,
    /// `--listen`
    pub listen: Option<String>,
    /// `--data`
    pub data: Option<String>,
    /// `--database`
    pub database: Option<String>,
    /// `--vault`
    pub vault: Option<String>,
    /// `--agents`
    pub agents: Option<String>,
}

/// The configuration, complete and checked.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `[server]`
    pub server: Server,
    /// `[database]`
    pub database: Database,
    /// `[vault]`
    pub vault: Vault,
    /// `[agents]`
    pub agents: Agents,
    /// `[limits]`: the ceiling of every manifest limit.
    pub limits: Limits,
    /// `[grants.ID]`: the ceiling of each agent.
    pub grants: BTreeMap<String, Ceiling>,
    /// `[inference]`
    pub inference: Inference,
    /// `[mcp]`: the gateway to tools, if there is one.
    #[serde(default)]
    pub mcp: Option<Mcp>,
    /// `[egress]`
    pub egress: Egress,
    /// `[links]`
    pub links: Links,
    /// `[requesters.NAME]`
    pub requesters: BTreeMap<String, Requester>,
    /// `[household]`
    pub household: Household,
    /// `[auth]`
    pub auth: Auth,
    /// `[metrics]`
    pub metrics: Metrics,
    /// `[telemetry]`
    pub telemetry: Telemetry,
    /// `[caps]`
    pub caps: Caps,
    /// `[approvals]`
    pub approvals: Approvals,
    /// `[sinks.NAME]`
    #[serde(default)]
    pub sinks: Sinks,
    /// A table of the contract that this version reads but does not serve: named in a warning at start.
    #[serde(default)]
    pub schedules: Option<toml::Value>,
    /// Where grants are written, for refusals: the file's name, or the shipped one.
    #[serde(skip)]
    pub file: String,
    /// Ids whose grants the operator's own file changes.
    #[serde(skip)]
    pub own_grants: Vec<String>,
}

/// `[server]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// Address and port.
    pub listen: SocketAddr,
    /// Base of links.
    pub public_url: String,
    /// Folder of database and cache.
    pub data: PathBuf,
    /// Guests that execute at once.
    pub workers: usize,
    /// Runs in memory.
    pub in_flight: usize,
    /// Waiting tasks above which `/inbox` answers 429.
    pub max_waiting: u32,
    /// IANA name.
    pub timezone: String,
    /// Seconds that running hops may go on after Ctrl-C.
    pub drain_s: u64,
}

/// `[database]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Database {
    /// `sqlite://FILE` or `postgres://…`.
    pub url: String,
}

/// `[caps]`, in US dollars.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Caps {
    /// Of one task.
    pub per_task_usd: f64,
    /// Of one agent, one day.
    pub per_agent_daily_usd: f64,
    /// Of everything, one day.
    pub global_daily_usd: f64,
    /// Of everything, one week.
    pub global_weekly_usd: f64,
}

/// `[vault]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vault {
    /// Folder.
    pub root: PathBuf,
    /// Name in links.
    pub name: String,
    /// First match wins.
    pub rules: Vec<VaultRule>,
}

/// `[[vault.rules]]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VaultRule {
    /// Pattern of paths.
    pub path: String,
    /// Tier of what is read there.
    pub tier: Tier,
    /// Highest label that may be written there.
    #[serde(default = "restricted")]
    pub clearance: Clearance,
}

fn restricted() -> Clearance {
    Clearance::OPERATOR
}

/// `[agents]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Agents {
    /// Folder of `ID.wasm` files.
    pub dir: PathBuf,
    /// Refuse components that nobody stands for whom the operator trusts.
    pub require_signature: bool,
    /// Public keys of those whom the operator trusts, as `host agent sign --generate` prints them.
    pub trusted_keys: Vec<String>,
}

impl Agents {
    /// The keys, read.
    ///
    /// # Errors
    /// The first that is none, and why.
    pub fn keys(&self) -> Result<Vec<minisign::PublicKey>, String> {
        let read = |text: &String| minisign::PublicKey::from_base64(text).map_err(|error| format!("`{text}`: {error}"));
        self.trusted_keys.iter().map(read).collect()
    }
}

/// `[egress]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Egress {
    /// Patterns of names that may lead to addresses of the house.
    pub private: Vec<String>,
}

/// `[links]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Links {
    /// Patterns of hosts to which links in answers may lead.
    pub hosts: Vec<String>,
}

/// `[requesters.NAME]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Requester {
    /// What they are to the house.
    pub role: Role,
    /// For people.
    #[serde(default)]
    pub display_name: Option<String>,
}

/// `[household]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Household {
    /// Intents that household members may have.
    pub intents: Vec<Intent>,
    /// Calls that need no asking; those that ship, unless the operator lists their own.
    #[serde(default)]
    pub allow: Option<Vec<Allow>>,
}

/// `[auth]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    /// `[[auth.tokens]]`
    pub tokens: Vec<Token>,
}

/// `[[auth.tokens]]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// Names the caller; part of its idempotency keys.
    pub name: String,
    /// SHA-256 of the token, in hex.
    #[serde(default)]
    pub sha256: Option<String>,
    /// Or the variable that holds the token.
    #[serde(default)]
    pub env: Option<String>,
    /// The highest role that its requests may have.
    pub role: Role,
    /// Surfaces it may speak for; empty means every one.
    #[serde(default)]
    pub sources: Vec<Source>,
    /// The digest that a presented token is compared with.
    #[serde(skip)]
    pub digest: [u8; 32],
    /// The token itself, where a variable holds it.
    #[serde(skip)]
    pub value: Option<String>,
}

/// `[metrics]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metrics {
    /// First part of every metric's name.
    pub prefix: String,
}

/// `[telemetry]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Telemetry {
    /// Base URL of an OTLP collector; empty: spans go nowhere.
    pub otlp_endpoint: String,
    /// How it is spoken to.
    pub otlp_protocol: OtlpProtocol,
    /// The variable that holds headers for it, as `key=value,key=value`.
    #[serde(default)]
    pub otlp_headers_env: Option<String>,
    /// The headers themselves, read from the environment.
    #[serde(skip)]
    pub headers: BTreeMap<String, String>,
}

/// How a collector is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OtlpProtocol {
    /// OTLP over HTTP, protobuf bodies.
    Http,
    /// OTLP over gRPC.
    Grpc,
}

impl Config {
    /// Merges and checks everything.
    ///
    /// # Errors
    /// [`ConfigError`] names the key, the line and what to write instead.
    pub fn load(flags: &Flags) -> Result<Self, ConfigError> {
        sources::load(flags)
    }

    /// The URL of the database: as set, or SQLite in the data folder.
    #[must_use]
    pub fn database_url(&self) -> String {
        if self.database.url.is_empty() {
            return format!("sqlite://{}", self.server.data.join("host.db").display());
        }
        self.database.url.clone()
    }

    /// What is set but not served by this version.
    #[must_use]
    pub fn unserved(&self) -> Vec<String> {
        let tables = [("[[schedules]]", self.schedules.is_some()), ("enable_claude in [inference]", self.inference.enable_claude)];
        let tables = tables.into_iter().filter(|(_, set)| *set).map(|(what, _)| what.to_owned());
        let groups = self.inference.groups.iter().filter(|(_, group)| !group.fallback.is_empty());
        tables.chain(groups.map(|(name, _)| format!("fallback in [inference.groups.{name}]"))).collect()
    }

    /// Where the grant of an agent is written, for refusals.
    #[must_use]
    pub fn grant_at(&self, id: &str) -> String {
        format!("[grants.{id}] in {}", self.file)
    }
}

/// The folder for what is built once and shared by checkouts: toolchains, the demo's model server.
#[must_use]
pub fn cache_dir() -> PathBuf {
    sources::variable("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| sources::variable("HOME").map(|home| Path::new(&home).join(".cache")))
        .unwrap_or_else(std::env::temp_dir)
        .join("homeaiops")
}

/// The folder of a person's own settings and keys.
#[must_use]
pub fn settings_dir() -> PathBuf {
    sources::variable("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .or_else(|| sources::variable("HOME").map(|home| Path::new(&home).join(".config")))
        .unwrap_or_else(std::env::temp_dir)
        .join("homeaiops")
}

/// A variable of the environment, if it is set and not empty: for what is no setting of the host, such as `RUST_LOG`.
#[must_use]
pub fn variable(name: &str) -> Option<String> {
    sources::variable(name)
}
