//! Where a completion goes, and the trip there. It holds no lock while a server thinks: only a permit of that one backend.

mod ollama;
mod openai;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use policy::call::{Complete, Message, Speaker};
use policy::denied::Denied;
use policy::judge::{Destination, Granted};
use policy::route::{self, Ask};
use policy::task::Timestamp;
use serde::{Serialize, Serializer};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};

use crate::config::{Group, Inference, Kind};
use crate::egress::health::{Failing, Health};
use crate::egress::{self, Client, EgressError};
use crate::metrics::{self, name};

/// How long a run waits for a turn in memory (design §2); after that it waits as a row.
const PATIENCE: Duration = Duration::from_secs(5);
/// Most words of a model, in bytes.
const MOST_BYTES: usize = 8 * 1024 * 1024;
/// Most bytes of a stream: a protocol wraps each token in a few hundred.
const MOST_STREAMED: usize = 128 * 1024 * 1024;
/// A slow model reads ten tokens a second…
const READ_PER_SECOND: u64 = 10;
/// …and writes one,
const WRITE_PER_SECOND: u64 = 1;
/// after it was loaded, which costs minutes from a slow disk.
const COLD_LOAD: Duration = Duration::from_secs(300);

/// What a model answered.
#[derive(Clone, Debug, Default)]
pub struct Completion {
    /// Its words.
    pub text: String,
    /// Why it stopped.
    pub stop: Stop,
    /// The model's own name.
    pub model: String,
    /// Tokens read.
    pub input: u64,
    /// Tokens written.
    pub output: u64,
    /// Tokens of the prompt that it remembered.
    pub cached: u64,
}

/// Who hears a model's words as they come.
pub type Ear<'e> = &'e mut (dyn FnMut(&str) + Send);

/// Why a model stopped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stop {
    /// It was done.
    #[default]
    End,
    /// It ran into `max-output-tokens`.
    Length,
    /// It would not.
    Refusal,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// The server failed a moment ago and is left alone.
    #[error("{0}")]
    Resting(String),
    /// The server is not reached, or says nothing: worth another try, elsewhere or later.
    #[error("{0}")]
    Away(String),
    /// The server is busy, broken, or talks something else: worth another try, elsewhere or later.
    #[error("{0}")]
    Wrong(String),
    /// The server understood and said no.
    #[error("{0}")]
    Call(String),
    /// The same, after the server had begun: it may charge for it.
    #[error("{0}")]
    Midway(Box<Trouble>),
}

impl Trouble {
    fn midway(self) -> Self {
        Self::Midway(Box::new(self))
    }

    /// What it is, and whether the server may charge for it.
    #[must_use]
    pub fn apart(self) -> (Self, bool) {
        match self {
            Self::Midway(trouble) => (trouble.apart().0, true),
            Self::Resting(_) | Self::Away(_) | Self::Wrong(_) | Self::Call(_) => (self, false),
        }
    }

    /// The same with the place where it happened.
    fn at(self, place: &str) -> Self {
        // Not every store can keep a NUL.
        let placed = |said: String| format!("{place}: {}", said.replace('\0', "\u{fffd}"));
        match self {
            Self::Resting(said) => Self::Resting(said),
            Self::Away(said) => Self::Away(placed(said)),
            Self::Wrong(said) => Self::Wrong(placed(said)),
            Self::Call(said) => Self::Call(placed(said)),
            Self::Midway(trouble) => trouble.at(place).midway(),
        }
    }

    fn failing(&self) -> Option<Failing> {
        match self {
            Self::Away(_) => Some(Failing::Away),
            Self::Wrong(_) => Some(Failing::Wrong),
            Self::Call(_) | Self::Resting(_) => None,
            Self::Midway(trouble) => trouble.failing(),
        }
    }
}

/// A stream that ended before its end.
fn broke(error: EgressError) -> Trouble {
    match error {
        EgressError::TooLarge(_) | EgressError::TooMuch(_) => Trouble::Call(error.to_string()),
        EgressError::NotAllowed(_) | EgressError::Start(_) | EgressError::Http(_) => {
            Trouble::Wrong(format!("the answer broke off: {error}"))
        }
    }
}

