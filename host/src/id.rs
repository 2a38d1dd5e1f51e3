//! Ids, digests and the one place that reads the clock.

use policy::task::Timestamp;
use sha2::{Digest, Sha256};

/// A new task id: a ULID, so that ids sort by age.
#[must_use]
pub fn task() -> String {
    ulid::Ulid::generate().to_string()
}

/// A new trace id: 32 hexadecimal digits, not all zero (W3C trace context).
#[must_use]
pub fn trace() -> String {
    format!("{:032x}", ulid::Ulid::generate().0)
}

/// Now. For loops and borders; what decides takes a [`Timestamp`].
#[must_use]
pub fn now() -> Timestamp {
    Timestamp(jiff::Timestamp::now().as_millisecond())
}

/// RFC 3339, UTC, with milliseconds.
#[must_use]
pub fn rfc3339(at: Timestamp) -> String {
    jiff::Timestamp::from_millisecond(at.0).map_or_else(|_| at.0.to_string(), |time| format!("{time:.3}"))
}

/// The digest by which components, contents and tokens are known.
#[must_use]
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// The same, as people and files see it.
#[must_use]
pub fn digest(bytes: &[u8]) -> String {
    hex::encode(sha256(bytes))
}
