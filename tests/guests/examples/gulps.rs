//! Takes more memory in one piece than it may have in all.

guests::guest!("gulps", |_| {}, |_| {
    let gulp = std::hint::black_box(vec![1_u8; 512 << 20]);
    guests::answer(format!("{} bytes", gulp.len()))
});
