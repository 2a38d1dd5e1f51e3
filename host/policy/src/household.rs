//! What a household member may ask for at the door.

use crate::task::{Intent, Role};

/// Why a request of a household member is turned away.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Blocked {
    /// The gate needs an intent to decide on.
    #[error("requests of household members must say their intent")]
    IntentMissing,
    /// This intent is not on the list.
    #[error("household members may not ask for `{}`", .0.as_str())]
    IntentBlocked(Intent),
}

/// Whether a request may enter; operators and the system always may.
///
/// # Errors
/// [`Blocked`] says why not.
pub fn gate(role: Role, intent: Option<Intent>, allowed: &[Intent]) -> Result<(), Blocked> {
    match (role, intent) {
        (Role::Operator | Role::System, _) => Ok(()),
        (Role::Household, None) => Err(Blocked::IntentMissing),
        (Role::Household, Some(intent)) if allowed.contains(&intent) => Ok(()),
        (Role::Household, Some(intent)) => Err(Blocked::IntentBlocked(intent)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_household_members_are_gated() {
        let allowed = [Intent::Question];
        assert_eq!(gate(Role::Operator, None, &allowed), Ok(()));
        assert_eq!(gate(Role::System, Some(Intent::Bug), &allowed), Ok(()));
        assert_eq!(gate(Role::Household, Some(Intent::Question), &allowed), Ok(()));
        assert_eq!(gate(Role::Household, None, &allowed), Err(Blocked::IntentMissing));
        assert_eq!(gate(Role::Household, Some(Intent::Bug), &allowed), Err(Blocked::IntentBlocked(Intent::Bug)));
    }
}
