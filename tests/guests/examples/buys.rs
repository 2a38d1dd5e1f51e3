//! Asks a priced model twice, and writes down what it was told.

fn asked(question: &str) -> Result<String, String> {
    let request = guests::question("local-spark-coder", format!("MONEY: {question}"), 100);
    guests::model::complete(&request).map(|answered| answered.text).map_err(|error| guests::said(&error))
}

guests::guest!(
    "buys",
    |manifest| {
        manifest.wants.models.push("local-spark-coder".into());
        manifest.wants.vault_write.push("inbox/drafts/note-*.md".into());
        manifest.limits.usd_micros = 1_000_000;
    },
    |brief| {
        let (one, two) = (asked("how much?")?, asked("how much more?")?);
        let path = format!("inbox/drafts/note-{}.md", brief.task.id);
        guests::vault::write(&path, &[], &format!("{one} and {two}\n")).map_err(|error| guests::said(&error))?;
        guests::answer("it is written down")
    }
);
