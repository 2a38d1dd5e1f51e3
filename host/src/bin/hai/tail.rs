//! Watching a task: reads its events until it ends or parks, and finds its way back to a host that went away. It only watches:
//! whatever happens here, the task goes on.

use std::time::{Duration, Instant};

use futures::StreamExt;
use host::api::Task;
use serde_json::json;

use crate::client::Client;
use crate::error::Error;
use crate::events::{News, Status};
use crate::print;
use crate::progress::Progress;

/// How often the live line is written anew.
const FRAME: Duration = Duration::from_millis(200);

/// How the watching ended.
pub(crate) enum Ending {
    /// The task has ended.
    Ended(Box<Task>),
    /// It waits, perhaps for days.
    Parked(Status),
    /// Somebody pressed Ctrl-C.
    Interrupted,
}

/// How a task is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Show {
    /// Progress for people.
    Progress,
    /// Each event as a line of JSON on standard output.
    Json,
}

/// A task that is watched.
pub(crate) struct Tail<'c> {
    client: &'c Client,
    id: &'c str,
    show: Show,
    progress: Progress,
    /// The newest event that has an id: where to go on.
    last: Option<String>,
    /// When the host was last heard; never, if it was not reached yet.
    heard: Option<Instant>,
    /// Whether the connection is known to be broken.
    away: bool,
}

impl<'c> Tail<'c> {
    /// A task that the host has just taken in.
    pub(crate) fn of_new(client: &'c Client, id: &'c str) -> Self {
        Self { heard: Some(Instant::now()), ..Self::of(client, id, Show::Progress) }
    }

    /// Any task.
    pub(crate) fn of(client: &'c Client, id: &'c str, show: Show) -> Self {
        Self { client, id, show, progress: Progress::new(), last: None, heard: None, away: false }
    }

    /// Watches it.
    pub(crate) async fn watch(mut self) -> Result<Ending, Error> {
        let ended = tokio::select! {
            ended = self.follow() => ended,
            _ = tokio::signal::ctrl_c() => Ok(Ending::Interrupted),
        };
        self.progress.clear();
        ended
    }

    async fn follow(&mut self) -> Result<Ending, Error> {
        loop {
            let why = match self.stretch().await {
                Ok(Stretch::Ended(ending)) => return Ok(ending),
                Ok(Stretch::Broken(why)) => {
                    // It was there until now, however long it had nothing to say.
                    self.heard = Some(Instant::now());
                    why
                }
                Err(error) if self.heard.is_some() && error.may_pass() => error.why(),
                Err(error) => return Err(error),
            };
            self.rest(why).await?;
        }
    }

    /// One connection, from its first event to its last.
    async fn stretch(&mut self) -> Result<Stretch, Error> {
        let mut events = std::pin::pin!(self.client.events(self.id, self.last.as_deref()).await?);
        self.heard.get_or_insert_with(Instant::now);
        let mut frames = tokio::time::interval(FRAME);
        loop {
            let next = tokio::select! {
                next = events.next() => next,
                _ = frames.tick(), if self.progress.is_live() => {
                    self.progress.draw();
                    continue;
                }
            };
            let event = match next {
                Some(Ok(event)) => event,
                Some(Err(why)) => return Ok(Stretch::Broken(why)),
                None => return Ok(Stretch::Broken("it closed the connection".into())),
            };
            self.back();
            if let Some(ending) = self.take(&event)? {
                return Ok(Stretch::Ended(ending));
            }
            if !event.id.is_empty() {
                self.last = Some(event.id);
            }
        }
    }

    /// Shows an event; the end, if it is one.
    fn take(&mut self, event: &eventsource_stream::Event) -> Result<Option<Ending>, Error> {
        let broken = |said: String| Error::Refused {
            endpoint: self.client.endpoint(),
            status: 200,
            code: String::new(),
            message: said,
            hint: "is this `hai` of the host's version?".into(),
        };
        if self.show == Show::Json {
            let data: serde_json::Value = serde_json::from_str(&event.data).map_err(|error| broken(error.to_string()))?;
            print::out(&json!({ "event": event.event, "data": data }).to_string())?;
        }
        let news = News::read(event).map_err(broken)?;
        if self.show == Show::Progress {
            self.progress.take(&news);
        }
        Ok(match news {
            News::Done(task) => Some(Ending::Ended(task)),
            News::Status(status) if status.is_parked() => Some(Ending::Parked(status)),
            News::Status(_) | News::Hop(_) | News::Call(_) | News::Token(_) | News::Unknown => None,
        })
    }

    fn back(&mut self) {
        self.heard = Some(Instant::now());
        if std::mem::take(&mut self.away) {
            self.progress.say(&format!("{} is back", self.client.endpoint()));
        }
    }

    /// Waits for the next try, if there is to be one.
    async fn rest(&mut self, why: String) -> Result<(), Error> {
        let settings = &self.client.settings;
        let (pause, most) = (settings.poll_interval.value, settings.poll_timeout.value);
        if self.heard.is_some_and(|heard| heard.elapsed() >= most) {
            return Err(Error::Lost {
                endpoint: self.client.endpoint(),
                seconds: most.as_secs_f64(),
                why: print::plain(&why),
                id: self.id.to_owned(),
            });
        }
        if !std::mem::replace(&mut self.away, true) {
            let (pause, most) = (pause.as_secs_f64(), most.as_secs_f64());
            let said =
                format!("lost {}: {}; trying again every {pause} s, for {most} s", self.client.endpoint(), print::plain(&why));
            self.progress.say(&said);
        }
        tokio::time::sleep(pause).await;
        Ok(())
    }
}

/// How one connection ended.
enum Stretch {
    /// With the watching.
    Ended(Ending),
    /// On its own, and why.
    Broken(String),
}
