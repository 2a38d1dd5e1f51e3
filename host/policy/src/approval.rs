//! A person's consent to one call: whose word counts, how many are needed, until when they may be given (design §8).
//!
//! Consent is bound to exactly one call, is used up by it, and is never inferred from anything but a person's word.

use serde::{Deserialize, Serialize};

use crate::class::Class;
use crate::task::{Reaction, Timestamp, words};
use crate::tier::Label;

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
/// How long a `defer` keeps silent, and by how much it moves the end (design §8), in milliseconds.
pub const DEFER: i64 = 4 * HOUR;
/// Whatever was deferred: after so long nobody is asked any more (design §8), in milliseconds.
pub const MOST: i64 = 7 * 24 * HOUR;
/// When people are reminded, once each, counted from the question (`homeaiops.md` §19.4), in milliseconds.
pub const REMINDERS: [i64; 2] = [30 * MINUTE, 4 * HOUR];
/// The agent whose questions never lapse, whatever they ask (`homeaiops.md` §5.4).
pub const NEVER_LAPSES: &str = "health-tracker";
/// What a class C call of the errand-runner must cost for its question never to lapse (`homeaiops.md` §5.4), in millionths of a US dollar.
pub const DEAR: u64 = 100_000_000;

words! {
    /// Who says how a call is undone.
    Undoer {
        /// The operator's rule: that is what makes a C a C.
        Rule = "rule",
        /// The agent, which may be wrong.
        Agent = "agent",
    }
}

/// How a call is undone, and who says so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Undoing {
    /// Who says so.
    pub by: Undoer,
    /// A call, or a sentence.
    pub text: String,
}

/// What a person is asked about one call, beside the call itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// Its class.
    pub class: Class,
    /// Why it has that class.
    pub because: String,
    /// Why its agent makes it, in the agent's words.
    pub why: String,
    /// How it is undone, as far as anybody says.
    pub undo: Option<Undoing>,
    /// What it costs beside models, in millionths of a US dollar, if its rule says so.
    pub usd_micros: Option<u64>,
    /// To what the consent is bound.
    pub binding: Binding,
}

impl Question {
    /// How many people's words it takes: D needs a second one, from another channel.
    #[must_use]
    pub fn needs(&self) -> usize {
        needs(self.class)
    }

    /// Whether it is asked until somebody answers, however long that takes.
    #[must_use]
    pub fn never_lapses(&self) -> bool {
        let agent = self.binding.agent.as_str();
        let dear = self.usd_micros.is_some_and(|usd| usd > DEAR);
        agent == NEVER_LAPSES || (agent == crate::next::ERRANDS && self.class == Class::C && dear)
    }
}

fn needs(class: Class) -> usize {
    if class == Class::D { 2 } else { 1 }
}

/// Exactly this call: what was consented to is this and nothing like it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    /// Of kind and canonical arguments.
    pub fingerprint: String,
    /// Whose call.
    pub agent: String,
    /// The component that makes it.
    pub digest: String,
    /// What its run had read.
    pub label: Label,
}

/// What is on record for a call when it is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consent {
    /// To what.
    pub binding: Binding,
    /// Of which class the call was then.
    pub class: Class,
    /// How many said yes, each through another channel.
    pub yes: usize,
    /// Whether a call was sent under it, this very one or another.
    pub spent: bool,
}

impl Consent {
    /// Whether it allows that call, which is of that class now. `begun` says that this very call was sent under it before, and its
    /// answer never came: then it is used up by that call, and only by that.
    #[must_use]
    pub fn allows(&self, binding: &Binding, class: Class, begun: bool) -> bool {
        self.binding == *binding && self.yes >= needs(class).max(needs(self.class)) && self.spent == begun
    }
}

/// A question that waits.
#[derive(Clone, Copy, Debug)]
pub struct Open<'q> {
    /// The class of its call.
    pub class: Class,
    /// When it was asked.
    pub created_at: Timestamp,
    /// When it lapses, if it does.
    pub expires_at: Option<Timestamp>,
    /// The channels through which somebody has said yes.
    pub channels: &'q [String],
}

/// What follows from a word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Follows {
    /// It counts, and another is needed, through another channel.
    Another,
    /// The call may be made.
    Approved,
    /// It may not.
    Rejected,
    /// Nobody is asked again before `silent_until`; it lapses at `expires_at`, if it does.
    Deferred {
        /// No reminder before that.
        silent_until: Timestamp,
        /// The new end.
        expires_at: Option<Timestamp>,
    },
}

