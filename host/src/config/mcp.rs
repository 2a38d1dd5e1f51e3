//! `[mcp]`: the one server through which agents reach tools, and what the operator says of its tools.

use policy::class::{Rule, Rules};
use serde::Deserialize;

use super::ConfigError;

/// `[mcp]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mcp {
    /// Where it speaks MCP over Streamable HTTP.
    pub url: String,
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
    /// The token itself, read from the environment.
    #[serde(skip)]
    pub token: Option<String>,
}

fn minute() -> u64 {
    60
}

impl Mcp {
    /// What parses but cannot be meant.
    pub(super) fn sensible(&self) -> Result<(), ConfigError> {
        let wrong = |place: &str, said: String, hint: &str| Err(ConfigError { place: place.into(), said, hint: hint.into() });
        match reqwest::Url::parse(&self.url) {
            Ok(url) if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() => {
                return wrong("[mcp]", format!("url `{}` is no http address", self.url), "url = \"http://127.0.0.1:8080/mcp\"");
            }
            Ok(url) if !url.username().is_empty() || url.password().is_some() => {
                return wrong(
                    "[mcp]",
                    "the url holds a name or password".into(),
                    "name the variable of a token: token_env = \"MCP_TOKEN\"",
                );
            }
            Ok(_) => {}
            Err(error) => return wrong("[mcp]", format!("url `{}`: {error}", self.url), "url = \"http://127.0.0.1:8080/mcp\""),
        }
        if self.call_s == 0 {
            return wrong("[mcp]", "`call_s` must be at least 1".into(), "call_s = 60");
        }
        if let Some(at) = self.rules.iter().flat_map(|rule| rule.args.keys()).find(|at| !at.starts_with('/')) {
            let hint = "write it from the root: args = { \"/domain\" = [\"light\"] }";
            return wrong("[[mcp.rules]]", format!("`{at}` is no JSON pointer"), hint);
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
