//! Many who wait for a person cost rows, and nothing else. `PARKED` says how many (`.ci/deep`: 10,000); what it measures, it prints.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::approvals::{calls, say, setup};
use crate::support::Host;
use crate::support::ground::{Ground, on_both_grounds};
use crate::support::mcp::Counting;

on_both_grounds![those_who_wait_take_no_memory_and_go_on_at_once];

/// What the host's process holds, in KiB.
fn resident(host: &Host) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", host.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Submits so many that wait, and waits until they do.
async fn parked(host: &Host, many: usize, total: usize) {
    const AT_ONCE: usize = 32;
    for from in (0..many).step_by(AT_ONCE) {
        let some = (from..many.min(from + AT_ONCE)).map(|_| host.submit(calls("count {\"n\":1}")));
        futures::future::join_all(some).await;
    }
    let waiting = async {
        loop {
            let (_, metrics) = host.get("/metrics").await;
            let line = format!("langgraph_awaiting_approval_tasks {total}\n");
            if metrics.as_str().unwrap().contains(&line) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(1800), waiting).await.expect("they all wait");
}

async fn those_who_wait_take_no_memory_and_go_on_at_once(ground: Ground) {
    let many: usize = host::config::variable("PARKED").and_then(|many| many.parse().ok()).unwrap_or(80);
    let tools = Counting::start().await;
    let host = setup(ground, &tools, "[server]\nmax_waiting = 1000000\n").await.start().await;
    // What the first ones take is taken once.
    let warm = 64;
    parked(&host, warm, warm).await;
    let before = resident(&host);
    parked(&host, many, warm + many).await;
    let grown = resident(&host).saturating_sub(before);
    let began = Instant::now();
    let (status, page) = host.get("/approvals?limit=100").await;
    let listed = began.elapsed();
    assert_eq!((status, page["approvals"].as_array().unwrap().len()), (200, 100));
    let (_, next) = host.get(&format!("/approvals?limit=100&after={}", page["next"].as_str().unwrap())).await;
    let first = |page: &Value| page["approvals"][0]["id"].as_str().unwrap().to_owned();
    assert!(first(&next) > first(&page), "the oldest first, page after page");
    let mut took = Vec::new();
    for (at, one) in page["approvals"].as_array().unwrap().iter().take(50).enumerate() {
        let began = Instant::now();
        assert_eq!(say(&host, &one["id"], "approve").await.0, 200);
        tools.counted_so_many(at + 1).await;
        took.push(began.elapsed());
    }
    took.sort();
    let (median, worst) = (took[took.len() / 2], took[took.len() - 1]);
    tell(&format!(
        "{:?}: {many} waiting grew it by {grown} KiB; 100 listed in {listed:?}; from word to effect {median:?}, at worst {worst:?}",
        ground.store
    ));
    // A row holds no instance: 16 MiB are what allocators keep, whatever the number.
    assert!(grown < 16 * 1024 + many as u64, "{grown} KiB for {many}");
    assert_eq!(tools.counted().len(), 50);
}

#[expect(clippy::print_stdout, reason = "the measurement is for whoever runs the test, with `--nocapture`")]
fn tell(line: &str) {
    println!("{line}");
}
