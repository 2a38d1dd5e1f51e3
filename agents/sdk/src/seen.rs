//! What an agent has looked at, and how it is told: to the model that goes on from it, and to those who check what was claimed.
//!
//! Must never forget a look or change what it said: a long one is shortened where it is told, and says so.

use std::fmt::Write as _;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Citation;
use crate::structured::{Spent, enumerate};

/// Most characters that are kept of one result.
const MOST_KEPT: usize = 8000;
/// Characters that every look may have in a prompt, however old it is.
const LEAST_TOLD: usize = 240;
/// Most characters that are told of the arguments of one look.
const MOST_ARGUMENTS: usize = 300;

/// One look, whatever came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// What it may be cited by; a call that was refused has none.
    pub reference: Option<String>,
    /// The tool.
    pub tool: String,
    /// Its arguments, as JSON.
    pub arguments: String,
    /// What it said, or why it said nothing.
    pub text: String,
    /// Whether it failed or was refused.
    pub is_error: bool,
}

/// Why no more was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The model has seen enough.
    Enough,
    /// The model asked for nothing that it had not seen already.
    NothingNew,
    /// The most steps were taken.
    Steps,
    /// Little is left of the run's limits.
    Budget,
    /// There is nothing to look with; why.
    NoTools(String),
    /// The model did not answer; why.
    Model(String),
}

/// Everything that was looked at, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The looks.
    pub looks: Vec<Look>,
    /// What the model thought at each step.
    pub thoughts: Vec<String>,
    /// Why it ended.
    pub ended: Ended,
    /// What it took.
    pub spent: Spent,
}

/// A claim, and the look that it rests on. A type that a model fills in has `cites: Vec<Cite>` with `#[serde(default)]` and
/// `#[schemars(length(max = 8))]`; [`Seen::narrow`] restricts it to what was seen.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[schemars(inline)]
pub struct Cite {
    /// The number in brackets of what was seen.
    #[serde(rename = "ref")]
    #[schemars(length(max = 40))]
    pub reference: String,
    /// The resource that the claim is about.
    #[schemars(length(max = 80))]
    pub subject: String,
    /// What was seen of it.
    #[schemars(length(max = 200))]
    pub claim: String,
}

impl Look {
    pub(crate) fn of(tool: &str, arguments: &str, text: &str) -> Self {
        let text = start(text.trim(), MOST_KEPT);
        Self { reference: None, tool: tool.to_owned(), arguments: arguments.to_owned(), text, is_error: false }
    }

    pub(crate) fn failed(self) -> Self {
        Self { is_error: true, ..self }
    }

    pub(crate) fn cited_by(self, reference: String) -> Self {
        Self { reference: Some(reference), ..self }
    }

    /// The look in at most about so many characters of its result. The result is indented, so that no line of it can pass for
    /// another look.
    fn told(&self, most: usize) -> String {
        let reference = self.reference.as_deref().unwrap_or("refused");
        let failed = if self.is_error && self.reference.is_some() { " failed" } else { "" };
        let mut told = format!("[{reference}] {} {}{failed} →\n", self.tool, start(&self.arguments, MOST_ARGUMENTS));
        for line in start(&self.text, most).lines() {
            // Writing to a string does not fail.
            let _ = writeln!(told, "    {line}");
        }
        told
    }
}

impl Seen {
    /// What was seen, oldest first, in about `room` characters: the newest are whole as far as there is room, older ones are
    /// shortened.
    #[must_use]
    pub fn told(&self, room: usize) -> String {
        let mut left = room.saturating_sub(LEAST_TOLD * self.looks.len());
        let mut told: Vec<String> = Vec::with_capacity(self.looks.len());
        for look in self.looks.iter().rev() {
            let beyond = look.text.chars().count().saturating_sub(LEAST_TOLD).min(left);
            left -= beyond;
            told.push(look.told(LEAST_TOLD + beyond));
        }
        told.reverse();
        told.concat()
    }

    /// Whether any look came back with something.
    #[must_use]
    pub fn saw_anything(&self) -> bool {
        self.looks.iter().any(|look| !look.is_error)
    }

    /// One sentence for people if nothing was seen, or not all that was meant to be.
    #[must_use]
    pub fn shortcoming(&self) -> Option<String> {
        let why = match &self.ended {
            Ended::NoTools(why) => why.clone(),
            Ended::Model(why) => format!("the model did not answer: {why}"),
            Ended::Budget => "little was left of this run's limits".into(),
            Ended::Steps => "the most steps were taken".into(),
            Ended::Enough | Ended::NothingNew => match self.looks.last() {
                Some(last) => format!("every look failed, the last with: {}", start(&last.text, LEAST_TOLD)),
                None => "the model asked for no look".into(),
            },
        };
        let why = why.trim_end_matches('.');
        match (self.saw_anything(), &self.ended) {
            (false, _) => Some(format!("Nothing was looked at: {why}.")),
            (true, Ended::Enough | Ended::NothingNew) => None,
            (true, _) => Some(format!("The looking ended early: {why}.")),
        }
    }

    /// Restricts the list `name` of [`Cite`]s in a schema to the looks that can be cited; without any, the list is left out.
    pub fn narrow(&self, schema: &mut Value, name: &str) {
        let known: Vec<&str> = self.looks.iter().filter_map(|look| look.reference.as_deref()).collect();
        if known.is_empty() {
            if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
                properties.remove(name);
            }
            if let Some(required) = schema.get_mut("required").and_then(Value::as_array_mut) {
                required.retain(|one| one != name);
            }
        } else {
            if let Some(cite) = schema.pointer_mut(&format!("/properties/{name}/items")) {
                enumerate(cite, "ref", &known);
            }
            let required = schema.get_mut("required").and_then(Value::as_array_mut);
            if let Some(required) = required.filter(|required| !required.iter().any(|one| one == name)) {
                required.push(name.into());
            }
        }
    }

    /// The claims as the host checks them. One that rests on nothing that was seen is left out.
    #[must_use]
    pub fn citations(&self, cites: &[Cite]) -> Vec<Citation> {
        let known = |cite: &&Cite| self.looks.iter().any(|look| look.reference.as_ref() == Some(&cite.reference));
        let citation =
            |cite: &Cite| Citation { ref_: cite.reference.clone(), subject: cite.subject.clone(), claim: cite.claim.clone() };
        cites.iter().filter(known).map(citation).collect()
    }
}

/// The start of a text, in at most so many characters and a word on what is missing.
#[must_use]
pub fn start(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some((end, _)) => {
            format!("{}… [cut: {most} of {} characters]", text.get(..end).unwrap_or_default(), text.chars().count())
        }
    }
}
