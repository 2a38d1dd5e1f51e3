//! What must hold for any bytes at all, one function for each place where bytes of others come in. `cargo fuzz` (in `fuzz/`) looks for
//! bytes for which it does not; the test beside this tries the kept seeds and what is near them.

use std::sync::OnceLock;

use host::capability::arguments;
use host::config::Config;
use host::fleet::validate::{Found, examine_bytes};
use host::markup::{Eyes, Links};
use host::outbox::Tokens;
use host::runtime::engine::{self, Cache, Compiler, Size};
use host::surface::zulip;
use host::{config, envelope, vault};
use policy::grant::Grant;
use policy::manifest::{Ceiling, Manifest};
use policy::pattern::Patterns;
use policy::task::Timestamp;

use super::handmade::{Handmade, PLAIN};

/// A target, by the name of its seeds.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const ALL: [Target; 11] = [
    ("component", component),
    ("manifest", manifest),
    ("grants", grants),
    ("envelope", envelope),
    ("pattern", pattern),
    ("path", path),
    ("border", border),
    ("arguments", arguments),
    ("markup", markup),
    ("token", token),
    ("reply", reply),
];

fn text(data: &[u8]) -> String {
    String::from_utf8_lossy(data).into_owned()
}

/// A sandbox like the host's, started once.
struct Sandbox {
    engine: wasmtime::Engine,
    cache: Cache,
    config: Config,
    runtime: tokio::runtime::Runtime,
    _folder: tempfile::TempDir,
}

fn sandbox() -> &'static Sandbox {
    static STARTED: OnceLock<Sandbox> = OnceLock::new();
    STARTED.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        Sandbox {
            engine: engine::start(Size { in_flight: 8, memory_mib: 64 }).unwrap(),
            cache: Cache::in_folder(folder.path(), Compiler::Here),
            config: Config::load(&config::Flags::default()).unwrap(),
            runtime: tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap(),
            _folder: folder,
        }
    })
}

/// Bytes of a component have a verdict: accepted, or complaints.
pub fn component(data: &[u8]) {
    let Sandbox { engine, cache, config, runtime, .. } = sandbox();
    let named = ("plain.wasm".to_owned(), Found::Aside);
    let report = runtime.block_on(examine_bytes(engine, cache, config, named, Ok(data.to_vec())));
    match report.verdict {
        Ok(accepted) => assert_eq!(accepted.manifest.id, "plain"),
        Err(complaints) => assert!(!complaints.is_empty() && complaints.iter().all(|complaint| !complaint.is_empty())),
    }
}

/// A manifest is complete or says what it lacks, and no grant of it goes beyond what its operator allows.
pub fn manifest(data: &[u8]) {
    let Ok(manifest) = serde_json::from_slice::<Manifest>(data) else { return };
    let complete = manifest.complaints().is_empty();
    let limits = manifest.limits;
    let narrow = Ceiling { vault_read: vec!["notes/*".into()], ..Ceiling::default() };
    if let (true, Ok(grant)) = (complete, Grant::effective(&manifest, &narrow, &limits, "here")) {
        assert!(grant.reads("private/a").is_err() && grant.writes("notes/a").is_err() && grant.uses("any").is_err());
        assert!(grant.asks_model("any").is_err() && !grant.hands_to("anybody"));
    }
    if let Ok(grant) = Grant::effective(&manifest, &manifest.asked(), &limits, "here") {
        for path in &manifest.wants.vault_read {
            // What is read literally is covered by itself.
            assert!(path.contains(['*', '?', '[', '{', '\\']) || grant.reads(path).is_ok());
        }
    }
}

/// Grants as configuration: they are read whole or not at all, and what is written of them reads the same.
pub fn grants(data: &[u8]) {
    let Ok(ceiling) = toml::from_str::<Ceiling>(&text(data)) else { return };
    let lines = config::grant_lines("scout", &ceiling);
    let read: toml::Table = toml::from_str(&lines).unwrap();
    let again: Ceiling = read["grants"]["scout"].clone().try_into().unwrap();
    assert_eq!(again, ceiling);
}

