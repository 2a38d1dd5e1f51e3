//! What can go wrong in the shell, and with which code it ends. Every message names where and what to do.

use std::process::ExitCode;

use host::egress::EgressError;

/// How a command ended that was carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// 0: done, or let go because the task waits for something.
    Done,
    /// 1: the task or the request failed.
    Failed,
    /// 2: the command or the settings make no sense.
    Usage,
    /// 130, as shells have it for Ctrl-C: the task goes on.
    Interrupted,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Interrupted => 130,
        })
    }
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Nothing was asked yet.
    #[error("{0}")]
    Usage(String),
    /// The host is not there.
    #[error("{endpoint} does not answer: {why}; is `host serve` running there? Set HAI_ENDPOINT or `hai auth init` to another")]
    Unreachable {
        /// Where.
        endpoint: String,
        /// What the network says.
        why: EgressError,
    },
    /// The host was there, and is gone for longer than the settings wait.
    #[error("{endpoint} has not answered for {seconds} s ({why}); once it is back, `hai task tail {id}` goes on watching")]
    Lost {
        /// Where.
        endpoint: String,
        /// `poll_timeout_s`.
        seconds: f64,
        /// What came last.
        why: String,
        /// The task.
        id: String,
    },
    /// The host said no.
    #[error("{endpoint}: {message} ({hint})")]
    Refused {
        /// Where.
        endpoint: String,
        /// The HTTP status.
        status: u16,
        /// The contract's code.
        code: String,
        /// What it said.
        message: String,
        /// What to do.
        hint: String,
    },
    /// A result could not be written.
    #[error("standard output: {0}")]
    Output(std::io::Error),
    /// Nobody reads the results any more, as in `hai task ls | head -1`.
    #[error("standard output is closed")]
    Closed,
}

impl Error {
    /// The code with which it ends.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Closed => Exit::Done,
            Self::Usage(_) => Exit::Usage,
            // An agent that does not exist is a mistake in the command, a wrong token one in the settings.
            Self::Refused { code, .. } if matches!(code.as_str(), "unknown_target_agent" | "unauthenticated") => Exit::Usage,
            Self::Unreachable { .. } | Self::Lost { .. } | Self::Refused { .. } | Self::Output(_) => Exit::Failed,
        }
    }

    /// Whether the token may not see that.
    pub(crate) fn is_forbidden(&self) -> bool {
        matches!(self, Self::Refused { status: 403, .. })
    }

    /// The bare reason, where it is known of which host the talk is.
    pub(crate) fn why(&self) -> String {
        match self {
            Self::Unreachable { why, .. } => why.to_string(),
            Self::Refused { message, .. } => message.clone(),
            Self::Usage(_) | Self::Lost { .. } | Self::Output(_) | Self::Closed => self.to_string(),
        }
    }

    /// Whether it may be over when asked again: the host restarts, or something between is overloaded.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused { status, .. } => *status == 429 || *status >= 500,
            Self::Usage(_) | Self::Lost { .. } | Self::Output(_) | Self::Closed => false,
        }
    }
}
