//! Computes for ever while it should describe itself.

guests::guest!(
    "ponders",
    |_| {
        let mut x = 1_u64;
        loop {
            x = std::hint::black_box(x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
        }
    },
    |_| guests::answer("here")
);
