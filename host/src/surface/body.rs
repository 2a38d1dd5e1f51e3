//! JSON bodies of what people decide. Envelopes have their own way in.

use axum::body::{Body, to_bytes};
use axum::http::StatusCode;
use serde::de::DeserializeOwned;

use super::error::ApiError;

/// Bodies are read up to this, in bytes.
const MOST: usize = 1024 * 1024;

/// A body that does not fit what is asked.
pub(super) fn schema(said: impl Into<String>, hint: &str) -> ApiError {
    ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "schema", said, hint)
}

/// The body as `T`; `None` if it is empty. `hint` names the fields.
pub(super) async fn read<T: DeserializeOwned>(body: Body, hint: &str) -> Result<Option<T>, ApiError> {
    let too_large = |_| {
        let message = format!("the body is above {MOST} bytes, or broke off");
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message, "send less")
    };
    let bytes = to_bytes(body, MOST).await.map_err(too_large)?;
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    let mut json = serde_json::Deserializer::from_slice(&bytes);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        schema(if path == "." { error.inner().to_string() } else { format!("{path}: {}", error.inner()) }, hint)
    })?;
    json.end().map_err(|error| schema(error.to_string(), hint))?;
    Ok(Some(value))
}
