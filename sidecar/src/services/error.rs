//! Why a service call has no result. Pure.

use super::limited;
use crate::{link::CallError, slot::Refusal};
use rockstar_proto::{
    plugin::Invocation,
    types::{Failure, failure::Class},
};
use std::time::Duration;

#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ServiceError {
    /// The plugin is not there, does not run, or has no such service.
    #[error("service not found: plugin '{plugin}' does not export '{service}'")]
    NotFound { plugin: String, service: String },
    /// The exporter is being replaced, for longer than its queue lets calls wait.
    #[error("{refusal}")]
    Refused { plugin: String, refusal: Refusal },
    /// The service's own error.
    #[error("{}", .0.text)]
    Returned(Failure),
    #[error("{text}")]
    Call { plugin: String, error: CallError, text: String },
}

impl ServiceError {
    pub(super) fn refused(wanted: &Invocation, refusal: Refusal) -> Self {
        let (plugin, service) = (wanted.plugin.clone(), wanted.service.clone());
        match refusal {
            Refusal::Down { .. } | Refusal::Unloaded => Self::NotFound { plugin, service },
            refusal => Self::Refused { plugin, refusal },
        }
    }

    pub(super) fn returned(wanted: &Invocation, failure: Failure) -> Self {
        let stage = if failure.stage.is_empty() { stage(wanted) } else { failure.stage.clone() };
        Self::Returned(Failure { plugin: wanted.plugin.clone(), stage, ..failure })
    }

    pub(super) fn call(wanted: &Invocation, error: CallError, limit: Duration) -> Self {
        let text = match &error {
            CallError::Timeout => {
                format!("service call timeout: {} exceeded {} timeout", stage(wanted), limited(limit))
            }
            error => error.to_string(),
        };
        Self::Call { plugin: wanted.plugin.clone(), error, text }
    }

    /// Whether the service refused what its caller asked for.
    pub(super) const fn is_callers(&self) -> bool {
        matches!(self, Self::Returned(_))
    }

    /// As the wire says it.
    #[must_use]
    pub fn failure(&self) -> Failure {
        let (class, plugin) = match self {
            Self::Returned(failure) => return failure.clone(),
            Self::NotFound { plugin, .. } => (Class::NotFound, plugin),
            Self::Refused { plugin, .. } => (Class::Unreachable, plugin),
            Self::Call { plugin, error, .. } => (class(error), plugin),
        };
        Failure { class: class.into(), plugin: plugin.clone(), stage: "service".to_owned(), text: self.to_string() }
    }
}

fn stage(wanted: &Invocation) -> String {
    format!("{}.{}", wanted.service, wanted.method)
}

const fn class(error: &CallError) -> Class {
    match error {
        CallError::Timeout => Class::Timeout,
        CallError::Unreachable(_) => Class::Unreachable,
        CallError::Failed(_) => Class::Returned,
        CallError::Protocol(_) | CallError::TooLarge(_) | CallError::Busy | CallError::Client(_) => Class::Protocol,
    }
}
