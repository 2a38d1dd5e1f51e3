//! What the services accept, and how they say that they do not.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use serde_json::{Value, json};

use super::{BOT, KEY, SECRET, STREAMS, Script, Service, TOKEN, USER, USERS, failing};

/// What is wrong with a request, and the status of it.
type Refused = (StatusCode, String);

fn bad(why: impl Into<String>) -> Refused {
    (StatusCode::BAD_REQUEST, why.into())
}

fn said(headers: &HeaderMap, name: &str) -> String {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}

/// A form in which every field is known, and stands once.
fn form(headers: &HeaderMap, body: &[u8], known: &[&str]) -> Result<BTreeMap<String, String>, Refused> {
    if said(headers, "content-type") != "application/x-www-form-urlencoded" {
        return Err(bad(format!("content type `{}`", said(headers, "content-type"))));
    }
    let mut fields = BTreeMap::new();
    for (name, value) in url::form_urlencoded::parse(body).into_owned() {
        if !known.contains(&name.as_str()) || fields.insert(name.clone(), value).is_some() {
            return Err(bad(format!("field `{name}` is unknown, or there twice")));
        }
    }
    Ok(fields)
}

fn field(fields: &BTreeMap<String, String>, name: &str, most: usize) -> Result<String, Refused> {
    let value =
        fields.get(name).filter(|value| !value.trim().is_empty()).ok_or_else(|| bad(format!("Missing '{name}' argument")))?;
    if value.chars().count() > most { Err(bad(format!("`{name}` is too long"))) } else { Ok(value.clone()) }
}

fn known_bot(script: &Script, headers: &HeaderMap) -> Result<(), Refused> {
    let host = script.host.lock().unwrap().clone();
    if host.is_some_and(|host| said(headers, "host") != host) {
        return Err(bad("Bad Request (400)"));
    }
    let expected = base64::engine::general_purpose::STANDARD.encode(format!("{BOT}:{KEY}"));
    if said(headers, "authorization") != format!("Basic {expected}") {
        return Err((StatusCode::UNAUTHORIZED, "Invalid API key".into()));
    }
    Ok(())
}

pub(super) async fn server_settings() -> axum::Json<Value> {
    axum::Json(json!({
        "result": "success", "msg": "", "zulip_version": "10.4", "zulip_feature_level": 378, "push_notifications_enabled": false,
        "is_incompatible": false, "email_auth_enabled": true, "require_email_format_usernames": true, "realm_name": "Fake",
        "authentication_methods": { "password": true }, "external_authentication_methods": [],
    }))
}

pub(super) async fn users_me(State(script): State<Arc<Script>>, headers: HeaderMap) -> Response {
    if let Err((status, why)) = known_bot(&script, &headers) {
        script.fault(&why);
        return failing(Service::Zulip, status, &why);
    }
    axum::Json(json!({
        "result": "success", "msg": "", "user_id": 7, "email": BOT, "delivery_email": BOT, "full_name": "HomeAIOps", "is_bot": true,
        "bot_type": 1, "is_admin": false, "is_owner": false, "is_guest": false, "is_active": true, "role": 400, "timezone": "",
        "avatar_url": null, "avatar_version": 1, "date_joined": "2026-01-01T00:00:00+00:00", "profile_data": {}, "max_message_id": 1,
    }))
    .into_response()
}

pub(super) async fn zulip(State(script): State<Arc<Script>>, headers: HeaderMap, body: Bytes) -> Response {
    match zulip_message(&script, &headers, &body) {
        Ok(message) => {
            let thanks = |id: usize| axum::Json(json!({ "result": "success", "msg": "", "id": id })).into_response();
            script.take(Service::Zulip, message, thanks).await
        }
        Err((status, why)) => {
            script.fault(&why);
            failing(Service::Zulip, status, &why)
        }
    }
}

fn zulip_message(script: &Script, headers: &HeaderMap, body: &[u8]) -> Result<Value, Refused> {
    known_bot(script, headers)?;
    let fields = form(headers, body, &["type", "to", "topic", "content"])?;
    let (kind, to) = (field(&fields, "type", 20)?, field(&fields, "to", 1000)?);
    let content = field(&fields, "content", 10_000)?;
    let listed = serde_json::from_str::<Value>(&to);
    match kind.as_str() {
        "direct" | "private" => {
            let Ok(ids) = serde_json::from_str::<Vec<i64>>(&to) else { return Err(bad("Invalid data type for recipients")) };
            if let Some(id) = ids.iter().find(|id| !USERS.contains(id)) {
                return Err(bad(format!("Invalid user ID {id}")));
            }
            if ids.is_empty() || fields.contains_key("topic") {
                return Err(bad("Message must have recipients, and no topic"));
            }
            Ok(json!({ "service": "zulip", "type": "direct", "to": ids, "content": content }))
        }
        "stream" | "channel" => {
            // A bare name, or one as JSON.
            let stream = listed.ok().and_then(|name| name.as_str().map(str::to_owned)).unwrap_or(to);
            if !STREAMS.contains(&stream.as_str()) {
                return Err(bad(format!("Channel '{stream}' does not exist")));
            }
            let topic = field(&fields, "topic", 60)?;
            Ok(json!({ "service": "zulip", "type": "stream", "to": stream, "topic": topic, "content": content }))
        }
        _ => Err(bad("Invalid message type")),
    }
}

