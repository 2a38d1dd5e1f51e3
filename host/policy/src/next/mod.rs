//! Which hop follows an outcome, when a failed hop is tried again, and when a task is given up.

mod fault;

use crate::approval::Question;
use crate::task::{ErrorCode, Outcome, RetryPolicy};

pub use fault::Fault;

/// Decides routes for the rest.
pub const TRIAGER: &str = "triager";
/// Speaks to the requester; the last hop of every task.
pub const REPORTER: &str = "reporter";
/// Takes what others reject.
pub const SUPERVISOR: &str = "supervisor";
/// Does what others propose: the one agent that may write outside.
pub const ERRANDS: &str = "errand-runner";
/// Hops after which a task fails (design §2).
pub const MOST_HOPS: u32 = 12;
/// Rejections that a supervisor may reroute in one task (design §2).
pub const MOST_REROUTES: u32 = 2;
/// How long a task waits for a dead backend before it tries by itself, in milliseconds. Much sooner one of those who wait is let
/// through, and when the backend serves it, all are.
pub const BACKEND_PAUSE: i64 = 600_000;
/// How often a hop may fail at a backend that serves others, before that is the hop's own fault (design §7).
pub const MOST_TROUBLES: u32 = 5;
/// How often in a row a host may die on a task without anything new in its journal, before the task is given up (design §6).
pub const MOST_CRASHES: u32 = 10;
/// How long a task waits for its turn at a busy server before it tries by itself, in milliseconds. Whoever leaves lets it in sooner.
pub const TURN_PAUSE: i64 = 60_000;
/// How long a task waits for an agent that is not loaded, in milliseconds.
pub const AWAY_PAUSE: i64 = 60_000;

/// What is known of the hop that ended and of its task.
#[derive(Clone, Copy, Debug)]
pub struct Ended<'a> {
    /// The agent of the hop.
    pub agent: &'a str,
    /// Hops so far, this one included.
    pub hops: u32,
    /// Rejections so far, this one not included.
    pub rejections: u32,
    /// Failed runs of this hop so far, this one not included.
    pub failures: u32,
    /// How often the hop has failed at a backend that served others meanwhile, this time included.
    pub troubles: u32,
    /// Whether any run of this hop has done, or may have done, what must not be done twice.
    pub unrepeatable: bool,
    /// The envelope's.
    pub retry: RetryPolicy,
    /// A number in 0..1 that spreads retries.
    pub chance: f64,
}

/// What happens to the task now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Another hop, by that agent.
    Hop(String),
    /// The task is done; the outcome's text is its output.
    Finish,
    /// The same hop again, after so many milliseconds.
    Retry(i64),
    /// The same hop again, after so many milliseconds, and no attempt is burnt.
    Park(i64),
    /// The hop waits for a person's word on the call of that `ref`: on whether it has happened, or on the question before it.
    Ask(String, Option<Box<Question>>),
    /// The same run goes on after so many milliseconds: it sleeps.
    Sleep(i64),
    /// The task failed.
    Fail(ErrorCode, String),
}

/// The first hop of a task: the agent that it was sent to, or the triager.
#[must_use]
pub fn first(target: Option<&str>) -> &str {
    target.unwrap_or(TRIAGER)
}

/// Whether an agent is told of another as one that it may hand to. The reporter comes by itself. The triager sends requests to those
/// who take requests: the supervisor takes what others reject, and the errand-runner exact calls that others propose.
#[must_use]
pub fn is_offered(agent: &str, other: &str) -> bool {
    other != REPORTER && other != agent && !(agent == TRIAGER && (other == SUPERVISOR || other == ERRANDS))
}

/// An outcome that makes sense. `serves` says whether an agent of that id is loaded, `may_hand` whether this one may hand to it.
///
/// # Errors
/// [`Fault::Outcome`] for a handoff to nobody, or beyond the grant.
pub fn sensible(
    agent: &str,
    outcome: Outcome,
    serves: impl Fn(&str) -> bool,
    may_hand: impl Fn(&str) -> bool,
) -> Result<Outcome, Fault> {
    match &outcome {
        Outcome::Handoff { to, .. } if agent != REPORTER && !serves(to) => {
            Err(Fault::Outcome(format!("`{agent}` handed to `{to}`, which is not loaded")))
        }
        Outcome::Handoff { to, .. } if agent != REPORTER && !may_hand(to) => {
            Err(Fault::Outcome(format!("`{agent}` handed to `{to}`, which its `handoff` grant does not cover")))
        }
        Outcome::Handoff { .. } | Outcome::Answer { .. } | Outcome::Reject { .. } => Ok(outcome),
    }
}

