//! What went wrong with a plugin, told so that the operator knows what to do about it. Pure.

use std::fmt;

/// Whether the revision is to blame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Network, registry, disk: tried again here, condemns nothing.
    Environment,
    /// The revision itself: this instance goes back.
    Revision,
}

/// In which step it went wrong; the words are the reference's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Load,
    Initialize,
    Start,
    Grace,
    ConfigChange,
}

/// A failure of one plugin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    pub class: Class,
    pub step: Step,
    /// CamelCase, for conditions.
    pub reason: &'static str,
    pub message: String,
}

/// Failures whose texts are the reference's as a whole.
const WORDED: [&str; 5] =
    ["ManifestInvalid", "ManifestMismatch", "PermissionMismatch", "ConfigInvalid", "InterfaceNotImplemented"];

impl Failure {
    /// What a load that failed so is reported with.
    #[must_use]
    pub fn of_load(&self) -> String {
        let is_worded = WORDED.contains(&self.reason);
        if is_worded { self.message.clone() } else { format!("failed to load plugin: {}", self.message) }
    }

    #[must_use]
    pub fn revision(step: Step, reason: &'static str, message: impl fmt::Display) -> Self {
        Self { class: Class::Revision, step, reason, message: message.to_string() }
    }

    #[must_use]
    pub fn environment(step: Step, reason: &'static str, message: impl fmt::Display) -> Self {
        Self { class: Class::Environment, step, reason, message: message.to_string() }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Load => "load error",
            Self::Initialize => "initialization error",
            Self::Start => "start error",
            Self::Grace => "crashed within grace period",
            Self::ConfigChange => "configuration change refused",
        })
    }
}
