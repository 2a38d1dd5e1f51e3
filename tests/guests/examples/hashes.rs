//! Asks in the order of its hash maps, and by the addresses of its memory: what differs from run to run wherever chance and layout do.

use std::collections::{HashMap, HashSet};

guests::guest!("hashes", |manifest| manifest.wants.models.push("local-p40".into()), |_| {
    let words: HashMap<String, usize> = (0..20).map(|number| (format!("word {number}"), number)).collect();
    let places: HashSet<usize> = words.values().map(|number| std::ptr::from_ref(number) as usize).collect();
    for text in [format!("{words:?}"), format!("{places:?}")] {
        let _ = guests::model::complete(&guests::question("local-p40", text, 10));
    }
    guests::answer(format!("{:?}", words.keys().next()))
});
