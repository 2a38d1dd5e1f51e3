//! Imports an interface that this host does not serve.

guests::guest!("recalls", |_| {}, |_| {
    let found = guests::bindings::homeaiops::agent::memory::recall("anything", None, 1);
    guests::answer(format!("{} memories", found.map_or(0, |found| found.len())))
});
