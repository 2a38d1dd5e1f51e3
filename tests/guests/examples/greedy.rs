//! Sends more than its journal may hold.

guests::guest!("greedy", |manifest| manifest.wants.vault_write.push("inbox/drafts/note-*.md".into()), |brief| {
    let path = format!("inbox/drafts/note-{}.md", brief.task.id);
    let _ = guests::vault::write(&path, &[], &"x".repeat(80 * 1024));
    guests::answer("it was taken")
});
