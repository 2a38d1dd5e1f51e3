//! The plain model: what a store must do, in memory, in the plainest words. It shares no code with the stores.

use std::collections::BTreeMap;

use policy::task::Priority;
use policy::tier::{Label, Tier};

use super::moves::{Answer, Entry, Hop, How, LEASE, Move, Seen, Task, What};

/// A store without a database.
#[derive(Default)]
pub struct Plain {
    rows: BTreeMap<String, Row>,
    /// What each key stands for: the body, and the task.
    keys: BTreeMap<u8, (u8, String)>,
}

/// A task with what is not seen of it.
struct Row {
    seen: Task,
    priority: Priority,
    created_at: i64,
    expires_at: Option<i64>,
    run_at: i64,
    lease: i64,
    /// Under a lease: the host, and until when.
    held: Option<(usize, i64)>,
}

impl Row {
    fn is_due(&self, now: i64) -> bool {
        self.seen.waits() && self.run_at <= now && self.expires_at.is_none_or(|at| at > now)
    }

    fn hop(&mut self) -> &mut Hop {
        self.seen.hops.last_mut().unwrap()
    }

    /// Back in the queue, as it was.
    fn give_back(&mut self, now: i64) {
        self.seen.status = "pending".into();
        self.held = None;
        self.run_at = now;
    }

    fn end(&mut self, status: &str, now: i64) {
        self.seen.status = status.into();
        self.seen.finished_at = Some(now);
        self.held = None;
    }
}

impl Plain {
    pub fn seen(&self) -> Seen {
        self.rows.iter().map(|(id, row)| (id.clone(), row.seen.clone())).collect()
    }

    pub fn answer(&mut self, the: &Move) -> Answer {
        let now = the.now;
        match &the.what {
            What::Enqueue { priority, ttl_s, key, body } => self.enqueue(the, *priority, *ttl_s, key.map(|key| (key, *body))),
            What::Lease => self.lease(the),
            What::Pass { .. } => Answer::Nothing,
            What::Rescue => Answer::Count(self.rescue(|_, until| until < now, now)),
            What::Crash => {
                self.rescue(|host, until| host == the.host || until < now, now);
                Answer::Nothing
            }
            What::Expire => self.expire(now),
            What::Cancel => Answer::Held(self.row(the).is_some_and(|row| cancel(row, now))),
            What::Retry => Answer::Held(self.row(the).is_some_and(|row| retry(row, now))),
            What::Beat => Answer::Held(self.held(the).is_some_and(|row| {
                row.held = row.held.map(|(host, _)| (host, now + LEASE));
                true
            })),
            What::Settle { how, .. } => Answer::Held(self.held(the).is_some_and(|row| {
                settle(row, the, *how);
                true
            })),
            What::Start => Answer::Run(self.held(the).map(|row| start(row, the))),
            What::Resume => Answer::Held(self.held(the).is_some_and(|row| {
                let lease = row.lease;
                let hop = row.hop();
                let under_way = matches!(hop.status.as_str(), "running" | "parked");
                if under_way {
                    (hop.status, hop.lease) = ("running".into(), lease);
                }
                under_way
            })),
            What::Intend { .. } => Answer::Held(self.held(the).is_some_and(|row| put(row, the, None))),
            What::Record { .. } => Answer::Held(self.held(the).is_some_and(|row| put(row, the, Some(the.mark())))),
        }
    }

    fn row(&mut self, the: &Move) -> Option<&mut Row> {
        self.rows.get_mut(&the.task)
    }

    /// The task, if the move's lease is the one that holds it.
    fn held(&mut self, the: &Move) -> Option<&mut Row> {
        self.row(the).filter(|row| row.lease == the.lease && row.held.is_some())
    }

    fn enqueue(&mut self, the: &Move, priority: Priority, ttl_s: Option<i64>, key: Option<(u8, u8)>) -> Answer {
        if let Some((key, body)) = key {
            if let Some((first, task)) = self.keys.get(&key) {
                return Answer::Task((*first == body).then(|| task.clone()));
            }
            self.keys.insert(key, (body, the.task.clone()));
        }
        let hop = Hop { status: "pending".into(), run: 0, lease: 0, said: None, finished_at: None };
        let seen = Task {
            status: "pending".into(),
            attempts: 0,
            label: Label::of(Tier::Internal),
            started_at: None,
            finished_at: None,
            output: None,
            error: None,
            waits_for: None,
            parked_at: None,
            troubles: 0,
            hops: vec![hop],
            journal: BTreeMap::new(),
        };
        let row = Row {
            seen,
            priority,
            created_at: the.now,
            expires_at: ttl_s.map(|seconds| the.now + seconds * 1000),
            run_at: the.now,
            lease: 0,
            held: None,
        };
        self.rows.insert(the.task.clone(), row);
        Answer::Task(Some(the.task.clone()))
    }

    fn lease(&mut self, the: &Move) -> Answer {
        let due = self.rows.iter_mut().filter(|(_, row)| row.is_due(the.now));
        let first = due.min_by_key(|(id, row)| (row.created_at - row.priority as i64 * 600_000, (*id).clone()));
        Answer::Lease(first.map(|(id, row)| {
            row.lease += 1;
            row.held = Some((the.host, the.now + LEASE));
            row.seen.status = "running".into();
            row.seen.waits_for = None;
            row.seen.started_at.get_or_insert(the.now);
            (id.clone(), row.lease)
        }))
    }

