//! Has a second, and asks a model.

guests::guest!(
    "hasty",
    |manifest| {
        manifest.wants.models.push("local-p40".into());
        manifest.limits.wall_s = 1;
    },
    |_| {
        guests::model::complete(&guests::question("local-p40", "quick", 10)).map_err(|error| guests::said(&error))?;
        guests::answer("in time")
    }
);
