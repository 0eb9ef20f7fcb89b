//! What the application calls, on one Unix socket. Does I/O.

mod events;
mod manager;
mod metrics;
mod services;

use crate::{
    authority::Authority,
    manager::Manager,
    peers,
    pipeline::{self, Pipeline},
};
use rockstar_proto::{
    app::{
        events_server::EventsServer, metrics_server::MetricsServer, plugin_manager_server::PluginManagerServer,
        services_server::ServicesServer,
    },
    body::{BROKEN_OFF, CONNECTION_WINDOW, LATE_PIECES, STREAM_WINDOW},
};
use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::net::{UnixListener, UnixStream};
use tonic::transport::Server;

#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    #[error("another process serves the socket {}", .0.display())]
    InUse(PathBuf),
    #[error("failed to listen on {}: {cause}", path.display())]
    Listen { path: PathBuf, cause: io::Error },
}

/// A socket file of ours, removed when dropped.
#[derive(Debug)]
pub struct Socket {
    path: PathBuf,
    listener: Option<UnixListener>,
}

impl Socket {
    /// Replaces what a sidecar before left behind, but not one that lives. Everybody in its volume may connect; a
    /// `private` one is for its user alone.
    pub async fn bind(path: &Path, private: bool) -> Result<Self, SocketError> {
        if UnixStream::connect(path).await.is_ok() {
            return Err(SocketError::InUse(path.to_owned()));
        }
        let failed = |cause| SocketError::Listen { path: path.to_owned(), cause };
        match fs::remove_file(path) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(failed(cause)),
            _ => {}
        }
        if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
            fs::create_dir_all(parent).map_err(failed)?;
        }
        // Its mode is right before anybody can find it.
        let mode = if private { 0o600 } else { 0o666 };
        let hidden = path.with_extension(format!("{:08x}", rand::random::<u32>()));
        let listener = UnixListener::bind(&hidden).map_err(failed)?;
        let placed = fs::set_permissions(&hidden, fs::Permissions::from_mode(mode));
        let placed = placed.and_then(|()| fs::rename(&hidden, path));
        placed.inspect_err(|_| drop(fs::remove_file(&hidden))).map_err(failed)?;
        Ok(Self { path: path.to_owned(), listener: Some(listener) })
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        fs::remove_file(&self.path).ok();
    }
}

/// Serves until dropped.
pub async fn serve(
    mut socket: Socket,
    manager: Arc<Manager>,
    authority: Authority,
) -> Result<(), tonic::transport::Error> {
    let Some(listener) = socket.listener.take() else { return Ok(()) };
    let shared = Arc::clone(manager.shared());
    let connections = peers::of_others(listener, "the application's socket", manager.spawner().clone());
    Server::builder()
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .http2_max_pending_accept_reset_streams(Some(BROKEN_OFF))
        .http2_max_local_error_reset_streams(Some(LATE_PIECES))
        .add_service(pipeline::service(Pipeline::new(Arc::clone(manager.registry()))))
        .add_service(MetricsServer::new(metrics::Service(Arc::clone(&manager))))
        .add_service(EventsServer::new(events::Service::new(Arc::clone(&shared.bus))))
        .add_service(ServicesServer::new(services::Service::new(Arc::clone(&shared.registry))))
        .add_service(PluginManagerServer::new(manager::Service::new(manager, authority)))
        .serve_with_incoming(connections)
        .await
}
