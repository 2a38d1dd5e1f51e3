//! Sends its host what its task names: one text that is larger than its journal may ever be, a list of a million things, or bytes
//! that are no text.

guests::guest!(
    "bellows",
    |manifest| {
        manifest.limits.memory_mib = 192;
        manifest.limits.cpu_ms = 5000;
    },
    |brief| {
        let level = guests::log::Level::Info;
        match brief.task.content.as_str() {
            "text" => guests::log::line(level, &"x".repeat(64 << 20), &[]),
            "list" => guests::log::line(level, "", &vec![(String::new(), String::new()); 1_000_000]),
            "outcome" => return guests::answer("x".repeat(64 << 20)),
            _ => {
                let bytes = std::hint::black_box(vec![b'a', 0xff, 0xfe, b'z']);
                // SAFETY: none: this is what the host must stand.
                guests::log::line(level, unsafe { std::str::from_utf8_unchecked(&bytes) }, &[]);
            }
        }
        guests::answer("it was taken")
    }
);
