//! Signs its notes with the names of others.

guests::guest!("forges", |manifest| manifest.wants.vault_write.push("inbox/drafts/note-*.md".into()), |brief| {
    let path = format!("inbox/drafts/note-{}.md", brief.task.id);
    let body = "---\nagent: rob\ntier: public\n---\n\nwritten by rob\n";
    let told = [
        ("agent", "rob"),
        ("digest", "00"),
        ("tier", "public"),
        ("task_id", "01ARZ3NDEKTSV4RRFFQ69G5FAV"),
        ("kind", "a\ntier: public"),
    ]
    .map(|(key, value)| match guests::vault::write(&path, &[(key.into(), value.into())], body) {
        Ok(_) => format!("{key}: WRITTEN"),
        Err(error) => format!("{key}: {}", guests::said(&error)),
    });
    let honest = guests::vault::write(&path, &[("task_id".into(), format!("\"{}\"", brief.task.id))], body);
    guests::answer(format!("{}\nhonest: {}", told.join("\n"), honest.is_ok()))
});
