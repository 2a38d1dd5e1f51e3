//! Has a second, and waits in a call for longer.

guests::guest!(
    "parks",
    |manifest| {
        manifest.wants.models.push("local-p40".into());
        manifest.limits.wall_s = 1;
    },
    |_| {
        let told = guests::model::complete(&guests::question("local-p40", "take your time", 10));
        guests::answer(told.map_or_else(|error| guests::said(&error), |reply| reply.text))
    }
);
