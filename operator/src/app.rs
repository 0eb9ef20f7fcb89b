//! Builds the parts of the operator in a cluster, starts them and ends them in order. I/O: all of it.

use crate::{
    admin::{self, Admin},
    args::{Args, LogFormat},
    certificates::{CertificateError, Certificates, publish::Publisher, tls::Tls},
    cluster,
    control::server::TlsSource,
    driver::metrics::DriverMetrics,
    host::Bells,
    leadership::Leadership,
    lease,
    metrics::Metrics,
    namespaces::Namespaces,
    webhook::{Webhooks, server},
};
use kube::{Api, Client};
use std::{convert::Infallible, fmt::Display, future::Future, io, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    net::TcpListener,
    sync::watch,
    task::JoinSet,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

/// Within the pod's grace period.
const SHUTDOWN: Duration = Duration::from_secs(20);

#[derive(Debug, thiserror::Error)]
pub enum AppError {
    #[error("failed to find the cluster: {0}")]
    Cluster(#[source] Box<kube::Error>),
    #[error("failed to set up metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    #[error(transparent)]
    Certificates(#[from] CertificateError),
    #[error("failed to listen on {address}: {source}")]
    Listen { address: SocketAddr, source: io::Error },
    #[error("{0} ended by itself")]
    Ended(&'static str),
    #[error("{name} failed: {cause}")]
    Failed { name: &'static str, cause: String },
    #[error("a part of the operator broke: {0}")]
    Broke(#[from] tokio::task::JoinError),
}

/// Runs until `stop`.
///
/// # Errors
/// If a part cannot start or breaks.
pub async fn run(args: Args, log_format: LogFormat, stop: CancellationToken) -> Result<(), AppError> {
    let client = Client::try_default().await.map_err(|error| AppError::Cluster(Box::new(error)))?;
    let metrics = Metrics::new()?;
    let listeners = Listeners::bind(&args).await?;
    let certificates = Certificates::start(client.clone(), &args.own.namespace, &args.service).await?;
    let (claim, leadership) = watch::channel(Leadership::Following { address: String::new() });
    let (fit, is_fit) = watch::channel(false);
    let namespaces = Namespaces::claimed(Bells::default());

    let tls = certificates.tls();
    let publisher =
        Publisher::new(client.clone(), Arc::clone(&tls), args.watched.scope(), args.webhooks(), namespaces.clone());
    let webhooks = Webhooks::new(
        client.clone(),
        args.injector(log_format),
        publisher.clone(),
        metrics.clone(),
        namespaces.clone(),
    );
    let cluster = cluster::Options {
        client: client.clone(),
        scope: args.watched.scope(),
        instance: args.pod_name.clone(),
        leadership: leadership.clone(),
        listener: listeners.control,
        tls: grpc_tls(&tls),
        metrics: DriverMetrics::new(metrics.registry())?,
        namespaces: namespaces.clone(),
        owner: Some(owner(&args)),
        fit,
    };
    let admin = Admin {
        metrics,
        tls: Arc::clone(&tls),
        leadership: leadership.clone(),
        fit: is_fit.clone(),
        namespaces,
        began: Instant::now(),
    };
    let leases = Api::namespaced(client, &args.own.namespace);

    let mut parts = Parts::new(stop);
    parts.start("the certificates", |stop| endless(certificates.run(stop)));
    parts.start("the publisher of certificates", |stop| endless(publisher.run(leadership, stop)));
    parts.start("the webhooks", |stop| endless(server::serve(listeners.webhook, tls, webhooks.router(), stop)));
    parts.start("metrics and health", |stop| admin::serve(listeners.admin, admin, stop));
    parts.start("the driver", |stop| cluster::run(cluster, stop));
    parts.start_last("the lease", |stop| endless(lease::run(leases, candidate(&args), is_fit, claim, stop)));
    parts.run().await
}

fn grpc_tls(tls: &Arc<Tls>) -> TlsSource {
    let tls = Arc::clone(tls);
    Arc::new(move || tls.http2())
}

fn candidate(args: &Args) -> lease::Settings {
    lease::Settings { name: args.own.lease.clone(), identity: args.pod_name.clone(), address: args.own_address() }
}

fn owner(args: &Args) -> lease::owner::Settings {
    lease::owner::Settings {
        holder: args.own.holder(),
        scope: args.watched.scope(),
        own_namespace: args.own.namespace.clone(),
        own_lease: args.own.lease.clone(),
        instance: args.pod_name.clone(),
    }
}

struct Listeners {
    control: TcpListener,
    webhook: TcpListener,
    admin: TcpListener,
}

impl Listeners {
    async fn bind(args: &Args) -> Result<Self, AppError> {
        let control = listen(args.control_address).await?;
        let webhook = listen(args.webhook_address).await?;
        Ok(Self { control, webhook, admin: listen(args.admin_address).await? })
    }
}

async fn listen(address: SocketAddr) -> Result<TcpListener, AppError> {
    TcpListener::bind(address).await.map_err(|source| AppError::Listen { address, source })
}

/// The tasks of the operator. None of them ends before it is told to; those started last end last.
struct Parts {
    stop: CancellationToken,
    stop_last: CancellationToken,
    first: JoinSet<AppError>,
    last: JoinSet<AppError>,
}

impl Parts {
    fn new(stop: CancellationToken) -> Self {
        Self { stop, stop_last: CancellationToken::new(), first: JoinSet::new(), last: JoinSet::new() }
    }

    fn start<F, E>(&mut self, name: &'static str, part: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Display + Send + 'static,
    {
        self.first.spawn(named(name, part(self.stop.clone())));
    }

    /// For what must outlive the others, such as the claim to lead.
    fn start_last<F, E>(&mut self, name: &'static str, part: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Display + Send + 'static,
    {
        self.last.spawn(named(name, part(self.stop_last.clone())));
    }

    async fn run(mut self) -> Result<(), AppError> {
        let verdict = tokio::select! {
            () = self.stop.cancelled() => Ok(()),
            Some(ended) = self.first.join_next() => Err(ended.unwrap_or_else(AppError::Broke)),
            Some(ended) = self.last.join_next() => Err(ended.unwrap_or_else(AppError::Broke)),
        };
        self.stop.cancel();
        if timeout(SHUTDOWN, self.end()).await.is_err() {
            tracing::warn!("parts of the operator were cut off");
        }
        verdict
    }

    async fn end(&mut self) {
        while self.first.join_next().await.is_some() {}
        self.stop_last.cancel();
        while self.last.join_next().await.is_some() {}
    }
}

async fn named<E: Display>(name: &'static str, part: impl Future<Output = Result<(), E>>) -> AppError {
    match part.await {
        Ok(()) => AppError::Ended(name),
        Err(error) => AppError::Failed { name, cause: error.to_string() },
    }
}

async fn endless(part: impl Future<Output = ()>) -> Result<(), Infallible> {
    part.await;
    Ok(())
}
