//! Writes a file of its own, adds to it, and tries the same with somebody else's.

guests::guest!(
    "appends",
    |manifest| {
        manifest.wants.vault_read.push("**".into());
        manifest.wants.vault_write.push("**".into());
    },
    |brief| {
        let own = format!("inbox/drafts/note-{}.md", brief.task.id);
        let done = [
            guests::vault::write(&own, &[("kind".into(), "test".into())], "one\n"),
            guests::vault::append(&own, "two\n"),
            guests::vault::append(&own, "two\n"),
            guests::vault::write("notes/theirs.md", &[], "mine"),
            guests::vault::append("notes/theirs.md", "mine"),
            guests::vault::append("notes/missing.md", "mine"),
        ];
        let told = done.iter().map(|done| done.as_ref().map_or_else(guests::said, |_| "ok".into()));
        let entries = guests::vault::entries("**").map_or(0, |entries| entries.len());
        let hits = guests::vault::search(&["THEIR".into()], "notes/*", 5).map_or(0, |hits| hits.len());
        guests::answer(format!("{}\nentries {entries} hits {hits}", told.collect::<Vec<_>>().join("\n")))
    }
);
