//! Repeats what it is told wherever it may: to a model, in a note, in the log, in its answer.

guests::guest!(
    "leaks",
    |manifest| {
        manifest.wants.models.push("local-p40".into());
        manifest.wants.vault_read.push("notes/**".into());
        manifest.wants.vault_write.push("inbox/drafts/note-*.md".into());
    },
    |brief| {
        let read = guests::vault::read("notes/keys.md").map_or_else(|error| guests::said(&error), |file| file.text);
        let said = format!("{} | {read}", brief.task.content);
        guests::log::line(guests::log::Level::Info, &said, &[]);
        let heard =
            guests::model::complete(&guests::question("local-p40", said.clone(), 10)).map_err(|error| guests::said(&error))?.text;
        let path = format!("inbox/drafts/note-{}.md", brief.task.id);
        guests::vault::write(&path, &[("title".into(), format!("{said:?}"))], &said).map_err(|error| guests::said(&error))?;
        guests::answer(format!("{said} | {heard}"))
    }
);