impl From<EgressError> for Trouble {
    fn from(error: EgressError) -> Self {
        match error {
            EgressError::NotAllowed(_) | EgressError::TooLarge(_) | EgressError::TooMuch(_) => Self::Call(error.to_string()),
            EgressError::Start(_) | EgressError::Http(_) => Self::Away(error.to_string()),
        }
    }
}

/// The groups and their backends.
pub struct Router {
    client: Client,
    groups: BTreeMap<String, Group>,
    facts: Vec<route::Group>,
    /// Groups with one URL are one backend, with one queue.
    backends: BTreeMap<String, Backend>,
}

/// One server.
struct Backend {
    turns: Arc<Semaphore>,
    /// Whether runs may wait for a turn outside of memory: somebody has to be let in when one leaves.
    outside: AtomicBool,
    health: Health,
}

impl Router {
    /// The router for the configured groups.
    #[must_use]
    pub fn new(inference: &Inference, client: Client) -> Self {
        let mut groups = inference.groups.clone();
        groups.values_mut().for_each(|group| group.price = group.price());
        let facts = Self::facts(inference);
        let mut backends: BTreeMap<String, usize> = BTreeMap::new();
        for group in groups.values() {
            let most = backends.entry(group.url.clone()).or_default();
            *most = (*most).max(group.concurrency);
        }
        let backend = |most| Backend {
            turns: Arc::new(Semaphore::new(most)),
            // Those of an earlier process, perhaps.
            outside: AtomicBool::new(true),
            health: Health::default(),
        };
        let backends = backends.into_iter().map(|(url, most)| (url, backend(most))).collect();
        Self { client, groups, facts, backends }
    }

    /// What routing needs to know of the configured groups.
    #[must_use]
    pub fn facts(inference: &Inference) -> Vec<route::Group> {
        let facts = inference.groups.iter().map(|(name, group)| route::Group {
            name: name.clone(),
            clearance: group.clearance,
            remote: group.is_remote(),
            context: group.num_ctx,
        });
        facts.collect()
    }

    /// Where a call would go, best first, each with its reason.
    ///
    /// # Errors
    /// [`Denied`] if there is nowhere to go.
    pub fn candidates(&self, call: &Complete, local_only: bool) -> Result<Vec<Destination>, Denied> {
        // A token is at least a byte: an estimate of three bytes to a token may be low, the server's own count decides then.
        let tokens = call.prompt_bytes() / 3 + u64::from(call.max_output_tokens);
        route::candidates(Ask { group: &call.group, local_only, tokens }, &self.facts)
    }

    /// What a call costs at most, in millionths of a US dollar: every byte of the prompt a token, and every token it may write.
    #[must_use]
    pub fn most_cost(&self, group: &str, call: &Complete) -> u64 {
        self.cost(group, call.prompt_bytes(), u64::from(call.max_output_tokens))
    }

