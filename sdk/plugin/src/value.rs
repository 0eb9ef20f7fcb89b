//! Values of the plugin's own types as they travel. No I/O.

use crate::HostError;
use bytes::Bytes;
use rockstar_proto::types::{Value, value::Kind};
use serde::{Serialize, de::DeserializeOwned};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub(crate) fn encoded(value: impl Serialize) -> Result<Bytes, HostError> {
    let json = serde_json::to_value(value).map_err(|e| HostError::Type(format!("the value cannot be kept: {e}")))?;
    Ok(Value::from(&json).encode())
}

pub(crate) fn decoded<T: DeserializeOwned>(key: &str, bytes: Bytes) -> Result<T, HostError> {
    let json = value(key, bytes)?.to_json();
    serde_json::from_value(json).map_err(|e| HostError::Type(format!("the value of '{key}' is of another type: {e}")))
}

pub(crate) fn value(key: &str, bytes: Bytes) -> Result<Value, HostError> {
    Value::decoded(bytes).map_err(|e| HostError::Type(format!("the value of '{key}' cannot be read: {e}")))
}

/// Moments that nanoseconds do not reach (1677 to 2262) are the first or the last one that they do.
pub(crate) fn time(at: SystemTime) -> Kind {
    let nanoseconds = match at.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_nanos()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |n| -n),
    };
    Kind::TimeUnixNs(nanoseconds)
}

pub(crate) fn moment(nanoseconds: i64) -> SystemTime {
    let distance = Duration::from_nanos(nanoseconds.unsigned_abs());
    if nanoseconds < 0 { UNIX_EPOCH - distance } else { UNIX_EPOCH + distance }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_before_and_after_1970_come_back() {
        for nanoseconds in [-1, 0, 1_700_000_000_123_456_789] {
            assert_eq!(time(moment(nanoseconds)), Kind::TimeUnixNs(nanoseconds));
        }
    }

    #[test]
    fn a_value_of_another_type_is_an_error_that_names_the_key() {
        let bytes = encoded(vec![1, 2]).unwrap();
        assert_eq!(decoded::<Vec<i64>>("k", bytes.clone()), Ok(vec![1, 2]));
        let error = decoded::<String>("k", bytes).unwrap_err().to_string();
        assert!(error.starts_with("the value of 'k' is of another type: "), "{error}");
    }
}
