//! Asks for one tool, and tries others.

guests::guest!("meddles", |manifest| manifest.wants.tools.push("peek".into()), |_| {
    let one = guests::toolbox::call("wipe", &(), "it is there").map(|seen| seen.text);
    let two: Vec<_> = ["count", "peek", "PEEK", "peek2", "pee", "peek ", "*", "p*"]
        .into_iter()
        .flat_map(|tool| guests::toolbox::action(tool, &(), ""))
        .collect();
    let refused = |result: Result<String, _>| result.unwrap_or_else(|error| guests::said(&error));
    let mut told = vec![refused(one)];
    told.extend(guests::toolbox::call_all(&two).into_iter().map(|seen| refused(seen.map(|seen| seen.text))));
    let found =
        guests::toolbox::matching("*").map(|tools| tools.iter().map(|tool| tool.name.clone()).collect::<Vec<_>>().join(" "));
    told.push(refused(found));
    guests::answer(told.join("\n"))
});
