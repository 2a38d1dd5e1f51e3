//! Random sequences of everything that can be done to a store, made on a real one and on a plain model of it: both must answer the
//! same and look the same after each move, and each of the named checks must hold. Each check has a broken twin, a store with one
//! flaw, that it must find.
//!
//! The sequences are the same each time. `HOST_TEST_CASES` says how many, `HOST_TEST_SEED` (a number) draws others.

mod check;
mod flaw;
mod moves;
mod plain;
mod subject;

use std::cell::RefCell;
use std::collections::BTreeSet;

use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

use check::{CHECKS, Check, Happened, Past};
use flaw::Flaw;
use moves::{Answer, Draw, Move, Seen, What};
use plain::Plain;
use subject::{Ground, Subject, risen};

/// Sequences in the normal suite; on PostgreSQL, whose commits are slower, the first few of them.
const CASES: u32 = 12;
const FEW: u32 = 4;
/// What they are drawn from unless `HOST_TEST_SEED` says something else: every flaw is found early, which saves half the time.
const SEED: u64 = 1;
/// Sequences within which a flaw must be found.
const BOUND: u32 = 64;
/// Tasks of one sequence.
const MOST: usize = 4;

/// What is judged.
#[derive(Clone, Copy)]
enum Judge {
    /// The checks, and that the plain model says the same.
    Everything,
    /// One check.
    Only(Check),
    /// That the plain model says the same.
    Model,
}

/// Makes the moves on a fresh store and says what is wrong first.
async fn play(
    ground: &Ground,
    flaw: Option<Flaw>,
    draws: &[Draw],
    judge: Judge,
    reached: &mut BTreeSet<String>,
) -> Result<(), String> {
    let broke = |error: host::store::StoreError| format!("the store does not answer: {error}");
    let mut subject = Subject::new(ground, flaw).await.map_err(broke)?;
    let (mut plain, mut past, mut made) = (Plain::default(), Past::default(), Vec::new());
    let (mut now, mut leases, mut ids) = (1_000_000, Vec::new(), Vec::new());
    let mut before = Seen::new();
    for (step, draw) in draws.iter().enumerate() {
        if let What::Pass { ms } = draw.what {
            now += ms;
        }
        let Some(the) = named(step, now, draw, (&leases, &ids), &before, ground.hosts) else { continue };
        let answer = subject.answer(&the).await.map_err(broke)?;
        let after = subject.seen().await.map_err(broke)?;
        reached.insert(format!("{} {}", short(&the.what), answer.kind()).trim().to_owned());
        made.push(format!("{:3}. {:?} of {} at {now} under {}: {answer:?}", step, the.what, the.task, the.lease));
        let happened = Happened { past: &past, the: &the, answer: &answer, before: &before, after: &after };
        let judged = match judge {
            Judge::Everything => judged(&happened, CHECKS).and_then(|()| same(&mut plain, &the, &answer, &after)),
            Judge::Only(check) => judged(&happened, &[check]),
            Judge::Model => same(&mut plain, &the, &answer, &after),
        };
        judged.map_err(|said| format!("{said}\n{}", made.join("\n")))?;
        match (&the.what, &answer) {
            (What::Lease, Answer::Lease(Some(lease))) => leases.push(lease.clone()),
            (What::Enqueue { .. }, Answer::Task(Some(id))) if !ids.contains(id) => ids.push(id.clone()),
            _ => {}
        }
        past.add(&the, &answer, &before, &after);
        before = after;
    }
    Ok(())
}

