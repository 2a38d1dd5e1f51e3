//! What no compiler would make: tables that grow, memories beside each other, and features that are off.

use serde_json::{Value, json};

use super::guests;
use crate::support::ground::Ground;
use crate::support::handmade::{Handmade, PLAIN};

/// Components that serve, and are stopped as they run: what they are, and the words of their end.
const STOPPED: [(Handmade<'static>, &str); 5] = [
    (
        Handmade {
            id: "pages",
            body: "(loop $more (br_if $more (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) unreachable",
            ..PLAIN
        },
        "memory_mib = 16",
    ),
    (
        Handmade {
            id: "tables",
            fields: "(memory (export \"memory\") 1) (table $t 1 funcref)",
            body: "(loop $more (br_if $more (i32.ne (table.grow $t (ref.null func) (i32.const 1000)) (i32.const -1)))) unreachable",
            ..PLAIN
        },
        "tables = 100000 elements",
    ),
    (
        // Together: neither is too large by itself.
        Handmade {
            id: "memories",
            fields: "(memory (export \"memory\") 1) (memory $other 1)",
            body: "(loop $more
                     (br_if $more (i32.and
                       (i32.ne (memory.grow 0 (i32.const 8)) (i32.const -1))
                       (i32.ne (memory.grow $other (i32.const 8)) (i32.const -1)))))
                   unreachable",
            ..PLAIN
        },
        "memory_mib = 16",
    ),
    (
        Handmade { id: "deep", fields: "(memory (export \"memory\") 1) (func $f (call $f))", body: "(call $f)", ..PLAIN },
        "stack = 512 KiB",
    ),
    (
        // A text that lies outside its memory.
        Handmade {
            id: "outside",
            imports: "import homeaiops:agent/log@0.1.0;",
            first: "(import \"homeaiops:agent/log@0.1.0\" \"line\" (func $line (param i32 i32 i32 i32 i32)))",
            body: "(call $line (i32.const 1) (i32.const 0) (i32.const 0x7fffffff) (i32.const 0) (i32.const 0))",
            ..PLAIN
        },
        "out of bounds of memory",
    ),
];

/// Components that are refused at load, and why.
const REFUSED: [(Handmade<'static>, &str); 9] = [
    (Handmade { id: "shared", fields: "(memory (export \"memory\") 1 1 shared)", ..PLAIN }, "threads must be enabled"),
    (
        Handmade { id: "relaxed", body: "(drop (i8x16.relaxed_swizzle (v128.const i64x2 0 0) (v128.const i64x2 0 0)))", ..PLAIN },
        "relaxed",
    ),
    (Handmade { id: "wide", fields: "(memory (export \"memory\") 1) (memory i64 1)", ..PLAIN }, "memory64 must be enabled"),
    (Handmade { id: "vast", fields: "(memory (export \"memory\") 65536)", ..PLAIN }, "memory"),
    (Handmade { id: "long", fields: "(memory (export \"memory\") 1) (table 10000000 funcref)", ..PLAIN }, "table"),
    (
        Handmade {
            id: "dials",
            packages: "package wasi:sockets@0.2.6 { interface tcp { f: func(); } }",
            imports: "import wasi:sockets/tcp@0.2.6;",
            first: "(import \"wasi:sockets/tcp@0.2.6\" \"f\" (func $f))",
            body: "(call $f)",
            ..PLAIN
        },
        "imports `wasi:sockets/tcp@0.2.6`, which no agent gets",
    ),
    (
        Handmade {
            id: "fetches",
            packages: "package wasi:http@0.2.6 { interface outgoing-handler { f: func(); } }",
            imports: "import wasi:http/outgoing-handler@0.2.6;",
            first: "(import \"wasi:http/outgoing-handler@0.2.6\" \"f\" (func $f))",
            body: "(call $f)",
            ..PLAIN
        },
        "imports `wasi:http/outgoing-handler@0.2.6`, which no agent gets",
    ),
    (
        Handmade {
            id: "ahead",
            packages: "package homeaiops:agent@0.2.0 { interface log { f: func(); } }",
            imports: "import homeaiops:agent/log@0.2.0;",
            first: "(import \"homeaiops:agent/log@0.2.0\" \"f\" (func $f))",
            body: "(call $f)",
            ..PLAIN
        },
        "imports `homeaiops:agent/log@0.2.0`, and this host serves edition 0.1.0",
    ),
    (
        // The right name, and another shape than ours.
        Handmade {
            id: "bent",
            packages: "package other:shape { interface x { f: func(); } }",
            imports: "import other:shape/x;",
            first: "(import \"other:shape/x\" \"f\" (func $f))",
            body: "(call $f)",
            ..PLAIN
        },
        "imports `other:shape/x`, which no agent gets",
    ),
];

pub(super) async fn handmade_ones_are_stopped_by_name(ground: Ground) {
    let model = ground.model().await;
    let grants: String = STOPPED.iter().chain(&REFUSED).map(|(one, _)| super::everything(one.id)).collect();
    let setup = ground.setup(&model).await.and(&grants).and(&super::everything("plain")).and(&super::everything("steady"));
    let agents = guests::with(&["steady"], setup.folder.path());
    PLAIN.write(&agents);
    STOPPED.iter().chain(&REFUSED).for_each(|(one, _)| one.write(&agents));
    let host = setup.agents(agents).start().await;

    let (_, shown) = host.get("/agents").await;
    for (one, why) in REFUSED {
        let file = format!("{}.wasm", one.id);
        let rejected = shown["rejected"].as_array().unwrap().iter().find(|rejected| rejected["file"] == *file);
        let complaints = rejected.unwrap_or_else(|| panic!("{file} serves"))["complaints"].to_string();
        assert!(complaints.contains(why), "{file}: {complaints}");
    }
    let plain = host.done(json!({ "target_agent": "plain" })).await;
    assert_eq!(plain["hops"][0]["outcome"]["text"], "it was not stopped", "the template itself is an agent");
    for (one, why) in STOPPED {
        let id = host.submit(json!({ "target_agent": one.id, "retry_policy": { "max_attempts": 1 } })).await;
        let neighbour = host.submit(json!({ "target_agent": "steady", "content": "hold" })).await;
        let ended: Value = host.task(&id, "failed").await;
        let message = ended["error"]["message"].as_str().unwrap();
        assert!(message.contains(why), "{}: {message}", one.id);
        host.task(&neighbour, "done").await;
    }
}
