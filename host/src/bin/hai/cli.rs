//! The commands of `hai` and their words. What they do stands elsewhere.

use clap::builder::PossibleValuesParser;
use clap::{Args, Parser, Subcommand};
use policy::task::{Intent, Priority, Reaction, Source, Status};
use policy::tier::Tier;

/// The operator's shell for a host.
#[derive(Debug, Parser)]
#[command(name = "hai", version, about)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Add, watch, show and steer tasks.
    Task {
        #[command(subcommand)]
        command: Task,
    },
    /// Hand a piece of work over from another program, watch it, and print its report.
    Offload(Offload),
    /// List what is done, newest first.
    Completed {
        /// At most so many.
        #[arg(long, default_value_t = 20)]
        limit: usize,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// List what waits for a human or for a server, for what, and since when.
    Awaiting {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Consent to a call that waits for you: once, and exactly as it stands.
    Approve(Word),
    /// Say no to a call that waits for you; its agent is told.
    Deny(Word),
    /// Put a question off for 4 hours.
    Defer(Word),
    /// Say whether a call has happened of which nobody knows: `hai awaiting` lists the questions.
    Answer(Answer),
    /// Undo what a task has done, where it can be undone: each call is asked about like any other.
    Undo {
        /// The task.
        id: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Look after what failed.
    Dlq {
        #[command(subcommand)]
        command: Dlq,
    },
    /// Keep a list of things to do.
    Todo {
        #[command(subcommand)]
        command: Todo,
    },
    /// List the agents, and the files that are none.
    Agents {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Set and show the host and the token.
    Auth {
        #[command(subcommand)]
        command: Auth,
    },
    /// Print the completion script of a shell.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Task {
    /// Add a task, watch it, and print its report.
    Add(Add),
    /// Show one task.
    Show {
        /// Its id.
        id: String,
        /// With every call, prompts as sent included.
        #[arg(long)]
        full: bool,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Watch a task until it ends or has to wait, and print its report.
    Tail {
        /// Its id.
        id: String,
        /// Print each event as a line of JSON.
        #[arg(long)]
        json: bool,
    },
    /// List tasks, newest first.
    Ls {
        /// Only of that status.
        #[arg(long, value_parser = PossibleValuesParser::new(Status::ALL.iter().map(|word| word.as_str())))]
        status: Option<String>,
        /// Only those that this agent worked on.
        #[arg(long)]
        agent: Option<String>,
        /// Only those that came through this surface.
        #[arg(long, value_parser = PossibleValuesParser::new(Source::ALL.iter().map(|word| word.as_str())))]
        source: Option<String>,
        /// At most so many.
        #[arg(long, default_value_t = 20)]
        limit: usize,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// End a task.
    Cancel {
        /// Its id.
        id: String,
        /// Why, for whoever reads it later.
        #[arg(long)]
        reason: Option<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Let a task that did not end well try again.
    Retry {
        /// Its id.
        id: String,
        /// Even if that does again what must not be done twice.
        #[arg(long)]
        again: bool,
        /// Why, for whoever reads it later.
        #[arg(long)]
        reason: Option<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Remove what a task said and was told, for good.
    Forget {
        /// Its id.
        id: String,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Add {
    /// What should be done; `-` reads it from standard input.
    #[arg(value_name = "TEXT")]
    pub(crate) content: String,
    #[command(flatten)]
    pub(crate) watch: Watch,
    /// Send it to that agent, past the triager.
    #[arg(long, value_name = "AGENT")]
    pub(crate) to: Option<String>,
    /// What should come of it.
    #[arg(long, value_parser = PossibleValuesParser::new(Intent::ALL.iter().map(|word| word.as_str())))]
    pub(crate) intent: Option<String>,
    /// How urgent it is.
    #[arg(long, value_parser = PossibleValuesParser::new(Priority::ALL.iter().map(|word| word.as_str())))]
    pub(crate) priority: Option<String>,
    /// Who may see it.
    #[arg(long, value_parser = PossibleValuesParser::new([Tier::Public, Tier::Internal, Tier::Restricted].map(Tier::as_str)))]
    pub(crate) tier: Option<String>,
    /// Let it lapse if it is not done in time: seconds, or `90m`, `2h`, `1d`.
    #[arg(long, value_name = "TIME", value_parser = ttl)]
    pub(crate) ttl: Option<i64>,
    /// A repeat under the same key answers the first task.
    #[arg(long)]
    pub(crate) key: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Offload {
    /// What should be done; `-` reads it from standard input.
    #[arg(value_name = "TEXT")]
    pub(crate) content: String,
    #[command(flatten)]
    pub(crate) watch: Watch,
    /// Send it to that agent, past the triager.
    #[arg(long, value_name = "ID")]
    pub(crate) agent: Option<String>,
}

/// What `add` and `offload` share.
#[derive(Debug, Args)]
pub(crate) struct Watch {
    /// Print the task's id and do not watch it.
    #[arg(long)]
    pub(crate) no_tail: bool,
    /// Continue that conversation.
    #[arg(long, value_name = "ID")]
    pub(crate) conversation_id: Option<String>,
    /// Print JSON: the task as it ended, or with --no-tail the host's answer.
    #[arg(long)]
    pub(crate) json: bool,
}

/// A word on one question.
#[derive(Debug, Args)]
pub(crate) struct Word {
    /// The question's id, or that of the task that waits for it.
    pub(crate) id: String,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Answer {
    /// The id of the question.
    pub(crate) id: String,
    /// `retry`: make the call again; `done`: it has happened; `fail`: give the task up.
    #[arg(value_parser = PossibleValuesParser::new([Reaction::Retry, Reaction::Done, Reaction::Fail].map(Reaction::as_str)))]
    pub(crate) reaction: String,
    /// With `done`: what the call has answered, as JSON.
    #[arg(long, value_name = "JSON")]
    pub(crate) result: Option<String>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Dlq {
    /// List what failed, newest first.
    Ls {
        /// At most so many.
        #[arg(long, default_value_t = 20)]
        limit: usize,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show why it failed, what it had done by then, and what a retry would do again.
    Show {
        /// Its id.
        id: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Start it anew from its first agent, with another text.
    Edit {
        /// Its id.
        id: String,
        /// The new text; `-` reads it from standard input.
        #[arg(value_name = "TEXT")]
        content: String,
        #[command(flatten)]
        how: Again,
    },
    /// Try its failed hop anew.
    Retry {
        /// Its id.
        id: String,
        #[command(flatten)]
        how: Again,
    },
    /// Take it from the list; it stays failed.
    Discard {
        /// Its id.
        id: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

/// What `edit` and `retry` share.
#[derive(Debug, Args)]
pub(crate) struct Again {
    /// Even if that does again what must not be done twice.
    #[arg(long)]
    pub(crate) again: bool,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Todo {
    /// Add one and print its id.
    Add {
        /// What is to do; `-` reads it from standard input.
        #[arg(value_name = "TEXT")]
        body: String,
        /// A word to find it by; may be given again.
        #[arg(long = "tag", value_name = "TAG")]
        tags: Vec<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// List what is open.
    Ls {
        /// What is done or dropped, too.
        #[arg(long)]
        all: bool,
        /// Only with that tag.
        #[arg(long)]
        tag: Option<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Say that one is done.
    Done {
        /// Its id.
        id: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Auth {
    /// Say where the host is.
    Init {
        /// Its URL.
        endpoint: String,
    },
    /// Keep a token for it.
    SetToken {
        /// The token; without one or with `-` it is read from standard input.
        token: Option<String>,
    },
    /// Show every setting and where it comes from; the token is masked.
    Show {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Seconds, or a time as people write it.
fn ttl(text: &str) -> Result<i64, String> {
    let seconds = match text.parse::<i64>() {
        Ok(seconds) => seconds,
        Err(_) => text.parse::<jiff::SignedDuration>().map_err(|error| error.to_string())?.as_secs(),
    };
    if seconds > 0 { Ok(seconds) } else { Err("it must be above 0 s".into()) }
}
