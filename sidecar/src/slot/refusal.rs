//! Why a call did not get into a plugin. Pure.

use rockstar_core::duration;
use std::time::Duration;

/// Each is a 503 to the application, except `Unloaded`, and `Down` of a plugin with failure policy Open: these are skipped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("request timeout: plugin reload exceeded queue timeout ({})", duration::format(*.0))]
    QueueTimeout(Duration),
    #[error("service unavailable: plugin reload queue is full ({0} requests)")]
    QueueFull(u32),
    #[error("service unavailable: plugin is being reloaded")]
    Reloading,
    #[error("request timeout: deadline passed while the plugin was being reloaded")]
    Deadline,
    #[error("service unavailable: plugin '{plugin}' is not running (status {status})")]
    Down { plugin: String, status: &'static str },
    #[error("plugin was unloaded")]
    Unloaded,
}

impl Refusal {
    /// What `Retry-After` says, in seconds.
    #[must_use]
    pub const fn retry_after(&self) -> u32 {
        match self {
            Self::Reloading | Self::QueueFull(_) | Self::Down { .. } | Self::Unloaded => 1,
            Self::QueueTimeout(_) | Self::Deadline => 5,
        }
    }
}
