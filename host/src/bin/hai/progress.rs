//! The progress of one task on standard error: on a terminal the line of the working hop is written over in place, elsewhere each
//! thing that matters is one plain line. Holds what it needs for that line and decides nothing.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use crate::events::{Call, Hop, News, Status, Token};
use crate::print::{self, BAD, GOOD, WAIT, WHO, plain, styled};

/// Letters of a call that stand on the live line.
const MOST_CALL: usize = 32;

/// What is shown of a task.
pub(crate) struct Progress {
    live: bool,
    hop: Option<Working>,
    /// Cells of the live line that stand on the terminal.
    width: usize,
    /// The status that was told last.
    status: String,
}

/// A hop at work.
struct Working {
    seq: u32,
    run: u32,
    agent: String,
    began: Instant,
    /// Of the model calls that have ended.
    tokens: u64,
    /// Of the one that runs.
    pieces: u64,
    /// What it asks its host for right now.
    call: Option<String>,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self { live: std::io::stderr().is_terminal(), hop: None, width: 0, status: String::new() }
    }

    /// Whether something is written over in place.
    pub(crate) fn is_live(&self) -> bool {
        self.live
    }

    /// Takes in an event and shows it.
    pub(crate) fn take(&mut self, news: &News) {
        match news {
            News::Status(status) => self.status(status),
            News::Hop(hop) => self.hop(hop),
            News::Call(call) => self.call(call),
            News::Token(token) => self.token(token),
            News::Done(_) | News::Unknown => {}
        }
        // Words come faster than anybody reads: the next frame shows them.
        if !matches!(news, News::Token(_)) {
            self.draw();
        }
    }

    /// A line above the live one.
    pub(crate) fn say(&mut self, text: &str) {
        self.clear();
        print::tell(text);
    }

    /// Writes the live line anew: time has passed.
    pub(crate) fn draw(&mut self) {
        let Some(hop) = self.hop.as_ref().filter(|_| self.live) else { return };
        let call = hop.call.as_ref().map(|call| format!(" · {call}")).unwrap_or_default();
        let line = format!("{} {} · {}{call}", styled(WAIT, "▸"), hop.name(), hop.spent(hop.began.elapsed()));
        let width = anstream::adapter::strip_str(&line).to_string().chars().count();
        let rest = self.width.saturating_sub(width);
        let mut stderr = anstream::stderr().lock();
        let _ = write!(stderr, "\r{line}{:rest$}", "");
        let _ = stderr.flush();
        self.width = width;
    }

    /// Takes the live line away.
    pub(crate) fn clear(&mut self) {
        if self.width > 0 {
            let _ = write!(anstream::stderr(), "\r{:width$}\r", "", width = self.width);
            self.width = 0;
        }
    }

    fn status(&mut self, status: &Status) {
        // It comes with every connection.
        if self.status == status.status && status.waits_for.is_none() {
            return;
        }
        self.status.clone_from(&status.status);
        // That it runs is seen by its hops; that it parked or how it ended is said at the end.
        if status.status == "pending" {
            let what = status.waits_for.as_deref().unwrap_or("a worker");
            self.say(&format!("{} pending · waits for: {}", styled(WAIT, "∙"), plain(what)));
        }
    }

    fn hop(&mut self, hop: &Hop) {
        let known = self.hop.as_ref().is_some_and(|working| working.seq == hop.seq && working.run == hop.run);
        if hop.status == "running" {
            if !known {
                let working = Working::new(hop);
                if !self.live {
                    self.say(&format!("▸ {} starts", working.name()));
                }
                self.hop = Some(working);
            }
            return;
        }
        if !matches!(hop.status.as_str(), "done" | "failed") {
            return;
        }
        let working = self.hop.take().filter(|_| known).unwrap_or_else(|| Working::new(hop));
        let took = hop.duration_ms.and_then(|took| u64::try_from(took).ok()).map(Duration::from_millis);
        let spent = working.spent(took.unwrap_or_else(|| working.began.elapsed()));
        let (mark, how) = match (hop.status.as_str(), hop.outcome.as_deref()) {
            ("done", outcome) => (styled(GOOD, "✓"), outcome.unwrap_or("done")),
            (failed, _) => (styled(BAD, "✗"), failed),
        };
        self.say(&format!("{mark} {} · {} · {spent}", working.name(), plain(how)));
    }

    fn call(&mut self, call: &Call) {
        let name = match &call.destination {
            Some(to) => format!("{} {}", plain(&call.kind), plain(to)),
            None => plain(&call.kind),
        };
        if matches!(call.state.as_str(), "denied" | "failed") {
            let why = print::refusal(call.refusal.as_ref());
            let state = styled(WAIT, &plain(&call.state));
            self.say(&format!("  {} {} · {name} {state}: {why}", call.hop, plain(&call.agent)));
        }
        if let Some(working) = self.hop.as_mut().filter(|working| working.seq == call.hop) {
            let started = call.state == "started";
            if !started {
                // What the server counted wins over the pieces that were heard.
                working.tokens += call.output_tokens.unwrap_or(working.pieces);
            }
            working.pieces = 0;
            // The live line must not be wider than a terminal: then it could not be written over.
            working.call = started.then(|| name.chars().take(MOST_CALL).collect());
        }
    }

    fn token(&mut self, token: &Token) {
        if let Some(working) = self.hop.as_mut().filter(|working| working.seq == token.hop) {
            working.pieces = token.tokens;
        }
    }
}

impl Working {
    fn new(hop: &Hop) -> Self {
        Self {
            seq: hop.seq,
            run: hop.run,
            agent: plain(&hop.agent),
            began: began(hop.started_at.as_deref()),
            tokens: 0,
            pieces: 0,
            call: None,
        }
    }

    fn name(&self) -> String {
        let run = if self.run > 1 { format!(" (run {})", self.run) } else { String::new() };
        format!("{} {}{run}", self.seq, styled(WHO, &self.agent))
    }

    fn spent(&self, time: Duration) -> String {
        let tokens = match self.tokens + self.pieces {
            0 => String::new(),
            1 => " · 1 token".into(),
            some => format!(" · {some} tokens"),
        };
        format!("{:.1} s{tokens}", time.as_secs_f64())
    }
}

/// When a hop began, on this machine's clock that never goes back: it may have begun before anybody watched.
fn began(started_at: Option<&str>) -> Instant {
    let now = Instant::now();
    let ago =
        started_at.and_then(|text| text.parse::<jiff::Timestamp>().ok()).map(|time| jiff::Timestamp::now().duration_since(time));
    let ago = ago.and_then(|ago| Duration::try_from(ago).ok());
    ago.and_then(|ago| now.checked_sub(ago)).unwrap_or(now)
}
