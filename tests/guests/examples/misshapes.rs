//! Asks for answers by schemas that no validator can compile, and by one that is too large.

guests::guest!("misshapes", |manifest| manifest.wants.models.push("local-p40".into()), |_| {
    let large = format!("{{\"description\": \"{}\"}}", "x".repeat(70_000));
    let deep = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
    let schemas = [r##"{"$ref": "#/$defs/missing"}"##, r#"{"type": "string", "pattern": "("}"#, "{", &large, &deep];
    let told = schemas.map(|schema| {
        let request = guests::model::Request {
            group: "local-p40".into(),
            messages: Vec::new(),
            tools: Vec::new(),
            schema: Some(schema.into()),
            temperature: None,
            max_output_tokens: 10,
            extra: Vec::new(),
        };
        guests::model::complete(&request).map_or_else(|error| guests::said(&error), |_| "ANSWERED".into())
    });
    guests::answer(told.join("\n"))
});
