//! The only way in: who may ask for what → is it known already → commit. Its yes means that the task is on disk.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use opentelemetry::trace::SpanKind;
use policy::household::{self, Blocked};
use policy::next;
use policy::task::{Role, Source};
use policy::tier::{Label, Labelled};

use crate::config::{Config, Token};
use crate::envelope::Envelope;
use crate::fleet::Fleet;
use crate::store::idempotency::{self, Key};
use crate::store::tasks::{self, New};
use crate::store::{Db, StoreError};
use crate::telemetry::trace::{Place, Span, Traces, fact, what};
use crate::{fault, id, telemetry};

/// Who calls, as their token says.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The token's name; part of its idempotency keys.
    pub name: String,
    /// The highest role that its requests may have.
    pub role: Role,
    /// Surfaces it may speak for; empty means every one.
    pub sources: Vec<Source>,
    /// On whose behalf it asks unless it says otherwise.
    pub requester: String,
}

impl Caller {
    /// Whoever reaches the loopback address of a host without tokens: its operator.
    #[must_use]
    pub fn loopback() -> Self {
        Self { name: "loopback".into(), role: Role::Operator, sources: Vec::new(), requester: "rob".into() }
    }

    /// The caller of a token.
    #[must_use]
    pub fn of(token: &Token) -> Self {
        Self { name: token.name.clone(), role: token.role, sources: token.sources.clone(), requester: token.name.clone() }
    }
}

/// A request with the trace that it belongs to.
pub struct Request {
    /// What was asked.
    pub envelope: Envelope,
    /// SHA-256 of what a repeat must equal.
    pub body: String,
    /// The caller's `traceparent`.
    pub traceparent: Option<String>,
}

/// What became of a request.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// The task: a new one, or the first under this key.
    pub task_id: String,
    /// Whether it was known already.
    pub duplicate: bool,
    /// The conversation it belongs to.
    pub conversation_id: String,
    /// Its trace.
    pub trace_id: String,
}

/// Why a request is turned away.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The token does not speak for that surface.
    #[error("token `{token}` may not speak for source `{source_word}`")]
    Source {
        /// Whose.
        token: String,
        /// Which.
        source_word: &'static str,
    },
    /// The token may not ask on that person's behalf.
    #[error("token `{token}` may not ask for requester `{requester}`")]
    Requester {
        /// Whose.
        token: String,
        /// Whom.
        requester: String,
    },
    /// The household gate.
    #[error(transparent)]
    Household(#[from] Blocked),
    /// No such agent is loaded.
    #[error("there is no agent `{agent}`; loaded are {loaded}")]
    UnknownAgent {
        /// Which.
        agent: String,
        /// Which there are.
        loaded: String,
    },
    /// The key stands for another request.
    #[error("idempotency_key `{0}` was used for another body")]
    KeyReused(String),
    /// The key's task is no longer kept.
    #[error("the task of idempotency_key `{0}` is no longer kept")]
    KeyGone(String),
    /// Too much is waiting already.
    #[error("{0} tasks are waiting already")]
    Full(i64),
    /// It is not on disk.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Where requests enter.
#[derive(Clone)]
pub struct Ingress {
    /// Where they are kept.
    pub db: Db,
    /// Which agents there are.
    pub fleet: Arc<Fleet>,
    /// Who may ask for what.
    pub config: Arc<Config>,
    /// Where the root span of each task goes.
    pub traces: Traces,
    /// How many tasks wait.
    pub backlog: Backlog,
}

/// How many tasks wait, as counted a moment ago, with those that came since: counting a long queue for each request would be what
/// makes it longer.
#[derive(Clone, Default)]
pub struct Backlog {
    counted: Arc<Mutex<Option<(Instant, i64)>>>,
}

impl Backlog {
    /// How long a count is good for: less if it was too many, since there may be room by now.
    fn is_fresh((at, waiting): (Instant, i64), most: i64) -> bool {
        at.elapsed() < Duration::from_millis(if waiting < most { 250 } else { 50 })
    }

    /// Whether one more may come, which counts from now on. Nobody waits for another's count.
    async fn has_room(&self, db: &Db, most: i64) -> Result<bool, StoreError> {
        let counted = *self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = match counted.filter(|counted| Self::is_fresh(*counted, most)) {
            Some((_, waiting)) => waiting,
            None => {
                let waiting = tasks::waiting(db, most).await?;
                *self.counted.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), waiting));
                waiting
            }
        };
        let room = waiting < most;
        if let Some((_, waiting)) = self.counted.lock().unwrap_or_else(PoisonError::into_inner).as_mut().filter(|_| room) {
            *waiting += 1;
        }
        Ok(room)
    }
}

