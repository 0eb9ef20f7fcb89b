//! Services that plugins export, for the application. Calls the sidecar.

use crate::call::{CallError, answered, decode, encode};
use rockstar_proto::{
    app::{InvokeRequest, invoke_response::Outcome, services_client::ServicesClient},
    types::Empty,
};
use serde::{Serialize, de::DeserializeOwned};
use std::time::Duration;
use tokio::time::timeout;
use tonic::transport::Channel;

/// A service may be waited for while its plugin is reloaded.
const PATIENCE: Duration = Duration::from_secs(60);
/// The sidecar's own answer comes first.
const MORE: Duration = Duration::from_secs(2);

/// See the module.
#[derive(Clone, Debug)]
pub struct Services(ServicesClient<Channel>);

/// A service that can be called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceInfo {
    pub plugin: String,
    pub service: String,
    pub description: String,
}

impl Services {
    pub(crate) fn new(channel: Channel) -> Self {
        Self(ServicesClient::new(channel))
    }

    /// All services of plugins that run.
    pub async fn list(&self) -> Result<Vec<ServiceInfo>, CallError> {
        let services = answered(self.0.clone().list(Empty {})).await?.services.into_iter();
        Ok(services.map(|s| ServiceInfo { plugin: s.plugin, service: s.service, description: s.description }).collect())
    }

    /// Calls a method; an error of the service comes back with its text. While the plugin is reloaded, the call waits.
    pub async fn invoke<T: DeserializeOwned>(
        &self,
        plugin: &str,
        service: &str,
        method: &str,
        arguments: impl Serialize,
    ) -> Result<T, CallError> {
        let request = InvokeRequest {
            plugin: plugin.into(),
            service: service.into(),
            method: method.into(),
            arguments: encode(&arguments)?,
            timeout_ms: u32::try_from(PATIENCE.as_millis()).unwrap_or(u32::MAX),
        };
        let mut client = self.0.clone();
        let answer = timeout(PATIENCE + MORE, client.invoke(request)).await.map_err(|_| CallError::Timeout)?;
        match answer?.into_inner().outcome {
            Some(Outcome::Result(result)) => decode(result),
            Some(Outcome::Failure(failure)) => Err(CallError::Refused(failure.text)),
            None => Err(CallError::Data("no outcome of a service call".to_owned())),
        }
    }
}
