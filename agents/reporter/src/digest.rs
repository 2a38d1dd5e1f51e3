//! Several results in one report: the lines of a task that is addressed to the reporter itself, grouped by what they concern.
//!
//! The model only sorts. What stands in the report are the lines as they came, each once, also those that it forgot.

use homeaiops_sdk::seen::start;
use homeaiops_sdk::{Agent, Prompt, log};
use schemars::JsonSchema;
use serde::Deserialize;

/// Most lines that the model sorts; what comes after them follows unsorted.
const SORTED: usize = 100;
/// Characters of a line that the model reads.
const READ: usize = 200;

/// What the model fills in.
#[derive(Deserialize, JsonSchema)]
struct Digest {
    /// What of all this the person should know first.
    #[schemars(length(min = 3, max = 110))]
    headline: String,
    /// What needs the person comes first.
    #[schemars(length(max = 12))]
    groups: Vec<Group>,
}

/// Lines that belong together.
#[derive(Deserialize, JsonSchema)]
struct Group {
    /// What they concern.
    #[schemars(length(min = 2, max = 60))]
    heading: String,
    /// Their numbers.
    #[schemars(length(max = 100))]
    lines: Vec<u32>,
}

/// The results of a text, one on each line, whatever marks it as an item.
pub fn results(text: &str) -> Vec<&str> {
    text.lines().map(|line| line.trim().trim_start_matches(['-', '*', '•']).trim()).filter(|line| !line.is_empty()).collect()
}

/// The report of several results.
pub fn of(me: &Agent, lines: &[&str]) -> String {
    let numbered: String =
        lines.iter().take(SORTED).enumerate().map(|(n, line)| format!("{}. {}\n", n + 1, start(line, READ))).collect();
    let text = format!(
        "RESULTS:\n{numbered}\nFill in the Digest as one JSON object: put the number of every result into exactly one group of those that \
         concern the same thing."
    );
    let prompt = Prompt { me, text, max_output_tokens: 1000, temperature: 0.1 };
    match prompt.fill::<Digest>(|_| {}) {
        Ok(digest) => rendered(&digest, lines),
        Err(failure) => {
            log::line(log::Level::Warn, &format!("grouped without a model: {failure}"), &[]);
            rendered(&Digest { headline: format!("{} results", lines.len()), groups: Vec::new() }, lines)
        }
    }
}

/// Each line once: in the first group that has it, or at the end.
fn rendered(digest: &Digest, lines: &[&str]) -> String {
    let mut left: Vec<Option<&str>> = lines.iter().copied().map(Some).collect();
    let mut text = format!("**{}**", digest.headline.trim().trim_matches('*'));
    for group in &digest.groups {
        let mut take = |number: &u32| left.get_mut(usize::try_from(*number).ok()?.checked_sub(1)?)?.take();
        let taken: Vec<&str> = group.lines.iter().filter_map(&mut take).collect();
        text.push_str(&section(&group.heading, &taken));
    }
    let rest: Vec<&str> = left.into_iter().flatten().collect();
    let heading = if digest.groups.is_empty() { "All" } else { "Else" };
    text.push_str(&section(heading, &rest));
    text
}

fn section(heading: &str, lines: &[&str]) -> String {
    if lines.is_empty() {
        return String::new();
    }
    let items: String = lines.iter().map(|line| format!("\n- {line}")).collect();
    format!("\n\n**{}** ({}){items}", heading.trim().trim_matches('*'), lines.len())
}
