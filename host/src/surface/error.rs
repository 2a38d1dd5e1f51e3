//! Our errors as status and `{"error":{code,message,hint}}`. The only such place.

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use policy::household::Blocked;
use serde_json::json;

use crate::envelope::Invalid;
use crate::ingress::Refused;
use crate::store::StoreError;

/// An answer that is not what was asked for.
#[derive(Debug)]
pub struct ApiError {
    status: StatusCode,
    pub(super) code: &'static str,
    message: String,
    hint: String,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), hint: hint.into() }
    }

    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    pub(super) fn message(&self) -> &str {
        &self.message
    }

    pub(super) fn hint(&self) -> &str {
        &self.hint
    }

    /// A 4xx: the request was wrong, not the host.
    pub(super) fn is_the_callers(&self) -> bool {
        self.status.is_client_error()
    }

    pub(super) fn not_found(what: &str, id: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", format!("there is no {what} `{id}`"), "check the id")
    }

    pub(super) async fn no_route(uri: Uri) -> Self {
        let message = format!("there is no `{}`", uri.path());
        Self::new(StatusCode::NOT_FOUND, "not_found", message, "the README lists what this version answers")
    }

    pub(super) async fn no_method(method: Method, uri: Uri) -> Self {
        let message = format!("`{}` does not answer {method}", uri.path());
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message, "the README lists what this version answers")
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = json!({ "error": { "code": self.code, "message": self.message, "hint": self.hint } });
        let mut response = (self.status, Json(body)).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            let bearer = axum::http::HeaderValue::from_static("Bearer");
            response.headers_mut().insert(axum::http::header::WWW_AUTHENTICATE, bearer);
        }
        response
    }
}

impl From<QueryRejection> for ApiError {
    fn from(rejection: QueryRejection) -> Self {
        let hint = "status, source, agent, limit and before narrow a list; full=1 shows prompts";
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "schema", rejection.body_text(), hint)
    }
}

impl From<PathRejection> for ApiError {
    fn from(rejection: PathRejection) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", rejection.body_text(), "check the id")
    }
}

impl From<Invalid> for ApiError {
    fn from(invalid: Invalid) -> Self {
        let status = if invalid.code == "too_large" { StatusCode::PAYLOAD_TOO_LARGE } else { StatusCode::UNPROCESSABLE_ENTITY };
        Self::new(status, invalid.code, invalid.said, invalid.hint)
    }
}

impl From<Refused> for ApiError {
    fn from(refused: Refused) -> Self {
        let message = refused.to_string();
        let (status, code, hint) = match refused {
            Refused::Source { .. } => {
                (StatusCode::FORBIDDEN, "source_not_allowed", "add the source to `sources` of that [[auth.tokens]] entry")
            }
            Refused::Requester { .. } => (
                StatusCode::FORBIDDEN,
                "requester_not_allowed",
                "leave `requester` out, or name one of [requesters] whose role the token covers",
            ),
            Refused::Household(Blocked::IntentMissing) => {
                (StatusCode::UNPROCESSABLE_ENTITY, "household_intent_missing", "send `intent`")
            }
            Refused::Household(Blocked::IntentBlocked(_)) => {
                (StatusCode::FORBIDDEN, "household_intent_blocked", "ask the operator, who may add it to `intents` in [household]")
            }
            Refused::UnknownAgent { .. } => {
                (StatusCode::UNPROCESSABLE_ENTITY, "unknown_target_agent", "leave target_agent out to let the triager choose")
            }
            Refused::KeyReused(_) => (StatusCode::CONFLICT, "idempotency_key_reused", "send a new key for a new request"),
            Refused::KeyGone(_) => (StatusCode::GONE, "idempotency_key_gone", "send a new key to ask again"),
            Refused::Full(_) => {
                (StatusCode::TOO_MANY_REQUESTS, "rate_limited", "try again later, or raise max_waiting in [server]")
            }
            Refused::Store(error) => return error.into(),
        };
        Self::new(status, code, message, hint)
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        tracing::error!(event = "store_unavailable", %error, "a request could not be served: {error}");
        // What the driver says may quote a row.
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "store_unavailable", "the store does not answer", "nothing was kept; try again")
    }
}
