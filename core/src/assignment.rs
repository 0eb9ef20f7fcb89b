//! What an instance is told to run: a revision with what may change while it runs. Pure.

use crate::{permission::Permissions, revision::RevisionId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::{str::FromStr, time::Duration};

/// One plugin of an instance's set.
#[derive(Clone, Debug, PartialEq)]
pub struct Assignment {
    pub plugin: String,
    pub revision: RevisionId,
    /// Live values, Secrets resolved, without the schema's defaults.
    pub config: Map<String, Value>,
    /// Effective: revision ∩ live spec ∩ ceiling.
    pub permissions: Permissions,
    pub policies: Policies,
    /// Reload when it changes.
    pub reload_at: String,
    /// Forget the crashes before when it changes.
    pub retry_token: String,
}

/// What applies to a running plugin without a reload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Policies {
    pub priority: i32,
    pub failure_policy: FailurePolicy,
    #[serde(with = "millis")]
    pub hook_timeout: Duration,
    #[serde(with = "millis")]
    pub stop_timeout: Duration,
    pub reload: ReloadPolicy,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_threshold: Option<ErrorThreshold>,
    pub crash_budget: CrashBudget,
}

impl Default for Policies {
    fn default() -> Self {
        Self {
            priority: 100,
            failure_policy: FailurePolicy::Closed,
            hook_timeout: Duration::from_secs(5),
            stop_timeout: Duration::from_secs(10),
            reload: ReloadPolicy::default(),
            error_threshold: None,
            crash_budget: CrashBudget::default(),
        }
    }
}

/// How many crashes in a window are answered by a restart; with more the plugin is down, and started once in a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CrashBudget {
    pub max_crashes: u32,
    #[serde(with = "millis")]
    pub window: Duration,
}

impl Default for CrashBudget {
    fn default() -> Self {
        Self { max_crashes: 5, window: Duration::from_secs(300) }
    }
}

/// What a request gets while the plugin cannot answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailurePolicy {
    #[default]
    Closed,
    Open,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReloadPolicy {
    #[serde(with = "millis")]
    pub grace_period: Duration,
    #[serde(with = "millis")]
    pub drain_timeout: Duration,
    pub queue: Queue,
}

impl Default for ReloadPolicy {
    fn default() -> Self {
        Self { grace_period: Duration::from_secs(30), drain_timeout: Duration::from_secs(5), queue: Queue::default() }
    }
}

/// How calls wait while their plugin is replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Queue {
    pub strategy: QueueStrategy,
    #[serde(with = "millis")]
    pub timeout: Duration,
    pub max_size: u32,
}

impl Default for Queue {
    fn default() -> Self {
        Self { strategy: QueueStrategy::Block, timeout: Duration::from_secs(30), max_size: 1000 }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum QueueStrategy {
    #[default]
    Block,
    Reject,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ErrorThreshold {
    pub max_errors: u32,
    #[serde(with = "millis")]
    pub time_window: Duration,
    pub action: ThresholdAction,
    pub reset_on_success: bool,
    /// Where alerts are posted besides the metric, in Alertmanager's form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<String>,
}

impl Default for ErrorThreshold {
    /// The reference's example.
    fn default() -> Self {
        Self {
            max_errors: 100,
            time_window: Duration::from_secs(300),
            action: ThresholdAction::Disable,
            reset_on_success: true,
            webhook: None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ThresholdAction {
    Disable,
    Log,
    Alert,
}

/// An action that there is not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown error threshold action: '{0}': it must be disable, log or alert")]
pub struct UnknownAction(String);

impl FromStr for ThresholdAction {
    type Err = UnknownAction;

    fn from_str(name: &str) -> Result<Self, UnknownAction> {
        match name {
            "disable" => Ok(Self::Disable),
            "log" => Ok(Self::Log),
            "alert" => Ok(Self::Alert),
            other => Err(UnknownAction(other.to_owned())),
        }
    }
}

mod millis {
    use serde::{Deserialize, Deserializer, Serializer};
    use std::time::Duration;

    pub(super) fn serialize<S: Serializer>(d: &Duration, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_u64(u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Duration, D::Error> {
        u64::deserialize(d).map(Duration::from_millis)
    }
}
