//! What a PluginHost says, for `rockstar-core`. Pure.

use super::{
    FieldError,
    amount::{amount, positive},
    at,
    policy::error_threshold,
};
use crate::host::{EventOverflow, OnFailure, PluginHostSpec, Sandbox};
use rockstar_core::{
    assignment::ErrorThreshold,
    backends,
    limits::Limits,
    permission::{self, Permissions},
    rollout::{self, Policy},
};
use semver::Version;

impl PluginHostSpec {
    /// The framework that the application is built with.
    pub fn framework_version(&self) -> Result<Version, FieldError> {
        Version::parse(&self.framework.version).map_err(|_| {
            let message = "invalid version format: must be semantic version (X.Y.Z)";
            FieldError::new("spec.framework.version", message)
        })
    }

    /// What may be granted at most.
    pub fn ceiling(&self) -> Result<Permissions, FieldError> {
        let Some(names) = &self.permission_ceiling else { return Ok(permission::all()) };
        names.iter().map(|name| name.parse().map_err(at("spec.permissionCeiling"))).collect()
    }

    /// For plugins that have none of their own.
    pub fn default_error_threshold(&self) -> Result<Option<ErrorThreshold>, FieldError> {
        error_threshold("spec.errorThreshold", self.error_threshold.as_ref())
    }

    /// What is dropped of events that nobody takes in time.
    #[must_use]
    pub fn event_overflow(&self) -> backends::EventOverflow {
        let events = self.backends.as_ref().and_then(|backends| backends.events.as_ref());
        events.and_then(|events| events.overflow).unwrap_or_default().into()
    }

    /// What one plugin may take of its sidecar.
    pub fn limits(&self) -> Result<Limits, FieldError> {
        let Some(given) = &self.limits else { return Ok(Limits::default()) };
        let given = serde_json::to_value(given).map_err(at("spec.limits"))?;
        given.as_object().map_or_else(|| Ok(Limits::default()), |given| Limits::read(given).map_err(at("spec")))
    }

    #[must_use]
    pub fn sandbox(&self) -> Sandbox {
        self.sandbox.unwrap_or_default()
    }

    /// How changes reach the instances.
    pub fn rollout_policy(&self) -> Result<Policy, FieldError> {
        let (given, default) = (&self.rollout, Policy::default());
        let max_unavailable = given.max_unavailable.as_ref();
        let deadline = given.progress_deadline.as_ref();
        Ok(Policy {
            max_unavailable: amount("spec.rollout.maxUnavailable", max_unavailable, default.max_unavailable)?,
            partition: amount("spec.rollout.partition", given.partition.as_ref(), default.partition)?,
            paused: given.paused.unwrap_or(default.paused),
            failure_threshold: given.failure_threshold.unwrap_or(default.failure_threshold).max(1),
            progress_deadline: positive("spec.rollout.progressDeadline", deadline, default.progress_deadline)?,
            on_failure: given.on_failure.map_or(default.on_failure, Into::into),
        })
    }
}

impl From<EventOverflow> for backends::EventOverflow {
    fn from(given: EventOverflow) -> Self {
        match given {
            EventOverflow::DropNewest => Self::DropNewest,
            EventOverflow::DropOldest => Self::DropOldest,
        }
    }
}

impl From<OnFailure> for rollout::OnFailure {
    fn from(given: OnFailure) -> Self {
        match given {
            OnFailure::RollBack => Self::RollBack,
            OnFailure::Halt => Self::Halt,
        }
    }
}
