//! The rules that ship for the tool servers of `homeaiops.md` §9.1, and the household's list: one readable file, like every other setting.

use policy::class::Rule;
use policy::household::Allow;
use serde::Deserialize;

use super::{Config, ConfigError};

/// The file that ships.
const SHIPPED: &str = include_str!("../../../deploy/tools.toml");

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Shipped {
    rules: Vec<Rule>,
    household: Vec<Allow>,
}

/// Adds the shipped rules behind the operator's own, and the shipped list for the household where there is no other.
pub(super) fn add(config: &mut Config) -> Result<(), ConfigError> {
    let broken = |error: toml::de::Error| ConfigError {
        place: "the shipped rules for tools".into(),
        said: error.to_string(),
        hint: "this is a mistake of the program: please report it".into(),
    };
    let Shipped { rules, household } = toml::from_str(SHIPPED).map_err(broken)?;
    if let Some(mcp) = config.mcp.as_mut().filter(|mcp| mcp.shipped_rules) {
        mcp.rules.extend(rules);
    }
    config.household.allow.get_or_insert(household);
    Ok(())
}

#[cfg(test)]
mod tests {
    use policy::class::{Class, Rules};
    use policy::next::ERRANDS;
    use serde_json::{Map, Value};

    use super::*;
    use crate::config::Flags;

    /// As it ships, with a tool server, and more if wanted.
    fn shipped(more: &str) -> Config {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("host.toml");
        std::fs::write(&path, format!("[mcp]\nurl = \"http://127.0.0.1:8080/mcp\"\n{more}")).expect("a writable folder");
        Config::load(&Flags { config: Some(path), ..Flags::default() }).expect("the shipped configuration is valid")
    }

    fn rules(config: &Config) -> Rules {
        Rules::compile(&config.mcp.as_ref().expect("it is there").rules).expect("they compile")
    }

    #[test]
    fn nobody_but_the_errand_runner_may_write_outside() {
        let config = shipped("");
        let (rules, nothing) = (rules(&config), Value::Object(Map::new()));
        let mut looking = 0;
        for (id, grant) in config.grants.iter().filter(|(id, _)| *id != ERRANDS) {
            for tool in &grant.tools {
                assert!(!tool.contains(['*', '?', '{', '[']), "{id} is granted `{tool}`: only whole names say what it may do");
                let class = rules.of(tool, &nothing).map(|rule| rule.class);
                assert_eq!(class, Some(Class::A), "{id} is granted `{tool}`, which does not only look");
                looking += 1;
            }
        }
        assert!(looking > 15, "the agents that look may look without asking");
        let runner = config.grants.get(ERRANDS).expect("it ships");
        assert!(runner.tools.iter().any(|tool| tool == "kubectl_*") && !runner.approvals);
    }

    #[test]
    fn the_operators_rules_come_before_those_that_ship() {
        const OWN: &str = "[[mcp.rules]]\ntools = \"kubectl_get_pods\"\nclass = \"D\"\n";
        let class = |rules: &Rules, tool: &str| rules.of(tool, &Value::Null).map(|rule| rule.class);
        let with = rules(&shipped(OWN));
        assert_eq!((class(&with, "kubectl_get_pods"), class(&with, "kubectl_get_nodes")), (Some(Class::D), Some(Class::A)));
        let without = rules(&shipped(&format!("shipped_rules = false\n{OWN}")));
        assert_eq!(class(&without, "kubectl_get_nodes"), None);
    }

    #[test]
    fn what_could_leak_or_change_is_no_look() {
        let rules = rules(&shipped(""));
        let class = |tool: &str, arguments: &Value| rules.of(tool, arguments).map(|rule| rule.class);
        let ha = |domain: &str, service: &str, entity: &str| serde_json::json!({ "domain": domain, "service": service, "entity_id": entity });
        let kind = |kind: &str| serde_json::json!({ "resource_type": kind, "name": "x" });
        for (tool, arguments, expected) in [
            ("kubectl_get_secrets", Value::Null, Some(Class::D)),
            ("kubectl_describe", kind("secret"), Some(Class::D)),
            ("kubectl_describe", kind("pod"), Some(Class::A)),
            ("kubectl_exec", Value::Null, None),
            ("ha_ha_call_service", ha("homeassistant", "turn_on", "lock.front"), None),
            ("ha_ha_call_service", ha("lock", "unlock", "lock.front"), Some(Class::C)),
        ] {
            assert_eq!(class(tool, &arguments), expected, "{tool} {arguments}");
        }
    }
}
