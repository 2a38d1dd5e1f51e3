//! Writes a file, asks a model, and then says what it was told of the file, or gives up if it was asked to.

guests::guest!(
    "writes",
    |manifest| {
        manifest.wants.models.push("local-p40".into());
        manifest.wants.vault_write.push("**".into());
    },
    |brief| {
        let own = format!("inbox/drafts/note-{}.md", brief.task.id);
        let told = guests::vault::write(&own, &[("kind".into(), "test".into())], "one\n");
        let told = told.as_ref().map_or_else(guests::said, |_| "ok".into());
        guests::model::complete(&guests::question("local-p40", "and now?", 10)).map_err(|error| guests::said(&error))?;
        if brief.task.content.contains("give up") { Err("I give up".into()) } else { guests::answer(format!("the file: {told}")) }
    }
);
