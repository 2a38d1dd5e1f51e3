//! `hai dlq`: what failed, what it had done by then, and what becomes of it.

use host::api::{Effect, Letter};
use serde_json::{Value, json};

use crate::cli::{self, Again};
use crate::client::Client;
use crate::error::{Error, Exit};
use crate::print::{self, BAD, styled};

pub(crate) async fn run(client: &Client, command: cli::Dlq) -> Result<Exit, Error> {
    match command {
        cli::Dlq::Ls { limit, json } => {
            let letters = client.letters(limit).await?;
            if json { print::json(&letters) } else { print::out(&listed(&letters.letters)) }
        }
        cli::Dlq::Show { id, json } => {
            let letter = client.letter(&id).await?;
            if json { print::json(&letter) } else { print::out(&shown(&letter)) }
        }
        cli::Dlq::Edit { id, content, how } => {
            let content = crate::task::text(content)?;
            retried(client, &id, &json!({ "content": content, "again": how.again }), &how).await
        }
        cli::Dlq::Retry { id, how } => retried(client, &id, &json!({ "again": how.again }), &how).await,
        cli::Dlq::Discard { id, json } => {
            let task = client.settle(&id, "discard", &json!({})).await?;
            if json { print::json(&task) } else { print::out(&format!("{id} is discarded; `hai task show {id}` still shows it")) }
        }
    }
}

async fn retried(client: &Client, id: &str, body: &Value, how: &Again) -> Result<Exit, Error> {
    let task = client.settle(id, "retry", body).await?;
    crate::task::steered(&task, how.json)
}

fn listed(letters: &[Letter]) -> String {
    let mut table = print::table(&["task", "failed", "code", "has done", "content", "why"]);
    for Letter { task, effects } in letters {
        let (code, why) = task.error.as_ref().map_or(("", ""), |error| (error.code.as_str(), error.message.as_str()));
        let finished = task.finished_at.as_deref().unwrap_or_default();
        let content = print::first_line(&task.content);
        table.add_row([&task.task_id, finished, code, &counted(effects), &content, &print::first_line(why)]);
    }
    table.to_string()
}

fn counted(effects: &[Effect]) -> String {
    let unknown = effects.iter().filter(|effect| effect.state == "unknown").count();
    match (effects.len() - unknown, unknown) {
        (0, 0) => "nothing".into(),
        (done, 0) => done.to_string(),
        (done, unknown) => format!("{done}, {unknown} unknown"),
    }
}

/// The last error first; then what has happened, and what a retry would do.
fn shown(letter: &Letter) -> String {
    let task = &letter.task;
    let mut parts = vec![format!("{} · {} · {}", task.task_id, styled(BAD, &task.status), print::first_line(&task.content))];
    parts.extend(task.error.as_ref().map(|error| format!("{}: {}", error.code, print::plain(&error.message))));
    if letter.effects.is_empty() {
        parts.push("it has changed nothing".into());
    } else {
        let mut table = print::table(&["ref", "agent", "call", "to", "state", "when", "a retry"]);
        for effect in &letter.effects {
            let to = target(effect);
            let again = retry(effect);
            table.add_row([&effect.reference, &effect.agent, &effect.kind, &to, &effect.state, &effect.at, again]);
        }
        parts.push(format!("what it has done:\n{table}"));
    }
    let id = &task.task_id;
    let harm = letter.effects.iter().any(|effect| effect.again && !effect.repeatable);
    let again = if harm { " --again" } else { "" };
    let hop = task.hops.iter().flatten().last().map(|hop| format!(" ({})", print::plain(&hop.agent))).unwrap_or_default();
    parts.push(format!(
        "hai dlq retry {id}{again}    tries its last hop{hop} anew\nhai dlq edit {id} TEXT    starts it anew with another text\n\
         hai dlq discard {id}    takes it from the list"
    ));
    parts.join("\n\n")
}

/// What a retry does with an effect.
fn retry(effect: &Effect) -> &'static str {
    match (effect.again, effect.repeatable) {
        (false, _) => "leaves it",
        (true, true) => "may do it again, which does no harm",
        (true, false) => "may do it AGAIN",
    }
}

/// Where it went, as far as is known.
fn target(effect: &Effect) -> String {
    let named = |key: &str| effect.request.as_ref().and_then(|request| request.get(key)).and_then(Value::as_str);
    let what = named("path").or_else(|| named("name")).or_else(|| named("tool"));
    print::plain(&[effect.destination.as_deref(), what].into_iter().flatten().collect::<Vec<_>>().join(": "))
}
