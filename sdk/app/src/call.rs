//! Single calls to the sidecar: their deadline, their data, their errors. Pure but for the call itself.

use bytes::Bytes;
use rockstar_proto::types;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::{future::Future, time::Duration};
use tokio::time::timeout;
use tonic::{Code, Response, Status};

const DEADLINE: Duration = Duration::from_secs(5);

/// Why the sidecar did not do what it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The sidecar's, or the plugin's, own text.
    #[error("{0}")]
    Refused(String),
    #[error("the sidecar cannot be reached: {0}")]
    Unreachable(String),
    #[error("the sidecar did not answer in time")]
    Timeout,
    #[error("data that cannot be understood: {0}")]
    Data(String),
}

impl From<Status> for CallError {
    fn from(status: Status) -> Self {
        let text = status.message().to_owned();
        match status.code() {
            Code::Unavailable | Code::Unknown | Code::Cancelled => Self::Unreachable(text),
            Code::DeadlineExceeded => Self::Timeout,
            _ => Self::Refused(text),
        }
    }
}

pub(crate) async fn answered<T>(call: impl Future<Output = Result<Response<T>, Status>>) -> Result<T, CallError> {
    let answer = timeout(DEADLINE, call).await.map_err(|_| CallError::Timeout)?;
    Ok(answer?.into_inner())
}

pub(crate) fn encode(data: &impl Serialize) -> Result<Bytes, CallError> {
    let json = serde_json::to_value(data).map_err(|error| CallError::Data(error.to_string()))?;
    Ok(types::Value::from(&json).encode())
}

pub(crate) fn decode<T: DeserializeOwned>(bytes: Bytes) -> Result<T, CallError> {
    let value = types::Value::decoded(bytes).map_err(|error| CallError::Data(error.to_string()))?;
    let json: Value = value.to_json();
    T::deserialize(json).map_err(|error| CallError::Data(error.to_string()))
}
