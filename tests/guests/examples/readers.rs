//! Reads what it is told to, and repeats it.

guests::guest!("readers", |manifest| manifest.wants.vault_read.push("**".into()), |brief| {
    let read = guests::vault::read(&brief.task.content).map(|file| file.text).unwrap_or_else(|error| guests::said(&error));
    let hits = guests::vault::search(&["treasure".into()], "**", 10).map_or(0, |hits| hits.len());
    guests::answer(format!("{hits} hits; {read}"))
});
