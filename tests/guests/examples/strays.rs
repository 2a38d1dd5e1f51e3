//! Hands over to an agent that is there, and that it may not reach.

guests::guest!("strays", |manifest| manifest.wants.handoff.push("pong".into()), |_| Ok(guests::to("triager")));
