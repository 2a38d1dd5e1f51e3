//! Asks a model as often as its task says, and says what it heard.

guests::guest!(
    "spends",
    |manifest| {
        manifest.wants.models.push("local-p40".into());
        manifest.limits.usd_micros = 1_000_000;
        manifest.limits.output_tokens = 5000;
        manifest.limits.journal_kib = 1024;
    },
    |brief| {
        let mut heard = Vec::new();
        for turn in 0..brief.task.content.parse().unwrap_or(1) {
            let request = guests::question("local-p40", format!("turn {turn}"), 100);
            heard.push(guests::model::complete(&request).map_err(|error| guests::said(&error))?.text);
        }
        guests::answer(heard.join(" "))
    }
);
