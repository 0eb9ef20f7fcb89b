//! What is measured of the plugins, for the application. Calls the sidecar.

use crate::Client;
use rockstar_proto::app::{PluginName, metrics_client::MetricsClient};
use serde_json::{Map, Value};
use std::time::Duration;
use tokio::time::timeout;
use tonic::{Code, Status};

const DEADLINE: Duration = Duration::from_secs(5);

/// Why the sidecar did not answer as asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetricsError {
    /// The sidecar's own text.
    #[error("{0}")]
    NotFound(String),
    #[error("the sidecar cannot be asked for metrics: {0}")]
    Unreachable(String),
}

impl Client {
    /// By dotted names, such as `plugin.error.count`, what the plugin measures itself included; ready for JSON.
    pub async fn get_plugin_metrics(&self, plugin: &str) -> Result<Map<String, Value>, MetricsError> {
        let mut client = MetricsClient::new(self.channel());
        let call = client.get_plugin_metrics(PluginName { name: plugin.to_owned() });
        let late = || Err(Status::deadline_exceeded("no answer in time"));
        match timeout(DEADLINE, call).await.unwrap_or_else(|_| late()) {
            Ok(answer) => Ok(answer.into_inner().to_json()),
            Err(status) if status.code() == Code::NotFound => Err(MetricsError::NotFound(status.message().to_owned())),
            Err(status) => Err(MetricsError::Unreachable(status.message().to_owned())),
        }
    }
}
