//! The operator over a cluster: the driver and the control stream, joined. I/O: the API server and a TCP socket.

use crate::{
    control::{
        Hub,
        identity::TokenReviews,
        server::{self, ServeError, TlsSource},
        service::ControlService,
    },
    driver::{Driver, Tools, clock::Clock, metrics::DriverMetrics},
    leadership::Leadership,
    lease::owner,
    namespaces::Namespaces,
    scope::Scope,
    world::kubernetes::Kubernetes,
};
use kube::Client;
use std::sync::Arc;
use tokio::{net::TcpListener, sync::watch};
use tokio_util::sync::CancellationToken;

/// What it is run with.
pub struct Options {
    pub client: Client,
    pub scope: Scope,
    /// The name of this replica: its pod's.
    pub instance: String,
    pub leadership: watch::Receiver<Leadership>,
    /// For the control stream.
    pub listener: TcpListener,
    pub tls: TlsSource,
    pub metrics: DriverMetrics,
    pub namespaces: Namespaces,
    /// By what namespaces are claimed; None: they need not be.
    pub owner: Option<owner::Settings>,
    /// Set while this replica sees the cluster as it is, so that it may lead.
    pub fit: watch::Sender<bool>,
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options").field("scope", &self.scope).field("instance", &self.instance).finish_non_exhaustive()
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    #[error(transparent)]
    Serve(#[from] ServeError),
    #[error("a watch of the API server ended, which must not be")]
    WatchEnded,
}

/// Runs until `stop`, or until a part of it fails.
///
/// # Errors
/// With what failed.
pub async fn run(options: Options, stop: CancellationToken) -> Result<(), ClusterError> {
    let Options { client, scope, instance, leadership, listener, tls, metrics, namespaces, owner, fit } = options;
    let bells = namespaces.bells();
    let (world, mut watches) = Kubernetes::start(client.clone(), &scope, namespaces.clone(), &instance);
    let world = Arc::new(world);
    let hub = Hub::new(bells.clone());
    let authenticator = Arc::new(TokenReviews::new(client.clone()));
    let service = ControlService::new(Arc::clone(&hub), authenticator, Arc::clone(&world) as _, leadership.clone());
    let tools = Tools { world: Arc::clone(&world) as _, hub, bells, metrics, clock: Clock::system() };
    let driver = Driver::new(tools, leadership.clone());
    let claiming = async {
        match owner {
            Some(settings) => owner::run(client, settings, namespaces, || world.inhabited(), leadership).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        served = server::serve_tls(service, listener, tls, stop) => Ok(served?),
        () = drive(&world, driver) => Ok(()),
        () = world.report_fitness(&fit) => Ok(()),
        () = claiming => Ok(()),
        () = watches.ended() => Err(ClusterError::WatchEnded),
    }
}

/// Nothing is decided before everything was seen.
async fn drive(world: &Kubernetes, driver: Driver) {
    world.synced().await;
    tracing::info!("all watches are in sync");
    driver.run().await;
}
