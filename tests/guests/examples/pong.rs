//! Hands back.

guests::guest!("pong", |manifest| manifest.wants.handoff.push("ping".into()), |_| Ok(guests::to("ping")));
