//! `GET /tasks/{id}/events`: a task as it goes, by server-sent events, to its end.
//!
//! The events are read off the rows, so that they are the same after a restart and on every host; an `id` says where in the
//! journal an event stands. Only `token` and the beginning of a call come from this host's memory.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State as Shared};
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use policy::task::Status;
use policy::tier::Clearance;
use serde_json::{Value, json};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_stream::wrappers::ReceiverStream;

use super::State;
use super::error::ApiError;
use super::tasks::{View, visible, whole};
use crate::capability::{Doing, What};
use crate::id::rfc3339;
use crate::ingress::Caller;
use crate::store::tasks::Task;
use crate::store::{StoreError, hops, journal};

/// How often the rows are looked at when nothing says that they changed: another host may work on the task.
const POLL: Duration = Duration::from_secs(1);
/// Events that may wait for a slow client; then the watcher waits for it.
const WAITING: usize = 64;

/// The stream of one task. It begins with its status and ends with `done`.
pub(super) async fn stream(
    Shared(state): Shared<State>,
    caller: Caller,
    id: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let Path(id) = id?;
    let view = View::of(&caller);
    visible(&state.world.db, &caller, &id).await?;
    let last = headers.get("last-event-id").and_then(|value| value.to_str().ok()).unwrap_or_default();
    if last == DONE {
        // What an event source takes for "do not come back".
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let (events, sent) = mpsc::channel(WAITING);
    let watch = Watch { state, view, id, seen: Mark::parse(last), status: None, events };
    tokio::spawn(watch.follow());
    Ok(Sse::new(ReceiverStream::new(sent)).keep_alive(KeepAlive::default()).into_response())
}

/// The id of the last event.
const DONE: &str = "done";

/// Where an event stands: the place in the journal, and whether it is its end. The end of a run comes after its calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Mark {
    hop: u32,
    run: u32,
    seq: u32,
    closed: bool,
}

impl Mark {
    const END: u32 = u32::MAX;

    /// The mark of an id; of the beginning, if it is none of ours.
    fn parse(id: &str) -> Self {
        let parts: Vec<&str> = id.split('.').collect();
        let [hop, run, seq, closed] = parts.as_slice() else { return Self::default() };
        let seq = if *seq == "end" { Ok(Self::END) } else { seq.parse() };
        match (hop.parse(), run.parse(), seq, *closed) {
            (Ok(hop), Ok(run), Ok(seq), "0" | "1") => Self { hop, run, seq, closed: *closed == "1" },
            _ => Self::default(),
        }
    }

    fn id(self) -> String {
        let Self { hop, run, seq, closed } = self;
        let seq = if seq == Self::END { "end".to_owned() } else { seq.to_string() };
        format!("{hop}.{run}.{seq}.{}", u8::from(closed))
    }
}

/// Somebody who watches one task.
struct Watch {
    state: State,
    view: View,
    id: String,
    seen: Mark,
    status: Option<Status>,
    events: mpsc::Sender<Result<Event, Infallible>>,
}

/// Nobody reads any more, or all is said.
struct Over;

impl Watch {
    async fn follow(mut self) {
        let mut changes = self.state.world.db.bell().changes();
        let mut live = self.state.world.live.watch();
        let drain = self.state.drain.clone();
        loop {
            match self.look().await {
                Ok(Ok(())) => {}
                Ok(Err(Over)) => return,
                Err(error) => tracing::warn!(event = "store_unavailable", %error, "a watcher of {} waits: {error}", self.id),
            }
            let next = Instant::now() + POLL;
            loop {
                tokio::select! {
                    () = sleep_until(next) => break,
                    () = self.events.closed() => return,
                    () = drain.cancelled() => return,
                    changed = changes.recv() => match changed {
                        Ok(task) if *task != *self.id => {}
                        Ok(_) | Err(RecvError::Lagged(_)) => break,
                        Err(RecvError::Closed) => return,
                    },
                    doing = live.recv() => match doing {
                        Ok(doing) => if self.live(&doing).await.is_err() { return },
                        Err(RecvError::Lagged(_)) => {}
                        Err(RecvError::Closed) => return,
                    },
                }
            }
        }
    }

    /// Sends what is new in the rows.
    async fn look(&mut self) -> Result<Result<(), Over>, StoreError> {
        let db = self.state.world.db.clone();
        // The task first: what its rows show can only be newer, and nothing follows its end.
        let Some(task) = crate::store::tasks::find(&db, &self.id).await? else { return Ok(Err(Over)) };
        let hops = hops::of(&db, &self.id).await?;
        let calls = journal::calls(&db, &self.id, self.seen.hop).await?;
        if self.status != Some(task.status) {
            self.status = Some(task.status);
            let data = json!({
                "task_id": task.id,
                "status": task.status.as_str(),
                "waits_for": self.view.waits_for(&task),
            });
            if self.send("status", None, data).await.is_err() {
                return Ok(Err(Over));
            }
        }
        for (mark, name, data) in events(&hops, calls, self.view) {
            if mark > self.seen {
                self.seen = mark;
                if self.send(name, Some(mark.id()), data).await.is_err() {
                    return Ok(Err(Over));
                }
            }
        }
        if ended(&task) {
            let shown = whole(&db, &task, self.view).await?;
            let data = serde_json::to_value(shown)?;
            // Whether it is read or not: this was all.
            let _ = self.send("done", Some(DONE.into()), data).await;
            return Ok(Err(Over));
        }
        Ok(Ok(()))
    }

