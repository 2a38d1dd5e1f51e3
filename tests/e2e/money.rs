//! What a priced call costs, what a cap does, and what is on record when nobody knows.

use serde_json::{Value, json};

use crate::support::fake::{Model, Order};
use crate::support::ground::{Ground, on_both_grounds};
use crate::support::{Host, Setup, guests};

on_both_grounds![
    a_task_costs_what_its_models_used,
    a_cap_of_the_task_is_told_to_the_agent_before_anything_is_sent,
    a_cap_of_the_day_makes_a_run_wait_for_the_next,
    what_a_server_refused_is_not_paid_and_what_it_broke_off_is,
    what_a_crash_swallowed_is_paid_in_full_and_again,
];

/// Micro-dollars of one call of `spends`: the fake counts 42 tokens in and 7 out.
const ONE: f64 = (42.0 * 10.0 + 7.0 * 20.0) / 1e6;

/// What is set aside for it: each byte of `turn N` and what stands around it a token, and every token that it may write.
const MOST: f64 = ((6.0 + 16.0 + 64.0) * 10.0 + 100.0 * 20.0) / 1e6;

async fn setup(ground: Ground, model: &Model, caps: &str) -> Setup {
    let setup = ground.setup(model).await.and("[grants.spends]\nmodels = [\"local-p40\"]\n").and(caps);
    let group = "[inference.groups.local-p40]\n";
    let config = setup.config.replace(group, &format!("{group}price = {{ input = 10.0, output = 20.0 }}\n"));
    let agents = guests::with(&["spends"], setup.folder.path());
    Setup { config, ..setup }.agents(agents)
}

fn ask(times: u32) -> Value {
    json!({ "target_agent": "spends", "content": times.to_string(), "retry_policy": { "max_attempts": 1 } })
}

fn costs(task: &Value, usd: f64) {
    let cost = task["cost_usd"].as_f64().unwrap();
    assert!((cost - usd).abs() < 1e-9, "{cost} USD, not {usd}: {task:#}");
}

fn waits(task: &Value, words: &str) {
    assert!(task["waits_for"].as_str().unwrap().contains(words), "{task:#}");
}

async fn asked(host: &Host, times: u32) -> Value {
    host.done(ask(times)).await
}

async fn a_task_costs_what_its_models_used(ground: Ground) {
    let model = ground.model().await;
    let host = setup(ground, &model, "").await.start().await;
    let task = asked(&host, 3).await;
    costs(&task, 3.0 * ONE);
    assert_eq!(task["served_groups"], json!(["local-p40", "local-spark"]), "the report was free");
}

async fn a_cap_of_the_task_is_told_to_the_agent_before_anything_is_sent(ground: Ground) {
    let model = ground.model().await;
    let cap = format!("[caps]\nper_task_usd = {}\n", MOST + ONE + ONE / 2.0);
    let host = setup(ground, &model, &cap).await.start().await;
    let id = host.submit(ask(3)).await;
    let task = host.task(&id, "failed").await;
    assert_eq!(model.heard().len(), 2, "the third could have passed the cap");
    costs(&task, 2.0 * ONE);
    let refused = task["timeline"].as_array().unwrap().last().unwrap();
    assert_eq!((&refused["state"], &refused["refusal"]["rule"]), (&json!("denied"), &json!("cap")));
    assert!(refused["refusal"]["said"].as_str().unwrap().starts_with("per_task_usd = "), "{refused}");
    // It is this task's: the next has its own.
    costs(&asked(&host, 1).await, ONE);
}

async fn a_cap_of_the_day_makes_a_run_wait_for_the_next(ground: Ground) {
    let model = ground.model().await;
    let cap = format!("[caps]\nglobal_daily_usd = {MOST}\n");
    let host = setup(ground, &model, &cap).await.start().await;
    costs(&asked(&host, 1).await, ONE);
    let id = host.submit(ask(1)).await;
    let task = host.task(&id, "awaiting_backend").await;
    waits(&task, "global_daily_usd = ");
    assert_eq!((model.heard().len(), &task["attempts"], &task["hops"][0]["status"]), (2, &json!(0), &json!("parked")));
    // After a restart with room under the cap a word of the operator is enough.
    let setup = host.kill().await;
    let host = Setup { config: setup.config.replace(&cap, ""), ..setup }.start().await;
    host.post(&format!("/tasks/{id}/retry"), "").await;
    costs(&host.task(&id, "done").await, ONE);
}

async fn what_a_server_refused_is_not_paid_and_what_it_broke_off_is(ground: Ground) {
    let model = ground.model().await;
    let host = setup(ground, &model, "").await.start().await;
    for (order, paid) in [(Order::Status(503), ONE), (Order::Cut, MOST + ONE)] {
        model.order([order]);
        let id = host.submit(ask(1)).await;
        waits(&host.task(&id, "awaiting_backend").await, "backend unavailable");
        host.post(&format!("/tasks/{id}/retry"), "").await;
        costs(&host.task(&id, "done").await, paid);
    }
}

async fn what_a_crash_swallowed_is_paid_in_full_and_again(ground: Ground) {
    let model = ground.model().await;
    model.order([Order::Well, Order::Hang]);
    let host = setup(ground, &model, "").await.start().await;
    let id = host.submit(ask(2)).await;
    model.heard_so_many(2).await;
    let host = host.kill().await.start().await;
    model.release();
    let task = host.task(&id, "done").await;
    // The first call, the second assumed, the second again.
    costs(&task, ONE + MOST + ONE);
    assert_eq!(model.heard().len(), 4, "what was paid for was not asked again");
}
