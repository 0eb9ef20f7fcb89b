//! What is measured of a plugin, for the application.

use crate::{
    manager::{Manager, ManagerError},
    metrics,
};
use rockstar_proto::{
    app::{PluginName, metrics_server},
    types::Map,
};
use std::sync::Arc;
use tonic::{Request, Response, Status, async_trait};

#[derive(Debug)]
pub(super) struct Service(pub(super) Arc<Manager>);

#[async_trait]
impl metrics_server::Metrics for Service {
    async fn get_plugin_metrics(&self, request: Request<PluginName>) -> Result<Response<Map>, Status> {
        let name = request.into_inner().name;
        let Some(slot) = self.0.registry().get(&name) else {
            return Err(Status::not_found(ManagerError::NotFound(name).to_string()));
        };
        Ok(Response::new((&metrics::report(&slot)).into()))
    }
}
