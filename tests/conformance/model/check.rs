//! What must hold of every store, each as a check of its own over what was asked, answered and seen. They know neither the plain
//! model nor the store.

use std::collections::BTreeMap;

use policy::task::Priority;

use super::moves::{Answer, How, LEASE, Move, Seen, Task, What};

/// What was seen of the past.
#[derive(Default)]
pub struct Past {
    sent: BTreeMap<String, Sent>,
    /// The latest lease of each task.
    leases: BTreeMap<String, Lease>,
    /// What each key was first sent with, and first answered.
    keys: BTreeMap<u8, (u8, String)>,
    /// Marks of what was written under lost leases.
    lost: Vec<String>,
}

struct Sent {
    priority: Priority,
    created_at: i64,
    expires_at: Option<i64>,
    due_at: i64,
}

struct Lease {
    number: i64,
    host: usize,
    until: i64,
}

/// One move, and what came of it.
pub struct Happened<'h> {
    pub past: &'h Past,
    pub the: &'h Move,
    pub answer: &'h Answer,
    pub before: &'h Seen,
    pub after: &'h Seen,
}

/// What a check says.
pub type Verdict = Result<(), String>;
/// A check, with its name.
pub type Check = (&'static str, fn(&Happened<'_>) -> Verdict);

macro_rules! checks {
    ($($check:ident),+ $(,)?) => {
        /// All of them.
        pub const CHECKS: &[Check] = &[$((stringify!($check), $check)),+];
    };
}

checks![
    an_old_lease_changes_nothing,
    nothing_written_under_a_lost_lease_is_seen,
    a_task_has_one_live_lease,
    lease_numbers_only_grow,
    the_order_is_priority_then_age,
    a_task_waits_for_its_time,
    a_lapsed_task_never_runs,
    a_lapsed_task_expires,
    a_key_answers_its_first_task_for_ever,
    a_settled_task_stays_settled,
    attempts_count_only_failed_runs,
    a_renewed_lease_is_held,
    a_lease_that_ran_out_is_given_back,
    a_crash_voids_leases_and_loses_nothing,
    an_answer_stays,
    a_label_only_rises,
    a_run_has_a_number_of_its_own,
];

impl Past {
    /// Whether the lease of a move is the one that holds its task.
    fn is_held(&self, the: &Move, before: &Seen) -> bool {
        let running = before.get(&the.task).is_some_and(|task| task.status == "running");
        running && self.leases.get(&the.task).is_some_and(|lease| lease.number == the.lease)
    }

    /// Whether a task may be leased.
    fn is_due(&self, id: &str, task: &Task, now: i64) -> bool {
        let sent = &self.sent[id];
        task.waits() && sent.due_at <= now && sent.expires_at.is_none_or(|at| at > now)
    }

    /// Takes down what has happened.
    pub fn add(&mut self, the: &Move, answer: &Answer, before: &Seen, after: &Seen) {
        if the.leased() && !self.is_held(the, before) {
            self.lost.push(the.mark());
        }
        // Whoever falls back into the queue is due at once, but for those who are told to wait.
        let fallen = after.iter().filter(|(id, task)| task.waits() && before.get(*id).is_some_and(|before| !before.waits()));
        let fallen: Vec<String> = fallen.map(|(id, _)| id.clone()).collect();
        for id in fallen {
            self.sent.get_mut(&id).unwrap().due_at = the.now;
        }
        match (&the.what, answer) {
            (What::Enqueue { priority, ttl_s, key, body }, Answer::Task(Some(id))) => {
                let expires_at = ttl_s.map(|seconds| the.now + seconds * 1000);
                let sent = Sent { priority: *priority, created_at: the.now, expires_at, due_at: the.now };
                self.sent.entry(id.clone()).or_insert(sent);
                if let Some(key) = key {
                    self.keys.entry(*key).or_insert((*body, id.clone()));
                }
            }
            (What::Lease, Answer::Lease(Some((id, number)))) => {
                self.leases.insert(id.clone(), Lease { number: *number, host: the.host, until: the.now + LEASE });
            }
            (What::Beat, Answer::Held(true)) => {
                if let Some(lease) = self.leases.get_mut(&the.task) {
                    lease.until = the.now + LEASE;
                }
            }
            (What::Settle { how: How::Retry(after) | How::Park(after) | How::Release(after), .. }, Answer::Held(true)) => {
                self.sent.get_mut(&the.task).unwrap().due_at = the.now + after;
            }
            (What::Retry, Answer::Held(true)) => {
                let sent = self.sent.get_mut(&the.task).unwrap();
                sent.due_at = the.now;
                if before[&the.task].ended() {
                    sent.expires_at = None;
                }
            }
            _ => {}
        }
    }
}