    /// What so many tokens cost there, in millionths of a US dollar, rounded up.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "dollars per million tokens are micro-dollars per token; far below 2^52"
    )]
    pub fn cost(&self, group: &str, input: u64, output: u64) -> u64 {
        let price = self.groups.get(group).and_then(|group| group.price);
        price.map_or(0, |price| (input as f64 * price.input + output as f64 * price.output).ceil().max(0.0) as u64)
    }

    /// A turn at the backend of the granted destination: groups with one URL share them.
    ///
    /// # Errors
    /// The server, if others keep it busy for longer than five seconds: the run should not wait in memory.
    pub async fn turn(&self, granted: &Granted<Complete>) -> Result<Option<OwnedSemaphorePermit>, String> {
        let backend = self.groups.get(&granted.destination().name).and_then(|group| self.backends.get_key_value(&group.url));
        let Some((url, backend)) = backend else { return Ok(None) };
        timeout(PATIENCE, backend.turns.clone().acquire_owned()).await.map(Result::ok).map_err(|_| {
            backend.outside.store(true, Ordering::Relaxed);
            url.clone()
        })
    }

    /// Whether anybody may wait for a turn at that group's server outside of memory. Asked once, it is forgotten.
    pub fn waits_outside(&self, group: &str) -> Option<&str> {
        let url = self.backend(group)?;
        self.backends.get(url)?.outside.swap(false, Ordering::Relaxed).then_some(url)
    }

    /// Notes that more wait outside.
    pub fn waits_still(&self, url: &str) {
        if let Some(backend) = self.backends.get(url) {
            backend.outside.store(true, Ordering::Relaxed);
        }
    }

    /// Asks the model of the granted destination; its turn is the caller's to hold. `heard` gets its words as they come.
    ///
    /// # Errors
    /// [`Trouble`].
    pub async fn complete(&self, granted: &Granted<Complete>, heard: Ear<'_>) -> Result<Completion, Trouble> {
        let at = &granted.destination().name;
        let unknown = || Trouble::Call(format!("there is no group `{at}`"));
        let group = self.groups.get(at).ok_or_else(unknown)?;
        let health = self.backends.get(&group.url).map(|backend| &backend.health);
        if health.is_some_and(|health| !health.admits(Instant::now())) {
            let said = format!("group `{at}` at {}: it failed a moment ago, and is tried again soon", group.url);
            return Err(Trouble::Resting(said));
        }
        let _counted = InFlight::at(at);
        let started = Instant::now();
        let answer = self.ask(group, granted.call(), Deadlines::of(group, granted.call(), started), heard).await;
        let failing = answer.as_ref().err().and_then(Trouble::failing);
        let up = failing.is_none();
        if let (Some(health), Some(how)) = (health, failing) {
            health.failed(how, Instant::now());
        }
        metrics::set(name::BACKEND_UP, f64::from(u8::from(up)), &[("group", at)]);
        let bounded = answer.map(|answer| counted(answer, granted.call()));
        bounded.map_err(|trouble| trouble.at(&format!("group `{at}` at {}", group.url)))
    }

    async fn ask(&self, group: &Group, call: &Complete, deadlines: Deadlines, heard: Ear<'_>) -> Result<Completion, Trouble> {
        match group.kind {
            Kind::Ollama => ollama::complete(&self.client, group, call, deadlines, heard).await,
            Kind::Openai => openai::complete(&self.client, group, call, deadlines, heard).await,
            Kind::Anthropic => Err(Trouble::Call("kind `anthropic` is not served by this version".into())),
        }
    }

    /// The server of a group.
    #[must_use]
    pub fn backend(&self, group: &str) -> Option<&str> {
        self.groups.get(group).map(|group| group.url.as_str())
    }

    /// Notes that a group's server served; whether it was failing until now.
    pub fn served(&self, group: &str, at: Timestamp) -> bool {
        let backend = self.backend(group).and_then(|url| self.backends.get(url));
        backend.is_some_and(|backend| backend.health.served(at))
    }

    /// Whether that server served any call of this host since then.
    #[must_use]
    pub fn served_since(&self, url: &str, since: Timestamp) -> bool {
        self.backends.get(url).is_some_and(|backend| backend.health.served_since(since))
    }

    /// Whether that server answers at all. One that no group names any more is worth a try: the try says what is wrong.
    pub async fn answers(&self, url: &str) -> bool {
        match self.groups.values().find(|group| group.url == url) {
            Some(group) => self.probe(group).await.is_ok(),
            None => true,
        }
    }

    /// The groups, for readiness.
    pub fn groups(&self) -> impl Iterator<Item = (&String, &Group)> {
        self.groups.iter()
    }

    /// Whether a group's server answers at all, whatever it says.
    ///
    /// # Errors
    /// What the network says.
    pub async fn probe(&self, group: &Group) -> Result<(), EgressError> {
        let path = match group.kind {
            Kind::Ollama => "api/tags",
            Kind::Openai | Kind::Anthropic => "v1/models",
        };
        let request = self.client.get(&address(&group.url, path))?.timeout(Duration::from_secs(2));
        keyed(request, group).send().await?;
        Ok(())
    }
}

