//! `hai todo`: things to do that are no task of an agent.

use host::api::Todo;

use crate::cli;
use crate::client::Client;
use crate::error::{Error, Exit};
use crate::print;

pub(crate) async fn run(client: &Client, command: cli::Todo) -> Result<Exit, Error> {
    match command {
        cli::Todo::Add { body, tags, json } => {
            let todo = client.add_todo(&crate::task::text(body)?, &tags).await?;
            if json { print::json(&todo) } else { print::out(&todo.id) }
        }
        cli::Todo::Ls { all, tag, json } => {
            let todos = client.todos(if all { "all" } else { "open" }, tag.as_deref()).await?;
            if json { print::json(&todos) } else { print::out(&listed(&todos.todos)) }
        }
        cli::Todo::Done { id, json } => {
            let todo = client.finish_todo(&id).await?;
            if json {
                print::json(&todo)
            } else {
                print::out(&format!("{} is {}: {}", todo.id, todo.status, print::first_line(&todo.body)))
            }
        }
    }
}

fn listed(todos: &[Todo]) -> String {
    let mut table = print::table(&["todo", "status", "created", "tags", "what"]);
    for todo in todos {
        let tags = print::plain(&todo.tags.join(" "));
        table.add_row([&todo.id, &todo.status, &todo.created_at, &tags, &print::plain(&todo.body)]);
    }
    table.to_string()
}