/// What follows. `serves` says whether an agent of that id is loaded.
#[must_use]
pub fn next(ended: Ended<'_>, how: Result<&Outcome, &Fault>, serves: impl Fn(&str) -> bool) -> Step {
    let outcome = match how {
        Ok(outcome) => outcome,
        Err(fault) => return after_fault(ended, fault),
    };
    let follower = match outcome {
        _ if ended.agent == REPORTER => return Step::Finish,
        Outcome::Answer { .. } => REPORTER,
        Outcome::Handoff { to, .. } => to,
        Outcome::Reject { .. } if ended.rejections < MOST_REROUTES && serves(SUPERVISOR) && ended.agent != SUPERVISOR => SUPERVISOR,
        Outcome::Reject { .. } => REPORTER,
    };
    if ended.hops >= MOST_HOPS {
        return Step::Fail(ErrorCode::LimitExceeded, format!("the task took {MOST_HOPS} hops without reaching its report"));
    }
    if follower == REPORTER && !serves(REPORTER) {
        return Step::Finish;
    }
    Step::Hop(follower.to_owned())
}

fn after_fault(ended: Ended<'_>, fault: &Fault) -> Step {
    let code = match fault {
        Fault::Away(_) => return Step::Park(AWAY_PAUSE),
        Fault::Backend { at, .. } if ended.troubles >= MOST_TROUBLES => {
            let said =
                format!("`{}` failed {} times at {at}, which served others meanwhile; last: {fault}", ended.agent, ended.troubles);
            return Step::Fail(ErrorCode::BackendUnavailable, said);
        }
        Fault::Backend { .. } => return Step::Park(BACKEND_PAUSE),
        Fault::Busy { .. } => return Step::Park(TURN_PAUSE),
        Fault::Budget { pause, .. } => return Step::Park(*pause),
        Fault::Asleep { pause } => return Step::Sleep(*pause),
        Fault::Unknown { reference, .. } => return Step::Ask(reference.clone(), None),
        Fault::Consent { reference, question, .. } => return Step::Ask(reference.clone(), Some(question.clone())),
        Fault::Crashed(_) => return Step::Fail(ErrorCode::AttemptsExhausted, fault.to_string()),
        // The same code with the same grant runs into the same wall.
        Fault::Limit(_) => return Step::Fail(ErrorCode::LimitExceeded, fault.to_string()),
        // It would again.
        Fault::Diverged(_) => return Step::Fail(ErrorCode::ReplayDivergence, fault.to_string()),
        Fault::Denied(_) => return Step::Fail(ErrorCode::Denied, fault.to_string()),
        Fault::Trapped(_) => ErrorCode::AgentTrapped,
        Fault::Outcome(_) => ErrorCode::InvalidOutcome,
        Fault::GaveUp(_) => ErrorCode::AttemptsExhausted,
    };
    if ended.unrepeatable {
        let said = format!(
            "`{}` failed, and is not tried again by itself: what it did, or may have done, must not be done twice; last: {fault}",
            ended.agent
        );
        return Step::Fail(code, said);
    }
    let failures = ended.failures + 1;
    if failures >= ended.retry.max_attempts {
        return Step::Fail(code, format!("`{}` failed {failures} times; last: {fault}", ended.agent));
    }
    Step::Retry(pause(ended.retry.backoff_seconds, failures, ended.chance))
}

