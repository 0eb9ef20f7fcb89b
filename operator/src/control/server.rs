//! Listens for control streams, on a Unix socket or over TLS. I/O: sockets.

use super::service::ControlService;
use crate::connections::Connections;
use futures::Stream;
use rockstar_proto::control::control_server::ControlServer;
use std::{future::Future, io, path::Path, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream, UnixListener},
    sync::mpsc,
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Server, server::Connected};

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// A handshake is over in milliseconds, so that the oldest of so many is one of a peer that says nothing.
const MAX_HANDSHAKES: usize = 1024;
/// Connections that wait to be served.
const READY_QUEUE: usize = 64;
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// What one sidecar may say at once: a report of 256 plugins with their errors fits well.
const MAX_MESSAGE: usize = 4 << 20;

#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("failed to listen on {path}: {source}")]
    Listen { path: String, source: io::Error },
    #[error("failed to set up metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    #[error("the control server failed: {0}")]
    Serve(#[from] tonic::transport::Error),
}

/// Gives the TLS configuration of the moment; asked for each connection, so that a renewed certificate is used at once.
pub type TlsSource = Arc<dyn Fn() -> Arc<rustls::ServerConfig> + Send + Sync>;

/// Binds a Unix socket, in place of one that a dead process left.
///
/// # Errors
/// If the path cannot be bound.
pub fn bind_unix(path: &Path) -> Result<UnixListener, ServeError> {
    let failed = |source| ServeError::Listen { path: path.display().to_string(), source };
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(failed(e)),
        _ => {}
    }
    UnixListener::bind(path).map_err(failed)
}

/// Serves on a Unix socket until `stop`.
///
/// # Errors
/// If the server fails.
pub async fn serve_unix(
    service: ControlService,
    listener: UnixListener,
    stop: CancellationToken,
) -> Result<(), ServeError> {
    serve(service, UnixListenerStream::new(listener), stop.cancelled_owned()).await
}

/// Serves TLS on a TCP socket until `stop`.
///
/// # Errors
/// If the server fails.
pub async fn serve_tls(
    service: ControlService,
    listener: TcpListener,
    tls: TlsSource,
    stop: CancellationToken,
) -> Result<(), ServeError> {
    let (ready, connections) = mpsc::channel(READY_QUEUE);
    let accepting = accept_loop(listener, tls, ready);
    tokio::select! {
        served = serve(service, ReceiverStream::new(connections), stop.cancelled_owned()) => served,
        () = accepting => Ok(()),
    }
}

async fn serve<C, E>(
    service: ControlService,
    incoming: impl Stream<Item = Result<C, E>> + Send,
    stop: impl Future<Output = ()>,
) -> Result<(), ServeError>
where
    C: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let server = Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .add_service(ControlServer::new(service).max_decoding_message_size(MAX_MESSAGE));
    tokio::select! {
        served = server.serve_with_incoming(incoming) => Ok(served?),
        () = stop => Ok(()),
    }
}

type Ready = mpsc::Sender<io::Result<TlsStream<TcpStream>>>;

/// Shakes hands beside accepting, so that a slow peer delays nobody.
async fn accept_loop(listener: TcpListener, tls: TlsSource, ready: Ready) {
    let mut handshakes = Connections::new(MAX_HANDSHAKES);
    loop {
        match listener.accept().await {
            Ok((socket, _)) => {
                let (acceptor, ready) = (TlsAcceptor::from(tls()), ready.clone());
                handshakes.add(|_| handshake(acceptor, socket, ready));
            }
            Err(error) => {
                tracing::warn!(%error, "failed to accept a control connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn handshake(acceptor: TlsAcceptor, socket: TcpStream, ready: Ready) {
    match timeout(HANDSHAKE_TIMEOUT, acceptor.accept(socket)).await {
        Ok(Ok(stream)) => drop(ready.send(Ok(stream)).await),
        Ok(Err(error)) => tracing::debug!(%error, "a control connection failed its TLS handshake"),
        Err(_) => tracing::debug!("a control connection did not finish its TLS handshake"),
    }
}
