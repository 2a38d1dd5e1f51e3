//! Which tools there are. Read once and kept; read anew when it is old; never forgotten because a look failed.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use policy::class::Hints;
use serde_json::Value;
use tokio::time::Instant;

/// How long a catalogue is taken for what there is.
const FRESH: Duration = Duration::from_secs(300);
/// How long it is taken for granted that a tool which it lacks has not come since.
const SETTLED: Duration = Duration::from_secs(10);

/// One tool, as its server describes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// For models.
    pub description: String,
    /// JSON Schema of its arguments.
    pub schema: Value,
    /// What its server says of it.
    pub hints: Hints,
}

/// Every tool of a server, by name.
#[derive(Debug)]
pub(super) struct Catalogue {
    tools: BTreeMap<String, Tool>,
    read_at: Instant,
}

impl Catalogue {
    /// The tool of that name.
    #[must_use]
    pub(super) fn tool(&self, name: &str) -> Option<&Tool> {
        self.tools.get(name)
    }
}

/// What is known of all servers. Of two tools of one name the first server's is the one.
#[derive(Clone, Debug, Default)]
pub struct Known(Vec<Arc<Catalogue>>);

impl Known {
    pub(super) fn of(catalogues: impl Iterator<Item = Arc<Catalogue>>) -> Self {
        Self(catalogues.collect())
    }

    /// The tool of that name.
    #[must_use]
    pub fn tool(&self, name: &str) -> Option<&Tool> {
        self.0.iter().find_map(|catalogue| catalogue.tool(name))
    }

    /// All of them, by name.
    #[must_use]
    pub fn tools(&self) -> Vec<&Tool> {
        if let [only] = self.0.as_slice() {
            return only.tools.values().collect();
        }
        let mut all: BTreeMap<&str, &Tool> = BTreeMap::new();
        for (name, tool) in self.0.iter().flat_map(|catalogue| &catalogue.tools) {
            all.entry(name).or_insert(tool);
        }
        all.into_values().collect()
    }

    /// Tools that have any of the words, best first; all of them if there is no word.
    #[must_use]
    pub fn search(&self, query: &str) -> Vec<&Tool> {
        let words: Vec<String> = query.split_whitespace().map(str::to_lowercase).collect();
        let score = |tool: &Tool| {
            let (name, description) = (tool.name.to_lowercase(), tool.description.to_lowercase());
            // A word in the name says more than one in the description.
            let hits = words.iter().map(|word| usize::from(name.contains(word)) * 2 + usize::from(description.contains(word)));
            hits.sum::<usize>()
        };
        let mut found: Vec<(usize, &Tool)> = self.tools().into_iter().map(|tool| (score(tool), tool)).collect();
        found.retain(|(score, _)| *score > 0 || words.is_empty());
        found.sort_by(|(a, one), (b, other)| b.cmp(a).then_with(|| one.name.cmp(&other.name)));
        found.into_iter().map(|(_, tool)| tool).collect()
    }
}

/// Where the last catalogue is kept.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    last: RwLock<Option<Arc<Catalogue>>>,
}

impl Shelf {
    pub(super) fn known(&self) -> Option<Arc<Catalogue>> {
        self.last.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether a catalogue need not be read anew for somebody who wants that tool.
    pub(super) fn serves(&self, known: &Catalogue, wanted: Option<&str>) -> bool {
        let age = known.read_at.elapsed();
        // A gateway that has just started may have nothing yet.
        let lacks = known.tools.is_empty() || wanted.is_some_and(|wanted| known.tool(wanted).is_none());
        age < if lacks { SETTLED } else { FRESH }
    }

    /// Keeps what was read; of two tools of one name the first.
    pub(super) fn put(&self, tools: Vec<Tool>) {
        let mut named = BTreeMap::new();
        for tool in tools {
            named.entry(tool.name.clone()).or_insert(tool);
        }
        let catalogue = Catalogue { tools: named, read_at: Instant::now() };
        *self.last.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(catalogue));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tool(name: &str, description: &str) -> Tool {
        Tool { name: name.into(), description: description.into(), schema: Value::Null, hints: Hints::default() }
    }

    #[test]
    fn a_search_finds_names_before_descriptions() {
        let shelf = Shelf::default();
        assert!(shelf.known().is_none(), "nothing is known before the first look");
        shelf.put(vec![
            tool("disk_usage", "How full disks are."),
            tool("reboot", "Ends a disk's misery."),
            tool("mail", "Sends mail."),
        ]);
        let one = shelf.known().expect("it was put there");
        let known = Known::of([one.clone()].into_iter());
        let names = |query: &str| known.search(query).into_iter().map(|tool| tool.name.as_str()).collect::<Vec<_>>();
        assert_eq!(names("Disk"), ["disk_usage", "reboot"]);
        assert_eq!(names(""), ["disk_usage", "mail", "reboot"]);
        assert_eq!(names("printer"), Vec::<&str>::new());
        assert!(shelf.serves(&one, None) && shelf.serves(&one, Some("unheard of")));
        let other = Shelf::default();
        other.put(vec![tool("mail", "Another's mail."), tool("aardvark", "Digs.")]);
        let both = Known::of([one, other.known().expect("it was put there")].into_iter());
        let all: Vec<_> = both.tools().into_iter().map(|tool| (tool.name.as_str(), tool.description.as_str())).collect();
        assert_eq!((all.len(), all[0].0, all[2]), (4, "aardvark", ("mail", "Sends mail.")), "of two of one name the first");
    }
}