    fn rescue(&mut self, is_lost: impl Fn(usize, i64) -> bool, now: i64) -> u64 {
        let lost = self.rows.values_mut().filter(|row| row.held.is_some_and(|(host, until)| is_lost(host, until)));
        lost.map(|row| row.give_back(now)).count() as u64
    }

    fn expire(&mut self, now: i64) -> Answer {
        let lapsed = self.rows.iter_mut().filter(|(_, row)| row.seen.waits() && row.expires_at.is_some_and(|at| at <= now));
        let ids = lapsed.map(|(id, row)| {
            row.end("expired", now);
            row.seen.waits_for = None;
            let said = "its time to live passed before it was done; nothing was executed after that";
            row.seen.error = Some(("ttl_expired".into(), said.into()));
            cut(row, &["parked"], "expired", now);
            id.clone()
        });
        Answer::Ids(ids.collect())
    }
}

/// Ends a run that will not go on.
fn cut(row: &mut Row, from: &[&str], why: &str, now: i64) {
    for hop in row.seen.hops.iter_mut().filter(|hop| from.contains(&hop.status.as_str())) {
        (hop.status, hop.said, hop.finished_at) = ("failed".into(), Some(why.into()), Some(now));
    }
}

fn cancel(row: &mut Row, now: i64) -> bool {
    if row.seen.ended() {
        return false;
    }
    row.end("cancelled", now);
    row.lease += 1;
    row.seen.error = Some(("cancelled".into(), "enough".into()));
    (row.seen.waits_for, row.seen.parked_at, row.seen.troubles) = (None, None, 0);
    cut(row, &["running", "parked"], "cancelled", now);
    true
}

fn retry(row: &mut Row, now: i64) -> bool {
    match row.seen.status.as_str() {
        "awaiting_backend" => row.run_at = now,
        "failed" | "expired" | "cancelled" => {
            row.give_back(now);
            row.expires_at = None;
            let seen = &mut row.seen;
            (seen.attempts, seen.troubles) = (0, 0);
            (seen.started_at, seen.finished_at, seen.parked_at) = (None, None, None);
            (seen.output, seen.error) = (None, None);
            let hop = row.hop();
            if matches!(hop.status.as_str(), "failed" | "running" | "parked") {
                (hop.status, hop.said, hop.finished_at) = ("pending".into(), None, None);
            }
        }
        _ => return false,
    }
    true
}

fn settle(row: &mut Row, the: &Move, how: How) {
    let (now, mark) = (the.now, the.mark());
    if !matches!(how, How::Release(_)) {
        row.seen.label = the.label;
    }
    if !matches!(how, How::Park(_) | How::Release(_)) {
        (row.seen.parked_at, row.seen.troubles) = (None, 0);
    }
    match how {
        How::Done => {
            row.end("done", now);
            row.seen.output = Some(mark.clone());
        }
        How::Failed => {
            row.end("failed", now);
            row.seen.attempts += 1;
            row.seen.error = Some(("attempts_exhausted".into(), mark.clone()));
        }
        How::Retry(after) => {
            row.give_back(now + after);
            row.seen.attempts += 1;
        }
        How::Release(after) => row.give_back(now + after),
        How::Park(after) => {
            row.give_back(now + after);
            row.seen.status = "awaiting_backend".into();
            (row.seen.waits_for, row.seen.troubles) = (Some(mark.clone()), 1);
            row.seen.parked_at.get_or_insert(now);
        }
        How::NextHop => row.seen.attempts = 0,
    }
    let hop = row.hop();
    match how {
        How::Park(_) | How::Release(_) if hop.status == "running" => hop.status = "parked".into(),
        How::Park(_) | How::Release(_) => {}
        How::Done | How::NextHop => (hop.status, hop.said, hop.finished_at) = ("done".into(), Some(mark), Some(now)),
        How::Failed | How::Retry(_) => (hop.status, hop.said, hop.finished_at) = ("failed".into(), Some(mark), Some(now)),
    }
    if how == How::NextHop {
        row.seen.hops.push(Hop { status: "pending".into(), run: 0, lease: 0, said: None, finished_at: None });
    }
}

fn start(row: &mut Row, the: &Move) -> u32 {
    let lease = row.lease;
    let hop = row.hop();
    *hop = Hop { status: "running".into(), run: hop.run + 1, lease, said: None, finished_at: None };
    let (run, at) = (hop.run, (the.at.0, hop.run, 0));
    row.seen.journal.insert(at, Entry { state: "done".into(), request: the.mark(), answer: Some(the.mark()) });
    run
}

/// Writes an entry; one that has its answer keeps it.
fn put(row: &mut Row, the: &Move, answer: Option<String>) -> bool {
    let state = if answer.is_some() { "done" } else { "started" };
    let entry =
        row.seen.journal.entry(the.at).or_insert_with(|| Entry { state: "started".into(), request: the.mark(), answer: None });
    if entry.state != "started" {
        return false;
    }
    (entry.state, entry.answer) = (state.into(), answer);
    true
}
