//! Services that the plugin offers to others: methods by name.

use crate::{
    HostError, PluginContext, Result,
    handlers::Handler,
    outcome::{caught, failure},
    wire,
};
use bytes::Bytes;
use futures::future::BoxFuture;
use rockstar_proto::{
    plugin::{Invocation, Registration, registration::Kind},
    types::{Failure, failure::Class},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::{collections::BTreeMap, fmt, future::Future, sync::Arc};

type Method = Arc<dyn Fn(Value) -> BoxFuture<'static, Result<Bytes>> + Send + Sync>;

/// A service to be exported. Arguments and results are any types that serde knows; several arguments are a tuple.
///
/// ```
/// # use rockstar_plugin::{Result, Service, json, testing::MockPluginContext};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result {
/// # let mock = MockPluginContext::new();
/// # let ctx = mock.context();
/// let users = Service::new()
///     .method("GetUser", |id: i64| async move {
///         match id {
///             123 => Ok(json!({"id": id, "name": "john"})),
///             _ => Err(format!("no such user: {id}").into()),
///         }
///     })
///     .method("Rename", |(id, name): (i64, String)| async move { Ok(format!("{id} is now {name}")) });
/// ctx.export_service("UserService", users).await?;
/// # assert_eq!(mock.invoke("UserService", "GetUser", 123).await?["name"], "john");
/// # assert_eq!(mock.invoke("UserService", "Rename", json!([7, "ann"])).await?, "7 is now ann");
/// # assert_eq!(mock.invoke("UserService", "GetUser", 7).await.unwrap_err().to_string(), "no such user: 7");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
pub struct Service {
    description: String,
    methods: BTreeMap<String, Method>,
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").field("methods", &self.methods.keys()).finish_non_exhaustive()
    }
}

impl Service {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// For those who look for services; the manifest's description goes before it.
    #[must_use]
    pub fn description(mut self, text: impl Into<String>) -> Self {
        self.description = text.into();
        self
    }

    /// Adds a method, in place of one of the same name.
    #[must_use]
    pub fn method<A, T, F, R>(mut self, name: &str, method: F) -> Self
    where
        A: DeserializeOwned,
        T: Serialize,
        F: Fn(A) -> R + Send + Sync + 'static,
        R: Future<Output = Result<T>> + Send + 'static,
    {
        let method: Method = Arc::new(move |arguments| match A::deserialize(arguments) {
            Ok(arguments) => {
                let running = method(arguments);
                Box::pin(async move { Ok(wire::encode(&running.await?)?) })
            }
            Err(error) => Box::pin(async move { Err(format!("invalid arguments: {error}").into()) }),
        });
        self.methods.insert(name.into(), method);
        self
    }

    pub(crate) async fn invoke(&self, wanted: Invocation) -> Result<Bytes, Failure> {
        let stage = format!("{}.{}", wanted.service, wanted.method);
        let Some(method) = self.methods.get(&wanted.method) else {
            let text = format!("method not found: service '{}' has no method '{}'", wanted.service, wanted.method);
            return Err(failure(Class::NotFound, &stage, text));
        };
        caught(&stage, async { method(wire::decode(wanted.arguments)?).await }).await
    }
}

impl PluginContext {
    /// Offers a service to other plugins and to the application, as soon as this plugin runs. Its name is taken once only.
    pub async fn export_service(&self, name: &str, service: Service) -> Result<(), HostError> {
        let description = service.description.clone();
        let handler = self.keep("service", Handler::Service(Arc::new(service)));
        let kind = Kind::Service.into();
        let registration = Registration { kind, name: name.into(), handler, description, ..Registration::default() };
        self.register_handler(registration).await
    }
}