impl Ingress {
    /// Takes a request in.
    ///
    /// # Errors
    /// [`Refused`]; then nothing was kept.
    pub async fn accept(&self, caller: &Caller, request: Request) -> Result<Accepted, Refused> {
        let Request { envelope, body, traceparent } = request;
        let (requester, role) = self.requester(caller, &envelope)?;
        household::gate(role, envelope.intent, &self.config.household.intents)?;
        // A repeat is answered whatever has changed since: its first answer may have been lost on the way.
        if let Some(key) = &envelope.idempotency_key
            && let Some(held) = idempotency::held(&self.db, &caller.name, key, &body).await?
        {
            return self.repeated(held, key.clone()).await;
        }
        self.known_agent(&envelope)?;
        let most = i64::from(self.config.server.max_waiting);
        if !self.backlog.has_room(&self.db, most).await? {
            return Err(Refused::Full(most));
        }
        let (id, asked) = (id::task(), id::now());
        let callers = traceparent.as_deref().and_then(Place::named);
        let trace_id = callers.map(|place| place.trace()).or_else(|| envelope.trace_id.clone()).unwrap_or_else(id::trace);
        let root = Place::of(&trace_id, &what::request(&id));
        let conversation_id = envelope.conversation_id.clone().unwrap_or_else(|| id.clone());
        let key = envelope.idempotency_key.clone();
        let (source, label) = (envelope.source.as_str(), Label::of(envelope.data_tier));
        let new = New {
            id: id.clone(),
            token: caller.name.clone(),
            requester,
            role,
            conversation_id: conversation_id.clone(),
            trace_id: trace_id.clone(),
            traceparent: root.traceparent(),
            first: next::first(envelope.target_agent.as_deref()).to_owned(),
            envelope,
        };
        let held = self.commit(new, key.clone(), body).await?;
        if held != Key::New {
            return self.repeated(held, key.unwrap_or_default()).await;
        }
        fault::point("enqueued").await;
        tracing::info!(event = "task_enqueued", task_id = id, trace_id, source, "task {id} enqueued from {source}");
        self.db.bell().ring();
        self.traces.record(|| Span {
            at: root,
            below: callers,
            name: format!("task from {source}"),
            kind: SpanKind::Server,
            began: asked,
            ended: id::now(),
            facts: vec![
                fact("homeaiops.task.id", id.clone()),
                fact("homeaiops.source", source),
                fact("homeaiops.tier", label.tier.as_str()),
                fact("session.id", telemetry::shown(&Labelled::new(label, conversation_id.clone()))),
            ],
            error: None,
        });
        Ok(Accepted { task_id: id, duplicate: false, conversation_id, trace_id })
    }

    /// The answer to a key that stands for something already.
    async fn repeated(&self, held: Key, key: String) -> Result<Accepted, Refused> {
        let first = match held {
            Key::Same(first) => tasks::find(&self.db, &first).await?,
            Key::Other => return Err(Refused::KeyReused(key)),
            Key::New | Key::Gone => None,
        };
        let task = first.ok_or(Refused::KeyGone(key))?;
        let (conversation_id, trace_id) = (task.conversation_id, task.trace_id);
        Ok(Accepted { task_id: task.id, duplicate: true, conversation_id, trace_id })
    }

    async fn commit(&self, new: New, key: Option<String>, body: String) -> Result<Key, StoreError> {
        self.db
            .write(move |tx| {
                Box::pin(async move {
                    let now = id::now();
                    let held = match &key {
                        Some(key) => idempotency::claim(tx, (&new.token, key), &body, &new.id, now).await?,
                        None => Key::New,
                    };
                    if held == Key::New {
                        tasks::insert(tx, new, now).await?;
                    }
                    Ok(held)
                })
            })
            .await
    }

    /// On whose behalf, within what the token may.
    fn requester(&self, caller: &Caller, envelope: &Envelope) -> Result<(String, Role), Refused> {
        if !(caller.sources.is_empty() || caller.sources.contains(&envelope.source)) {
            return Err(Refused::Source { token: caller.name.clone(), source_word: envelope.source.as_str() });
        }
        let Some(requester) = envelope.requester.clone().filter(|name| *name != caller.requester) else {
            return Ok((caller.requester.clone(), caller.role));
        };
        let role = self.config.requesters.get(&requester).map(|requester| requester.role);
        match role {
            Some(role) if caller.role == Role::Operator || caller.role == role => Ok((requester, role)),
            Some(_) | None => Err(Refused::Requester { token: caller.name.clone(), requester }),
        }
    }

    fn known_agent(&self, envelope: &Envelope) -> Result<(), Refused> {
        match &envelope.target_agent {
            Some(agent) if !self.fleet.serves(agent) => {
                let agents = self.fleet.agents();
                let loaded: Vec<&str> = agents.iter().map(|agent| agent.manifest.id.as_str()).collect();
                Err(Refused::UnknownAgent { agent: agent.clone(), loaded: loaded.join(", ") })
            }
            Some(_) | None => Ok(()),
        }
    }
}
