//! Has a second, and asks a model.

guests::guest!(
    "hasty",
    |manifest| {
        manifest.wants.models.push("local-p40".into());
        manifest.limits.wall_s = 1;
    },
    |_| {
        let request = guests::model::Request {
            group: "local-p40".into(),
            messages: vec![guests::model::Message {
                role: guests::model::Role::User,
                text: "quick".into(),
                calls: Vec::new(),
                answers: None,
            }],
            tools: Vec::new(),
            schema: None,
            temperature: None,
            max_output_tokens: 10,
            extra: Vec::new(),
        };
        guests::model::complete(&request).map_err(|error| guests::said(&error))?;
        guests::answer("in time")
    }
);
