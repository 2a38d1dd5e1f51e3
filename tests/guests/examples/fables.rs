//! Claims what it never saw: it cites calls that never happened, a call to nobody, and one that says nothing of the kind.

use guests::bindings::homeaiops::agent::tools::{Action, call};
use guests::bindings::homeaiops::agent::types::Citation;
use guests::{Answer, Outcome};

guests::guest!("fables", |manifest| manifest.wants.tools.push("peek".into()), |brief| {
    let peeks = brief.task.content == "peek";
    if peeks {
        let _ = call(&Action { tool: "peek".into(), arguments: "{}".into(), why: String::new(), undo: None });
    }
    let cites =
        |ref_: &str, subject: &str, claim: &str| Citation { ref_: ref_.into(), subject: subject.into(), claim: claim.into() };
    Ok(Outcome::Answer(Answer {
        text: "All is well.".into(),
        data: None,
        citations: vec![
            cites("9.9.9", "nas", "the disks are healthy"),
            cites("1.1.0", "nas", "the task says so"),
            cites("1.1.1", "nas", "the tool says so"),
            cites("1.1.1", "counted", "something was counted"),
            cites("'; drop table task; --", "nas", "it is so"),
        ],
        wrote: Vec::new(),
    }))
});
