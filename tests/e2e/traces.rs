//! One trace per task, read back from collectors that others wrote.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::Setup;
use crate::support::collector::Collector;
use crate::support::fake::{Model, Order, Protocol};
use crate::support::ground::{Ground, on_both_grounds};

on_both_grounds![a_task_is_one_tree_below_its_request, a_crash_leaves_no_orphan];

const CALLER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

pub(super) fn sends_to(collector: &Collector, protocol: &str) -> String {
    format!("[telemetry]\notlp_endpoint = \"{}\"\notlp_protocol = \"{protocol}\"\n", collector.url())
}

/// The spans of a trace: id, name and parent's id of each, in the order of their beginning.
fn tree(collector: &Collector, trace: &str) -> Vec<Value> {
    let mut spans: Vec<Value> = collector.spans().into_iter().filter(|span| span["traceId"] == trace).collect();
    spans.sort_by_key(|span| span["startTimeUnixNano"].to_string().trim_matches('"').parse::<u64>().unwrap());
    spans
}

fn name(span: &Value) -> &str {
    span["name"].as_str().unwrap()
}

/// `parent > child`, for each span that has a parent among them.
fn edges(spans: &[Value]) -> Vec<String> {
    let by_id: BTreeMap<&str, &str> = spans.iter().map(|span| (span["spanId"].as_str().unwrap(), name(span))).collect();
    let parent = |span: &Value| span["parentSpanId"].as_str().and_then(|id| by_id.get(id)).copied();
    spans.iter().filter_map(|span| Some(format!("{} > {}", parent(span)?, name(span)))).collect()
}

/// An attribute of a span, whatever its type.
fn fact(span: &Value, key: &str) -> Value {
    let facts = &span["attributes"];
    match facts.as_array() {
        Some(list) => {
            let found = list.iter().find(|fact| fact["key"] == key).map(|fact| &fact["value"]);
            found.and_then(|value| value.as_object()?.values().next().cloned()).unwrap_or(Value::Null)
        }
        None => facts[key].clone(),
    }
}

async fn a_task_is_one_tree_below_its_request(ground: Ground) {
    let collector = Collector::over_http().await;
    let model = ground.model().await;
    let host = ground.setup(&model).await.and(&sends_to(&collector, "http")).start().await;
    let body = json!({ "task_id": "t", "source": "test", "content": "note: the hose clamp is loose" });
    let request = host.request(reqwest::Method::POST, "/inbox").header("traceparent", CALLER).body(body.to_string());
    let accepted: Value = request.send().await.unwrap().json().await.unwrap();
    assert_eq!(accepted["trace_id"], TRACE, "the caller's trace goes on");
    host.task(accepted["task_id"].as_str().unwrap(), "done").await;
    collector.until(|lines| lines.iter().any(|line| line.contains("\"lease\""))).await;

    let spans = tree(&collector, TRACE);
    let root = spans.iter().find(|span| name(span) == "task from test").expect("the request");
    assert_eq!(root["parentSpanId"], "00f067aa0ba902b7", "below the caller's span");
    let mut edges = edges(&spans);
    edges.sort();
    assert_eq!(
        edges,
        [
            "invoke_agent note-maker > chat fake:7b",
            "invoke_agent note-maker > vault.write",
            "invoke_agent reporter > chat fake:7b",
            "invoke_agent triager > chat fake:7b",
            "lease > invoke_agent note-maker",
            "lease > invoke_agent reporter",
            "lease > invoke_agent triager",
            "task from test > lease",
            "task from test > wait in the queue",
        ]
    );
    let chat = spans.iter().find(|span| name(span).starts_with("chat")).unwrap();
    for (key, value) in [
        ("gen_ai.operation.name", "chat"),
        ("gen_ai.request.model", "fake:7b"),
        ("gen_ai.response.model", "fake:7b"),
        ("gen_ai.usage.input_tokens", "42"),
        ("gen_ai.usage.output_tokens", "7"),
    ] {
        assert_eq!(fact(chat, key).to_string().trim_matches('"'), value, "{key} of {chat:#}");
    }
    assert!(!collector.lines().concat().contains("hose clamp"), "no content");
}

async fn a_crash_leaves_no_orphan(ground: Ground) {
    let collector = Collector::over_http().await;
    let model = ground.model().await;
    model.order([Order::Well, Order::Well, Order::Hang]);
    let host = ground.setup(&model).await.and(&sends_to(&collector, "http")).start().await;
    let id = host.submit(json!({})).await;
    for _ in 0..3 {
        model.asked().await;
    }
    // What the first two hops did is reported; then the host dies within the third, and with it the lease's own span.
    collector.until(|lines| lines.iter().any(|line| line.contains("invoke_agent note-maker"))).await;
    let host = host.kill().await.start().await;
    model.release();
    let task = host.task(&id, "done").await;
    let trace = task["trace_id"].as_str().unwrap();
    let leases = |lines: &[String]| lines.iter().filter(|line| line.contains("\"lease\"")).count();
    collector.until(|lines| leases(lines) == 2).await;
    let spans = tree(&collector, trace);
    let ids: Vec<&str> = spans.iter().map(|span| span["spanId"].as_str().unwrap()).collect();
    for span in &spans {
        let parent = span["parentSpanId"].as_str().unwrap_or_default();
        assert!(parent.is_empty() || ids.contains(&parent), "{} hangs below nothing", name(span));
    }
    assert_eq!(ids.iter().collect::<std::collections::BTreeSet<_>>().len(), ids.len(), "no span twice");
    let reporters: Vec<Value> =
        spans.iter().filter(|span| name(span) == "invoke_agent reporter").map(|span| fact(span, "homeaiops.outcome")).collect();
    assert_eq!(reporters, ["answer"], "one run, whoever ended it");
}

#[tokio::test]
async fn spans_leave_over_grpc_too() {
    let collector = Collector::over_grpc().await;
    let model = Model::start(Protocol::Ollama).await;
    let host = Setup::with(&model).and(&sends_to(&collector, "grpc")).start().await;
    let task = host.done(json!({})).await;
    let trace = task["trace_id"].as_str().unwrap().to_owned();
    let has = |lines: &[String], words: &str| lines.iter().any(|line| line.contains(words));
    collector.until(|lines| has(lines, &trace) && has(lines, "invoke_agent reporter") && has(lines, "chat fake:7b")).await;
}

#[tokio::test]
async fn a_collector_that_is_away_delays_nothing() {
    let model = Model::start(Protocol::Ollama).await;
    let nowhere = "[telemetry]\notlp_endpoint = \"http://127.0.0.1:1\"\n";
    let host = Setup::with(&model).and(nowhere).start().await;
    host.done(json!({})).await;
    host.terminate().await;
    let (code, _, log) = host.ended().await;
    assert_eq!(code, Some(0), "{log:?}");
}
