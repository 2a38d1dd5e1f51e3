//! `[mcp]`: the servers through which agents reach tools, and what the operator says of their tools.

use std::collections::{BTreeMap, BTreeSet};

use policy::class::{Rule, Rules};
use serde::Deserialize;

use super::ConfigError;

/// One server: `[mcp]` itself, or `[mcp.servers.NAME]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// Where it speaks MCP over Streamable HTTP.
    pub url: String,
    /// What stands before the names of its tools here.
    #[serde(default)]
    pub prefix: String,
    /// The variable that holds its token.
    #[serde(default)]
    pub token_env: Option<String>,
    /// Whether what it says of its tools may lower a class.
    #[serde(default)]
    pub trusted: bool,
    /// The token itself, read from the environment.
    #[serde(skip)]
    pub token: Option<String>,
}

/// `[mcp]`: a gateway to many servers, several servers by name, or both.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mcp {
    /// Where it speaks MCP over Streamable HTTP; empty if only named servers do.
    #[serde(default)]
    pub url: String,
    /// `[mcp.servers.NAME]`
    #[serde(default)]
    pub servers: BTreeMap<String, Server>,
    /// The variable that holds its token.
    #[serde(default)]
    pub token_env: Option<String>,
    /// Whether what it says of its tools may lower a class.
    #[serde(default)]
    pub trusted: bool,
    /// Seconds that one call of a tool may take.
    #[serde(default = "minute")]
    pub call_s: u64,
    /// `[[mcp.rules]]`: first match wins.
    #[serde(default)]
    pub rules: Vec<Rule>,
    /// Whether the rules that ship (`deploy/tools.toml`) stand behind them.
    #[serde(default = "yes")]
    pub shipped_rules: bool,
    /// The server that the table itself names.
    #[serde(skip)]
    pub gateway: Option<Server>,
}

fn yes() -> bool {
    true
}

fn minute() -> u64 {
    60
}

impl Mcp {
    /// A server there, with these rules and no others.
    #[must_use]
    pub fn at(url: String, rules: Vec<Rule>) -> Self {
        let servers = BTreeMap::new();
        Self { url, servers, token_env: None, trusted: false, call_s: minute(), rules, shipped_rules: false, gateway: None }
            .normal()
    }

    /// The same, with its own server among the others.
    pub(super) fn normal(self) -> Self {
        let Self { url, token_env, trusted, .. } = &self;
        let own = Server { url: url.clone(), prefix: String::new(), token_env: token_env.clone(), trusted: *trusted, token: None };
        let gateway = (!url.is_empty()).then_some(own);
        Self { gateway, ..self }
    }

    /// Every server by name, the one of `[mcp]` first.
    pub fn servers(&self) -> impl Iterator<Item = (&str, &Server)> {
        let named = self.servers.iter().map(|(name, server)| (name.as_str(), server));
        self.gateway.iter().map(|own| ("mcp", own)).chain(named)
    }

    /// The same, to fill in what the environment holds.
    pub(super) fn servers_mut(&mut self) -> impl Iterator<Item = (&str, &mut Server)> {
        let named = self.servers.iter_mut().map(|(name, server)| (name.as_str(), server));
        self.gateway.iter_mut().map(|own| ("mcp", own)).chain(named)
    }

