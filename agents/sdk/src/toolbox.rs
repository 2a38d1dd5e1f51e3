//! Tools: looking at the world, and acting on it where that is granted.
//!
//! ```ignore
//! let seen = toolbox::call("disk_usage", &json!({ "host": "nas" }), "the report says that it is full")?;
//! let usage: Usage = toolbox::data(&seen)?;
//! ```
//!
//! A refusal says which edit would allow the call. A tool that fails by itself is no error of the call: look at `is_error`.

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use crate::bindings::homeaiops::agent::tools::{Action, Observation, Tool, matching, search};

use crate::bindings::homeaiops::agent::tools;
use crate::bindings::homeaiops::agent::types::Error;

/// A call of that tool, and why it is made: for those who are asked to approve it. The arguments are an object, or `()`.
///
/// # Errors
/// [`Error::Invalid`] if the arguments cannot be written as JSON.
pub fn action(tool: &str, arguments: &impl Serialize, why: &str) -> Result<Action, Error> {
    let written = serde_json::to_string(arguments);
    let written = written.map_err(|error| Error::Invalid(format!("the arguments of `{tool}`: {error}")))?;
    // `()` is the natural way to say that there are none.
    let arguments = if written == "null" { "{}".to_owned() } else { written };
    Ok(Action { tool: tool.to_owned(), arguments, why: why.to_owned(), undo: None })
}

/// The same call, with how it would be undone: those who are asked to approve it read it as the agent's claim.
#[must_use]
pub fn undone_by(mut action: Action, undo: Option<String>) -> Action {
    action.undo = undo;
    action
}

/// Makes one call that was written before.
///
/// # Errors
/// The refusal, or why it could not be called.
pub fn make(action: &Action) -> Result<Observation, Error> {
    tools::call(action)
}

/// Makes one call that must not bother anybody: if it needs an approval, it is refused instead.
///
/// # Errors
/// The refusal, or why it could not be called.
pub fn make_unasked(action: &Action) -> Result<Observation, Error> {
    // A call among several is never asked for: so this one is a batch of its own.
    let nothing = || Err(Error::Failed(format!("the host did not answer the call of `{}`", action.tool)));
    tools::call_all(std::slice::from_ref(action)).pop().unwrap_or_else(nothing)
}

/// Calls one tool.
///
/// # Errors
/// The refusal, or why it could not be called.
pub fn call(tool: &str, arguments: &impl Serialize, why: &str) -> Result<Observation, Error> {
    tools::call(&action(tool, arguments, why)?)
}

/// Calls several at the same time; answers are in the order of the calls. A call that needs an approval is refused here: make it alone.
#[must_use]
pub fn call_all(actions: &[Action]) -> Vec<Result<Observation, Error>> {
    tools::call_all(actions)
}

/// The structured result of a call, or its text if that is JSON.
///
/// # Errors
/// [`Error::Failed`] says what it was instead.
pub fn data<T: DeserializeOwned>(seen: &Observation) -> Result<T, Error> {
    let json = seen.data.as_deref().unwrap_or(&seen.text);
    serde_json::from_str(json)
        .map_err(|error| Error::Failed(format!("the result of {} is not what was expected: {error}", seen.ref_)))
}
