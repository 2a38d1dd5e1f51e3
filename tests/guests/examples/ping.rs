//! Hands over to one that hands back.

guests::guest!("ping", |manifest| manifest.wants.handoff.push("pong".into()), |_| Ok(guests::to("pong")));
