//! Whether a server is worth asking now. One that fails is left alone for a while, and then tried by one call.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use policy::task::Timestamp;
use tokio::time::Instant;

/// How long a server that failed is left alone (design §7).
const PAUSE: Duration = Duration::from_secs(10);
/// Failures in a row after which a server that answers is left alone too: one may be the call's own fault.
const FAILURES: u32 = 2;

/// How a server failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failing {
    /// It was not reached, or said nothing: no other call would fare better.
    Away,
    /// It answered with an error or with nonsense.
    Wrong,
}

/// What this host knows of one server.
#[derive(Debug, Default)]
pub struct Health {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    failures: u32,
    /// Left alone until then.
    until: Option<Instant>,
    served_at: Option<Timestamp>,
}

impl Health {
    /// Whether a call may go there now. One that may, while the server is left alone, is the trial: the next has to wait again.
    #[must_use]
    pub fn admits(&self, now: Instant) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match state.until {
            None => true,
            Some(until) if now < until => false,
            Some(_) => {
                state.until = Some(now + PAUSE);
                true
            }
        }
    }

    /// A call was served; whether the server was failing until now.
    pub fn served(&self, at: Timestamp) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let failing = state.failures > 0;
        *state = State { failures: 0, until: None, served_at: Some(at) };
        failing
    }

    /// A call failed.
    pub fn failed(&self, how: Failing, now: Instant) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.failures += 1;
        if how == Failing::Away || state.failures >= FAILURES {
            state.until = Some(now + PAUSE);
        }
    }

    /// Whether any call was served since then.
    #[must_use]
    pub fn served_since(&self, since: Timestamp) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.served_at.is_some_and(|at| at >= since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_server_that_is_away_is_tried_by_one_call_at_a_time() {
        let (health, start) = (Health::default(), Instant::now());
        assert!(health.admits(start));
        health.failed(Failing::Away, start);
        assert!(!health.admits(start + PAUSE / 2));
        assert!(health.admits(start + PAUSE), "the trial");
        assert!(!health.admits(start + PAUSE), "and nobody beside it");
        assert!(health.served(Timestamp(1)));
        assert!(health.admits(start + PAUSE), "it serves: everybody may go");
        assert!(!health.served(Timestamp(2)), "no news");
    }

    #[tokio::test]
    async fn one_wrong_answer_may_be_the_calls_own_fault() {
        let (health, start) = (Health::default(), Instant::now());
        health.failed(Failing::Wrong, start);
        assert!(health.admits(start), "others are not made to wait for it");
        health.failed(Failing::Wrong, start);
        assert!(!health.admits(start), "two in a row are the server's");
        assert!(!health.served_since(Timestamp(0)));
        health.served(Timestamp(5));
        assert!(health.served_since(Timestamp(5)) && !health.served_since(Timestamp(6)));
    }
}
