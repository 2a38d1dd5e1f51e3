//! Asks for much, and does nothing with it.

guests::guest!(
    "wishful",
    |manifest| {
        manifest.wants.models.push("cloud".into());
        manifest.wants.tools.push("*".into());
        manifest.wants.vault_read.push("**".into());
        manifest.limits.usd_micros = 1_000_000;
    },
    |_| guests::answer("nothing")
);
