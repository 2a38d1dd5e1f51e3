//! What the household wishes is decided on the call: what its list allows is done, and nothing else without the operator.

use serde_json::{Value, json};

use super::approvals::calls;
use crate::support::ground::{Ground, on_both_grounds};
use crate::support::mcp::real::{Real, done};
use crate::support::{Host, guests};

on_both_grounds![a_forbidden_wish_never_runs];

const DOMAINS: [&str; 8] = ["light", "scene", "media_player", "climate", "lock", "switch", "homeassistant", "alarm_control_panel"];
const SERVICES: [&str; 8] = ["turn_on", "turn_off", "unlock", "lock", "media_pause", "set_hvac_mode", "toggle", "restart"];
const ENTITIES: [&str; 8] =
    ["light.hall", "scene.film", "media_player.tv", "climate.bath", "lock.front", "switch.boiler", "all", "lock.front, lock.back"];

/// What may be done without asking, in words of its own: the shipped list is held against this.
fn allowed(domain: &str, service: &str, entity: &str, home: bool) -> bool {
    let own = entity.starts_with(&format!("{domain}.")) && !entity.contains(',');
    match (domain, service) {
        ("light", "turn_on" | "turn_off" | "toggle")
        | ("scene", "turn_on")
        | ("media_player", "turn_on" | "turn_off" | "toggle" | "media_pause")
        | ("climate", "turn_on" | "turn_off" | "set_hvac_mode") => own,
        ("lock", "unlock") => own && home,
        _ => false,
    }
}

async fn wishing(ground: Ground, house: &Real) -> Host {
    let config = format!("[mcp]\nurl = \"{}\"\n[grants.caller]\ntools = [\"*\"]\n", house.url());
    let setup = ground.bare().await.and(&config);
    let agents = guests::with(&["caller"], setup.folder.path());
    std::fs::remove_file(agents.join("reporter.wasm")).unwrap();
    setup.agents(agents).start().await
}

/// Every wish of services × entities × presence that is worth a try, 200 and more of them.
async fn a_forbidden_wish_never_runs(ground: Ground) {
    for home in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let house = Real::house(folder.path(), home).await;
        let host = wishing(ground, &house).await;
        let mut expected: Vec<Value> = Vec::new();
        let mut waiting = 0;
        let mut ids = Vec::new();
        for (at, domain) in DOMAINS.iter().enumerate() {
            for service in SERVICES {
                // Two of eight entities each, one of them its own: the rest says nothing new.
                for entity in [ENTITIES[at], ENTITIES[(at + service.len()) % ENTITIES.len()]] {
                    let arguments = json!({ "domain": domain, "service": service, "entity_id": entity });
                    let mut wish = calls(&format!("ha_ha_call_service {arguments}"));
                    for (key, value) in [("requester", "renee"), ("intent", "action")] {
                        wish[key] = json!(value);
                    }
                    let status = if allowed(domain, service, entity, home) { "done" } else { "awaiting_approval" };
                    if status == "done" {
                        expected.push(json!({ "domain": domain, "service": service, "entity_id": entity, "data": null }));
                    } else {
                        waiting += 1;
                    }
                    ids.push((host.submit(wish).await, status, arguments));
                }
            }
        }
        // Two doors in one call are no door.
        let both = json!({ "domain": "lock", "service": "unlock", "entity_id": ["lock.front", "lock.back"] });
        let mut wish = calls(&format!("ha_ha_call_service {both}"));
        for (key, value) in [("requester", "renee"), ("intent", "action")] {
            wish[key] = json!(value);
        }
        waiting += 1;
        ids.push((host.submit(wish).await, "awaiting_approval", both.clone()));
        assert!(ids.len() > 100 && !expected.is_empty(), "{}", ids.len());
        for (id, status, arguments) in &ids {
            let task = host.task(id, status).await;
            assert_eq!(task["status"], *status, "{arguments}, home {home}");
        }
        let sorted = |mut all: Vec<Value>| {
            all.sort_by_key(Value::to_string);
            all
        };
        assert_eq!(sorted(done(folder.path())), sorted(expected), "what was done is what the list allows, home {home}");
        let (_, questions) = host.get("/approvals").await;
        let questions = questions["approvals"].as_array().unwrap();
        assert_eq!(questions.len(), waiting);
        assert_eq!(questions.iter().find(|one| one["request"]["arguments"] == both).unwrap()["class"], "D");
        assert!(questions.iter().all(|one| one["role"] == "household" && one["requester"] == "renee"));
    }
}
