//! One hop: label and grant in, a fresh instance, outcome out.

use std::collections::BTreeMap;
use std::sync::Arc;

use policy::grant::Grant;
use policy::next::{self, Fault};
use policy::task::{Handed, Outcome, Timestamp};
use policy::tier::{Clearance, Label, Labelled};

use super::input::Input;
use super::lease::Until;
use super::{Worker, spans};
use crate::capability::{self, Asker, Beyond, Hop, Tenure};
use crate::fleet::Agent;
use crate::runtime::{self, Brief};
use crate::store::hops::Hop as Row;
use crate::store::journal::{self, Past, Position, Write};
use crate::store::tasks::{self, Leased, Task};
use crate::store::{StoreError, artefacts, effects};
use crate::{id, telemetry};

/// Turns of a conversation that an agent gets to see.
const TURNS: i64 = 10;

/// How a hop ended.
pub(super) struct Ran {
    /// What the task has read by now.
    pub(super) label: Label,
    /// The outcome or the fault; `None` if nobody decided anything: the task goes back as it was.
    pub(super) ended: Option<Result<Outcome, Fault>>,
    /// What the component that ran may do.
    pub(super) grant: Option<Arc<Grant>>,
    /// Entries that are not on disk yet: they belong to the outcome.
    pub(super) unwritten: Vec<Write>,
}

impl Ran {
    /// It did not run, for that reason if there is one.
    fn not(label: Label, why: Option<Fault>) -> Self {
        Self { label, ended: why.map(Err), grant: None, unwritten: Vec::new() }
    }
}

/// Whether a run of the hop was interrupted.
pub(super) fn under_way(row: &Row) -> bool {
    matches!(row.status.as_str(), "running" | "parked")
}

/// The component that works on a hop: the one that started its run, or the one that serves.
async fn serving(worker: &Worker, row: &Row) -> Result<Option<Arc<Agent>>, StoreError> {
    let serves = worker.fleet.agent(&row.agent);
    match row.digest.as_deref().filter(|_| under_way(row)) {
        Some(digest) if serves.as_ref().is_none_or(|agent| agent.digest != digest) => {
            let former = worker.fleet.former(&row.agent, digest).await?;
            Ok(former.or(serves))
        }
        Some(_) | None => Ok(serves),
    }
}

