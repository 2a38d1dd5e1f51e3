//! Tries every way out of the vault that it knows, and reports what it was told.

guests::guest!(
    "climbs",
    |manifest| {
        manifest.wants.vault_read.push("**".into());
        manifest.wants.vault_write.push("**".into());
    },
    |_| {
        let mut told = Vec::new();
        for path in ["../secret.md", "/etc/passwd", "notes/../../secret.md", "out/secret.md", "link.md", ".hidden", "a//b", "a\\b"]
        {
            told.push(match guests::vault::read(path) {
                Ok(file) => format!("{path}: READ {}", file.text),
                Err(error) => format!("{path}: {}", guests::said(&error)),
            });
            told.push(match guests::vault::write(path, &[], "escaped") {
                Ok(_) => format!("{path}: WROTE"),
                Err(error) => format!("{path}: {}", guests::said(&error)),
            });
        }
        guests::answer(told.join("\n"))
    }
);
