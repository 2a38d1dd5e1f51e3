//! Lists and searches by patterns that begin with a detour, and reports what came of each.

guests::guest!("detours", |manifest| manifest.wants.vault_read.push("notes/**".into()), |_| {
    let patterns =
        ["notes/../private/**", "./private/**", "private/**", ".obsidian/**", "notes/.git/**", "notes/link/**", "/etc/**"];
    let told = patterns.map(|pattern| {
        let words = ["treasure".to_owned()];
        let hits = guests::vault::search(&words, pattern, 10).map(|hits| format!("{} hits", hits.len()));
        let entries = guests::vault::entries(pattern).map(|entries| format!("{} entries", entries.len()));
        format!("{pattern}: {} / {}", hits.unwrap_or_else(|_| "refused".into()), entries.unwrap_or_else(|_| "refused".into()))
    });
    let own = guests::vault::search(&["treasure".into()], "notes/**", 10).map_or(0, |hits| hits.len());
    guests::answer(format!("{}\nown {own}", told.join("\n")))
});
