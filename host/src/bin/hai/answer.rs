//! `hai awaiting` and `hai answer`: what waits for a person, and what that person says.

use host::api::{Approval, Approvals};
use serde_json::{Map, Value, json};

use crate::cli::Answer;
use crate::client::{Client, Filter};
use crate::error::{Error, Exit};
use crate::print;

/// What waits for a person or for a server, and the questions to the person.
pub(crate) async fn awaiting(client: &Client, as_json: bool) -> Result<Exit, Error> {
    /// Of either kind.
    const MOST: usize = 200;
    let mut tasks = Vec::new();
    for status in ["awaiting_approval", "awaiting_backend"] {
        tasks.extend(client.tasks(&Filter { status: Some(status), limit: MOST, ..Filter::default() }).await?.tasks);
    }
    tasks.sort_by(|one, other| one.waiting_since.cmp(&other.waiting_since));
    let questions = match client.questions().await {
        Ok(Approvals { approvals }) => approvals,
        // They are for operators.
        Err(error) if error.is_forbidden() => Vec::new(),
        Err(error) => return Err(error),
    };
    if as_json {
        return print::json(&json!({ "tasks": tasks, "next": null, "approvals": questions }));
    }
    let mut table = print::table(&["task", "status", "since", "waits for", "content"]);
    for task in &tasks {
        let (what, since) = (task.waits_for.as_deref().unwrap_or_default(), task.waiting_since.as_deref().unwrap_or_default());
        table.add_row([&task.task_id, &task.status, since, &print::plain(what), &print::first_line(&task.content)]);
    }
    print::out(&table.to_string())?;
    questions.iter().try_for_each(|question| print::out(&format!("\n{}", asked(question))).map(|_| ()))?;
    Ok(Exit::Done)
}

/// The question, and how to answer it.
fn asked(question: &Approval) -> String {
    let word = |text: &Option<String>| print::plain(text.as_deref().unwrap_or("–"));
    let mut lines = vec![format!("{} · task {} · {}", question.id, question.task_id, word(&question.why))];
    let request = question.request.as_ref().map(Value::to_string).unwrap_or_default();
    lines.push(format!("  sent at {}: {} {}", word(&question.called_at), word(&question.call), print::first_line(&request)));
    for (reaction, meaning) in
        question.answers.iter().flat_map(|all| [("retry", &all.retry), ("done", &all.done), ("fail", &all.fail)])
    {
        lines.push(format!("  hai answer {} {reaction:<5}  {}", question.id, print::plain(meaning)));
    }
    lines.join("\n")
}

/// Answers a question.
pub(crate) async fn run(client: &Client, answer: Answer) -> Result<Exit, Error> {
    let mut said = Map::new();
    said.insert("reaction".into(), json!(answer.reaction));
    if let Some(text) = answer.result {
        if answer.reaction != "done" {
            return Err(Error::Usage(format!("--result goes with `done`, not with `{}`", answer.reaction)));
        }
        let hint = "a text needs quotes of its own: --result '\"it said so\"'";
        let result: Value =
            serde_json::from_str(&text).map_err(|error| Error::Usage(format!("--result is no JSON: {error}; {hint}")))?;
        said.insert("result".into(), result);
    }
    let decided = client.answer(&answer.id, &Value::Object(said)).await?;
    if answer.json {
        return print::json(&decided);
    }
    let (task, reaction) = (&decided.task_id, &answer.reaction);
    print::out(&match reaction.as_str() {
        "fail" => format!("task {task} has failed; what it had done by then: hai dlq show {task}"),
        _ => format!("task {task} goes on; to watch it: hai task tail {task}"),
    })
}
