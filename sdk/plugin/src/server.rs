//! Serves a plugin on the socket that its host chose, until the host ends the process.

use crate::{ManifestError, Plugin, PluginContext, host::Host, manifest, peer, service::PluginService};
use rockstar_proto::{
    body::{BROKEN_OFF, CONNECTION_WINDOW, LATE_PIECES, STREAM_WINDOW},
    plugin::plugin_server::PluginServer,
};
use std::{env, future::Future, io, path::PathBuf, process::ExitCode};
use tokio::{
    net::UnixListener,
    signal::unix::{SignalKind, signal},
};

/// Why a plugin could not be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("{0} is not set: a plugin is started by its host, not by hand")]
    Environment(&'static str),
    #[error(transparent)]
    Manifest(&'static ManifestError),
    #[error("failed to listen on {0}: {1}")]
    Listen(PathBuf, io::Error),
    #[error("failed to set up the process: {0}")]
    Process(io::Error),
    #[error("failed to serve the plugin: {0}")]
    Transport(#[from] tonic::transport::Error),
}

/// Serves the plugin where the host says; for programs whose `main` does nothing else.
pub fn run<P: Plugin>(plugin: P) -> ExitCode {
    match serve_blocking(plugin) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn serve_blocking<P: Plugin>(plugin: P) -> Result<(), ServeError> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(cores.min(4)).enable_all().build().map_err(ServeError::Process)?;
    let served = runtime.block_on(serve(plugin));
    runtime.shutdown_background();
    served
}

/// Serves the plugin where the host says, until SIGTERM.
pub async fn serve<P: Plugin>(plugin: P) -> Result<(), ServeError> {
    let mut term = signal(SignalKind::terminate()).map_err(ServeError::Process)?;
    let sockets = (socket("ROCKSTAR_PLUGIN_SOCKET")?, socket("ROCKSTAR_HOST_SOCKET")?);
    let shutdown = async move {
        term.recv().await;
    };
    let mut server = Server::new(plugin, sockets.0, sockets.1);
    server.caller = peer::host();
    server.serve(shutdown).await
}

fn socket(variable: &'static str) -> Result<PathBuf, ServeError> {
    env::var_os(variable).map(PathBuf::from).ok_or(ServeError::Environment(variable))
}

/// A plugin and its two sockets, for tests and for programs that do more than serve.
#[derive(Debug)]
pub struct Server<P> {
    plugin: P,
    socket: PathBuf,
    host: PathBuf,
    /// The one process that may call it; None: any.
    caller: Option<i32>,
}

impl<P: Plugin> Server<P> {
    /// `socket` is the plugin's own, `host` its host's; both are read relative to the working directory.
    pub fn new(plugin: P, socket: impl Into<PathBuf>, host: impl Into<PathBuf>) -> Self {
        Self { plugin, socket: socket.into(), host: host.into(), caller: None }
    }

    /// Serves until `shutdown` is ready; calls that still run then are dropped.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) -> Result<(), ServeError> {
        if self.plugin.name().is_empty() {
            manifest::check().map_err(ServeError::Manifest)?;
        }
        let listener = UnixListener::bind(&self.socket).map_err(|e| ServeError::Listen(self.socket, e))?;
        let ctx = PluginContext::new(Host::new(self.host));
        let service = PluginServer::new(PluginService::new(self.plugin, ctx.clone()));
        let serving = tonic::transport::Server::builder()
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .http2_max_pending_accept_reset_streams(Some(BROKEN_OFF))
            .http2_max_local_error_reset_streams(Some(LATE_PIECES))
            .add_service(service)
            .serve_with_incoming(peer::of_host(listener, self.caller));
        tokio::select! {
            served = serving => Ok(served?),
            () = shutdown => {
                ctx.telemetry().flush().await;
                Ok(())
            }
        }
    }
}
