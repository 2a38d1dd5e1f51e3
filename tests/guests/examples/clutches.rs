//! Takes handles and lets go of none.

#[link(wasm_import_module = "wasi:cli/stdout@0.2.6")]
unsafe extern "C" {
    #[link_name = "get-stdout"]
    safe fn get_stdout() -> i32;
}

guests::guest!("clutches", |_| {}, |_| {
    loop {
        std::hint::black_box(get_stdout());
    }
});
