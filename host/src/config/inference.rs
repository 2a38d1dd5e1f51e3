//! `[inference]`: the groups of models that agents may be served by.

use std::collections::BTreeMap;

use policy::tier::{Clearance, Tier};
use serde::Deserialize;

use super::prices;

/// `[inference]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inference {
    /// Whether groups of kind `anthropic` may serve.
    pub enable_claude: bool,
    /// `[inference.groups.NAME]`
    pub groups: BTreeMap<String, Group>,
}

/// `[inference.groups.NAME]`: one named destination of model calls.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Which protocol it speaks.
    pub kind: Kind,
    /// Base URL, without the path of the protocol.
    pub url: String,
    /// The model's name there.
    pub model: String,
    /// Tokens that it holds, prompt and answer.
    #[serde(default = "num_ctx")]
    pub num_ctx: u64,
    /// Estimate above which the router looks for a larger one.
    #[serde(default)]
    pub escalate_above: Option<u64>,
    /// Calls at once.
    #[serde(default = "one")]
    pub concurrency: usize,
    /// Highest tier that it may see; public if it is not said.
    #[serde(default = "public")]
    pub clearance: Clearance,
    /// Outside the house? Known for `ollama` and `anthropic`, must be said for `openai`.
    #[serde(default)]
    pub remote: Option<bool>,
    /// Groups to try next.
    #[serde(default)]
    pub fallback: Vec<String>,
    /// US dollars per million tokens.
    #[serde(default)]
    pub price: Option<Price>,
    /// The variable that holds its key.
    #[serde(default)]
    pub api_key_env: Option<String>,
    /// Seconds until the first token; by default from the prompt's length at 10 tokens a second, and a cold load.
    #[serde(default)]
    pub first_token_s: Option<u64>,
    /// The key itself, read from the environment.
    #[serde(skip)]
    pub api_key: Option<String>,
}

impl Group {
    /// Whether it is outside the house.
    #[must_use]
    pub fn is_remote(&self) -> bool {
        self.remote.unwrap_or(self.kind == Kind::Anthropic)
    }

    /// What its tokens cost: as set, or as shipped for a model outside the house; `None` if nothing is known.
    #[must_use]
    pub fn price(&self) -> Option<Price> {
        if self.price.is_some() || !self.is_remote() {
            return self.price;
        }
        prices::shipped(&self.model, jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date()).ok().flatten()
    }
}

fn num_ctx() -> u64 {
    8192
}

fn one() -> usize {
    1
}

fn public() -> Clearance {
    Clearance(Tier::Public)
}

/// The protocol of a model server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// `/api/chat`
    Ollama,
    /// `/v1/chat/completions`
    Openai,
    /// `/v1/messages`; not served by this version.
    Anthropic,
}

impl Kind {
    /// The word, as in the file.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ollama => "ollama",
            Self::Openai => "openai",
            Self::Anthropic => "anthropic",
        }
    }
}

/// US dollars per million tokens.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// Of the prompt.
    pub input: f64,
    /// Of the answer.
    pub output: f64,
}