pub(super) async fn pushover(State(script): State<Arc<Script>>, headers: HeaderMap, body: Bytes) -> Response {
    match pushover_message(&headers, &body) {
        Ok(message) => {
            let thanks =
                |_: usize| axum::Json(json!({ "status": 1, "request": "647d2300-702c-4b38-8b2f-d56326ae460b" })).into_response();
            script.take(Service::Pushover, message, thanks).await
        }
        Err((status, why)) => {
            script.fault(&why);
            failing(Service::Pushover, status, &why)
        }
    }
}

fn pushover_message(headers: &HeaderMap, body: &[u8]) -> Result<Value, Refused> {
    let fields = form(headers, body, &["token", "user", "title", "message", "priority", "sound", "url", "url_title"])?;
    if field(&fields, "token", 50)? != TOKEN {
        return Err(bad("application token is invalid, see https://pushover.net/api"));
    }
    if field(&fields, "user", 50)? != USER {
        return Err(bad("user identifier is not a valid user, group, or subscribed user key"));
    }
    let mut message = json!({ "service": "pushover", "message": field(&fields, "message", 1024)? });
    for (name, most) in [("title", 250), ("priority", 2), ("sound", 20), ("url", 512), ("url_title", 100)] {
        if fields.contains_key(name) {
            message[name] = json!(field(&fields, name, most)?);
        }
    }
    let priority = fields.get("priority").map_or(Ok(0), |text| text.parse::<i8>());
    if !priority.is_ok_and(|priority| (-2..=1).contains(&priority)) {
        return Err(bad("priority is invalid, or 2 and without retry and expire"));
    }
    Ok(message)
}

pub(super) async fn webhook(State(script): State<Arc<Script>>, headers: HeaderMap, body: Bytes) -> Response {
    match webhook_message(&headers, &body) {
        Ok(message) => script.take(Service::Webhook, message, |_| "taken".into_response()).await,
        Err((status, why)) => {
            script.fault(&why);
            failing(Service::Webhook, status, &why)
        }
    }
}

fn webhook_message(headers: &HeaderMap, body: &[u8]) -> Result<Value, Refused> {
    if said(headers, "x-homeaiops-signature") != format!("sha256={}", hmac(SECRET.as_bytes(), body)) {
        return Err((StatusCode::UNAUTHORIZED, "the signature is wrong".into()));
    }
    if said(headers, "content-type") != "application/json" {
        return Err(bad("the content type is not application/json"));
    }
    let mut message: Value = serde_json::from_slice(body).map_err(|error| bad(error.to_string()))?;
    let keys: Vec<&str> = message.as_object().into_iter().flatten().map(|(key, _)| key.as_str()).collect();
    if !["buttons", "key", "kind", "open", "task_id", "text", "title"].iter().all(|key| keys.contains(key)) || keys.len() != 7 {
        return Err(bad(format!("these fields: {keys:?}")));
    }
    let kinds = ["approval", "reminder", "report", "dead_letter", "expired", "notice"];
    let labelled = |button: &Value| button["label"].is_string() && button["link"].is_string();
    if !kinds.iter().any(|kind| message["kind"] == *kind)
        || !message["buttons"].as_array().is_some_and(|all| all.iter().all(labelled))
    {
        return Err(bad(format!("this kind, or these buttons: {message}")));
    }
    let key = message["key"].as_str().unwrap_or_default();
    if key.is_empty() || said(headers, "x-homeaiops-delivery") != key || said(headers, "idempotency-key") != key {
        return Err(bad("its key is not the one in the headers"));
    }
    message["service"] = json!("webhook");
    Ok(message)
}

/// RFC 2104, by hand, so that a mistake of the host's crate or use of it would be seen.
fn hmac(secret: &[u8], body: &[u8]) -> String {
    let mut key = [0_u8; 64];
    key[..secret.len()].copy_from_slice(secret);
    let pad = |with: u8| key.map(|byte| byte ^ with);
    let inner = host::id::sha256(&[pad(0x36).as_slice(), body].concat());
    hex::encode(host::id::sha256(&[pad(0x5c).as_slice(), inner.as_slice()].concat()))
}
