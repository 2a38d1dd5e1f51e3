//! A refusal.

/// A refusal, told so that it can be mended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{said}; {hint}")]
pub struct Denied {
    /// Short and closed: a metric label.
    pub rule: &'static str,
    /// What was refused, with its value.
    pub said: String,
    /// File and key.
    pub at: String,
    /// The smallest edit that would allow it.
    pub hint: String,
}
