//! Sleeps while it should describe itself.

guests::guest!("dozes", |_| std::thread::sleep(std::time::Duration::from_secs(3600)), |_| guests::answer("awake"));