/// Doubles with each failure, at most a day, spread by a quarter up or down.
fn pause(backoff_seconds: u32, failures: u32, chance: f64) -> i64 {
    let doubled = i64::from(backoff_seconds) * 1000 * (1_i64 << failures.saturating_sub(1).min(16));
    let spread = 0.75 + 0.5 * chance;
    #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "at most a day in milliseconds")]
    let spread = (doubled.min(86_400_000) as f64 * spread) as i64;
    spread
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ended(agent: &str) -> Ended<'_> {
        Ended {
            agent,
            hops: 1,
            rejections: 0,
            failures: 0,
            troubles: 0,
            unrepeatable: false,
            retry: RetryPolicy::default(),
            chance: 0.5,
        }
    }

    fn answer() -> Outcome {
        Outcome::Answer { text: "done".into(), data: None, citations: vec![], wrote: vec![] }
    }

    fn handoff(to: &str) -> Outcome {
        Outcome::Handoff { to: to.into(), why: String::new(), text: String::new(), data: None, citations: vec![] }
    }

    fn reject() -> Outcome {
        Outcome::Reject { why: "not mine".into(), suggested: None, keep: String::new() }
    }

    #[test]
    fn a_task_begins_with_its_target_or_the_triager() {
        assert_eq!((first(None), first(Some("b"))), (TRIAGER, "b"));
    }

    #[test]
    fn requests_go_to_those_who_take_requests() {
        let offered = |agent: &str| [TRIAGER, REPORTER, SUPERVISOR, ERRANDS, "note-maker"].map(|other| is_offered(agent, other));
        assert_eq!(offered(TRIAGER), [false, false, false, false, true]);
        assert_eq!(offered("note-maker"), [true, false, true, true, false]);
    }

    #[test]
    fn a_run_rests_for_what_will_pass_and_for_nothing_else() {
        let text = String::new;
        for (fault, rests) in [
            (away(), true),
            (Fault::Busy { at: text() }, true),
            (Fault::Budget { said: text(), pause: 1 }, true),
            (Fault::Asleep { pause: 1 }, true),
            (Fault::Unknown { reference: text(), kind: text() }, true),
            (consent(), true),
            (Fault::Trapped(text()), false),
            (Fault::GaveUp(text()), false),
            (Fault::Limit(text()), false),
            (Fault::Outcome(text()), false),
            (Fault::Denied(text()), false),
            (Fault::Diverged(text()), false),
            (Fault::Away(text()), false),
            (Fault::Crashed(1), false),
        ] {
            assert_eq!(fault.rests(), rests, "{fault:?}");
        }
    }

    #[test]
    fn a_pause_doubles_up_to_a_day_and_is_spread() {
        let milliseconds = |seconds, failures| pause(seconds, failures, 0.5);
        assert_eq!([1, 2, 3, 4].map(|failures| milliseconds(2, failures)), [2_000, 4_000, 8_000, 16_000]);
        assert_eq!((milliseconds(0, 5), milliseconds(86_400, 3), milliseconds(3_600, 40)), (0, 86_400_000, 86_400_000));
        assert_eq!((pause(4, 1, 0.0), pause(4, 1, 1.0)), (3_000, 5_000));
    }

    #[test]
    fn each_outcome_leads_to_its_hop() {
        let hop = |id: &str| Step::Hop(id.to_owned());
        let all = |_: &str| true;
        assert_eq!(next(ended("triager"), Ok(&handoff("note-maker")), all), hop("note-maker"));
        assert_eq!(next(ended("note-maker"), Ok(&answer()), all), hop("reporter"));
        assert_eq!(next(ended("note-maker"), Ok(&reject()), all), hop("supervisor"));
        assert_eq!(next(ended("reporter"), Ok(&answer()), all), Step::Finish);
        assert_eq!(next(ended("note-maker"), Ok(&reject()), |id| id != "supervisor"), hop("reporter"));
        assert_eq!(next(ended("note-maker"), Ok(&answer()), |_| false), Step::Finish);
        let third = Ended { rejections: MOST_REROUTES, ..ended("note-maker") };
        assert_eq!(next(third, Ok(&reject()), all), hop("reporter"));
    }

    #[test]
    fn a_handoff_to_nobody_or_beyond_the_grant_is_a_failed_run() {
        let nobody = sensible("triager", handoff("ghost"), |id| id != "ghost", |_| true).expect_err("nobody is there");
        assert_eq!(next(ended("triager"), Err(&nobody), |_| true), Step::Retry(0));
        let beyond = sensible("triager", handoff("vault-eater"), |_| true, |_| false).expect_err("it is not granted");
        let last = Ended { failures: 2, ..ended("triager") };
        let step = next(last, Err(&beyond), |_| true);
        assert!(matches!(step, Step::Fail(ErrorCode::InvalidOutcome, said) if said.contains("`handoff` grant")));
        assert_eq!(sensible("triager", handoff("note-maker"), |_| true, |_| true), Ok(handoff("note-maker")));
    }

    fn away() -> Fault {
        Fault::Backend { said: "down".into(), at: "http://127.0.0.1:1".into(), asked: true }
    }

    #[test]
    fn a_hop_waits_for_a_server_until_the_fault_is_its_own() {
        let after = |troubles| next(Ended { troubles, ..ended("a") }, Err(&away()), |_| true);
        assert_eq!(after(0), Step::Park(BACKEND_PAUSE));
        assert_eq!(after(MOST_TROUBLES - 1), Step::Park(BACKEND_PAUSE));
        let failed = after(MOST_TROUBLES);
        assert!(matches!(failed, Step::Fail(ErrorCode::BackendUnavailable, said) if said.contains("served others meanwhile")));
    }

    #[test]
    fn each_fault_has_its_code() {
        let last = Ended { failures: 2, ..ended("a") };
        let code = |fault: Fault| match next(last, Err(&fault), |_| true) {
            Step::Fail(code, _) => code.as_str(),
            Step::Park(_) | Step::Sleep(_) => "parked",
            Step::Ask(..) => "asked",
            Step::Hop(_) | Step::Finish | Step::Retry(_) => "went on",
        };
        assert_eq!(code(Fault::Trapped(String::new())), "agent_trapped");
        assert_eq!(code(Fault::GaveUp(String::new())), "attempts_exhausted");
        assert_eq!(code(Fault::Limit(String::new())), "limit_exceeded");
        assert_eq!(code(Fault::Outcome(String::new())), "invalid_outcome");
        assert_eq!(code(Fault::Denied(String::new())), "denied");
        assert_eq!(code(Fault::Diverged(String::new())), "replay_divergence");
        assert_eq!(code(away()), "parked");
        assert_eq!(code(Fault::Away(String::new())), "parked");
        assert_eq!(code(unknown()), "asked");
        assert_eq!(code(Fault::Crashed(MOST_CRASHES)), "attempts_exhausted");
    }

    fn unknown() -> Fault {
        Fault::Unknown { reference: "1.1.3".into(), kind: "tools.call".into() }
    }

    #[test]
    fn what_must_not_be_done_twice_is_not_tried_again_but_may_wait() {
        let done = Ended { unrepeatable: true, ..ended("a") };
        let step = next(done, Err(&Fault::Trapped("it fell".into())), |_| true);
        let said = "must not be done twice; last: agent trapped: it fell";
        assert!(matches!(&step, Step::Fail(ErrorCode::AgentTrapped, why) if why.ends_with(said)), "{step:?}");
        assert_eq!(next(done, Err(&away()), |_| true), Step::Park(BACKEND_PAUSE), "the run goes on where it was");
        assert_eq!(next(done, Err(&unknown()), |_| true), Step::Ask("1.1.3".into(), None));
        assert_eq!(next(done, Ok(&answer()), |_| true), Step::Hop("reporter".into()));
    }

    fn consent() -> Fault {
        let label = crate::tier::Label::of(crate::tier::Tier::Internal);
        let binding = crate::approval::Binding { fingerprint: "01".into(), agent: "a".into(), digest: "d".into(), label };
        let (because, why) = (String::new(), String::new());
        let question = Question { class: crate::class::Class::C, because, why, undo: None, usd_micros: None, binding };
        Fault::Consent { reference: "1.1.2".into(), to: "wipe".into(), question: Box::new(question) }
    }

    #[test]
    fn a_call_that_needs_consent_is_asked_about() {
        assert_eq!(consent().to_string(), "call 1.1.2 of `a` (`wipe`, class C) waits for a person's consent");
        let step = next(ended("a"), Err(&consent()), |_| true);
        assert!(matches!(step, Step::Ask(call, Some(question)) if call == "1.1.2" && question.needs() == 1));
    }

    fn any_fault() -> impl Strategy<Value = Fault> {
        let text = || String::from("x");
        prop_oneof![
            Just(Fault::Trapped(text())),
            Just(Fault::GaveUp(text())),
            Just(Fault::Limit(text())),
            Just(Fault::Outcome(text())),
            Just(Fault::Denied(text())),
            Just(Fault::Diverged(text())),
            Just(Fault::Away(text())),
            Just(Fault::Crashed(MOST_CRASHES)),
            Just(unknown()),
            Just(consent()),
            Just(away()),
        ]
    }

    proptest! {
        /// However a hop fails, what it has done once is not done again by itself.
        #[test]
        fn nothing_unrepeatable_is_tried_again(fault in any_fault(), failures in 0_u32..9, max_attempts in 1_u32..9, troubles in 0_u32..9) {
            let retry = RetryPolicy { max_attempts, backoff_seconds: 1 };
            let now = Ended { failures, troubles, retry, unrepeatable: true, ..ended("a") };
            prop_assert!(!matches!(next(now, Err(&fault), |_| true), Step::Retry(_)));
        }

        /// However agents behave, a task ends: within its hops, and within its attempts at each hop.
        #[test]
        fn every_task_ends(moves in proptest::collection::vec(0_u8..4, 200), attempts in 1_u32..5) {
            let (mut hops, mut rejections, mut failures) = (1, 0, 0);
            let mut ended_at = None;
            for (at, choice) in moves.iter().enumerate() {
                let retry = RetryPolicy { max_attempts: attempts, backoff_seconds: 1 };
                let now = Ended { agent: "a", hops, rejections, failures, troubles: 0, unrepeatable: false, retry, chance: 0.1 };
                let fault = Fault::Trapped("x".into());
                let outcome = match choice { 0 => Ok(handoff("b")), 1 => Ok(reject()), _ => Err(fault) };
                if matches!(outcome, Ok(Outcome::Reject { .. })) { rejections += 1; }
                match next(now, outcome.as_ref(), |_| true) {
                    Step::Hop(_) => { hops += 1; failures = 0; }
                    Step::Retry(pause) => { prop_assert!((0..=108_000_000).contains(&pause)); failures += 1; }
                    Step::Finish | Step::Park(_) | Step::Sleep(_) | Step::Ask(..) | Step::Fail(..) => { ended_at = Some(at); break; }
                }
            }
            prop_assert!(ended_at.is_some_and(|at| at < 60));
        }
    }
}
