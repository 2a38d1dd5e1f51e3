//! Turns rough input into a note draft: one model call, one file.

use homeaiops_sdk::{Agent, Answer, Brief, Citation, Outcome, Prompt, said, vault};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

homeaiops_sdk::agent!(draft);

/// What the model fills in.
#[derive(Deserialize, Serialize, JsonSchema)]
struct NoteDraft {
    /// Under 60 characters.
    #[schemars(length(min = 3, max = 59))]
    title: String,
    domain: Domain,
    /// The note itself, in Markdown.
    #[schemars(length(min = 3, max = 1200))]
    body: String,
    #[schemars(length(max = 4), inner(length(min = 2, max = 24)))]
    tags: Vec<String>,
    #[schemars(length(max = 60))]
    proposed_location: String,
    #[schemars(length(max = 4), inner(length(max = 60)))]
    related: Vec<String>,
    new_vs_append: NewVsAppend,
}

#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
enum Domain {
    Homelab,
    SmartHome,
    Property,
    Vehicles,
    Career,
    Hobby,
    Meta,
}

#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
enum NewVsAppend {
    New,
    Append,
    Ambiguous,
}

fn draft(me: &Agent, brief: &Brief) -> Result<Outcome, String> {
    let prompt = Prompt { me, text: question(brief), max_output_tokens: 1400, temperature: 0.3 };
    let note: NoteDraft = prompt.fill(|_| {}).map_err(|failure| failure.to_string())?;

    let path = format!("inbox/drafts/note-{}.md", brief.task.id);
    let body = body(&note);
    let reference = vault::write(&path, &front_matter(brief, &note), &body).map_err(|error| said(&error))?;

    let claim = format!("drafted `{}`", note.title);
    let mut data = serde_json::json!(note);
    data["path"] = path.as_str().into();
    Ok(Outcome::Answer(Answer {
        text: format!("Drafted the note \"{}\" at {path}.", note.title),
        data: Some(data.to_string()),
        citations: vec![Citation { ref_: reference, subject: path.clone(), claim }],
        wrote: vec![path],
    }))
}

fn question(brief: &Brief) -> String {
    let triage = brief
        .handed
        .iter()
        .rev()
        .find(|handed| handed.agent == "triager")
        .map(|handed| format!("\n\nTRIAGE CONTEXT:\n{}", handed.text))
        .unwrap_or_default();
    format!(
        "REQUEST:\n{}{triage}\n\nFill in the NoteDraft as one JSON object. Keep every fact of the request and add none.",
        brief.task.content
    )
}

/// The keys of a note, in the order that readers of the vault rely on. The host adds who wrote it.
fn front_matter(brief: &Brief, note: &NoteDraft) -> Vec<(String, String)> {
    [
        ("task_id", yaml(&brief.task.id)),
        ("source", yaml(&brief.task.source)),
        ("domain", yaml(&note.domain)),
        ("intent", "note".to_owned()),
        ("proposed_location", yaml(&note.proposed_location)),
        ("new_vs_append", yaml(&note.new_vs_append)),
        ("status", "drafted".to_owned()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into()
}

/// Every JSON scalar is a YAML scalar.
fn yaml(value: &impl Serialize) -> String {
    serde_json::json!(value).to_string()
}

/// The note as people read it: heading, text, links, tags.
fn body(note: &NoteDraft) -> String {
    let mut body = format!("# {}\n\n{}\n", note.title.trim(), note.body.trim());
    if !note.related.is_empty() {
        let links: Vec<String> = note.related.iter().map(|title| format!("[[{}]]", title.trim())).collect();
        body.push_str(&format!("\nRelated: {}\n", links.join(", ")));
    }
    if !note.tags.is_empty() {
        let tags: Vec<String> = note.tags.iter().map(|tag| format!("#{}", tag.trim().replace([' ', '#'], "-"))).collect();
        body.push_str(&format!("\n{}\n", tags.join(" ")));
    }
    body
}
