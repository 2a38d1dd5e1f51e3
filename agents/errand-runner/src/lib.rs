//! Makes the one exact call that a colleague proposed, and looks whether it worked. There is no model in it: nothing is guessed.
//!
//! Must never change a call, make a second one, or find a way round a refusal.

mod rehearsal;
mod result;

use homeaiops_sdk::errand::{Errand, Exact, THE_TASK, proposer};
use homeaiops_sdk::offer::only_looks;
use homeaiops_sdk::seen::start;
use homeaiops_sdk::toolbox::{self, Action, Observation, Tool};
use homeaiops_sdk::{Agent, Brief, Class, Error, Outcome, Rejection, said};
use result::{Ended, Story};

homeaiops_sdk::agent!(run);

/// Who may propose changes of the cluster.
const CLUSTER: &str = "homelab-engineer";
/// Most characters that the report tells of what was seen afterwards.
const MOST_SEEN: usize = 1000;

fn run(_me: &Agent, brief: &Brief) -> Result<Outcome, String> {
    let (errand, by) = match Errand::handed(brief) {
        Ok(handed) => handed,
        Err(why) => {
            // Whoever proposed it knows what is missing.
            let suggested = proposer(brief).map(|handed| handed.agent.clone());
            return Ok(Outcome::Reject(Rejection { why, suggested, keep: String::new() }));
        }
    };
    if let Err(why) = gated(&errand, by) {
        // Whoever may propose it looks for themselves.
        return Ok(Outcome::Reject(Rejection { why, suggested: Some(CLUSTER.to_owned()), keep: String::new() }));
    }
    Ok(carried_out(&errand))
}

/// What only some colleague may propose (`homeaiops.md` §5.4); what a person asks for as an exact call, they answer for.
fn gated(errand: &Errand, by: &str) -> Result<(), String> {
    let tool = &errand.call.tool;
    if tool.starts_with("kubectl_") && ![CLUSTER, THE_TASK].contains(&by) {
        return Err(format!("`{tool}` changes the cluster: `{CLUSTER}` proposes that, not `{by}`"));
    }
    Ok(())
}

fn carried_out(errand: &Errand) -> Outcome {
    let mut story = Story::of(errand);
    let tool = match known(&errand.call.tool) {
        Ok(tool) => tool,
        Err(why) => return story.ended(Ended::Rejected, &why),
    };
    if errand.undo.is_none() && errand.action_class >= Class::C {
        story.note("The proposal names nothing that undoes it; whether it may be made all the same, the host decides.");
    }
    let action = match written(&errand.exact(), &errand.call.why) {
        Ok(action) => toolbox::undone_by(action, errand.undo.as_ref().map(|undo| undo.told())),
        Err(why) => return story.ended(Ended::Rejected, &why),
    };
    if let Err(why) = rehearsed(&tool, errand, &mut story) {
        return story.ended(Ended::PreflightFailed, &why);
    }
    match toolbox::make(&action) {
        Ok(seen) => {
            story.cite(&seen.ref_, &tool.name, if seen.is_error { "called, and it failed" } else { "called" });
            let told = start(text(&seen), MOST_SEEN);
            if seen.is_error {
                return story.ended(Ended::Failed, &format!("the tool said: {told}"));
            }
            verified(errand, &mut story);
            story.ended(Ended::Executed, &told)
        }
        Err(Error::Denied(denial)) => {
            // It needed a yes and did not get one; or nobody could have said yes.
            let ended = if denial.rule.starts_with("approval") { Ended::NoApproval } else { Ended::Rejected };
            story.ended(ended, &said(&Error::Denied(denial)))
        }
        Err(error @ (Error::Invalid(_) | Error::NotFound(_))) => story.ended(Ended::Rejected, &said(&error)),
        Err(error @ (Error::Failed(_) | Error::Conflict(_))) => story.ended(Ended::Failed, &said(&error)),
    }
}

/// The tool of that name, if it is there and granted.
fn known(name: &str) -> Result<Tool, String> {
    let found = toolbox::matching(name).map_err(|error| said(&error))?;
    let tool = found.into_iter().find(|tool| tool.name == name);
    tool.ok_or_else(|| format!("there is no tool `{name}` that may be used for errands"))
}

fn written(exact: &Exact, why: &str) -> Result<Action, String> {
    toolbox::action(&exact.tool, &exact.arguments, why).map_err(|error| said(&error))
}

/// Makes the call without consequences, if the tool knows how and nobody has to be asked for it. The error says what the tool said.
fn rehearsed(tool: &Tool, errand: &Errand, story: &mut Story) -> Result<(), String> {
    let Some(arguments) = rehearsal::of(&tool.schema, &errand.call.arguments) else { return Ok(()) };
    let action = written(&Exact { tool: tool.name.clone(), arguments }, "a dry run before the call itself")?;
    match toolbox::make_unasked(&action) {
        Ok(seen) => {
            let claim = if seen.is_error { "rehearsed, and it failed" } else { "rehearsed without a complaint" };
            story.cite(&seen.ref_, &tool.name, claim);
            if seen.is_error {
                return Err(start(text(&seen), MOST_SEEN));
            }
            story.note("A dry run went through before.");
            Ok(())
        }
        Err(error @ Error::Denied(_)) => {
            story.note(&format!("There was no dry run: {}.", said(&error)));
            Ok(())
        }
        Err(error) => Err(said(&error)),
    }
}

/// Looks whether it worked, as the proposal says.
fn verified(errand: &Errand, story: &mut Story) {
    let Some(check) = &errand.verify else { return };
    let looked = known(&check.tool).and_then(|tool| match only_looks(&tool) {
        true => written(check, "to see whether the call worked"),
        false => Err(format!("`{}` is not known to only look", tool.name)),
    });
    // A look that would need an approval is none.
    let looked = looked.and_then(|action| toolbox::make_unasked(&action).map_err(|error| said(&error)));
    match looked {
        Ok(seen) => {
            let claim = if seen.is_error { "looked at after the call, and it failed" } else { "looked at after the call" };
            story.cite(&seen.ref_, &check.tool, claim);
            let told = start(text(&seen), MOST_SEEN);
            story.verified(!seen.is_error, &format!("Afterwards [{}] `{}` said:\n\n{told}", seen.ref_, check.tool));
        }
        Err(why) => story.verified(false, &format!("What came of it was not looked at: {why}.")),
    }
}

fn text(seen: &Observation) -> &str {
    if seen.text.trim().is_empty() { seen.data.as_deref().unwrap_or_default() } else { &seen.text }
}
