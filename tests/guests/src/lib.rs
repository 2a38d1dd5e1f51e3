//! What the guests share: a manifest that is complete and harmless, to be made worse.

pub mod flow;
pub mod script;

pub use homeaiops_sdk::{
    ActionClass, Answer, Brief, Error, Guest, Handoff, Limits, Manifest, Outcome, Wants, bindings, log, model, said, toolbox, vault,
};

/// A complete manifest that asks for nothing.
pub fn manifest(id: &str) -> Manifest {
    Manifest {
        id: id.into(),
        name: id.into(),
        emoji: "🧪".into(),
        version: "1".into(),
        purpose: "tests the host".into(),
        mode: "executor".into(),
        local_only: false,
        class_floor: ActionClass::A,
        wants: Wants {
            models: Vec::new(),
            tools: Vec::new(),
            vault_read: Vec::new(),
            vault_write: Vec::new(),
            memory: "none".into(),
            approvals: false,
            handoff: Vec::new(),
        },
        limits: Limits {
            memory_mib: 16,
            cpu_ms: 300,
            wall_s: 30,
            host_calls: 20,
            output_tokens: 500,
            usd_micros: 0,
            journal_kib: 64,
            log_kib: 8,
        },
        persona: "You test.".into(),
        examples: vec!["test".into()],
        extra: Vec::new(),
    }
}

/// A question to a model of that group, in one message.
pub fn question(group: &str, text: impl Into<String>, max_output_tokens: u32) -> model::Request {
    model::Request {
        group: group.into(),
        messages: vec![model::Message { role: model::Role::User, text: text.into(), calls: Vec::new(), answers: None }],
        tools: Vec::new(),
        schema: None,
        temperature: None,
        max_output_tokens,
        extra: Vec::new(),
    }
}

/// An answer of that text.
pub fn answer(text: impl Into<String>) -> Result<Outcome, String> {
    Ok(Outcome::Answer(Answer { text: text.into(), data: None, citations: Vec::new(), wrote: Vec::new() }))
}

/// A handoff to that agent.
pub fn to(agent: &str) -> Outcome {
    Outcome::Handoff(Handoff { to: agent.into(), why: "why not".into(), text: String::new(), data: None, citations: Vec::new() })
}

/// A component of that id: its manifest after `$change`, and its one function.
#[macro_export]
macro_rules! guest {
    ($id:literal, $change:expr, $handle:expr) => {
        struct Component;

        impl $crate::Guest for Component {
            fn describe() -> $crate::Manifest {
                let mut manifest = $crate::manifest($id);
                let change: fn(&mut $crate::Manifest) = $change;
                change(&mut manifest);
                manifest
            }

            fn handle(brief: $crate::Brief) -> Result<$crate::Outcome, String> {
                let handle: fn($crate::Brief) -> Result<$crate::Outcome, String> = $handle;
                handle(brief)
            }
        }

        $crate::bindings::export!(Component with_types_in $crate::bindings);
    };
}
