//! Components written by hand, in the text format: what no compiler of ours would make. Each exports the agent interface; its manifest
//! and its one answer lie ready in memory, as the canonical ABI wants them.

use std::fmt::Write as _;
use std::path::Path;

use wit_component::{ComponentEncoder, StringEncoding};
use wit_parser::{Resolve, UnresolvedPackageGroup};

const WIT: &str = include_str!("../../wit/agent.wit");
/// Where in memory the manifest begins; the answer; the texts of both.
const MANIFEST: usize = 8192;
const ANSWER: usize = 12288;
const TEXTS: usize = 1024;

/// What a component is made of.
#[derive(Clone, Copy)]
pub struct Handmade<'h> {
    pub id: &'h str,
    /// Packages of WIT beside ours.
    pub packages: &'h str,
    /// What its world imports.
    pub imports: &'h str,
    /// Imports and anything else that comes first in its core module.
    pub first: &'h str,
    /// Fields of its core module: its memory, and what it likes.
    pub fields: &'h str,
    /// What it does before it answers.
    pub body: &'h str,
}

/// One that is harmless.
pub const PLAIN: Handmade<'static> =
    Handmade { id: "plain", packages: "", imports: "", first: "", fields: "(memory (export \"memory\") 1)", body: "" };

impl Handmade<'_> {
    pub fn write(self, folder: &Path) {
        std::fs::write(folder.join(format!("{}.wasm", self.id)), self.component()).unwrap();
    }

    pub fn component(self) -> Vec<u8> {
        let mut resolve = Resolve::default();
        resolve.features.clear();
        resolve.push_str("agent.wit", WIT).unwrap();
        let (packages, imports) = (self.packages, self.imports);
        let world =
            format!("package test:handmade;\nworld handmade {{ {imports} export homeaiops:agent/agent@0.1.0; }}\n{packages}");
        let package = resolve.push_group(UnresolvedPackageGroup::parse("handmade.wit", &world).unwrap()).unwrap();
        let world = resolve.select_world(&[package], Some("handmade")).unwrap();
        let mut module = wat::parse_str(self.module()).unwrap();
        wit_component::embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
        ComponentEncoder::default().module(&module).unwrap().encode().unwrap()
    }

    fn module(self) -> String {
        let Self { id, first, fields, body, .. } = self;
        let mut memory = Memory::default();
        let manifest = memory.manifest(id);
        let answer = memory.answer("it was not stopped");
        let (manifest, answer, texts) = (data(MANIFEST, &manifest), data(ANSWER, &answer), data(TEXTS, &memory.texts));
        format!(
            "(module {first} {fields} {manifest} {answer} {texts}
               (global $free (mut i32) (i32.const 16384))
               (func (export \"cabi_realloc\") (param i32 i32 i32 i32) (result i32)
                 (local $at i32)
                 (local.set $at (i32.and (i32.add (global.get $free) (i32.const 7)) (i32.const -8)))
                 (global.set $free (i32.add (local.get $at) (local.get 3)))
                 (block $enough
                   (br_if $enough (i32.le_u (global.get $free) (i32.mul (memory.size) (i32.const 65536))))
                   (drop (memory.grow (i32.const 4))))
                 (local.get $at))
               (func (export \"homeaiops:agent/agent@0.1.0#describe\") (result i32) (i32.const {MANIFEST}))
               (func (export \"homeaiops:agent/agent@0.1.0#handle\") (param i32) (result i32) {body} (i32.const {ANSWER})))"
        )
    }
}

fn data(at: usize, bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        write!(text, "\\{byte:02x}").unwrap();
    }
    format!("(data (i32.const {at}) \"{text}\")")
}

/// Texts that records point to.
#[derive(Default)]
struct Memory {
    texts: Vec<u8>,
}

impl Memory {
    /// Pointer and length of a text.
    fn text(&mut self, text: &str) -> Vec<u8> {
        let at = TEXTS + self.texts.len();
        self.texts.extend(text.as_bytes());
        pair(at, text.len())
    }

    /// A list of one text.
    fn one(&mut self, text: &str) -> Vec<u8> {
        let item = self.text(text);
        while !self.texts.len().is_multiple_of(4) {
            self.texts.push(0);
        }
        let at = TEXTS + self.texts.len();
        self.texts.extend(item);
        pair(at, 1)
    }

    /// `manifest` of the WIT, field by field.
    fn manifest(&mut self, id: &str) -> Vec<u8> {
        let none = || pair(0, 0);
        let mut record = Vec::new();
        for text in [id, id, "x", "1", "tests the host", "executor"] {
            record.extend(self.text(text));
        }
        // local-only, class-floor, and padding.
        record.extend([0, 0, 0, 0]);
        // models, tools, vault-read, vault-write
        (0..4).for_each(|_| record.extend(none()));
        record.extend(self.text("none"));
        // approvals, and padding; handoff.
        record.extend([0, 0, 0, 0]);
        record.extend(none());
        // memory-mib, cpu-ms, wall-s, host-calls
        [16_u32, 300, 30, 20].iter().for_each(|limit| record.extend(limit.to_le_bytes()));
        // output-tokens, usd-micros
        [500_u64, 0].iter().for_each(|limit| record.extend(limit.to_le_bytes()));
        // journal-kib, log-kib
        [64_u32, 8].iter().for_each(|limit| record.extend(limit.to_le_bytes()));
        record.extend(self.text("You test."));
        record.extend(self.one("test"));
        record.extend(none());
        assert_eq!(record.len(), 168);
        record
    }

    /// An answer of that text, as `result<outcome, string>`.
    fn answer(&mut self, text: &str) -> Vec<u8> {
        let mut record = vec![0; 8];
        record.extend(self.text(text));
        // No data; no citations; nothing written.
        record.extend([0; 12]);
        (0..2).for_each(|_| record.extend(pair(0, 0)));
        record
    }
}

fn pair(at: usize, length: usize) -> Vec<u8> {
    let half = |number: usize| u32::try_from(number).unwrap().to_le_bytes();
    [half(at), half(length)].concat()
}
