//! Services that plugins export, for the application. No I/O of its own.

use crate::{
    registry::Registry,
    services::{self, Client},
};
use rockstar_proto::{
    app::{
        InvokeRequest, InvokeResponse, ServiceInfo, ServiceList, invoke_response::Outcome, services_server::Services,
    },
    plugin::Invocation,
    types::Empty,
};
use std::{sync::Arc, time::Duration};
use tokio::time::timeout;
use tonic::{Request, Response, Status};

/// Where the application does not say how long it waits.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Service {
    registry: Arc<Registry>,
}

impl Service {
    pub(super) const fn new(registry: Arc<Registry>) -> Self {
        Self { registry }
    }
}

#[tonic::async_trait]
impl Services for Service {
    async fn list(&self, _: Request<Empty>) -> Result<Response<ServiceList>, Status> {
        let offers = services::list(&self.registry).into_iter();
        let info =
            |o: services::Offer| ServiceInfo { plugin: o.plugin, service: o.service, description: o.description };
        Ok(Response::new(ServiceList { services: offers.map(info).collect() }))
    }

    async fn invoke(&self, request: Request<InvokeRequest>) -> Result<Response<InvokeResponse>, Status> {
        let InvokeRequest { plugin, service, method, arguments, timeout_ms } = request.into_inner();
        let patience = if timeout_ms == 0 { PATIENCE } else { Duration::from_millis(timeout_ms.into()) };
        let invocation = Invocation { plugin, service, method, arguments };
        let invoked = services::invoke(&self.registry, Client::Application, &invocation);
        let outcome = match timeout(patience, invoked).await {
            Ok(Ok(result)) => Outcome::Result(result),
            Ok(Err(error)) => Outcome::Failure(error.failure()),
            Err(_) => return Err(Status::deadline_exceeded("the service did not answer in time")),
        };
        Ok(Response::new(InvokeResponse { outcome: Some(outcome) }))
    }
}
