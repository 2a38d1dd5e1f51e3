//! Calls to tools, and to the people of the house.

use serde::{Deserialize, Serialize};

use super::Call;
use crate::class::{Class, Hints};
use crate::denied::Denied;
use crate::grant::Grant;

/// `tools.call`. The arguments are canonical (RFC 8785): what is judged here is what is sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolCall {
    /// Which tool.
    pub tool: String,
    /// An object that its schema allows.
    pub arguments: serde_json::Value,
    /// Whether it is one of several made at once, where nobody can be asked in between.
    #[serde(skip)]
    pub batched: bool,
    /// What its server says of the tool, as it was known when the call was judged; `None` if there is no such tool.
    #[serde(skip)]
    pub hints: Option<Hints>,
    /// Why its agent makes it: shown to those who are asked, and no part of what they consent to.
    #[serde(skip)]
    pub why: String,
    /// How its agent says that it is undone: a claim.
    #[serde(skip)]
    pub undo: Option<String>,
    /// Why the tool's schema, as it was known when the call was judged, does not allow the arguments: then nothing is asked or sent.
    #[serde(skip)]
    pub unfit: Option<String>,
    /// Whether the household's list allows it, and what that list wants to hold does.
    #[serde(skip)]
    pub allowed: bool,
}

impl ToolCall {
    /// A call of which nothing is known but itself.
    #[must_use]
    pub fn new(tool: impl Into<String>, arguments: serde_json::Value) -> Self {
        let (why, undo, unfit) = (String::new(), None, None);
        Self { tool: tool.into(), arguments, batched: false, hints: None, why, undo, unfit, allowed: false }
    }
}

impl Call for ToolCall {
    const KIND: &'static str = "tools.call";

    fn within(&self, grant: &Grant) -> Result<(), Denied> {
        grant.uses(&self.tool)
    }

    fn beside(&mut self, original: &Self) {
        self.batched = original.batched;
        self.hints = original.hints;
        self.why.clone_from(&original.why);
        self.undo.clone_from(&original.undo);
        self.allowed = original.allowed;
        self.unfit.clone_from(&original.unfit);
    }
}

/// `approvals.ask`: a plan that a person is to consent to before anything of it is done. Consent to a plan is none to its calls.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Propose {
    /// Of the most that it does.
    pub class: Class,
    /// One sentence.
    pub summary: String,
    /// All of it.
    pub details: String,
    /// How it is undone, as the agent says.
    pub undo: Option<String>,
    /// What it rests on: `ref`s of calls.
    pub cites: Vec<String>,
}

impl Call for Propose {
    const KIND: &'static str = "approvals.ask";

    fn within(&self, grant: &Grant) -> Result<(), Denied> {
        grant.asks()
    }
}

/// `tools.search`. Answers only tools that the grant covers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolSearch {
    /// Words of names and descriptions.
    pub query: String,
    /// Most tools.
    pub limit: u32,
}

impl Call for ToolSearch {
    const KIND: &'static str = "tools.search";

    fn within(&self, grant: &Grant) -> Result<(), Denied> {
        grant.uses_anything()
    }
}

/// `tools.matching`. Answers only tools that the grant covers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolMatching {
    /// Pattern of names.
    pub pattern: String,
}

impl Call for ToolMatching {
    const KIND: &'static str = "tools.matching";

    fn within(&self, grant: &Grant) -> Result<(), Denied> {
        grant.uses_anything()
    }
}