    /// Sends what a run does right now, to operators.
    async fn live(&self, doing: &Arc<Doing>) -> Result<(), Over> {
        if doing.task != self.id || !self.view.operator {
            return Ok(());
        }
        let (hop, agent) = (doing.hop, &doing.agent);
        match &doing.what {
            What::Began(kind) => {
                let data = json!({ "ref": doing.reference, "hop": hop, "run": doing.run, "agent": agent, "kind": kind, "state": "started" });
                self.send("call", None, data).await
            }
            What::Said { text, tokens } => {
                self.send("token", None, json!({ "hop": hop, "agent": agent, "text": self.view.open(text), "tokens": tokens }))
                    .await
            }
        }
    }

    async fn send(&self, name: &str, id: Option<String>, data: Value) -> Result<(), Over> {
        let event = Event::default().event(name).data(data.to_string());
        let event = id.into_iter().fold(event, |event, id| event.id(id));
        self.events.send(Ok(event)).await.map_err(|_| Over)
    }
}

fn ended(task: &Task) -> bool {
    matches!(task.status, Status::Done | Status::Failed | Status::Cancelled | Status::Expired)
}

/// What the rows tell, in order: each run of each hop, its calls, and how the last run ended.
fn events(hops: &[hops::Hop], calls: Vec<journal::Entry>, view: View) -> Vec<(Mark, &'static str, Value)> {
    let agent_of = |seq: u32| hops.iter().find(|hop| hop.seq == seq).map_or("", |hop| hop.agent.as_str());
    let mut events = Vec::new();
    // The hops were read first: what the journal knows beyond them is told at the next look, in its order.
    let known = |call: &journal::Entry| hops.iter().any(|hop| hop.seq == call.hop && call.run <= hop.run);
    for call in calls.into_iter().filter(known) {
        let at = Mark { hop: call.hop, run: call.run, seq: call.seq, closed: call.seq > 0 && call.finished_at.is_some() };
        let agent = agent_of(call.hop);
        if call.seq == 0 {
            let data = json!({
                "seq": call.hop, "agent": agent, "run": call.run, "status": "running", "started_at": rfc3339(call.started_at),
            });
            events.push((at, "hop", data));
        } else if view.operator {
            events.push((at, "call", shown(call, agent)));
        }
    }
    for hop in hops.iter().filter(|hop| matches!(hop.status.as_str(), "done" | "failed")) {
        let at = Mark { hop: hop.seq, run: hop.run, seq: Mark::END, closed: true };
        let data = json!({
            "seq": hop.seq,
            "agent": hop.agent,
            "run": hop.run,
            "status": hop.status,
            "outcome": hop.outcome.as_ref().and_then(|outcome| outcome.open(Clearance::OPERATOR).ok()).map(|outcome| outcome.kind()),
            "started_at": hop.started_at.map(rfc3339),
            "duration_ms": hop.finished_at.zip(hop.started_at).map(|(end, start)| end.since(start)),
        });
        events.push((at, "hop", data));
    }
    events.sort_by_key(|(mark, _, _)| *mark);
    events
}

fn shown(call: journal::Entry, agent: &str) -> Value {
    json!({
        "ref": format!("{}.{}.{}", call.hop, call.run, call.seq),
        "hop": call.hop,
        "run": call.run,
        "agent": agent,
        "kind": call.kind,
        "state": call.state,
        "destination": call.destination,
        "model": call.usage.as_ref().map(|usage| usage.model.clone()),
        "input_tokens": call.usage.as_ref().map(|usage| usage.input),
        "output_tokens": call.usage.as_ref().map(|usage| usage.output),
        "duration_ms": call.finished_at.map(|end| end.since(call.started_at)),
        "refusal": call.answer.as_ref().and_then(|answer| answer.open(Clearance::OPERATOR).ok()),
    })
}

#[cfg(test)]
mod tests {
    use super::Mark;

    #[test]
    fn an_id_leads_back_to_its_mark_and_nonsense_to_the_beginning() {
        let mark = |hop, run, seq, closed| Mark { hop, run, seq, closed };
        for at in [mark(1, 1, 0, false), mark(2, 3, 17, true), mark(1, 2, Mark::END, true)] {
            assert_eq!(Mark::parse(&at.id()), at);
        }
        for nonsense in ["", "x", "1.1", "1.end.0.0", "-1.0.0.0", "999999999999.1.1.1"] {
            assert_eq!(Mark::parse(nonsense), Mark::default(), "{nonsense}");
        }
        assert!(mark(1, 1, 1, false) < mark(1, 1, 1, true), "the end of a call follows its beginning");
        assert!(mark(1, 1, 9, true) < mark(1, 1, Mark::END, true));
        assert!(mark(1, 1, Mark::END, true) < mark(1, 2, 0, false), "another run follows the end of the last");
    }
}
