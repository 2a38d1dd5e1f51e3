//! Carries what it hears wherever its task says.

guests::guest!("flows", guests::flow::wishes, |brief| guests::flow::play(&brief));
