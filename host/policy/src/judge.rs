//! May this call happen? Two checks, in the order of design §3, and each leaves a value behind that only it can make:
//! [`within`] compares with the grant, [`cleared`] compares the run's label with where the call would go.

use serde::{Deserialize, Serialize};

use crate::call::Call;
use crate::denied::Denied;
use crate::grant::Grant;
use crate::tier::{Clearance, Label, Tier};

/// Where a call would go, and what would come back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Destination {
    /// Its name: a group, `vault`, `clock`.
    pub name: String,
    /// Highest tier that it may receive.
    pub clearance: Clearance,
    /// Tier of what it answers: a run that reads it rises to this.
    pub yields: Tier,
    /// Whether it may lie: a run that reads what it answers is tainted.
    pub untrusted: bool,
    /// The reason for this destination, from the router's closed list; empty where there was no choice.
    pub reason: String,
}

/// A call that is within the grant of its agent. Only [`within`] makes one.
pub struct Allowed<'g, C> {
    call: C,
    grant: &'g Grant,
}

/// A call that its agent may make and whose label may go to that destination. Only [`cleared`] makes one.
pub struct Granted<C> {
    call: C,
    destination: Destination,
}

impl<C> Granted<C> {
    /// The call.
    pub fn call(&self) -> &C {
        &self.call
    }

    /// Where it may go.
    pub fn destination(&self) -> &Destination {
        &self.destination
    }
}

/// Step 3: is the call within the effective grant?
///
/// # Errors
/// [`Denied`] with the smallest edit.
pub fn within<C: Call>(grant: &Grant, call: C) -> Result<Allowed<'_, C>, Denied> {
    call.within(grant)?;
    Ok(Allowed { call, grant })
}

/// Step 4: may data of this label go to that destination, and may the run read what comes back?
///
/// # Errors
/// [`Denied`] names the label, the clearance and where it is set.
pub fn cleared<C: Call>(allowed: Allowed<'_, C>, label: Label, destination: Destination) -> Result<Granted<C>, Denied> {
    let Allowed { call, grant } = allowed;
    if !destination.clearance.admits(label.tier) {
        return Err(Denied {
            rule: "clearance",
            said: format!(
                "the run has read {} data and `{}` is cleared for {} only",
                label.tier.as_str(),
                destination.name,
                destination.clearance.0.as_str()
            ),
            at: format!("clearance of `{}`", destination.name),
            hint: format!("set clearance = \"{}\" there if it may see such data", label.tier.as_str()),
        });
    }
    let after = label.tier.max(destination.yields);
    let ceiling = grant.clearance();
    if after > ceiling {
        return Err(Denied {
            rule: "agent_clearance",
            said: format!("the run would reach {} and its agent is cleared for {} only", after.as_str(), ceiling.as_str()),
            hint: format!("set clearance = \"{}\" in {}", after.as_str(), grant.at()),
            at: grant.at().to_owned(),
        });
    }
    Ok(Granted { call, destination })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::VaultRead;
    use crate::grant::tests::{LIMITS, manifest};
    use crate::manifest::{Ceiling, Wants};
    use proptest::prelude::*;

    fn scout(clearance: Tier) -> Grant {
        let all = vec!["**".to_owned()];
        let wishes = manifest("scout", Wants { vault_read: all.clone(), ..Wants::default() });
        let ceiling = Ceiling { vault_read: all, clearance, ..Ceiling::default() };
        Grant::effective(&wishes, &ceiling, &LIMITS, "[grants.scout]").expect("the ceiling covers the wish")
    }

    fn tier() -> impl Strategy<Value = Tier> {
        prop_oneof![Just(Tier::Public), Just(Tier::Internal), Just(Tier::Restricted)]
    }

    proptest! {
        #[test]
        fn nothing_leaves_above_a_clearance(label in tier(), there in tier(), yields in tier(), agent in tier()) {
            let scout = scout(agent);
            let allowed = within(&scout, VaultRead { path: "a".into() }).expect("the grant covers every path");
            let destination = Destination { name: "there".into(), clearance: Clearance(there), yields, untrusted: false, reason: String::new() };
            let granted = cleared(allowed, Label::of(label), destination).is_ok();
            prop_assert_eq!(granted, label <= there && label.max(yields) <= agent);
        }
    }

    #[test]
    fn a_refusal_says_what_to_edit() {
        let none = manifest("scout", Wants { vault_read: vec!["notes/**".into()], ..Wants::default() });
        let ceiling = Ceiling { vault_read: vec!["notes/**".into()], ..Ceiling::default() };
        let grant = Grant::effective(&none, &ceiling, &LIMITS, "[grants.scout] in host.toml").expect("covered");
        let denied = within(&grant, VaultRead { path: "secret.md".into() }).err().expect("secret.md is not covered");
        assert_eq!(denied.rule, "vault_read");
        assert_eq!(denied.said, "vault_read does not cover `secret.md`");
        assert_eq!(denied.hint, "add \"secret.md\" to `vault-read` in `wants` in agent.toml of scout");
    }
}