/// Why a word does not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It answers another kind of question.
    #[error("`{0}` is no answer to this question: approve, reject or defer are")]
    NotAsked(&'static str),
    /// It came too late.
    #[error("it has lapsed")]
    Lapsed,
    /// The second yes must come from elsewhere.
    #[error("`{0}` has said yes already, and the second yes must come through another channel")]
    SameChannel(String),
    /// It has been put off for as long as it may be.
    #[error("it has been put off for as long as it may be: 7 days after it was asked")]
    Deferred,
}

/// When a question lapses that is asked now; `ttl` is the operator's, in milliseconds.
#[must_use]
pub fn lapses(question: &Question, now: Timestamp, ttl: i64) -> Option<Timestamp> {
    (!question.never_lapses()).then(|| now.plus(ttl.min(MOST)))
}

/// What follows from a word that comes through `channel` now.
///
/// # Errors
/// [`Refused`], and nothing has changed.
pub fn decide(open: Open<'_>, reaction: Reaction, channel: &str, now: Timestamp) -> Result<Follows, Refused> {
    if open.expires_at.is_some_and(|at| at <= now) {
        return Err(Refused::Lapsed);
    }
    match reaction {
        Reaction::Retry | Reaction::Done | Reaction::Fail => Err(Refused::NotAsked(reaction.as_str())),
        Reaction::Reject => Ok(Follows::Rejected),
        Reaction::Approve if open.channels.iter().any(|said| said == channel) => Err(Refused::SameChannel(channel.to_owned())),
        Reaction::Approve if open.channels.len() + 1 < needs(open.class) => Ok(Follows::Another),
        Reaction::Approve => Ok(Follows::Approved),
        Reaction::Defer => {
            let last = open.created_at.plus(MOST);
            let expires_at = open.expires_at.map(|at| at.max(now).plus(DEFER).min(last));
            match expires_at {
                Some(at) if Some(at) <= open.expires_at => Err(Refused::Deferred),
                Some(_) | None => Ok(Follows::Deferred { silent_until: now.plus(DEFER), expires_at }),
            }
        }
    }
}

