//! HTTPS/1.1 with the certificate of the moment; connections and their idle time are bounded. I/O: sockets.

use crate::{
    certificates::tls::Tls,
    connections::{Activity, Connections},
};
use axum::Router;
use hyper::service::{Service, service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use std::{sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// The API server needs few. Beyond so many the one that has been idle the longest ends.
const MAX_CONNECTIONS: usize = 256;
const HANDSHAKE: Duration = Duration::from_secs(5);
/// The API server keeps its connections; a new one is cheap.
const IDLE: Duration = Duration::from_secs(60);
const DRAIN: Duration = Duration::from_secs(10);

/// Serves until `stop`, then lets requests in flight end.
pub async fn serve(listener: TcpListener, tls: Arc<Tls>, router: Router, stop: CancellationToken) {
    let mut connections = Connections::new(MAX_CONNECTIONS);
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((socket, _)) => {
                let (acceptor, router, stop) = (TlsAcceptor::from(tls.http1()), router.clone(), stop.clone());
                connections.add(|activity| connection(socket, acceptor, router, activity, stop));
            }
            Err(error) => {
                tracing::warn!(%error, "failed to accept a connection to the webhooks");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
    if !connections.end(DRAIN).await {
        tracing::warn!("requests to the webhooks were cut off");
    }
}

async fn connection(
    socket: TcpStream,
    acceptor: TlsAcceptor,
    router: Router,
    activity: Activity,
    stop: CancellationToken,
) {
    let stream = match timeout(HANDSHAKE, acceptor.accept(socket)).await {
        Ok(Ok(stream)) => TokioIo::new(stream),
        Ok(Err(error)) => return tracing::debug!(%error, "a TLS handshake failed"),
        Err(_) => return tracing::debug!("a TLS handshake took too long"),
    };
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |request| {
        let (busy, response) = (activity.begin(), router.call(request));
        async move {
            let response = response.await;
            drop(busy);
            response
        }
    });
    let serving = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .serve_connection(stream, service);
    let mut serving = std::pin::pin!(serving);
    let result = tokio::select! {
        result = serving.as_mut() => result,
        () = stop.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "a connection to the webhooks ended badly");
    }
}
