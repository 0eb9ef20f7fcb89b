//! Policies of a running plugin. Pure.

use super::{
    FieldError,
    amount::{duration, positive},
};
use crate::policy;
use rockstar_core::assignment::{CrashBudget, ErrorThreshold, Queue, ReloadPolicy, ThresholdAction};
use std::time::Duration;

const MAX_ERRORS: u32 = 100;
const TIME_WINDOW: Duration = Duration::from_secs(300);

pub(super) fn reload(path: &str, given: Option<&policy::Reload>) -> Result<ReloadPolicy, FieldError> {
    let default = ReloadPolicy::default();
    let Some(given) = given else { return Ok(default) };
    Ok(ReloadPolicy {
        grace_period: duration(&format!("{path}.gracePeriod"), given.grace_period.as_ref(), default.grace_period)?,
        drain_timeout: duration(&format!("{path}.drainTimeout"), given.drain_timeout.as_ref(), default.drain_timeout)?,
        queue: queue(&format!("{path}.queue"), given.queue.as_ref())?,
    })
}

fn queue(path: &str, given: Option<&policy::Queue>) -> Result<Queue, FieldError> {
    let default = Queue::default();
    let Some(given) = given else { return Ok(default) };
    Ok(Queue {
        strategy: given.strategy.unwrap_or(default.strategy),
        timeout: duration(&format!("{path}.timeout"), given.timeout.as_ref(), default.timeout)?,
        max_size: given.max_size.unwrap_or(default.max_size),
    })
}

/// None: errors are counted, and nothing follows.
pub(super) fn error_threshold(
    path: &str,
    given: Option<&policy::ErrorThreshold>,
) -> Result<Option<ErrorThreshold>, FieldError> {
    let Some(given) = given.filter(|given| given.enabled != Some(false)) else { return Ok(None) };
    Ok(Some(ErrorThreshold {
        max_errors: max_errors(path, given.max_errors.unwrap_or(MAX_ERRORS))?,
        time_window: positive(&format!("{path}.timeWindow"), given.time_window.as_ref(), TIME_WINDOW)?,
        action: given.action.unwrap_or(ThresholdAction::Disable),
        reset_on_success: given.reset_on_success.unwrap_or(true),
        webhook: given.webhook.as_deref().map(|address| webhook(path, address)).transpose()?,
    }))
}

pub(super) fn crash_budget(path: &str, given: Option<&policy::CrashBudget>) -> Result<CrashBudget, FieldError> {
    let default = CrashBudget::default();
    let Some(given) = given else { return Ok(default) };
    Ok(CrashBudget {
        max_crashes: given.max_crashes.unwrap_or(default.max_crashes),
        window: positive(&format!("{path}.window"), given.window.as_ref(), default.window)?,
    })
}

/// An own threshold without a webhook posts where the host's does.
pub(super) fn alerting_like(own: ErrorThreshold, host: Option<ErrorThreshold>) -> ErrorThreshold {
    ErrorThreshold { webhook: own.webhook.or_else(|| host?.webhook), ..own }
}

fn webhook(path: &str, address: &str) -> Result<String, FieldError> {
    match address.starts_with("https://") || address.starts_with("http://") {
        true => Ok(address.to_owned()),
        false => Err(FieldError::new(format!("{path}.webhook"), "must begin with https:// or http://")),
    }
}

fn max_errors(path: &str, count: u32) -> Result<u32, FieldError> {
    if count == 0 {
        return Err(FieldError::new(format!("{path}.maxErrors"), "must be at least 1"));
    }
    Ok(count)
}
