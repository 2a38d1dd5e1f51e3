//! `hai task`, `offload`, `completed` and `awaiting`: one function per command.

use std::io::{IsTerminal, Read};

use host::api::Task;
use host::id;
use serde_json::{Value, json};

use crate::cli::{self, Add, Offload, Watch};
use crate::client::{Client, Filter};
use crate::error::{Error, Exit};
use crate::print::{self, BAD, GOOD, WAIT, styled};
use crate::tail::{Ending, Show, Tail};

pub(crate) async fn run(client: &Client, command: cli::Task) -> Result<Exit, Error> {
    match command {
        cli::Task::Add(task) => add(client, task).await,
        cli::Task::Show { id, full, json } => show(client, &id, full, json).await,
        cli::Task::Tail { id, json } => tail(client, &id, json).await,
        cli::Task::Ls { status, agent, source, limit, json } => {
            let filter = Filter { status: status.as_deref(), agent: agent.as_deref(), source: source.as_deref(), limit };
            let page = client.tasks(&filter).await?;
            if json { print::json(&page) } else { print::out(&print::tasks(&page)) }
        }
        cli::Task::Cancel { id, reason, json } => steered(&client.steer(&id, "cancel", reason.as_deref(), false).await?, json),
        cli::Task::Retry { id, again, reason, json } => steered(&client.steer(&id, "retry", reason.as_deref(), again).await?, json),
        cli::Task::Forget { id, yes, json } => forget(client, &id, yes, json).await,
    }
}

async fn add(client: &Client, task: Add) -> Result<Exit, Error> {
    let envelope = json!({
        "task_id": client_id("cli"),
        "source": "cli",
        "content": text(task.content)?,
        "target_agent": task.to,
        "intent": task.intent,
        "priority": task.priority,
        "data_tier": task.tier,
        "ttl_seconds": task.ttl,
        "idempotency_key": task.key,
        "conversation_id": task.watch.conversation_id,
    });
    submit(client, envelope, &task.watch).await
}

pub(crate) async fn offload(client: &Client, work: Offload) -> Result<Exit, Error> {
    let envelope = json!({
        "task_id": client_id("cc"),
        "source": "claude-code",
        "content": text(work.content)?,
        "target_agent": work.agent,
        "conversation_id": work.watch.conversation_id,
    });
    submit(client, envelope, &work.watch).await
}

/// Adds the task, and watches it unless that is not wanted.
async fn submit(client: &Client, mut envelope: Value, watch: &Watch) -> Result<Exit, Error> {
    if let Some(fields) = envelope.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
    }
    let accepted = client.add(&envelope).await?;
    let id = &accepted.task_id;
    if accepted.status == "duplicate" {
        print::tell(&format!("this is the first task under that key, {id}; nothing was added"));
    }
    if watch.no_tail {
        return if watch.json { print::json(&accepted) } else { print::out(id) };
    }
    print::tell(&format!("task {id} · conversation {}", print::plain(&accepted.conversation_id)));
    let ending = Tail::of_new(client, id).watch().await?;
    if !watch.json {
        return ended(id, &ending);
    }
    match ending {
        Ending::Ended(task) => print::json(&task).map(|_| verdict(&task)),
        Ending::Parked(_) => {
            let exit = let_go(id, &ending);
            print::json(&client.task(id, false).await?).map(|_| exit)
        }
        Ending::Interrupted => Ok(let_go(id, &ending)),
    }
}

async fn show(client: &Client, id: &str, full: bool, as_json: bool) -> Result<Exit, Error> {
    let task = client.task(id, full).await?;
    if as_json {
        return print::json(&task);
    }
    print::out(&print::task(&task))?;
    if full { print::out(&format!("\n{}", print::timeline(&task))) } else { Ok(Exit::Done) }
}

async fn tail(client: &Client, id: &str, as_json: bool) -> Result<Exit, Error> {
    let show = if as_json { Show::Json } else { Show::Progress };
    let ending = Tail::of(client, id, show).watch().await?;
    match &ending {
        Ending::Ended(task) if as_json => Ok(verdict(task)),
        Ending::Ended(_) | Ending::Parked(_) | Ending::Interrupted => ended(id, &ending),
    }
}