/// The task that was leased, as it was before.
fn leased<'h>(h: &'h Happened<'_>) -> Option<(&'h String, &'h Task, i64)> {
    let Answer::Lease(Some((id, number))) = h.answer else { return None };
    Some((id, &h.before[id], *number))
}

fn ensure(holds: bool, said: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(said()) }
}

fn an_old_lease_changes_nothing(h: &Happened<'_>) -> Verdict {
    if !h.the.leased() || h.past.is_held(h.the, h.before) {
        return Ok(());
    }
    ensure(h.answer.refuses(), || format!("lease {} of {} is lost, and it was answered {:?}", h.the.lease, h.the.task, h.answer))?;
    ensure(h.before == h.after, || format!("lease {} of {} is lost, and something changed", h.the.lease, h.the.task))
}

fn nothing_written_under_a_lost_lease_is_seen(h: &Happened<'_>) -> Verdict {
    let now_lost = (h.the.leased() && !h.past.is_held(h.the, h.before)).then(|| h.the.mark());
    let found = h.after.values().flat_map(Task::texts).find(|text| h.past.lost.contains(*text) || now_lost.as_ref() == Some(*text));
    ensure(found.is_none(), || format!("what `{}` wrote is there", found.unwrap()))
}

fn a_task_has_one_live_lease(h: &Happened<'_>) -> Verdict {
    let Some((id, before, number)) = leased(h) else { return Ok(()) };
    ensure(before.status != "running", || format!("{id} was being worked on, and was leased again under {number}"))
}

fn lease_numbers_only_grow(h: &Happened<'_>) -> Verdict {
    let Some((id, _, number)) = leased(h) else { return Ok(()) };
    let former = h.past.leases.get(id).map_or(0, |lease| lease.number);
    ensure(number > former, || format!("{id} was leased under {number} after {former}"))
}

fn the_order_is_priority_then_age(h: &Happened<'_>) -> Verdict {
    let Answer::Lease(got) = h.answer else { return Ok(()) };
    let due = h.before.iter().filter(|(id, task)| h.past.is_due(id, task, h.the.now)).map(|(id, _)| id);
    // Ten minutes of age weigh as much as one step of priority.
    let first = due.min_by_key(|id| {
        let sent = &h.past.sent[*id];
        (sent.created_at - sent.priority as i64 * 10 * 60 * 1000, *id)
    });
    let got = got.as_ref().map(|(id, _)| id);
    ensure(got == first, || format!("{first:?} is first, and {got:?} was leased"))
}

fn a_task_waits_for_its_time(h: &Happened<'_>) -> Verdict {
    let Some((id, ..)) = leased(h) else { return Ok(()) };
    let due_at = h.past.sent[id].due_at;
    ensure(due_at <= h.the.now, || format!("{id} is due at {due_at} and was leased at {}", h.the.now))
}

fn a_lapsed_task_never_runs(h: &Happened<'_>) -> Verdict {
    let Some((id, before, _)) = leased(h) else { return Ok(()) };
    let expires_at = h.past.sent[id].expires_at;
    ensure(before.status != "expired", || format!("{id} had expired and was leased"))?;
    ensure(expires_at.is_none_or(|at| at > h.the.now), || format!("{id} lapsed at {expires_at:?} and was leased at {}", h.the.now))
}

fn a_lapsed_task_expires(h: &Happened<'_>) -> Verdict {
    if h.the.what != What::Expire {
        return Ok(());
    }
    let lapsed = |id: &String| h.past.sent[id].expires_at.is_some_and(|at| at <= h.the.now);
    let left = h.after.iter().find(|(id, task)| task.waits() && lapsed(id));
    ensure(left.is_none(), || format!("{} has lapsed and waits on", left.unwrap().0))
}