/// Runs the last of `rows`.
pub(super) async fn run(worker: &Worker, leased: &Leased, rows: &[Row], label: Label, until: Until) -> Result<Ran, StoreError> {
    let Some((row, former)) = rows.split_last() else { return Ok(Ran::not(label, None)) };
    if let Some(fault) = revoked(worker, row) {
        spans::cut(&worker.world.traces, leased, row, id::now());
        return Ok(Ran::not(label, Some(fault)));
    }
    let Some(agent) = &serving(worker, row).await? else {
        // It may be back after the next start: the task waits for it.
        let fault = Fault::Away(format!("agent `{}` is not loaded: see `host agents`", row.agent));
        return Ok(Ran::not(label, Some(fault)));
    };
    let now = id::now();
    let traces = &worker.world.traces;
    report_lost(worker, leased, (row, former), now);
    let begun = match resumed(worker, leased, row, agent).await? {
        Some(begun) => begun,
        None => {
            if under_way(row) {
                spans::cut(traces, leased, row, now);
            }
            if let Some(fault) = done_already(worker, leased, row).await? {
                return Ok(Ran::not(label, Some(fault)));
            }
            match anew(worker, leased, (row, former), agent, label, now).await? {
                Ok(begun) => begun,
                Err((label, fault)) => return Ok(Ran::not(label, Some(fault))),
            }
        }
    };
    let Begun { at, brief, label: at_start, began, past, first } = begun;
    // What it will be told again was read under these labels.
    let reached = past.values().map(|call| call.label).fold(at_start.join(label), Label::join);
    if let Some(fault) = uncleared(agent, reached) {
        spans::cut(traces, leased, row, now);
        return Ok(Ran::not(reached, Some(fault)));
    }
    let (run, replays) = (at.run, past.values().filter(|call| call.answer.is_some()).count());

    let task = &leased.task;
    let (mode, name) = (&agent.manifest.mode, &row.agent);
    tracing::info!(
        event = "hop_start",
        task_id = task.id,
        trace_id = task.trace_id,
        agent = name,
        mode,
        persona = name,
        hop = row.seq,
        run,
        replays,
        digest = agent.digest,
        version = agent.manifest.version,
        "{name} starts on task {}",
        task.id
    );
    let start = Start { worker, leased, agent, label: at_start, now: brief.now };
    let hop = start.instance(at, past, until).await;
    for write in first {
        // Nothing has been written yet: there is nothing that could be broken.
        let _ = hop.draft.note(write).await;
    }
    let (hop, ended) = runtime::run(&agent.ready, hop, brief).await;
    // A label only rises, however far the run came this time.
    let label = hop.past.values().map(|call| call.label).fold(hop.label.join(leased.task.label), Label::join);
    let ended = match ended {
        Ok(_) if hop.replays() => {
            let said = "it ended before it had made the calls that it made before".to_owned();
            Err(runtime::Ended::Fault(Fault::Diverged(said)))
        }
        ended => ended,
    };
    let (outcome, why) = match &ended {
        Ok(outcome) => (outcome.kind(), String::new()),
        Err(runtime::Ended::Fault(fault)) => ("fault", fault.to_string()),
        Err(runtime::Ended::Ours(stop)) => ("interrupted", stop.to_string()),
    };
    let why = telemetry::shown(&hop.labelled(why));
    let ended_at = id::now();
    let error = (!why.is_empty()).then(|| why.clone());
    let (seq, lease, digest) = (row.seq, leased.lease, agent.digest.as_str());
    let version = agent.manifest.version.as_str();
    let seen = spans::Run { agent: name, hop: seq, run, lease, digest, version, outcome, error };
    // A run that will be resumed has not ended.
    if !ended.as_ref().is_err_and(runtime::Ended::resumes) {
        spans::ran(traces, leased, &seen, (began, ended_at));
    }
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of one hop")]
    let duration_s = ended_at.since(now) as f64 / 1000.0;
    tracing::info!(
        event = "hop_end",
        task_id = task.id,
        trace_id = task.trace_id,
        agent = name,
        mode,
        persona = name,
        hop = row.seq,
        run,
        outcome,
        duration_s,
        why,
        host_calls = hop.spent.host_calls,
        cpu_ms = hop.spent.cpu_ms,
        "{name} ended with {outcome}"
    );
    let ended = match ended {
        Ok(outcome) => Some(Ok(outcome)),
        Err(runtime::Ended::Fault(fault)) => Some(Err(fault)),
        Err(runtime::Ended::Ours(_)) => None,
    };
    let unwritten = if ended.is_some() { hop.draft.take().await? } else { Vec::new() };
    Ok(Ran { label, ended, grant: Some(agent.grant.clone()), unwritten })
}

/// Why an agent may not see what carries that label, if it may not.
fn uncleared(agent: &Agent, label: Label) -> Option<Fault> {
    let clearance = agent.grant.clearance();
    (label.tier > clearance).then(|| {
        Fault::Denied(format!(
            "the task has reached {} and `{}` is cleared for {}: set clearance in {}",
            label.tier.as_str(),
            agent.grant.agent(),
            clearance.as_str(),
            agent.grant.at()
        ))
    })
}

/// Why a run does not go on: its operator has revoked the component that started it.
fn revoked(worker: &Worker, row: &Row) -> Option<Fault> {
    let digest = row.digest.as_deref().filter(|_| under_way(row))?;
    let why = worker.fleet.revoked(digest)?;
    Some(Fault::Denied(format!(
        "component {digest} of `{}` was revoked: {why}; a retry starts its hop anew with the component that serves then",
        row.agent
    )))
}

