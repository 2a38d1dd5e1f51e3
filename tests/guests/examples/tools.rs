//! Imports tools and does not ask for them.

guests::guest!("tools", |_| {}, |_| {
    let found = guests::toolbox::search("anything", 1);
    guests::answer(format!("{} tools", found.map_or(0, |tools| tools.len())))
});
