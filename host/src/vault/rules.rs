//! What the operator's rules say of a path: `[[vault.rules]]`, first match wins.

use policy::judge::Destination;
use policy::pattern::{BadPattern, Patterns};
use policy::tier::{Clearance, Tier};

use crate::config;

/// The rules, compiled.
pub struct Rules(Vec<Rule>);

struct Rule {
    path: String,
    covers: Patterns,
    tier: Tier,
    clearance: Clearance,
}

impl Rules {
    /// Compiles them, in their order.
    ///
    /// # Errors
    /// [`BadPattern`] names the first that does not parse.
    pub fn compile(config: &config::Vault) -> Result<Self, BadPattern> {
        let rule = |rule: &config::VaultRule| {
            let covers = Patterns::compile(std::slice::from_ref(&rule.path))?;
            Ok(Rule { path: rule.path.clone(), covers, tier: rule.tier, clearance: rule.clearance })
        };
        Ok(Self(config.rules.iter().map(rule).collect::<Result<_, _>>()?))
    }

    fn of(&self, path: &str) -> Option<&Rule> {
        self.0.iter().find(|rule| rule.covers.covers(path))
    }

    /// The pattern of the rule that speaks of a path, if one does.
    #[must_use]
    pub fn line(&self, path: &str) -> Option<&str> {
        self.of(path).map(|rule| rule.path.as_str())
    }

    /// Where a call on that path would go: by its rule, else internal data and a restricted clearance.
    #[must_use]
    pub fn destination(&self, path: &str) -> Destination {
        let (yields, clearance) = self.of(path).map_or((Tier::Internal, Clearance::OPERATOR), |rule| (rule.tier, rule.clearance));
        Destination { name: "vault".into(), clearance, yields, untrusted: false, reason: String::new() }
    }
}
