//! Durations and numbers of instances. Pure.

use super::{FieldError, at};
use crate::duration::GoDuration;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use rockstar_core::{duration, rollout::Amount};
use std::time::Duration;

pub(super) fn duration(path: &str, given: Option<&GoDuration>, default: Duration) -> Result<Duration, FieldError> {
    given.map_or(Ok(default), |given| duration::parse(&given.0).map_err(at(path)))
}

/// A time in which something must be able to happen.
pub(super) fn positive(path: &str, given: Option<&GoDuration>, default: Duration) -> Result<Duration, FieldError> {
    match duration(path, given, default)? {
        Duration::ZERO => Err(FieldError::new(path, "must be longer than 0")),
        time => Ok(time),
    }
}

pub(super) fn amount(path: &str, given: Option<&IntOrString>, default: Amount) -> Result<Amount, FieldError> {
    let read = given.map_or(Some(default), read_amount);
    read.ok_or_else(|| FieldError::new(path, "must be a number that is not negative, or a percentage like 25%"))
}

fn read_amount(given: &IntOrString) -> Option<Amount> {
    match given {
        IntOrString::Int(count) => u32::try_from(*count).ok().map(Amount::Count),
        IntOrString::String(text) => {
            let Some(percent) = text.strip_suffix('%') else { return text.parse().ok().map(Amount::Count) };
            percent.parse().ok().filter(|&percent| percent <= 100).map(Amount::Percent)
        }
    }
}
