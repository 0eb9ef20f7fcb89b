//! Data of plugins in the form in which the host carries it. Pure.

use crate::HostError;
use bytes::Bytes;
use rockstar_proto::types;
use serde::Serialize;
use serde_json::Value;

pub(crate) fn encode(data: &impl Serialize) -> Result<Bytes, HostError> {
    let json = serde_json::to_value(data).map_err(|error| HostError::Data(error.to_string()))?;
    Ok(types::Value::from(&json).encode())
}

pub(crate) fn decode(bytes: Bytes) -> Result<Value, HostError> {
    let value = types::Value::decoded(bytes).map_err(|error| HostError::Data(error.to_string()))?;
    Ok(value.to_json())
}
