//! Wants a store that does not lead through its host.

mod keyvalue {
    wit_bindgen::generate!({
        inline: r"
            package test:escapes;

            world escapes {
                import wasi:keyvalue/store@0.1.0;
            }

            package wasi:keyvalue@0.1.0 {
                interface store {
                    open: func(name: string) -> u32;
                }
            }
        ",
        generate_all,
    });
}

guests::guest!("escapes", |_| {}, |_| {
    let handle = keyvalue::wasi::keyvalue::store::open("secrets");
    guests::answer(format!("out: {handle}"))
});
