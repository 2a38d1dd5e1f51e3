//! `hai awaiting` and `hai answer`: what waits for a person, and what that person says.

use host::api::Approval;
use serde_json::{Map, Value, json};

use crate::cli::{Answer, Word};
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
        Ok(approvals) => approvals,
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
    let request = question.request.as_ref().map(Value::to_string).unwrap_or_default();
    let call = format!("{} {}", word(&question.call), print::plain(&request));
    let (id, mut lines) = (&question.id, Vec::new());
    if question.kind == "call" {
        let who = if question.role.as_deref() == Some("household") { "the household: " } else { "" };
        lines.push(format!("{id} · task {} · class {} · {}", question.task_id, word(&question.class), word(&question.agent)));
        lines.push(format!("  would be sent, exactly so: {call}"));
        lines.push(format!("  why: {}", word(&question.why)));
        lines.push(format!("  asked by {who}{}; {}", word(&question.requester), word(&question.because)));
        let by = if question.undo_by.as_deref() == Some("agent") { " (its agent says so)" } else { "" };
        lines.push(format!("  undo: {}{by}", word(&question.undo)));
        lines.extend(question.cost_usd.map(|usd| format!("  cost: ${usd:.2}")));
        lines.extend(question.yes.iter().map(|yes| format!("  {} said yes through {}; it takes another", yes.actor, yes.channel)));
        lines.push(format!("  lapses: {}", question.expires_at.as_deref().unwrap_or("never")));
        for (command, reaction) in [("approve", "approve"), ("deny", "reject"), ("defer", "defer")] {
            let meaning = question.answers.get(reaction).map(String::as_str).unwrap_or_default();
            lines.push(format!("  hai {command:<7} {id}  {}", print::plain(meaning)));
        }
        return lines.join("\n");
    }
    lines.push(format!("{id} · task {} · {}", question.task_id, word(&question.why)));
    lines.push(format!("  sent at {}: {}", word(&question.called_at), print::first_line(&call)));
    for reaction in ["retry", "done", "fail"] {
        if let Some(meaning) = question.answers.get(reaction) {
            lines.push(format!("  hai answer {id} {reaction:<5}  {}", print::plain(meaning)));
        }
    }
    lines.join("\n")
}

/// Says a word on a question before a call.
pub(crate) async fn word(client: &Client, reaction: &str, word: Word) -> Result<Exit, Error> {
    let id = question(client, word.id).await?;
    let said = client.answer(&id, &json!({ "reaction": reaction })).await?;
    if word.json {
        return print::json(&said);
    }
    let task = &said.task_id;
    print::out(&match (reaction, said.status.as_str()) {
        ("approve", "open") => format!("your yes counts; it takes another, through another channel, before task {task} goes on"),
        ("approve", _) => format!("approved; to watch it: hai task tail {task}"),
        ("reject", _) => format!("rejected; its agent is told, and task {task} goes on to say so"),
        _ => format!(
            "put off until {}; it lapses {}",
            said.silent_until.unwrap_or_default(),
            said.expires_at.as_deref().unwrap_or("never")
        ),
    })
}

/// The question of that id, or the open one of that task.
async fn question(client: &Client, id: String) -> Result<String, Error> {
    let open = client.questions().await?;
    let of_task: Vec<&Approval> = open.iter().filter(|question| question.task_id == id && question.kind == "call").collect();
    match of_task.as_slice() {
        [only] => Ok(only.id.clone()),
        // What it is, the host knows better.
        _ => Ok(id),
    }
}

/// Starts a task that undoes another.
pub(crate) async fn undo(client: &Client, id: &str, as_json: bool) -> Result<Exit, Error> {
    let accepted = client.undo(id).await?;
    if as_json {
        return print::json(&accepted);
    }
    let task = &accepted.task_id;
    print::out(&format!("task {task} undoes it, call by call, each asked about like any other; to watch it: hai task tail {task}"))
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