/// Why a hop is not started anew although its run cannot be resumed: what that run did must not be done twice.
async fn done_already(worker: &Worker, leased: &Leased, row: &Row) -> Result<Option<Fault>, StoreError> {
    let done = row.run > 0 && effects::unrepeatable(&worker.world.db, &leased.task.id, row.seq).await?;
    Ok(done.then(|| {
        Fault::Diverged("its run cannot go on where it was, and what it did, or may have done, must not be done twice".to_owned())
    }))
}

/// Reports the lease of a host that is gone: what was done under it hangs below.
fn report_lost(worker: &Worker, leased: &Leased, (row, former): (&Row, &[Row]), now: Timestamp) {
    let rows = || former.iter().chain([row]);
    let began = |lease| rows().filter(|row| row.lease == lease).filter_map(|row| row.started_at).min().unwrap_or(now);
    let lost = match former.last() {
        _ if row.status == "running" => Some(row.lease),
        // It settled a hop and died before it started the next.
        Some(last) if row.lease == 0 && last.lease != leased.lease => Some(last.lease),
        Some(_) | None => None,
    };
    if let Some(lease) = lost {
        spans::lost_lease(&worker.world.traces, leased, lease, (began(lease), now));
    }
}

/// Starts a run of its own. The inner error is a run that may not start, with the label that says so.
async fn anew(
    worker: &Worker,
    leased: &Leased,
    (row, former): (&Row, &[Row]),
    agent: &Arc<Agent>,
    label: Label,
    now: Timestamp,
) -> Result<Result<Begun, (Label, Fault)>, StoreError> {
    let handed: Vec<Handed> = former.iter().filter_map(Row::handed).collect();
    let earlier = tasks::conversation(&worker.world.db, &leased.task, TURNS).await?;
    let read = handed.iter().map(|handed| Label::of(handed.tier)).chain(earlier.iter().map(|task| task.label));
    let label = read.fold(label, Label::join);
    if let Some(fault) = uncleared(agent, label) {
        return Ok(Err((label, fault)));
    }
    let at = Position { task: leased.task.id.clone(), hop: row.seq, run: row.run + 1, seq: 0 };
    let brief = Start { worker, leased, agent, label, now }.brief(handed, &earlier).await?;
    let (opening, closing) = Input::of(&brief, &at, label).entry(at.clone(), leased.lease)?;
    let start = Write::Start { at: at.clone(), digest: agent.digest.clone(), started_at: now };
    let first = vec![start, Write::Entry(opening, closing)];
    Ok(Ok(Begun { at, brief, label, began: now, past: BTreeMap::new(), first }))
}

/// A run that has begun, now or before it was interrupted.
struct Begun {
    at: Position,
    brief: Brief,
    /// The label at its start.
    label: Label,
    /// When it first started.
    began: Timestamp,
    past: BTreeMap<u32, Past>,
    /// What the journal must say of its beginning, before anything else that it does.
    first: Vec<Write>,
}

/// Takes up the run that the hop was in when it was interrupted, if its component is the one that serves; `None` if it starts anew.
async fn resumed(worker: &Worker, leased: &Leased, row: &Row, agent: &Agent) -> Result<Option<Begun>, StoreError> {
    let same = under_way(row) && row.digest.as_ref() == Some(&agent.digest);
    let at = Position { task: leased.task.id.clone(), hop: row.seq, run: row.run, seq: 0 };
    let behind = if same { journal::behind(&worker.world.db, &at).await? } else { None };
    let Some(behind) = behind else { return Ok(None) };
    let input: Input = match serde_json::from_str(&behind.input) {
        Ok(input) => input,
        Err(error) => {
            // Another version wrote it. Nothing that it did is unrepeatable, so it may start anew.
            tracing::warn!(event = "run_not_resumed", task_id = at.task, %error, "a run starts anew: its input cannot be read: {error}");
            return Ok(None);
        }
    };
    let (label, began, first) = (input.label, input.now, vec![Write::Resume(at.clone())]);
    Ok(Some(Begun { at, brief: input.brief(&leased.task), label, began, past: behind.calls, first }))
}

