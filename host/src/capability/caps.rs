//! The caps of money that a priced call must keep, and when each allows more again: days and weeks are the operator's.

use jiff::civil::Weekday;
use jiff::tz::TimeZone;
use jiff::{Span, ToSpan, Zoned};
use policy::denied::Denied;
use policy::grant::Grant;
use policy::task::Timestamp;

use super::Stop;
use crate::config;
use crate::store::ledger::{Cap, OverCap, Scope};

/// The operator's caps.
#[derive(Clone, Debug)]
pub struct Caps {
    task: u64,
    agent: u64,
    day: u64,
    week: u64,
    zone: TimeZone,
}

/// Why a reservation is not made.
pub(super) enum Refused {
    /// The agent is told.
    Denied(Denied),
    /// The run waits until the period is over.
    Waits(Stop),
}

impl Caps {
    /// The configured caps, counted in that time zone.
    #[must_use]
    pub fn of(caps: &config::Caps, zone: TimeZone) -> Self {
        Self {
            task: micros(caps.per_task_usd),
            agent: micros(caps.per_agent_daily_usd),
            day: micros(caps.global_daily_usd),
            week: micros(caps.global_weekly_usd),
            zone,
        }
    }

    /// What a call of that agent for that task must keep, in the order in which the counters are always taken.
    pub(super) fn of_call(&self, task: &str, grant: &Grant, now: Timestamp) -> Vec<Cap> {
        let agent = grant.agent();
        let now = self.at(now);
        let (day, week) = (now.date().to_string(), now.date().iso_week_date());
        let cap = |scope, period: String, most| Cap { scope, period, most };
        vec![
            cap(Scope::Task, task.to_owned(), grant.usd_per_task().map_or(self.task, |usd| self.task.min(micros(usd)))),
            cap(Scope::Agent, format!("{agent} {day}"), self.agent),
            cap(Scope::Day, day, self.day),
            cap(Scope::Week, format!("{}-W{:02}", week.year(), week.week()), self.week),
        ]
    }

    /// What follows from a cap that is reached: a task's own is told to the agent, any other is over by itself.
    pub(super) fn refused(&self, over: &OverCap, grant: &Grant, bound: u64, now: Timestamp) -> Refused {
        let OverCap { cap, used } = over;
        let at = if cap.scope == Scope::Task && cap.most < self.task { grant.at() } else { "[caps]" };
        let (key, what) = match cap.scope {
            Scope::Task if cap.most < self.task => ("cost_usd_per_task", "this task"),
            Scope::Task => ("per_task_usd", "this task"),
            Scope::Agent => ("per_agent_daily_usd", "this agent today"),
            Scope::Day => ("global_daily_usd", "today"),
            Scope::Week => ("global_weekly_usd", "this week"),
        };
        let said = format!(
            "{key} = {}: {} are used or reserved for {what}, and this call could cost {}",
            usd(cap.most),
            usd(*used),
            usd(bound)
        );
        // Longer than the whole period allows: it would wait for ever.
        if cap.scope == Scope::Task || bound > cap.most {
            let hint = format!("ask for fewer tokens, or raise {key} there");
            return Refused::Denied(Denied { rule: "cap", said, at: at.into(), hint });
        }
        Refused::Waits(Stop::Budget { said, pause: self.left(cap.scope, now) })
    }

    /// Milliseconds until the period of that scope is over.
    fn left(&self, scope: Scope, now: Timestamp) -> i64 {
        const HOUR: i64 = 3_600_000;
        let now = self.at(now);
        let days: Span = match scope {
            Scope::Task | Scope::Agent | Scope::Day => 1.day(),
            Scope::Week => i64::from(now.weekday().until(Weekday::Monday)).max(0).days(),
        };
        let days = if days.is_zero() { 7.days() } else { days };
        // Midnight of that day; where a zone has none, the day's first moment.
        let over = now.checked_add(days).and_then(|then| then.start_of_day());
        over.map_or(HOUR, |over| (over.timestamp().as_millisecond() - now.timestamp().as_millisecond()).max(1000))
    }

