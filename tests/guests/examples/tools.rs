//! Imports an interface that this host does not serve.

guests::guest!("tools", |_| {}, |_| {
    let found = guests::bindings::homeaiops::agent::tools::search("anything", 1);
    guests::answer(format!("{} tools", found.map_or(0, |tools| tools.len())))
});
