//! Takes all the memory that it can get.

guests::guest!("hoards", |_| {}, |_| {
    let mut hoard = Vec::new();
    loop {
        hoard.push(std::hint::black_box(vec![1_u8; 1 << 20]));
    }
});
