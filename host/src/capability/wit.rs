//! The bindings of `wit/`, and nothing else. Their types stop in `capability` and `runtime`.

#![expect(missing_docs, reason = "generated from the WIT, whose comments are the documentation")]

wasmtime::component::bindgen!({
    path: "../wit",
    world: "everything",
    imports: { default: async | trappable },
    exports: { default: async },
    require_store_data_send: true,
});
