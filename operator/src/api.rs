//! Calls to the API server: each has a deadline, and its error says what was attempted. I/O by what is passed in.

use std::{fmt::Display, future::Future, time::Duration};
use tokio::time::timeout;

/// The client repeats refused calls by itself; this ends that too.
const DEADLINE: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
pub enum CallError {
    #[error("failed to {what}: {source}")]
    Refused { what: String, source: Box<kube::Error> },
    #[error("failed to {what}: the API server did not answer within {} s", DEADLINE.as_secs())]
    Timeout { what: String },
}

impl CallError {
    /// Another writer was faster, or the object was made meanwhile: look again.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        self.is(|e| e.is_conflict() || e.is_already_exists())
    }

    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.is(kube::core::Status::is_not_found)
    }

    fn is(&self, of: impl FnOnce(&kube::core::Status) -> bool) -> bool {
        match self {
            Self::Refused { source, .. } => matches!(&**source, kube::Error::Api(status) if of(status)),
            Self::Timeout { .. } => false,
        }
    }
}

/// Awaits a call; `what` completes "failed to …".
///
/// # Errors
/// If the API server refuses it or does not answer.
pub async fn call<T>(
    what: impl Display + Send,
    request: impl Future<Output = kube::Result<T>> + Send,
) -> Result<T, CallError> {
    match timeout(DEADLINE, request).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(source)) => Err(CallError::Refused { what: what.to_string(), source: Box::new(source) }),
        Err(_) => Err(CallError::Timeout { what: what.to_string() }),
    }
}

/// None where there is no such object.
///
/// # Errors
/// If the call failed otherwise.
pub fn found<T>(answer: Result<T, CallError>) -> Result<Option<T>, CallError> {
    match answer {
        Ok(object) => Ok(Some(object)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}
