//! Asks a model as often as its task says, and says what it heard.

use guests::bindings::homeaiops::agent::model::{Message, Request, Role, complete};

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
            let message = Message { role: Role::User, text: format!("turn {turn}"), calls: Vec::new(), answers: None };
            let request = Request {
                group: "local-p40".into(),
                messages: vec![message],
                tools: Vec::new(),
                schema: None,
                temperature: None,
                max_output_tokens: 100,
                extra: Vec::new(),
            };
            heard.push(complete(&request).map_err(|error| guests::said(&error))?.text);
        }
        guests::answer(heard.join(" "))
    }
);
