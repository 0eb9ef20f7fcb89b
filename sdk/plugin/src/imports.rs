//! Services of other plugins: found, imported, called.

use crate::{HostError, PluginContext, Result, host::Host, wire};
use rockstar_proto::plugin::Invocation;
use serde::{Serialize, de::DeserializeOwned};

/// A service of another plugin. It stays valid when that plugin is reloaded: calls wait meanwhile and reach the new version.
#[derive(Clone, Debug)]
pub struct ImportedService {
    host: Host,
    plugin: String,
    service: String,
}

/// A service that can be imported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceInfo {
    pub plugin: String,
    pub service: String,
    pub description: String,
}

impl ImportedService {
    /// Calls a method; an error of the service comes back with its text.
    ///
    /// ```
    /// # use rockstar_plugin::{Result, Value, json, testing::MockPluginContext};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result {
    /// # let mock = MockPluginContext::new();
    /// # let mock = mock.with_service("auth-plugin", "UserService", |_, id| Ok(json!({"id": id, "name": "john"})));
    /// # let ctx = mock.context();
    /// let users = ctx.import_service("auth-plugin", "UserService").await?;
    /// let user: Value = users.call("GetUser", 123).await?;
    /// # assert_eq!(user, json!({"id": 123, "name": "john"}));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn call<T: DeserializeOwned>(&self, method: &str, arguments: impl Serialize) -> Result<T, HostError> {
        let arguments = wire::encode(&arguments)?;
        let (plugin, service) = (self.plugin.clone(), self.service.clone());
        let invocation = Invocation { plugin, service, method: method.into(), arguments };
        let result = wire::decode(self.host.invoke(invocation).await?)?;
        T::deserialize(result).map_err(|error| HostError::Data(error.to_string()))
    }

    #[must_use]
    pub fn plugin(&self) -> &str {
        &self.plugin
    }

    #[must_use]
    pub fn service(&self) -> &str {
        &self.service
    }
}

impl PluginContext {
    /// A handle to a service of a plugin that runs: from `start` on, where that plugin is a dependency.
    pub async fn import_service(&self, plugin: &str, service: &str) -> Result<ImportedService, HostError> {
        let wanted = Invocation { plugin: plugin.into(), service: service.into(), ..Invocation::default() };
        self.host().import(wanted).await?;
        Ok(ImportedService { host: self.host().clone(), plugin: plugin.into(), service: service.into() })
    }

    /// All services that can be imported now.
    pub async fn services(&self) -> Result<Vec<ServiceInfo>, HostError> {
        let offered = self.host().services().await?.into_iter();
        Ok(offered.map(|r| ServiceInfo { plugin: r.plugin, service: r.name, description: r.description }).collect())
    }
}