/// The report on standard output, and how it went beside it.
fn ended(id: &str, ending: &Ending) -> Result<Exit, Error> {
    let Ending::Ended(task) = ending else { return Ok(let_go(id, ending)) };
    let took = task.duration_s.map(|took| format!(" after {took:.1} s")).unwrap_or_default();
    let exit = verdict(task);
    match (&task.error, exit) {
        (Some(error), _) => {
            let status = styled(BAD, &task.status);
            print::tell(&format!("{status}{took} · {}: {}", error.code, print::plain(&error.message)));
            print::tell(&format!("what happened: hai task show {id} · once more: hai task retry {id}"));
        }
        (None, Exit::Done) => {
            let wrote: String =
                task.artefacts.iter().flatten().map(|file| format!(" · wrote {}", print::plain(&file.path))).collect();
            print::tell(&format!("{}{took}{wrote}", styled(GOOD, &task.status)));
        }
        (None, _) => print::tell(&format!("{}{took}", styled(BAD, &task.status))),
    }
    if let Some(output) = &task.output {
        print::out(&print::plain(output))?;
    }
    Ok(exit)
}

/// Says why it is watched no longer and how to come back.
fn let_go(id: &str, ending: &Ending) -> Exit {
    match ending {
        Ending::Parked(status) => {
            let what = status.waits_for.as_deref().unwrap_or(match status.status.as_str() {
                "awaiting_approval" => "a human's verdict",
                _ => "a server that does not answer",
            });
            print::tell(&format!("{} · waits for: {}", styled(WAIT, &print::plain(&status.status)), print::plain(what)));
            if status.status == "awaiting_approval" {
                print::tell("what is asked, and how to answer: hai awaiting");
            }
            print::tell(&format!("it goes on once that is there; to watch it again: hai task tail {id}"));
            Exit::Done
        }
        Ending::Interrupted => {
            print::tell(&format!("the task goes on; to watch it again: hai task tail {id} · to end it: hai task cancel {id}"));
            Exit::Interrupted
        }
        Ending::Ended(task) => verdict(task),
    }
}

fn verdict(task: &Task) -> Exit {
    if task.status == "done" { Exit::Done } else { Exit::Failed }
}

pub(crate) fn steered(task: &Task, as_json: bool) -> Result<Exit, Error> {
    if as_json { print::json(task) } else { print::out(&format!("{} is {}", task.task_id, task.status)) }
}

async fn forget(client: &Client, id: &str, yes: bool, as_json: bool) -> Result<Exit, Error> {
    if !yes {
        if !std::io::stdin().is_terminal() {
            return Err(Error::Usage(format!("forgetting cannot be undone: say `hai task forget {id} --yes`")));
        }
        print::tell(&format!("Forget {id}? What it was asked, said and answered is gone for good then. [y/N]"));
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer).map_err(|error| Error::Usage(format!("standard input: {error}")))?;
        if !matches!(answer.trim(), "y" | "Y" | "yes") {
            print::tell("nothing was forgotten");
            return Ok(Exit::Failed);
        }
    }
    let task = client.steer(id, "forget", None, false).await?;
    if as_json { print::json(&task) } else { print::out(&format!("{} is forgotten", task.task_id)) }
}

pub(crate) async fn completed(client: &Client, limit: usize, as_json: bool) -> Result<Exit, Error> {
    let page = client.tasks(&Filter { status: Some("done"), limit, ..Filter::default() }).await?;
    if as_json { print::json(&page) } else { print::out(&print::completed(&page)) }
}

/// An id of ours for the request: `cli-1767225600-9f86d081`.
fn client_id(surface: &str) -> String {
    format!("{surface}-{}-{:08x}", id::now().0 / 1000, rand::random::<u32>())
}

/// What was said on the command line, or with `-` on standard input.
pub(crate) fn text(said: String) -> Result<String, Error> {
    let text = if said == "-" {
        if std::io::stdin().is_terminal() {
            print::tell("write, then Ctrl-D:");
        }
        let mut read = String::new();
        std::io::stdin().read_to_string(&mut read).map_err(|error| Error::Usage(format!("standard input: {error}")))?;
        read
    } else {
        said
    };
    if text.trim().is_empty() { Err(Error::Usage("there is no text: say what should be done".into())) } else { Ok(text) }
}
