//! From resources to the data of `rockstar-core`; each error names its field. Pure.

mod amount;
mod host;
mod plugin;
mod policy;

use std::fmt::Display;

/// What is wrong with one field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {message}")]
pub struct FieldError {
    /// Such as `spec.reload.queue.timeout`.
    pub path: String,
    /// What is wrong, in the reference's words where it has any.
    pub message: String,
}

impl FieldError {
    pub fn new(path: impl Into<String>, message: impl Display) -> Self {
        Self { path: path.into(), message: message.to_string() }
    }
}

/// For `map_err`.
fn at<E: Display>(path: impl Into<String>) -> impl FnOnce(E) -> FieldError {
    move |error| FieldError::new(path, error)
}