    /// What parses but cannot be meant.
    pub(super) fn sensible(&self) -> Result<(), ConfigError> {
        let wrong = |place: &str, said: String, hint: &str| Err(ConfigError { place: place.into(), said, hint: hint.into() });
        const EXAMPLE: &str = "url = \"http://127.0.0.1:8080/mcp\"";
        if self.servers().next().is_none() {
            return wrong("[mcp]", "it names no server".into(), EXAMPLE);
        }
        let several = self.servers().count() > 1;
        let mut prefixes = BTreeSet::new();
        for (name, server) in self.servers() {
            // Rules know tools by their names: no server may give its own the names of another's.
            if several && name != "mcp" && server.prefix.is_empty() {
                let said = "one of several servers needs a prefix, so that its tools are known from the others'".to_owned();
                return wrong(&format!("[mcp.servers.{name}]"), said, &format!("prefix = \"{name}_\""));
            }
            if !prefixes.insert(&server.prefix) {
                let said = format!("prefix `{}` is that of another server too", server.prefix);
                return wrong(&format!("[mcp.servers.{name}]"), said, &format!("prefix = \"{name}_\""));
            }
            let place = if name == "mcp" { "[mcp]".to_owned() } else { format!("[mcp.servers.{name}]") };
            match reqwest::Url::parse(&server.url) {
                Ok(url) if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() => {
                    return wrong(&place, format!("url `{}` is no http address", server.url), EXAMPLE);
                }
                Ok(url) if !url.username().is_empty() || url.password().is_some() => {
                    let hint = "name the variable of a token: token_env = \"MCP_TOKEN\"";
                    return wrong(&place, "the url holds a name or password".into(), hint);
                }
                Ok(_) => {}
                Err(error) => return wrong(&place, format!("url `{}`: {error}", server.url), EXAMPLE),
            }
        }
        if self.call_s == 0 {
            return wrong("[mcp]", "`call_s` must be at least 1".into(), "call_s = 60");
        }
        if let Some(at) = self.rules.iter().flat_map(|rule| rule.args.keys()).find(|at| !at.starts_with('/')) {
            let hint = "write it from the root: args = { \"/domain\" = [\"light\"] }";
            return wrong("[[mcp.rules]]", format!("`{at}` is no JSON pointer"), hint);
        }
        if let Some(rule) = self.rules.iter().find(|rule| rule.cost_usd.is_some_and(|usd| !(0.0..=1e9).contains(&usd))) {
            let said = format!("cost_usd of `{}` is no sum of US dollars", rule.tools);
            return wrong("[[mcp.rules]]", said, "cost_usd = 120.0");
        }
        if let Err(bad) = Rules::compile(&self.rules) {
            return wrong("[[mcp.rules]]", bad.to_string(), "tools = \"search_*\"");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use policy::class::Class;
    use policy::tier::{Clearance, Tier};

    use crate::config::{Config, Flags};

    fn load(text: &str) -> Result<Config, String> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("host.toml");
        std::fs::write(&path, text).expect("a writable folder");
        Config::load(&Flags { config: Some(path), ..Flags::default() }).map_err(|error| error.to_string())
    }

    #[test]
    fn several_servers_are_told_apart_by_their_prefixes() {
        let server =
            |name: &str, prefix: &str| format!("[mcp.servers.{name}]\nurl = \"http://127.0.0.1:1/mcp\"\nprefix = \"{prefix}\"\n");
        let gateway = "[mcp]\nurl = \"http://127.0.0.1:8080/mcp\"\n";
        assert!(load(&server("a", "")).is_ok(), "one needs none");
        assert!(load(&(gateway.to_owned() + &server("a", "a_") + &server("b", "b_"))).is_ok());
        let said = load(&(gateway.to_owned() + &server("a", ""))).unwrap_err();
        assert!(said.contains("[mcp.servers.a]") && said.contains("needs a prefix"), "{said}");
        let said = load(&(server("a", "x_") + &server("b", "x_"))).unwrap_err();
        assert!(said.contains("prefix `x_` is that of another server"), "{said}");
    }

    #[test]
    fn a_rule_needs_only_tools_and_class() {
        let text = "[mcp]\nurl = \"http://127.0.0.1:8080/mcp\"\n[[mcp.rules]]\ntools = \"ha_ha_call_service\"\nclass = \"B\"\n\
            args = { \"/domain\" = [\"light\", \"scene\"] }\nundo = { tool = \"ha_ha_call_service\", args = { } }\n";
        let mcp = load(text).expect("it is complete").mcp.expect("it is there");
        assert!(!mcp.trusted);
        let rule = &mcp.rules[0];
        assert_eq!((rule.class, rule.untrusted, rule.idempotent), (Class::B, true, false));
        assert_eq!((rule.tier, rule.clearance), (Tier::Internal, Clearance(Tier::Internal)));
    }

    #[test]
    fn a_mistake_in_a_rule_names_its_line() {
        let with = |rule: &str| format!("[mcp]\nurl = \"http://127.0.0.1:1/mcp\"\n[[mcp.rules]]\n{rule}\n");
        for (text, expected) in [
            (with("tools = \"a\"\nclas = \"B\""), "did you mean `class`?"),
            (with("tools = \"a\"\nclass = \"E\""), "unknown variant `E`"),
            (with("tools = \"a[\"\nclass = \"B\""), "`a[` is not a pattern"),
            (with("tools = \"a\"\nclass = \"B\"\nargs = { \"domain\" = [\"x\"] }"), "`domain` is no JSON pointer"),
            ("[mcp]\nurl = \"ftp://127.0.0.1/\"\n".to_owned(), "is no http address"),
            ("[mcp]\nurl = \"http://me:secret@127.0.0.1/\"\n".to_owned(), "token_env"),
            ("[mcp]\nurll = \"http://127.0.0.1/\"\n".to_owned(), "did you mean `url`?"),
        ] {
            let said = load(&text).map(|_| ()).expect_err("the file has a mistake");
            assert!(said.contains(expected) && !said.contains("secret"), "{text}: {said}");
        }
    }
}