/// A draw with all that it names; `None` if there is nothing to make it with.
fn named(
    step: usize,
    now: i64,
    draw: &Draw,
    (leases, ids): (&[(String, i64)], &[String]),
    seen: &Seen,
    hosts: usize,
) -> Option<Move> {
    let newest = |count: usize| (count > 0).then(|| count - 1 - draw.pick % count);
    let mut the = Move {
        step,
        now,
        what: draw.what.clone(),
        host: draw.pick % hosts,
        task: String::new(),
        lease: 0,
        at: (0, 0, 0),
        label: policy::tier::Label::of(policy::tier::Tier::Internal),
    };
    if the.leased() {
        let held = |at: usize| {
            let (task, _) = &leases[at];
            seen[task].status == "running" && !leases[at + 1..].iter().any(|(later, _)| later == task)
        };
        let kind: Vec<usize> = (0..leases.len()).filter(|at| held(*at) == draw.live).collect();
        let at = newest(kind.len()).map(|at| kind[at]).or_else(|| newest(leases.len()))?;
        (the.task, the.lease) = leases[at].clone();
    } else if matches!(the.what, What::Cancel | What::Retry) {
        the.task = ids[newest(ids.len())?].clone();
    } else if let What::Enqueue { key, .. } = &mut the.what {
        if ids.len() >= MOST && key.is_none() {
            *key = Some(0);
        }
        the.task = format!("T{step:03}");
    }
    if let Some(task) = seen.get(&the.task) {
        let (hop, run) = (task.hops.len(), task.hops.last()?.run);
        let hop = u32::try_from(hop).ok()?;
        let last = task.journal.keys().filter(|at| (at.0, at.1) == (hop, run)).map(|at| at.2).max().unwrap_or(0);
        let again = matches!(the.what, What::Intend { again: true } | What::Record { again: true });
        the.at = (hop, run, if again { last.max(1) } else { last + 1 });
        the.label = risen(task.label, matches!(the.what, What::Settle { restricted: true, .. }));
    }
    Some(the)
}

fn judged(happened: &Happened<'_>, checks: &[Check]) -> Result<(), String> {
    checks.iter().try_for_each(|(name, check)| check(happened).map_err(|said| format!("{name}: {said}")))
}

fn same(plain: &mut Plain, the: &Move, answer: &Answer, after: &Seen) -> Result<(), String> {
    let expected = plain.answer(the);
    if *answer != expected {
        return Err(format!("{MODEL}: it answers {expected:?} and the store {answer:?}"));
    }
    let seen = plain.seen();
    let other = seen.iter().find(|(id, task)| after.get(*id) != Some(task));
    match other {
        Some((id, task)) => Err(format!("{MODEL}: {id} is\n{task:?}\nand in the store\n{:?}", after.get(id))),
        None if seen.len() != after.len() => {
            Err(format!("{MODEL}: there are {} tasks, and {} in the store", seen.len(), after.len()))
        }
        None => Ok(()),
    }
}

/// The name of the comparison with the plain model.
const MODEL: &str = "the_plain_model_says_the_same";

/// The kind of a move, for the list of what was reached.
fn short(what: &What) -> String {
    let whole = if let What::Settle { how, .. } = what { format!("settle {how:?}") } else { format!("{what:?}") };
    whole.split(['{', '(']).next().unwrap_or_default().trim().to_lowercase()
}

/// Plays so many random sequences; what went wrong in the first bad one, made as short as `shrinks` allow.
fn played(ground: &Ground, flaw: Option<Flaw>, judge: Judge, (cases, shrinks): (u32, u32)) -> Result<BTreeSet<String>, String> {
    let variable = |name| host::config::variable(name).and_then(|text| text.parse::<u64>().ok());
    let config = Config { cases, max_shrink_iters: shrinks, failure_persistence: None, ..Config::default() };
    let seed = variable("HOST_TEST_SEED").unwrap_or(SEED);
    let mut bytes = [7; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let reached = RefCell::new(BTreeSet::new());
    let run = runner.run(&moves::draws(), |draws| {
        let played = runtime.block_on(play(ground, flaw, &draws, judge, &mut reached.borrow_mut()));
        played.map_err(TestCaseError::fail)
    });
    match run {
        Ok(()) => Ok(reached.into_inner()),
        Err(TestError::Fail(why, _)) => Err(format!("seed {seed}: {why}")),
        Err(TestError::Abort(why)) => panic!("seed {seed}: {why}"),
    }
}

fn sqlite() -> (tempfile::TempDir, Ground) {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("host.db").display());
    (folder, Ground { url, hosts: 1 })
}

/// Everything that a move can come to.
const EVERYTHING: &[&str] = &[
    "beat no",
    "beat yes",
    "cancel no",
    "cancel yes",
    "crash",
    "enqueue no",
    "enqueue yes",
    "expire no",
    "expire yes",
    "intend no",
    "intend yes",
    "lease no",
    "lease yes",
    "pass",
    "record no",
    "record yes",
    "rescue no",
    "rescue yes",
    "resume no",
    "resume yes",
    "retry no",
    "retry yes",
    "settle done no",
    "settle done yes",
    "settle failed no",
    "settle failed yes",
    "settle nexthop no",
    "settle nexthop yes",
    "settle park no",
    "settle park yes",
    "settle release no",
    "settle release yes",
    "settle retry no",
    "settle retry yes",
    "start no",
    "start yes",
];

