//! One hop: label and grant in, a fresh instance, outcome out.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use policy::next::{Fault, REPORTER};
use policy::task::{Handed, Outcome, Timestamp};
use policy::tier::{Clearance, Label};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::Instant;

use super::Worker;
use super::lease::Until;
use crate::capability::{GuestClock, Hop, Memory, Spent, Tenure};
use crate::fleet::Agent;
use crate::runtime::{self, Brief};
use crate::store::StoreError;
use crate::store::artefacts;
use crate::store::hops::{self, Hop as Row};
use crate::store::journal::{self, Closing, Opening, Position};
use crate::store::tasks::{self, Leased, Task};
use crate::{id, telemetry};

/// Turns of a conversation that an agent gets to see.
const TURNS: i64 = 10;

/// How a hop ended.
pub(super) struct Ran {
    /// What the task has read by now.
    pub(super) label: Label,
    /// The outcome or the fault; `None` if nobody decided anything: the task goes back as it was.
    pub(super) ended: Option<Result<Outcome, Fault>>,
}

/// Runs the last of `rows`.
pub(super) async fn run(worker: &Worker, leased: &Leased, rows: &[Row], label: Label, until: Until) -> Result<Ran, StoreError> {
    let Some((row, former)) = rows.split_last() else { return Ok(Ran { label, ended: None }) };
    let Some(agent) = worker.fleet.agent(&row.agent) else {
        // It may be back after the next start: the task waits for it, as for any server that is away.
        let fault = Fault::Backend(format!("agent `{}` is not loaded: see `host agents`", row.agent));
        return Ok(Ran { label, ended: Some(Err(fault)) });
    };
    let handed: Vec<Handed> = former.iter().filter_map(Row::handed).collect();
    let earlier = tasks::conversation(&worker.world.db, &leased.task, TURNS).await?;
    let label =
        handed.iter().map(|handed| Label::of(handed.tier)).chain(earlier.iter().map(|task| task.label)).fold(label, Label::join);
    if label.tier > agent.grant.clearance() {
        let (tier, cleared) = (label.tier.as_str(), agent.grant.clearance().as_str());
        let fault = Fault::Denied(format!(
            "the task has reached {tier} and `{}` is cleared for {cleared}: set clearance in {}",
            row.agent,
            agent.grant.at()
        ));
        return Ok(Ran { label, ended: Some(Err(fault)) });
    }
    let now = id::now();
    let at = (leased.task.id.clone(), row.seq, leased.lease);
    let Some(run) = hops::start(&worker.world.db, at, agent.digest.clone(), now).await? else {
        return Ok(Ran { label, ended: None });
    };
    let at = Position { task: leased.task.id.clone(), hop: row.seq, run, seq: 0 };
    let brief = brief(worker, leased, agent, label, handed, &earlier, now).await?;
    record_input(worker, leased, &brief, &at, label, now).await?;

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
        digest = agent.digest,
        "{name} starts on task {}",
        task.id
    );
    let hop = instance(worker, leased, agent, at, label, until, now).await;
    let (hop, ended) = runtime::run(&agent.ready, hop, brief).await;
    let label = hop.label;
    let (outcome, why) = match &ended {
        Ok(outcome) => (outcome.kind(), String::new()),
        Err(runtime::Ended::Fault(fault)) => ("fault", fault.to_string()),
        Err(runtime::Ended::Ours(stop)) => ("interrupted", stop.to_string()),
    };
    let why = telemetry::shown(&hop.labelled(why));
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of one hop")]
    let duration_s = id::now().since(now) as f64 / 1000.0;
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
    Ok(Ran { label, ended })
}

