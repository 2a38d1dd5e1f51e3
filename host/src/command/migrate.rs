//! `host migrate [--check]`: which changes the tables have had, and which they get. `--check` changes nothing and may run beside a
//! host; exit code 1 if anything is to be done, or wrong.

use comfy_table::Table;
use serde_json::{Value, json};

use super::Exit;
use crate::config::Config;
use crate::store::migrations::{self, Migration, State};
use crate::store::{Db, without_password};

pub(super) async fn run(config: &Config, check: bool, as_json: bool) -> anyhow::Result<Exit> {
    let url = config.database_url();
    let before = migrations::standing(&url).await?;
    if check {
        show(&url, before.as_deref(), as_json)?;
        let ready = before.is_some_and(|all| all.iter().all(|one| one.state == State::Applied));
        return Ok(if ready { Exit::Done } else { Exit::Failed });
    }
    // Opening a database is what brings it up to date; it says what is wrong with one that cannot be.
    drop(Db::open(&url).await?);
    let after = migrations::standing(&url).await?;
    show(&url, after.as_deref(), as_json)?;
    let applied = |all: Option<&Vec<Migration>>| all.into_iter().flatten().filter(|one| one.state == State::Applied).count();
    let new = applied(after.as_ref()).saturating_sub(applied(before.as_ref()));
    super::tell(&if new == 0 { "nothing was to be done".to_owned() } else { format!("{new} applied now") });
    Ok(Exit::Done)
}

fn show(url: &str, all: Option<&[Migration]>, as_json: bool) -> anyhow::Result<()> {
    let database = without_password(url);
    if as_json {
        let lines = all.map(|all| all.iter().map(json_of).collect::<Vec<Value>>());
        println!("{}", serde_json::to_string_pretty(&json!({ "database": database, "migrations": lines }))?);
        return Ok(());
    }
    let Some(all) = all else {
        println!("there is no database yet at {database}: `host migrate` makes it, and so does `host serve`");
        return Ok(());
    };
    let mut table = Table::new();
    table.load_style(comfy_table::presets::UTF8_FULL_CONDENSED);
    table.set_header(["migration", "what", "state"]);
    for one in all {
        table.add_row([one.version.to_string().as_str(), &one.name, meaning(one.state)]);
    }
    println!("{table}");
    Ok(())
}

fn meaning(state: State) -> &'static str {
    match state {
        State::Applied => "applied",
        State::Pending => "pending: `host migrate` applies it",
        State::Differs => "differs: another text was applied under this number; this program must not run on this database",
        State::Broken => "broken: it began and did not end; restore a backup",
        State::Newer => "newer: a later version of this program made it; run that version",
    }
}

fn json_of(one: &Migration) -> Value {
    json!({ "version": one.version, "name": one.name, "state": one.state.as_str() })
}
