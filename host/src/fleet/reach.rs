//! What an agent could do at worst: everywhere that its grant and the operator's rules let its words go, and what that may cost. Only
//! from what is configured: nobody is asked.

use policy::class::Class;
use policy::manifest::{Ceiling, Manifest};
use policy::pattern::Patterns;
use policy::tier::{Clearance, Tier};
use serde::Serialize;

use crate::config::Config;

/// Everything that is within reach of one agent.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Reach {
    /// Model groups.
    pub models: Vec<Model>,
    /// What the operator's rules say of the tools that it asks for.
    pub tools: Vec<Tools>,
    /// Paths that it may read, and the highest tier found there.
    pub vault_read: Vec<Place>,
    /// Paths that it may write, and the highest label that may go there.
    pub vault_write: Vec<Place>,
    /// Agents that it hands to.
    pub handoff: Vec<String>,
    /// Highest label that its runs may reach.
    pub clearance: Option<Tier>,
    /// US dollars that one run may cost at most.
    pub usd_per_run: f64,
    /// US dollars that all its runs of one day may cost at most.
    pub usd_per_day: f64,
}

/// A model group.
#[derive(Clone, Debug, Serialize)]
pub struct Model {
    /// Its name.
    pub group: String,
    /// Whether it is outside the house.
    pub remote: bool,
    /// Whether its calls cost money.
    pub priced: bool,
    /// Highest label that reaches it.
    pub carries: Tier,
    /// What is in the way, if something is.
    pub trouble: Option<String>,
}

/// Tools that one rule, or none, speaks of.
#[derive(Clone, Debug, Serialize)]
pub struct Tools {
    /// The pattern that the manifest asks for.
    pub wanted: String,
    /// The rule's pattern; `None` for those that no rule names.
    pub rule: Option<String>,
    /// Lowest class that its calls have.
    pub class: Class,
    /// Whether somebody is asked first.
    pub asks: bool,
    /// Highest label that reaches them.
    pub carries: Tier,
    /// Tier of what they answer.
    pub yields: Tier,
    /// Whether a run that reads it is tainted.
    pub taints: bool,
}

/// Paths of the vault.
#[derive(Clone, Debug, Serialize)]
pub struct Place {
    /// The pattern that the manifest asks for.
    pub wanted: String,
    /// The highest tier that may be there, or may go there.
    pub tier: Tier,
}

impl Reach {
    /// What is within reach under that ceiling.
    #[must_use]
    pub fn of(manifest: &Manifest, ceiling: &Ceiling, config: &Config) -> Self {
        let wants = &manifest.wants;
        let models: Vec<Model> = wants
            .models
            .iter()
            .flat_map(|wanted| groups(wanted, config))
            .map(|group| model(&group, manifest, ceiling, config))
            .collect();
        let usd_per_run = if models.iter().any(|model| model.priced) { most_usd(manifest, ceiling, config) } else { 0.0 };
        let usd_per_day = if usd_per_run > 0.0 { config.caps.per_agent_daily_usd.min(config.caps.global_daily_usd) } else { 0.0 };
        Self {
            models,
            tools: wants.tools.iter().flat_map(|wanted| tools(wanted, manifest, ceiling, config)).collect(),
            vault_read: wants.vault_read.iter().map(|wanted| read(wanted, config)).collect(),
            vault_write: wants.vault_write.iter().map(|wanted| written(wanted, ceiling, config)).collect(),
            handoff: wants.handoff.clone(),
            clearance: Some(ceiling.clearance),
            usd_per_run,
            usd_per_day,
        }
    }

    /// Where what it has read leaves the house, each with the highest label that does.
    #[must_use]
    pub fn leaks(&self) -> Vec<String> {
        let models = self.models.iter().filter(|model| model.remote && model.trouble.is_none());
        let models = models.map(|model| format!("model group `{}`, up to {}", model.group, model.carries.as_str()));
        let tools = self.tools.iter().map(|tools| {
            let who = tools.rule.as_deref().unwrap_or(&tools.wanted);
            format!("tools `{who}`, up to {}", tools.carries.as_str())
        });
        models.chain(tools).collect()
    }
}

/// The configured groups that a wish covers; what it names if there is none.
fn groups(wanted: &str, config: &Config) -> Vec<String> {
    let covered: Vec<String> = config.inference.groups.keys().filter(|group| covers(wanted, group)).cloned().collect();
    if covered.is_empty() { vec![wanted.to_owned()] } else { covered }
}

