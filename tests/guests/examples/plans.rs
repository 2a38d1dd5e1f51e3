//! Asks a person before it begins, and says what it was told.

use guests::bindings::homeaiops::agent::approvals::{Proposal, Verdict, ask};
use guests::bindings::homeaiops::agent::types::ActionClass;

guests::guest!("plans", |manifest| manifest.wants.approvals = true, |brief| {
    let proposal = Proposal {
        class: ActionClass::B,
        summary: brief.task.content.clone(),
        details: "one wall at a time".into(),
        undo: Some("move it back".into()),
        cites: Vec::new(),
    };
    guests::answer(match ask(&proposal) {
        Ok(Verdict::Approved) => "approved".into(),
        Ok(Verdict::Denied) => "denied".into(),
        Err(error) => guests::said(&error),
    })
});
