//! Calls its host without end.

guests::guest!("floods", |manifest| manifest.wants.vault_read.push("notes/**".into()), |_| {
    loop {
        let _ = guests::vault::read("notes/a.md");
    }
});