/// When the next reminder after `now` is due. One that falls into a silence is not made up for: people are asked again when it ends.
#[must_use]
pub fn reminder(created_at: Timestamp, now: Timestamp) -> Option<Timestamp> {
    REMINDERS.iter().map(|after| created_at.plus(*after)).find(|at| *at > now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tier::Tier;
    use proptest::prelude::*;

    fn binding() -> Binding {
        Binding { fingerprint: "01ab".into(), agent: "errand-runner".into(), digest: "d".into(), label: Label::of(Tier::Internal) }
    }

    fn question(agent: &str, class: Class, usd_micros: Option<u64>) -> Question {
        let binding = Binding { agent: agent.into(), ..binding() };
        Question { class, because: String::new(), why: String::new(), undo: None, usd_micros, binding }
    }

    fn open(class: Class, channels: &[String]) -> Open<'_> {
        Open { class, created_at: Timestamp(0), expires_at: Some(Timestamp(24 * HOUR)), channels }
    }

    #[test]
    fn c_takes_one_yes_and_d_two_from_two_channels() {
        let ntfy = ["ntfy".to_owned()];
        let yes = |class, channels, by| decide(open(class, channels), Reaction::Approve, by, Timestamp(1));
        assert_eq!(yes(Class::C, &[], "ntfy"), Ok(Follows::Approved));
        assert_eq!(yes(Class::D, &[], "ntfy"), Ok(Follows::Another));
        assert_eq!(yes(Class::D, &ntfy, "ntfy"), Err(Refused::SameChannel("ntfy".into())));
        assert_eq!(yes(Class::D, &ntfy, "cli"), Ok(Follows::Approved));
        assert_eq!(decide(open(Class::D, &ntfy), Reaction::Reject, "ntfy", Timestamp(1)), Ok(Follows::Rejected));
        assert_eq!((question("a", Class::C, None).needs(), question("a", Class::D, None).needs()), (1, 2));
    }

    #[test]
    fn nothing_counts_that_comes_too_late() {
        for word in [Reaction::Approve, Reaction::Reject, Reaction::Defer] {
            assert_eq!(decide(open(Class::C, &[]), word, "cli", Timestamp(24 * HOUR)), Err(Refused::Lapsed));
        }
    }

    #[test]
    fn a_deferral_is_four_hours_and_all_of_them_seven_days() {
        let first = decide(open(Class::C, &[]), Reaction::Defer, "cli", Timestamp(HOUR));
        let until = |silent, expires| Follows::Deferred { silent_until: Timestamp(silent), expires_at: Some(Timestamp(expires)) };
        assert_eq!(first, Ok(until(5 * HOUR, 28 * HOUR)));
        let late = Open { expires_at: Some(Timestamp(MOST - HOUR)), ..open(Class::C, &[]) };
        assert_eq!(decide(late, Reaction::Defer, "cli", Timestamp(MOST - 2 * HOUR)), Ok(until(MOST + 2 * HOUR, MOST)));
        let last = Open { expires_at: Some(Timestamp(MOST)), ..late };
        assert_eq!(decide(last, Reaction::Defer, "cli", Timestamp(MOST - HOUR)), Err(Refused::Deferred));
        let never = Open { expires_at: None, ..late };
        let follows = Follows::Deferred { silent_until: Timestamp(DEFER), expires_at: None };
        assert_eq!(decide(never, Reaction::Defer, "cli", Timestamp(0)), Ok(follows));
    }

    #[test]
    fn some_questions_never_lapse() {
        let end = |question: &Question| lapses(question, Timestamp(1), 24 * HOUR);
        assert_eq!(end(&question("errand-runner", Class::C, Some(DEAR))), Some(Timestamp(24 * HOUR + 1)));
        assert_eq!(end(&question("errand-runner", Class::C, Some(DEAR + 1))), None);
        assert_eq!(end(&question("errand-runner", Class::D, Some(DEAR + 1))), Some(Timestamp(24 * HOUR + 1)));
        assert_eq!(end(&question("other", Class::C, Some(DEAR + 1))), Some(Timestamp(24 * HOUR + 1)));
        assert_eq!(end(&question("health-tracker", Class::C, None)), None);
        assert_eq!(lapses(&question("a", Class::C, None), Timestamp(0), 30 * 24 * HOUR), Some(Timestamp(MOST)));
    }

    #[test]
    fn reminders_come_once_each() {
        let (asked, after) = (Timestamp(5), |now| reminder(Timestamp(5), Timestamp(now)));
        let (first, second) = (asked.plus(30 * MINUTE), asked.plus(4 * HOUR));
        assert_eq!([after(5), after(first.0 - 1)], [Some(first); 2]);
        assert_eq!([after(first.0), after(second.0 - 1)], [Some(second); 2]);
        assert_eq!([after(second.0), after(9 * HOUR)], [None; 2]);
    }

    #[test]
    fn consent_is_to_exactly_one_call_and_is_used_up_by_it() {
        let given = Consent { binding: binding(), class: Class::C, yes: 1, spent: false };
        assert!(given.allows(&binding(), Class::C, false));
        for other in [
            Binding { fingerprint: "01ac".into(), ..binding() },
            Binding { agent: "meddler".into(), ..binding() },
            Binding { digest: "e".into(), ..binding() },
            Binding { label: Label::of(Tier::Restricted), ..binding() },
            Binding { label: Label { tainted: true, ..binding().label }, ..binding() },
        ] {
            assert!(!given.allows(&other, Class::C, false), "{other:?}");
        }
        assert!(!given.allows(&binding(), Class::D, false), "what has become D needs another");
        assert!(!Consent { class: Class::D, ..given.clone() }.allows(&binding(), Class::C, false));
        let spent = Consent { spent: true, ..given.clone() };
        assert_eq!((spent.allows(&binding(), Class::C, false), spent.allows(&binding(), Class::C, true)), (false, true));
        assert!(!given.allows(&binding(), Class::C, true), "what has begun was begun under it");
    }

    proptest! {
        /// Whatever is said in whatever order: a D is never approved by one channel, and nothing outlives seven days.
        #[test]
        fn words_in_any_order(said in proptest::collection::vec((0_usize..3, 0_usize..3, 0_i64..30 * HOUR), 1..40), d in any::<bool>()) {
            let class = if d { Class::D } else { Class::C };
            let (mut channels, mut expires_at, mut now) = (Vec::new(), Some(Timestamp(24 * HOUR)), Timestamp(0));
            for (word, channel, later) in said {
                now = now.plus(later);
                let (word, channel) = ([Reaction::Approve, Reaction::Reject, Reaction::Defer][word], ["ntfy", "cli", "zulip"][channel]);
                let open = Open { class, created_at: Timestamp(0), expires_at, channels: &channels };
                match decide(open, word, channel, now) {
                    Ok(Follows::Another) => channels.push(channel.to_owned()),
                    Ok(Follows::Approved) => {
                        prop_assert!(now < Timestamp(MOST));
                        channels.push(channel.to_owned());
                        channels.dedup();
                        prop_assert_eq!(channels.len(), needs(class));
                        return Ok(());
                    }
                    Ok(Follows::Rejected) => return Ok(()),
                    Ok(Follows::Deferred { expires_at: end, .. }) => {
                        prop_assert!(end > expires_at && end <= Some(Timestamp(MOST)));
                        expires_at = end;
                    }
                    Err(_) => {}
                }
            }
        }
    }
}
