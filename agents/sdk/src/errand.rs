//! An exact call that one agent proposes and another makes: what is handed over between them.
//!
//! Must never make a call: whoever carries out an errand does, and the host asks whom it must.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Brief, Handed};

/// The agent that carries errands out.
pub const RUNNER: &str = "errand-runner";
/// Those that pass on what others say, and find nothing by themselves.
pub const PASSERS: [&str; 3] = [RUNNER, "supervisor", "triager"];

/// What a call may do to the world, as its proposer sees it; the host decides by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema)]
#[schemars(inline)]
pub enum Class {
    /// Only looks.
    A,
    /// Writes what is easily undone.
    B,
    /// Changes the state of one thing: one approval.
    C,
    /// Cannot be undone, or goes wide: two approvals.
    D,
}

/// The call that a model proposes.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[schemars(inline)]
pub struct Proposed {
    /// The exact name of the tool.
    #[schemars(length(max = 128))]
    pub tool: String,
    /// All of its arguments: a JSON object as text.
    #[schemars(length(max = 4000))]
    pub arguments: String,
    /// Why it is made: one sentence for whoever approves it.
    #[schemars(length(max = 300))]
    pub why: String,
    /// How it is undone: {"tool": …, "arguments": {…}} as text if one call does it, else the command; empty if nothing undoes it.
    #[schemars(length(max = 1500))]
    pub undo: String,
}

/// The look that a model proposes, to see whether the call did what it should.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[schemars(inline)]
pub struct Check {
    /// The exact name of a tool that only looks.
    #[schemars(length(max = 128))]
    pub tool: String,
    /// All of its arguments: a JSON object as text.
    #[schemars(length(max = 1500))]
    pub arguments: String,
}

/// A tool and all of its arguments.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Exact {
    /// The tool.
    pub tool: String,
    /// A JSON object.
    pub arguments: Value,
}

/// The call to make.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Call {
    /// The tool.
    pub tool: String,
    /// A JSON object.
    pub arguments: Value,
    /// Why, for whoever approves it.
    #[serde(default)]
    pub why: String,
}

/// What undoes a call.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(untagged)]
pub enum Undo {
    /// Another call.
    Call(Exact),
    /// Something that a person does.
    Text(String),
}

/// The `data` of a hand-over to [`RUNNER`].
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Errand {
    /// What to do.
    pub call: Call,
    /// How to see whether it was done.
    pub verify: Option<Exact>,
    /// What undoes it.
    pub undo: Option<Undo>,
    /// What its proposer takes it for.
    pub action_class: Class,
    /// Where the reasons are written down.
    pub finding_path: Option<String>,
}

/// Who proposes what a task itself asks for.
pub const THE_TASK: &str = "the task";

/// The newest hand-over of an agent that proposes something by itself.
#[must_use]
pub fn proposer(brief: &Brief) -> Option<&Handed> {
    brief.handed.iter().rev().find(|handed| !PASSERS.contains(&handed.agent.as_str()))
}

impl Class {
    /// The letter.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::B => "B",
            Self::C => "C",
            Self::D => "D",
        }
    }
}

impl Exact {
    /// A tool and its arguments as text.
    ///
    /// # Errors
    /// What is not exact about it.
    pub fn of(tool: &str, arguments: &str) -> Result<Self, String> {
        let text = if arguments.trim().is_empty() { "{}" } else { arguments };
        let read: Result<Value, _> = serde_json::from_str(text);
        let arguments = read.map_err(|error| format!("the arguments of `{tool}` are no JSON: {error}"))?;
        let exact = Self { tool: tool.trim().to_owned(), arguments };
        exact.sound()?;
        Ok(exact)
    }

    /// Whether it could be called at all.
    ///
    /// # Errors
    /// What is not exact about it.
    pub fn sound(&self) -> Result<(), String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:".contains(c);
        if self.tool.is_empty() {
            return Err("no tool is named".into());
        }
        if !self.tool.chars().all(plain) {
            return Err(format!("`{}` is not the name of a tool", self.tool));
        }
        if !self.arguments.is_object() {
            return Err(format!("the arguments of `{}` are not a JSON object", self.tool));
        }
        Ok(())
    }
}

impl Undo {
    /// What a model wrote: a call, if it reads as one.
    #[must_use]
    pub fn of(text: &str) -> Option<Self> {
        let text = text.trim();
        if text.is_empty() {
            return None;
        }
        let call = serde_json::from_str::<Exact>(text).ok().filter(|exact| exact.sound().is_ok());
        Some(call.map_or_else(|| Self::Text(text.to_owned()), Self::Call))
    }

    /// As those who are asked read it.
    #[must_use]
    pub fn told(&self) -> String {
        match self {
            Self::Call(exact) => format!("{} {}", exact.tool, exact.arguments),
            Self::Text(text) => text.clone(),
        }
    }
}

impl Errand {
    /// What a model proposed, if it is exact.
    ///
    /// # Errors
    /// What is not exact about it.
    pub fn proposed(call: &Proposed, verify: Option<&Check>, action_class: Class) -> Result<Self, String> {
        let exact = Exact::of(&call.tool, &call.arguments)?;
        let verify = verify.map(|check| Exact::of(&check.tool, &check.arguments)).transpose()?;
        let call_made = Call { tool: exact.tool, arguments: exact.arguments, why: call.why.trim().to_owned() };
        Ok(Self { call: call_made, verify, undo: Undo::of(&call.undo), action_class, finding_path: None })
    }

    /// The errand of the newest hand-over, and who proposed it; of a task that was handed over by nobody, what it asks itself, if that
    /// is an exact call. Nothing older counts: it was not meant for now.
    ///
    /// # Errors
    /// Why there is none.
    pub fn handed(brief: &Brief) -> Result<(Self, &str), String> {
        const NONE: &str = "no proposal with an exact call";
        let (data, by) = match proposer(brief) {
            Some(newest) => (newest.data.as_deref(), newest.agent.as_str()),
            None => (Some(brief.task.content.as_str()), THE_TASK),
        };
        let read: Option<Value> = data.and_then(|data| serde_json::from_str(data).ok());
        let value = read.filter(|value| value.get("call").is_some_and(Value::is_object)).ok_or(NONE)?;
        let read: Result<Self, _> = serde_json::from_value(value);
        let errand = read.map_err(|error| format!("{NONE}: what `{by}` proposes is incomplete: {error}"))?;
        errand.exact().sound().map_err(|why| format!("{NONE}: {why}"))?;
        Ok((errand, by))
    }

    /// The call without its reason.
    #[must_use]
    pub fn exact(&self) -> Exact {
        Exact { tool: self.call.tool.clone(), arguments: self.call.arguments.clone() }
    }
}