    fn at(&self, now: Timestamp) -> Zoned {
        jiff::Timestamp::from_millisecond(now.0).unwrap_or_default().to_zoned(self.zone.clone())
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "checked at load: between nothing and a billion dollars"
)]
fn micros(usd: f64) -> u64 {
    (usd * 1e6).round() as u64
}

fn usd(micros: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "micro-dollars of one call or cap")]
    let usd = micros as f64 / 1e6;
    format!("{usd:.6} USD")
}

#[cfg(test)]
mod tests {
    use policy::manifest::{Ceiling, Limits, Manifest};

    use super::*;

    fn caps() -> Caps {
        let zone = TimeZone::get("America/New_York").expect("it is built in");
        let usd = config::Caps { per_task_usd: 5.0, per_agent_daily_usd: 10.0, global_daily_usd: 30.0, global_weekly_usd: 100.0 };
        Caps::of(&usd, zone)
    }

    fn grant() -> Grant {
        let limits = Limits::default();
        let manifest = Manifest { id: "scout".into(), class_floor: "a".into(), ..Manifest::default() };
        let ceiling = Ceiling { cost_usd_per_task: Some(2.0), ..Ceiling::default() };
        Grant::effective(&manifest, &ceiling, &limits, "[grants.scout] in host.toml").expect("it wants nothing")
    }

    fn moment(text: &str) -> Timestamp {
        Timestamp(text.parse::<jiff::Timestamp>().expect("a moment").as_millisecond())
    }

    #[test]
    fn days_and_weeks_are_the_operators() {
        // A Sunday evening in New York, Monday already by UTC.
        let now = moment("2026-11-23T03:30:00Z");
        let periods: Vec<String> = caps().of_call("T", &grant(), now).into_iter().map(|cap| cap.period).collect();
        assert_eq!(periods, ["T", "scout 2026-11-22", "2026-11-22", "2026-W47"]);
        let hour = 3_600_000;
        assert_eq!((caps().left(Scope::Day, now), caps().left(Scope::Week, now)), (hour * 3 / 2, hour * 3 / 2));
        let monday = moment("2026-11-23T05:00:00Z");
        assert_eq!((caps().left(Scope::Day, monday), caps().left(Scope::Week, monday)), (24 * hour, 7 * 24 * hour));
        // The clocks go back that night: the day has 25 hours.
        assert_eq!(caps().left(Scope::Agent, moment("2026-11-01T04:00:00Z")), 25 * hour);
    }

    #[test]
    fn what_no_period_could_pay_is_refused_at_once() {
        let over = |most| OverCap { cap: Cap { scope: Scope::Day, period: "2026-11-22".into(), most }, used: 10 };
        let now = moment("2026-11-22T12:00:00Z");
        assert!(matches!(caps().refused(&over(100), &grant(), 95, now), Refused::Waits(Stop::Budget { pause, .. }) if pause > 0));
        let Refused::Denied(denied) = caps().refused(&over(100), &grant(), 101, now) else { panic!("it would wait for ever") };
        assert!(denied.said.starts_with("global_daily_usd = 0.000100 USD: 0.000010 USD are used"), "{denied}");
    }
    #[test]
    fn an_agents_own_cap_of_a_task_is_the_lower_one_and_names_its_line() {
        let now = moment("2026-11-22T12:00:00Z");
        let cap = caps().of_call("T", &grant(), now).remove(0);
        assert_eq!((cap.scope, cap.most), (Scope::Task, 2_000_000));
        let over = OverCap { cap, used: 1_999_999 };
        let Refused::Denied(denied) = caps().refused(&over, &grant(), 5, now) else { panic!("a task's cap is told at once") };
        assert!(
            denied.said.starts_with("cost_usd_per_task = 2.000000 USD") && denied.at == "[grants.scout] in host.toml",
            "{denied:?}"
        );
    }
}