/// An envelope is complete or refused with a code.
pub fn envelope(data: &[u8]) {
    match envelope::parse(data) {
        Ok(envelope) => assert!(!envelope.content.trim().is_empty() && !envelope.task_id.trim().is_empty()),
        Err(invalid) => assert!(!invalid.code.is_empty() && !invalid.hint.is_empty()),
    }
}

/// A list of patterns and a name, line by line: the first says the name, the others the patterns.
pub fn pattern(data: &[u8]) {
    let text = text(data);
    let mut lines = text.lines();
    let name = lines.next().unwrap_or_default();
    let texts: Vec<String> = lines.map(str::to_owned).collect();
    let Ok(patterns) = Patterns::compile(&texts) else { return };
    assert_eq!(patterns.covers(name), patterns.covering(name).is_some());
    assert_eq!(patterns.covers(name), patterns.clone().covers(name));
    for text in &texts {
        let one = Patterns::compile(std::slice::from_ref(text)).unwrap();
        assert!(!one.covers(name) || patterns.covers(name), "a list covers what one of it covers");
        assert!(patterns.covers_pattern(text), "a list covers its own patterns");
    }
}

/// A path that is taken stays where it is, part for part.
pub fn path(data: &[u8]) {
    let text = text(data);
    if let Ok(path) = vault::checked(&text) {
        assert_eq!(path, text);
        assert!(path.split('/').all(|part| !part.is_empty() && !part.starts_with('.') && !part.contains(char::is_control)));
        assert!(std::path::Path::new("root").join(&path).starts_with("root") && path.len() <= 512);
    }
}

/// Whatever numbers a guest hands over as text and list, the host takes them or ends it.
pub fn border(data: &[u8]) {
    let number = |at: usize| {
        let bytes = data.get(at * 4..at * 4 + 4).and_then(|bytes| bytes.try_into().ok()).unwrap_or_default();
        i32::from_le_bytes(bytes)
    };
    let body = format!(
        "(call $line (i32.const {}) (i32.const {}) (i32.const {}) (i32.const {}) (i32.const {}))",
        number(0).rem_euclid(5),
        number(1),
        number(2),
        number(3),
        number(4)
    );
    let guest = Handmade {
        imports: "import homeaiops:agent/log@0.1.0;",
        first: "(import \"homeaiops:agent/log@0.1.0\" \"line\" (func $line (param i32 i32 i32 i32 i32)))",
        body: &body,
        ..PLAIN
    };
    component(&guest.component());
}

/// Arguments of a tool are refused, or canonical: read again they are the same.
pub fn arguments(data: &[u8]) {
    if let Ok(value) = arguments::parse(&text(data)) {
        assert!(value.is_object());
        assert_eq!(arguments::parse(&value.to_string()), Ok(value));
    }
}

/// What is harmless already is left alone.
pub fn markup(data: &[u8]) {
    let links = Links::to(&["*.example.org".into()], "http://127.0.0.1:8765").unwrap();
    for eyes in [Eyes::Reader, Eyes::Owner] {
        let once = links.harmless(&text(data), eyes);
        assert_eq!(links.harmless(&once, eyes), once);
    }
}

/// A key and a token, in two lines: what verifies is what that key signs, letter for letter.
pub fn token(data: &[u8]) {
    let text = text(data);
    let (key, token) = text.split_once('\n').unwrap_or_default();
    let tokens = Tokens::new(key, "http://127.0.0.1:8765");
    if let Ok(claim) = tokens.verify(token, Timestamp(0)) {
        assert_eq!(tokens.sign(&claim), token);
    }
}

/// An answer in a chat is one plain word about something that it names, or none.
pub fn reply(data: &[u8]) {
    let text = text(data);
    if let Some((_, id)) = zulip::word(&text) {
        assert!(!id.contains(char::is_whitespace) && text.to_uppercase().contains(&id));
    }
}