/// The state of a fresh instance, ready to execute.
async fn instance(
    worker: &Worker,
    leased: &Leased,
    agent: &Arc<Agent>,
    at: Position,
    label: Label,
    until: Until,
    now: Timestamp,
) -> Hop {
    let limits = agent.grant.limits();
    // The wall clock starts when the guest may: waiting for its turn is not billed to it.
    let permit = worker.world.executing.clone().acquire_owned().await.ok();
    Hop {
        world: worker.world.clone(),
        grant: agent.grant.clone(),
        digest: agent.digest.clone(),
        at,
        tenure: Tenure { lease: leased.lease, until },
        label,
        spent: Spent::default(),
        deadline: watch::Sender::new(Instant::now() + Duration::from_secs(limits.wall_s)),
        clock: GuestClock::starting(now),
        last_lines: VecDeque::new(),
        trace_id: leased.task.trace_id.clone(),
        mode: agent.manifest.mode.clone(),
        waited: false,
        permit,
        memory: Memory::mib(limits.memory_mib),
        wasi: wasmtime_wasi::WasiCtx::default(),
        table: wasmtime::component::ResourceTable::new(),
    }
}

async fn brief(
    worker: &Worker,
    leased: &Leased,
    agent: &Arc<Agent>,
    label: Label,
    handed: Vec<Handed>,
    earlier: &[Task],
    now: Timestamp,
) -> Result<Brief, StoreError> {
    let task = &leased.task;
    // The agent's own clearance was checked above; what it is handed carries the label that its run starts with.
    let clearance = Clearance(agent.grant.clearance());
    let open =
        |text: &policy::tier::Labelled<String>| text.open(clearance).cloned().unwrap_or_else(|withheld| withheld.to_string());
    let mut extra = vec![("vault-name".to_owned(), worker.world.vault.name().to_owned())];
    extra.extend(artefacts::of(&worker.world.db, &task.id).await?.into_iter().map(|(path, _)| ("wrote".to_owned(), path)));
    let colleagues = worker
        .fleet
        .agents()
        .filter(|other| other.manifest.id != REPORTER && agent.grant.hands_to(&other.manifest.id))
        .map(|other| {
            let one = &other.manifest;
            [one.id.clone(), one.name.clone(), one.purpose.clone(), one.mode.clone()]
        })
        .collect();
    let conversation = earlier
        .iter()
        .flat_map(|turn| {
            let said = ("user", open(&turn.content), turn.created_at);
            let answered = turn.output.as_ref().map(|text| ("assistant", open(text), turn.finished_at.unwrap_or(turn.created_at)));
            [Some(said), answered].into_iter().flatten()
        })
        .collect();
    Ok(Brief {
        task: task.id.clone(),
        content: open(&task.content),
        source: task.sent.source.clone(),
        role: task.role,
        intent: task.sent.intent.clone(),
        priority: task.sent.priority,
        destructive: task.sent.destructive,
        tier: label.tier,
        conversation,
        received_at: task.created_at,
        handed,
        colleagues,
        limits: *agent.grant.limits(),
        now,
        extra,
    })
}

/// Entry 0: everything that the run starts from, so that it can be repeated.
async fn record_input(
    worker: &Worker,
    leased: &Leased,
    brief: &Brief,
    at: &Position,
    label: Label,
    now: Timestamp,
) -> Result<(), StoreError> {
    let handed: Vec<_> = brief
        .handed
        .iter()
        .map(|handed| json!({ "agent": handed.agent, "outcome": handed.outcome, "tier": handed.tier }))
        .collect();
    let input = json!({
        "content": brief.content,
        "conversation": brief.conversation,
        "handed": handed,
        "colleagues": brief.colleagues,
        "limits": brief.limits,
        "extra": brief.extra,
        "label": label,
        "seed": format!("{}/{}", at.task, at.hop),
        "now": now,
    });
    let request = serde_json_canonicalizer::to_string(&input)?;
    let opening = Opening {
        at: at.clone(),
        lease: leased.lease,
        kind: "run.input",
        fingerprint: id::digest(request.as_bytes()),
        request,
        label,
        started_at: now,
    };
    let closing = Closing {
        state: "done",
        answer: "null".into(),
        tries: "[]".into(),
        destination: None,
        label,
        usage: None,
        finished_at: now,
    };
    // If the lease is lost already, the first call of the run will say so.
    journal::record(&worker.world.db, opening, closing).await.map(|_| ())
}