/// What a run starts from.
struct Start<'s> {
    worker: &'s Worker,
    leased: &'s Leased,
    agent: &'s Arc<Agent>,
    label: Label,
    now: Timestamp,
}

impl Start<'_> {
    /// The state of a fresh instance, ready to execute.
    async fn instance(self, at: Position, past: BTreeMap<u32, Past>, until: Until) -> Hop {
        let task = &self.leased.task;
        Hop::new(capability::Start {
            world: self.worker.world.clone(),
            grant: self.agent.grant.clone(),
            digest: self.agent.digest.clone(),
            mode: self.agent.manifest.mode.clone(),
            tenure: Tenure { lease: self.leased.lease, until },
            label: self.label,
            now: self.now,
            trace_id: task.trace_id.clone(),
            span: spans::of_run(self.leased, at.hop, at.run),
            asker: Asker { requester: task.requester.clone(), role: task.role },
            parked: task.parked_at.is_some(),
            at,
            past,
            beyond: Beyond::Live,
        })
        .await
    }

    /// Everything that the run is told.
    async fn brief(&self, handed: Vec<Handed>, earlier: &[Task]) -> Result<Brief, StoreError> {
        let (task, world) = (&self.leased.task, &self.worker.world);
        let mut extra = vec![("vault-name".to_owned(), world.vault.name().to_owned())];
        extra.extend(artefacts::of(&world.db, &task.id).await?.into_iter().map(|(path, _)| ("wrote".to_owned(), path)));
        Ok(Brief {
            task: task.id.clone(),
            content: self.open(&task.content),
            source: task.sent.source.clone(),
            role: task.role,
            intent: task.sent.intent.clone(),
            priority: task.sent.priority,
            destructive: task.sent.destructive,
            tier: self.label.tier,
            conversation: earlier.iter().flat_map(|turn| self.turn(turn)).collect(),
            received_at: task.created_at,
            handed,
            colleagues: self.colleagues(),
            limits: *self.agent.grant.limits(),
            now: self.now,
            extra,
        })
    }

    /// The agent's clearance was compared with the run's label before; what it is told carries that label.
    fn open(&self, text: &Labelled<String>) -> String {
        let clearance = Clearance(self.agent.grant.clearance());
        let text = text.open(clearance).cloned().unwrap_or_else(|withheld| withheld.to_string());
        self.worker.world.secrets.masked(&text).map_or(text, |(masked, _)| masked)
    }

    /// An earlier task of the conversation: what was asked, and what was answered.
    fn turn(&self, task: &Task) -> Vec<(String, String, Timestamp)> {
        let asked = ("user".to_owned(), self.open(&task.content), task.created_at);
        let answered =
            task.output.as_ref().map(|text| ("assistant".to_owned(), self.open(text), task.finished_at.unwrap_or(task.created_at)));
        [Some(asked), answered].into_iter().flatten().collect()
    }

    /// Whom the agent may hand to; the reporter comes last by itself. Where there is no tool server, nobody is told of those who would
    /// have to look.
    fn colleagues(&self) -> Vec<[String; 4]> {
        let others = self.worker.fleet.agents();
        let sighted = self.worker.world.gateway.is_some();
        others
            .iter()
            .map(|other| &other.manifest)
            .filter(|other| sighted || other.wants.tools.is_empty())
            .filter(|other| next::is_offered(self.agent.grant.agent(), &other.id) && self.agent.grant.hands_to(&other.id))
            .map(|other| [other.id.clone(), other.name.clone(), other.purpose.clone(), other.mode.clone()])
            .collect()
    }
}
