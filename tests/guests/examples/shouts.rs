//! Prints without end.

guests::guest!("shouts", |_| {}, |_| {
    loop {
        println!("{}", "x".repeat(512));
    }
});
