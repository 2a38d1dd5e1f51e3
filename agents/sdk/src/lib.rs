//! Makes an agent a few lines.
//!
//! An agent is four files: `agent.toml` (who it is, what it asks for, its limits), `persona.md` (how it thinks and speaks),
//! `Cargo.toml`, and a `src/lib.rs` with one function:
//!
//! ```ignore
//! homeaiops_sdk::agent!(handle);
//!
//! fn handle(me: &Agent, brief: &Brief) -> Result<Outcome, String> { … }
//! ```
//!
//! Everything that an agent can reach is in here; nothing else is linked.

pub mod errand;
pub mod finding;
pub mod offer;
pub mod react;
pub mod seen;
pub mod structured;
pub mod toolbox;

/// The interface, generated from `wit/`.
#[expect(missing_docs, reason = "generated from the WIT, whose comments are its documentation")]
pub mod bindings {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "everything",
        pub_export_macro: true,
        default_bindings_module: "homeaiops_sdk::bindings",
        additional_derives: [serde::Deserialize],
    });
}

pub use bindings::exports::homeaiops::agent::agent::{Answer, Guest, Handoff, Limits, Manifest, Outcome, Rejection, Wants};
pub use bindings::homeaiops::agent::log;
pub use bindings::homeaiops::agent::types::{ActionClass, Brief, Citation, Colleague, Error, Handed, Task, Tier};
pub use bindings::homeaiops::agent::{approvals, model, vault};
pub use errand::{Class, Errand};
pub use finding::Report;
#[doc(hidden)]
pub use homeaiops_sdk_macros::agent_toml;
pub use react::Looking;
pub use seen::{Cite, Seen};
pub use structured::{Failure, Prompt};

// As in `agent!`, for the SDKs of two checkouts.
const _: Option<&str> = option_env!("HOMEAIOPS_SDK");

/// What every persona stands on.
pub const SOUL: &str = include_str!("../../soul.md");

/// This agent: what its component says of itself.
pub struct Agent {
    /// The manifest, persona included.
    pub manifest: Manifest,
}

/// Turns persona, manifest and one function into a component.
#[macro_export]
macro_rules! agent {
    ($handle:path) => {
        // Makes cargo build this anew if an agent of that name in another workspace was built last: `host agent build` sets it.
        const _: Option<&str> = option_env!("HOMEAIOPS_WORKSPACE");

        struct Component;

        impl Component {
            fn agent() -> $crate::Agent {
                const PERSONA: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/persona.md"));
                $crate::Agent::new($crate::agent_toml!(), PERSONA)
            }
        }

        impl $crate::Guest for Component {
            fn describe() -> $crate::Manifest {
                Self::agent().manifest
            }

            fn handle(brief: $crate::Brief) -> Result<$crate::Outcome, String> {
                $handle(&Self::agent(), &brief)
            }
        }

        $crate::bindings::export!(Component with_types_in $crate::bindings);
    };
}

impl Agent {
    /// The agent of that `agent.toml` (as checked JSON) and persona.
    ///
    /// # Panics
    /// Never: the JSON was made by `agent_toml!` from a type of the same shape.
    #[doc(hidden)]
    #[must_use]
    pub fn new(json: &str, persona: &str) -> Self {
        let mut manifest: Manifest = serde_json::from_str(json).unwrap_or_else(|error| panic!("agent.toml: {error}"));
        manifest.persona = format!("{}\n\n---\n\n{}", SOUL.trim(), persona.trim());
        Self { manifest }
    }

    /// The model group that it uses unless it says otherwise: the first of its wishes.
    #[must_use]
    pub fn group(&self) -> &str {
        self.manifest.wants.models.first().map_or("", String::as_str)
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused(error) => f.write_str(&said(error)),
            Self::Unusable { why, said } => {
                write!(f, "the model's answer did not fit, even after one repair: {why}. It said: {said}")
            }
            Self::Unbounded(path) => write!(f, "the schema's string or list at `{path}` has no maximum length"),
        }
    }
}

/// A refusal or failure of a host call, as a sentence.
#[must_use]
pub fn said(error: &Error) -> String {
    match error {
        Error::Denied(denial) => format!("denied by {} ({}): {}", denial.rule, denial.at, denial.hint),
        Error::Invalid(text) | Error::Failed(text) | Error::NotFound(text) | Error::Conflict(text) => text.clone(),
    }
}
