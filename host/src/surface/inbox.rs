//! `POST /inbox`: an envelope becomes a task.

use axum::Json;
use axum::body::{Body, to_bytes};
use axum::extract::State as Shared;
use axum::http::{HeaderMap, StatusCode};
use serde_json::Value;

use super::State;
use super::error::ApiError;
use crate::ingress::{Caller, Request};
use crate::metrics::{self, name};
use crate::{api, envelope, id};

/// Bodies are read up to this, in bytes.
const MOST: usize = 2 * 1024 * 1024;

/// Takes a request in; 202 means that it is on disk.
pub(super) async fn post(
    Shared(state): Shared<State>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<api::Accepted>), ApiError> {
    match accept(&state, &caller, &headers, body).await {
        Ok(accepted) => Ok((StatusCode::ACCEPTED, Json(accepted))),
        Err(refused) => {
            if refused.is_the_callers() {
                count_rejection(refused.code);
            }
            tracing::warn!(event = "inbox_rejected", code = refused.code, token = caller.name, "a request was turned away");
            Err(refused)
        }
    }
}

pub(super) fn count_rejection(code: &'static str) {
    metrics::count(name::REJECTED, 1, &[("reason", code)]);
}

async fn accept(state: &State, caller: &Caller, headers: &HeaderMap, body: Body) -> Result<api::Accepted, ApiError> {
    let too_large = |_| {
        let message = format!("the body is above {MOST} bytes, or broke off");
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message, "put the data in the vault and name its path")
    };
    let bytes = to_bytes(body, MOST).await.map_err(too_large)?;
    let envelope = envelope::parse(&bytes)?;
    let traceparent = headers.get("traceparent").and_then(|value| value.to_str().ok()).map(str::to_owned);
    let request = Request { envelope, body: repeatable(&bytes), traceparent };
    let accepted = state.ingress.accept(caller, request).await?;
    Ok(api::Accepted {
        task_id: accepted.task_id,
        status: if accepted.duplicate { "duplicate" } else { "accepted" }.into(),
        conversation_id: accepted.conversation_id,
        trace_id: accepted.trace_id,
    })
}

/// What a repeat must equal: the body in canonical form, without what a client may mint anew for each try.
fn repeatable(bytes: &[u8]) -> String {
    let mut body: Value = serde_json::from_slice(bytes).unwrap_or_default();
    if let Some(fields) = body.as_object_mut() {
        fields.remove("task_id");
        fields.remove("trace_id");
    }
    id::digest(&serde_json_canonicalizer::to_vec(&body).unwrap_or_else(|_| bytes.to_vec()))
}
