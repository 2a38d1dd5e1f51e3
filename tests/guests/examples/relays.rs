//! Goes on where `flows` hands over, and may see less.

guests::guest!(
    "relays",
    |manifest| {
        guests::flow::wishes(manifest);
        manifest.wants.handoff.clear();
    },
    |brief| guests::flow::play(&brief)
);
