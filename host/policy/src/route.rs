//! Which model groups may serve a call, in order of preference, each with its reason.

use crate::denied::Denied;
use crate::judge::Destination;
use crate::tier::{Clearance, Tier};

/// What the router knows of one group.
#[derive(Clone, Debug)]
pub struct Group {
    /// Its name in `[inference.groups]`.
    pub name: String,
    /// Highest tier that it may receive.
    pub clearance: Clearance,
    /// Whether it is outside the house.
    pub remote: bool,
    /// Tokens that it can hold, prompt and answer.
    pub context: u64,
}

/// One call, as far as routing needs to know it.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// The group that the agent asked for.
    pub group: &'a str,
    /// The agent must stay in the house.
    pub local_only: bool,
    /// Upper bound of prompt and answer, in tokens.
    pub tokens: u64,
}

/// Step 2: where the call would go, best first.
///
/// # Errors
/// [`Denied`] if there is nowhere to go: it names what was tried.
pub fn candidates(ask: Ask<'_>, groups: &[Group]) -> Result<Vec<Destination>, Denied> {
    let Some(group) = groups.iter().find(|group| group.name == ask.group) else {
        let known: Vec<&str> = groups.iter().map(|group| group.name.as_str()).collect();
        return Err(Denied {
            rule: "unknown_group",
            said: format!("there is no model group `{}`", ask.group),
            at: "[inference.groups]".into(),
            hint: format!("use one of {}, or add [inference.groups.{}]", known.join(", "), ask.group),
        });
    };
    if ask.local_only && group.remote {
        return Err(Denied {
            rule: "agent_pinned_local",
            said: format!("the agent is local-only and `{}` is remote", group.name),
            at: "`local-only` in agent.toml".into(),
            hint: "ask for a local group".into(),
        });
    }
    if ask.tokens > group.context {
        return Err(Denied {
            rule: "context_overflow",
            said: format!("about {} tokens do not fit the {} of `{}`", ask.tokens, group.context, group.name),
            at: format!("num_ctx in [inference.groups.{}]", group.name),
            hint: "shorten the prompt, or raise num_ctx if the model can hold it".into(),
        });
    }
    Ok(vec![Destination {
        name: group.name.clone(),
        clearance: group.clearance,
        yields: Tier::Public,
        untrusted: false,
        reason: "local_default".into(),
    }])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn groups() -> Vec<Group> {
        vec![
            Group { name: "near".into(), clearance: Clearance(Tier::Restricted), remote: false, context: 1000 },
            Group { name: "far".into(), clearance: Clearance(Tier::Internal), remote: true, context: 1000 },
        ]
    }

    #[test]
    fn a_call_goes_where_it_asked_or_the_refusal_says_why() {
        let rule = |group, local_only, tokens| match candidates(Ask { group, local_only, tokens }, &groups()) {
            Ok(found) => found.iter().map(|one| format!("{}:{}", one.name, one.reason)).collect::<Vec<_>>().join(" "),
            Err(denied) => denied.rule.to_owned(),
        };
        assert_eq!(rule("near", true, 1000), "near:local_default");
        assert_eq!(rule("far", false, 10), "far:local_default");
        assert_eq!(rule("far", true, 10), "agent_pinned_local");
        assert_eq!(rule("near", false, 1001), "context_overflow");
        assert_eq!(rule("nowhere", false, 1), "unknown_group");
    }
}
