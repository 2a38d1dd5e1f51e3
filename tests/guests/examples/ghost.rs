//! Hands over to nobody.

guests::guest!("ghost", |manifest| manifest.wants.handoff.push("*".into()), |_| {
    Ok(guests::Outcome::Handoff(guests::Handoff {
        to: "nobody".into(),
        why: "why not".into(),
        text: String::new(),
        data: None,
        citations: Vec::new(),
    }))
});
