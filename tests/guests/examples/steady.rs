//! Does as it is told: the neighbour that must not notice.

guests::guest!("steady", |_| {}, |brief| guests::answer(format!("steady: {}", brief.task.content)));