fn model(group: &str, manifest: &Manifest, ceiling: &Ceiling, config: &Config) -> Model {
    let found = config.inference.groups.get(group);
    let remote = found.is_some_and(crate::config::Group::is_remote);
    let trouble = match found {
        None => Some(format!("there is no [inference.groups.{group}]")),
        Some(_) if remote && manifest.local_only => Some("the agent is local-only and the group is remote".into()),
        Some(_) => None,
    };
    let clearance = found.map_or(Clearance(Tier::Public), |group| group.clearance);
    let priced = found.and_then(crate::config::Group::price).is_some_and(|price| price.input > 0.0 || price.output > 0.0);
    Model { group: group.to_owned(), remote, priced, carries: clearance.0.min(ceiling.clearance), trouble }
}

#[expect(clippy::cast_precision_loss, reason = "micro-dollars")]
fn most_usd(manifest: &Manifest, ceiling: &Ceiling, config: &Config) -> f64 {
    let limit = manifest.limits.usd_micros as f64 / 1e6;
    ceiling.cost_usd_per_task.unwrap_or(f64::INFINITY).min(limit).min(config.caps.per_task_usd)
}

/// Each rule that may speak of a tool of that pattern, and what holds where none does.
fn tools(wanted: &str, manifest: &Manifest, ceiling: &Ceiling, config: &Config) -> Vec<Tools> {
    let rules = config.mcp.iter().flat_map(|mcp| &mcp.rules).filter(|rule| may_meet(&rule.tools, wanted));
    let floor = Class::named(&manifest.class_floor).unwrap_or(Class::D);
    let of_rule = |rule: &policy::class::Rule| {
        let class = rule.class.max(floor);
        let class = if class == Class::C && rule.undo.is_none() { Class::D } else { class };
        Tools {
            wanted: wanted.to_owned(),
            rule: Some(rule.tools.clone()),
            class,
            asks: !class.is_free(),
            carries: rule.clearance.0.min(ceiling.clearance),
            yields: rule.tier,
            taints: rule.untrusted,
        }
    };
    let mut found: Vec<Tools> = rules.clone().map(of_rule).collect();
    let all_ruled = rules.clone().any(|rule| rule.args.is_empty() && covers(&rule.tools, wanted));
    if !all_ruled {
        found.push(Tools {
            wanted: wanted.to_owned(),
            rule: None,
            class: Class::D,
            asks: true,
            carries: Tier::Internal.min(ceiling.clearance),
            yields: Tier::Internal,
            taints: true,
        });
    }
    found
}

fn read(wanted: &str, config: &Config) -> Place {
    let rules = config.vault.rules.iter().filter(|rule| may_meet(&rule.path, wanted));
    // A file says of itself too what it carries; where no rule speaks, it is internal.
    let tier = rules.map(|rule| rule.tier).fold(Tier::Internal, Tier::max);
    Place { wanted: wanted.to_owned(), tier }
}

fn written(wanted: &str, ceiling: &Ceiling, config: &Config) -> Place {
    let met = || config.vault.rules.iter().filter(|rule| may_meet(&rule.path, wanted));
    let ruled = met().any(|rule| covers(&rule.path, wanted));
    // Where no rule speaks, everything may be written.
    let least = if ruled { Tier::Public } else { Clearance::OPERATOR.0 };
    let clearance = met().map(|rule| rule.clearance.0).fold(least, Tier::max);
    Place { wanted: wanted.to_owned(), tier: clearance.min(ceiling.clearance) }
}

fn covers(wide: &str, narrow: &str) -> bool {
    Patterns::compile(&[wide.to_owned()]).is_ok_and(|wide| wide.covers_pattern(narrow))
}

/// Whether two patterns may cover one name: as far as both are literal they agree. Never says no where they do.
fn may_meet(one: &str, other: &str) -> bool {
    let literal = |pattern: &str| pattern.split(['*', '?', '[', '{', '\\']).next().unwrap_or_default().to_owned();
    let (one, other) = (literal(one), literal(other));
    one.starts_with(&other) || other.starts_with(&one)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_that_share_no_name_are_kept_apart() {
        for (one, other, meet) in [
            ("notes/**", "notes/a.md", true),
            ("*", "search_web", true),
            ("search_*", "search_{web,mail}", true),
            ("notes/*.md", "private/**", false),
            ("ha_*", "search_*", false),
        ] {
            assert_eq!((may_meet(one, other), may_meet(other, one)), (meet, meet), "{one} {other}");
        }
    }
}
