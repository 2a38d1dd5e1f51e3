//! Tries every way out of the vault that it knows, and reports what it was told.

guests::guest!(
    "climbs",
    |manifest| {
        manifest.wants.vault_read.push("**".into());
        manifest.wants.vault_write.push("**".into());
        manifest.limits.host_calls = 40;
        manifest.limits.journal_kib = 256;
    },
    |_| {
        let mut told = Vec::new();
        let long = format!("{}x.md", "deep/".repeat(2000));
        for path in [
            "../secret.md",
            "/etc/passwd",
            "notes/../../secret.md",
            "out/secret.md",
            "link.md",
            ".hidden",
            "a//b",
            "a\\b",
            "..\u{2215}secret.md",
            "\u{ff0e}\u{ff0e}/secret.md",
            "a\0b.md",
            "a\nb.md",
            "/dev/stdin",
            "pipe",
            &long,
            "",
            ".",
        ] {
            let shown = path.chars().take(30).collect::<String>().escape_default().to_string();
            told.push(match guests::vault::read(path) {
                Ok(file) => format!("{shown}: READ {}", file.text),
                Err(error) => format!("{shown}: {}", guests::said(&error).escape_default()),
            });
            told.push(match guests::vault::write(path, &[], "escaped") {
                Ok(_) => format!("{shown}: WROTE"),
                Err(error) => format!("{shown}: {}", guests::said(&error).escape_default()),
            });
        }
        guests::answer(told.join("\n"))
    }
);
