//! Asks for what its grant does not cover, and reports the refusals.

guests::guest!(
    "beyond",
    |manifest| {
        manifest.wants.vault_read.push("notes/*.md".into());
        manifest.wants.vault_write.push("inbox/drafts/note-*.md".into());
        manifest.wants.models.push("local-p40".into());
    },
    |_| {
        let request = |group: &str, max_output_tokens| guests::model::Request {
            group: group.into(),
            messages: Vec::new(),
            tools: Vec::new(),
            schema: None,
            temperature: None,
            max_output_tokens,
            extra: Vec::new(),
        };
        let told = [
            guests::vault::read("secret/plan.md").err(),
            guests::vault::write("notes/a.md", &[], "mine now").err(),
            guests::model::complete(&request("local-spark", 10)).err(),
            guests::model::complete(&request("local-p40", 501)).err(),
            guests::vault::write("inbox/drafts/note-theirs.md", &[], "mine now").err(),
            guests::vault::read("Notes/a.md").err(),
            guests::vault::read("n\u{43e}tes/a.md").err(),
            guests::vault::read("notes/deep/a.md").err(),
            guests::vault::read("inbox/drafts/watch-1.md").err(),
            guests::vault::write("inbox/drafts/note-1.md.exe", &[], "mine now").err(),
            guests::vault::write("inbox/drafts/note-", &[], "mine now").err(),
        ];
        guests::answer(
            told.iter().map(|error| error.as_ref().map_or("ALLOWED".into(), guests::said)).collect::<Vec<_>>().join("\n"),
        )
    }
);