fn holds(ground: &Ground, usual: u32) -> BTreeSet<String> {
    let cases = host::config::variable("HOST_TEST_CASES").and_then(|text| text.parse().ok()).unwrap_or(usual);
    played(ground, None, Judge::Everything, (cases, 256)).unwrap_or_else(|why| panic!("{why}"))
}

#[test]
fn sqlite_is_what_the_plain_model_is() {
    let (_folder, ground) = sqlite();
    let reached = holds(&ground, CASES);
    // Sequences that never get anywhere prove nothing.
    assert_eq!(reached.iter().map(String::as_str).collect::<Vec<_>>(), EVERYTHING);
}

#[test]
fn two_hosts_on_postgres_are_what_the_plain_model_is() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let url = runtime.block_on(crate::support::postgres::database());
    holds(&Ground { url, hosts: 2 }, FEW);
}

/// Each flaw, and the check that must find it.
macro_rules! twins {
    ($($flaw:ident: $check:ident,)+) => {
        /// The checks that are known to find something.
        const PROVEN: &[&str] = &[$(stringify!($check)),+];

        /// Broken twins.
        mod twin {
            $(#[test]
            #[expect(non_snake_case, reason = "named after its flaw")]
            fn $flaw() {
                super::finds(super::Flaw::$flaw, stringify!($check));
            })+
        }
    };
}

twins![
    SettlesUnderAnyLease: an_old_lease_changes_nothing,
    BeatsUnderAnyLease: an_old_lease_changes_nothing,
    StartsUnderAnyLease: an_old_lease_changes_nothing,
    JournalsUnderAnyLease: nothing_written_under_a_lost_lease_is_seen,
    LeasesWhatIsLeased: a_task_has_one_live_lease,
    LeasesTheYoungest: the_order_is_priority_then_age,
    IgnoresPriority: the_order_is_priority_then_age,
    AgesNobody: the_order_is_priority_then_age,
    LeavesOutTheParked: the_order_is_priority_then_age,
    LeasesTooEarly: a_task_waits_for_its_time,
    LeasesTheLapsed: a_lapsed_task_never_runs,
    ExpiresOnlyThePending: a_lapsed_task_expires,
    CountsLeasesAnewAfterACrash: lease_numbers_only_grow,
    ForgetsKeysOfEndedTasks: a_key_answers_its_first_task_for_ever,
    TakesAnyBodyUnderAKey: a_key_answers_its_first_task_for_ever,
    ReopensTheDone: a_settled_task_stays_settled,
    CancelsTheDone: a_settled_task_stays_settled,
    CountsAPark: attempts_count_only_failed_runs,
    CountsARescue: attempts_count_only_failed_runs,
    ForgetsABeat: a_renewed_lease_is_held,
    RescuesOne: a_lease_that_ran_out_is_given_back,
    KeepsLeasesOverACrash: a_crash_voids_leases_and_loses_nothing,
    LosesTheLastEntryInACrash: a_crash_voids_leases_and_loses_nothing,
    RewritesAnAnswer: an_answer_stays,
    ReleaseLowersTheLabel: a_label_only_rises,
    GivesARunAnOldNumber: a_run_has_a_number_of_its_own,
    StartsTheClockAnew: the_plain_model_says_the_same,
];

fn finds(flaw: Flaw, name: &str) {
    let (_folder, ground) = sqlite();
    let judge = CHECKS.iter().find(|(check, _)| *check == name).map_or(Judge::Model, |check| Judge::Only(*check));
    let found = played(&ground, Some(flaw), judge, (BOUND, 0)).expect_err("the flaw is found");
    assert!(found.contains(name), "{flaw:?} is found by `{name}`, and not so: {found}");
}

#[test]
fn every_check_is_known_to_find_something() {
    let idle: Vec<&str> = CHECKS.iter().map(|(name, _)| *name).chain([MODEL]).filter(|name| !PROVEN.contains(name)).collect();
    assert!(idle.is_empty(), "no broken twin for {idle:?}");
}