fn a_key_answers_its_first_task_for_ever(h: &Happened<'_>) -> Verdict {
    let What::Enqueue { key: Some(key), body, .. } = &h.the.what else { return Ok(()) };
    let Some((first, task)) = h.past.keys.get(key) else { return Ok(()) };
    let expected = Answer::Task((first == body).then(|| task.clone()));
    ensure(*h.answer == expected, || {
        format!("key {key} stands for {task} with body {first}: body {body} was answered {:?}", h.answer)
    })?;
    ensure(h.before == h.after, || format!("key {key} stands for {task}, and something was enqueued"))
}

fn a_settled_task_stays_settled(h: &Happened<'_>) -> Verdict {
    for (id, before) in h.before.iter().filter(|(_, task)| task.ended()) {
        let tried_again = h.the.what == What::Retry && h.the.task == *id && before.status != "done";
        let same = h.after.get(id) == Some(before);
        ensure(same || tried_again, || format!("{id} was {} and has changed: {:?}", before.status, h.after.get(id)))?;
    }
    Ok(())
}

fn attempts_count_only_failed_runs(h: &Happened<'_>) -> Verdict {
    for (id, after) in h.after {
        let before = h.before.get(id).map_or(0, |task| task.attempts);
        let mine = *id == h.the.task && *h.answer == Answer::Held(true);
        let expected = match (&h.the.what, mine) {
            (What::Settle { how: How::Retry(_) | How::Failed, .. }, true) => before + 1,
            (What::Settle { how: How::NextHop, .. }, true) => 0,
            (What::Retry, true) if h.before[id].ended() => 0,
            _ => before,
        };
        ensure(after.attempts == expected, || format!("{id} counts {} failed runs, and had {expected}", after.attempts))?;
    }
    Ok(())
}

fn a_renewed_lease_is_held(h: &Happened<'_>) -> Verdict {
    if h.the.what != What::Rescue {
        return Ok(());
    }
    for (id, before) in h.before.iter().filter(|(_, task)| task.status == "running") {
        let until = h.past.leases[id].until;
        let is_held = h.after[id] == *before;
        ensure(is_held || until < h.the.now, || format!("{id} is held until {until} and was taken away at {}", h.the.now))?;
    }
    Ok(())
}

fn a_lease_that_ran_out_is_given_back(h: &Happened<'_>) -> Verdict {
    if h.the.what != What::Rescue {
        return Ok(());
    }
    let left = h.after.iter().find(|(id, task)| task.status == "running" && h.past.leases[*id].until < h.the.now);
    ensure(left.is_none(), || format!("the lease of {} has run out, and it is held", left.unwrap().0))
}

fn a_crash_voids_leases_and_loses_nothing(h: &Happened<'_>) -> Verdict {
    if h.the.what != What::Crash {
        return Ok(());
    }
    let mut expected = h.before.clone();
    for (id, task) in expected.iter_mut().filter(|(_, task)| task.status == "running") {
        let lease = &h.past.leases[id];
        if lease.host == h.the.host || lease.until < h.the.now {
            task.status = "pending".into();
        }
    }
    ensure(expected == *h.after, || format!("after the crash of host {} there is {:?}", h.the.host, h.after))
}

fn an_answer_stays(h: &Happened<'_>) -> Verdict {
    for (id, before) in h.before {
        for (at, entry) in &before.journal {
            let after = h.after.get(id).and_then(|task| task.journal.get(at));
            let stays = after.is_some_and(|after| after == entry || entry.state == "started");
            ensure(stays, || format!("entry {at:?} of {id} was {entry:?} and is {after:?}"))?;
        }
    }
    Ok(())
}

fn a_label_only_rises(h: &Happened<'_>) -> Verdict {
    for (id, before) in h.before {
        let after = h.after[id].label;
        ensure(after.join(before.label) == after, || format!("{id} was {:?} and is {after:?}", before.label))?;
    }
    Ok(())
}

fn a_run_has_a_number_of_its_own(h: &Happened<'_>) -> Verdict {
    let Answer::Run(Some(run)) = h.answer else { return Ok(()) };
    let (hop, former, _) = h.the.at;
    ensure(*run > former, || format!("hop {hop} of {} has had run {former} and starts run {run}", h.the.task))
}