/// Counts a call under way, however it ends.
struct InFlight(String);

impl InFlight {
    fn at(group: &str) -> Self {
        metrics::shift(name::BACKEND_INFLIGHT, 1.0, &[("group", group)]);
        Self(group.to_owned())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        metrics::shift(name::BACKEND_INFLIGHT, -1.0, &[("group", &self.0)]);
    }
}

/// A server that counts nothing, or nonsense, is taken at the upper bound that was reserved.
fn counted(mut answer: Completion, call: &Complete) -> Completion {
    let (prompt, most) = (call.prompt_bytes(), u64::from(call.max_output_tokens));
    if answer.input == 0 && answer.output == 0 {
        (answer.input, answer.output) = (prompt, most);
    }
    answer.output = answer.output.min(u64::from(u32::MAX));
    answer.input = answer.input.min(u64::from(u32::MAX));
    answer.model = answer.model.replace('\0', "\u{fffd}");
    answer
}

/// When to give up on a server.
#[derive(Clone, Copy, Debug)]
struct Deadlines {
    first_token: Instant,
    total: Instant,
}

impl Deadlines {
    fn of(group: &Group, call: &Complete, now: Instant) -> Self {
        let reading = COLD_LOAD + Duration::from_secs(call.prompt_bytes() / 3 / READ_PER_SECOND);
        let first = group.first_token_s.map_or(reading, Duration::from_secs);
        let writing = Duration::from_secs(u64::from(call.max_output_tokens) / WRITE_PER_SECOND);
        Self { first_token: now + first, total: now + first + writing }
    }

    /// The next part of an answer, in time.
    async fn next<T>(self, spoken: bool, part: impl Future<Output = T>) -> Result<T, Trouble> {
        let (deadline, what) = if spoken { (self.total, "did not finish") } else { (self.first_token, "said nothing") };
        timeout_at(deadline, part).await.map_err(|_| Trouble::Away(format!("it {what} in time")))
    }
}

/// The URL of a path of the protocol; a base that ends in the protocol's version is taken as it is.
fn address(base: &str, path: &str) -> String {
    let base = base.trim_end_matches('/');
    let base = if path.starts_with("v1/") { base.strip_suffix("/v1").unwrap_or(base) } else { base };
    format!("{base}/{path}")
}

fn keyed(request: reqwest::RequestBuilder, group: &Group) -> reqwest::RequestBuilder {
    match &group.api_key {
        Some(key) => request.bearer_auth(key),
        None => request,
    }
}

/// The answer to a request, once its head says that it is one of the expected kind.
async fn opened(request: reqwest::RequestBuilder, deadlines: Deadlines, expected: &str) -> Result<reqwest::Response, Trouble> {
    let sent = deadlines.next(false, request.send()).await.map_err(Trouble::midway)?;
    let response = sent.map_err(|error| match error.is_connect() {
        true => Trouble::from(EgressError::from(error)),
        false => Trouble::from(EgressError::from(error)).midway(),
    })?;
    let status = response.status();
    let kind = response.headers().get(reqwest::header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let kind = kind.unwrap_or_default().to_owned();
    if status.is_success() && kind.starts_with(expected) {
        return Ok(response);
    }
    let body = deadlines.next(false, egress::start_of(response, 64 * 1024)).await??;
    let said = format!("it answered {status}: {}", body.trim().chars().take(300).collect::<String>());
    Err(match status.as_u16() {
        200..=299 => Trouble::Wrong(format!("it answered `{kind}` where {expected} was due: is that a model server?")).midway(),
        // Of something in front of the server, which may have been at work.
        408 | 502 | 504 => Trouble::Wrong(said).midway(),
        429 | 500..=599 => Trouble::Wrong(said),
        _ => Trouble::Call(said),
    })
}

/// Messages as both protocols write them: `role` and `content`.
fn spoken<S: Serializer>(messages: &&[Message], serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Spoken<'m> {
        role: Speaker,
        content: &'m str,
    }
    serializer.collect_seq(messages.iter().map(|message| Spoken { role: message.role, content: &message.text }))
}
