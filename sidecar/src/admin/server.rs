//! Admin's connections: bounded in number and in time, and closed before the first byte where a plugin is at the other end.
//! Does I/O.

use super::{Admin, Peer};
use crate::{bounds::MAX_ADMIN_CONNECTIONS, peers};
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use std::{
    collections::VecDeque,
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::{AbortHandle, JoinSet, spawn_blocking},
    time::sleep,
};

/// From the first byte of a request to the end of its headers; also how long a connection may idle.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// After an error of the listener, such as no descriptors.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// Serves until dropped.
pub(super) async fn serve(listener: TcpListener, admin: Admin, router: Router) -> io::Result<()> {
    let mut connections = Connections::default();
    loop {
        let (stream, remote) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(cause) => {
                tracing::warn!(%cause, "Failed to accept a connection to admin: {cause}");
                sleep(ACCEPT_BACKOFF).await;
                continue;
            }
        };
        let Ok(local) = stream.local_addr() else { continue };
        connections.add(stream, Peer { remote, local }, &admin, &router);
    }
}

/// The connections there are; of too many that say nothing the oldest ends.
#[derive(Debug, Default)]
struct Connections {
    tasks: JoinSet<()>,
    open: VecDeque<(AbortHandle, Requests)>,
}

/// How many requests of a connection are being answered.
#[derive(Clone, Debug, Default)]
pub(super) struct Requests(Arc<AtomicUsize>);

/// One request, counted until it is dropped.
#[derive(Debug)]
pub(super) struct InProgress(Requests);

impl Requests {
    pub(super) fn begin(&self) -> InProgress {
        self.0.fetch_add(1, SeqCst);
        InProgress(self.clone())
    }
}

impl Drop for InProgress {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, SeqCst);
    }
}

impl Connections {
    fn add(&mut self, stream: TcpStream, peer: Peer, admin: &Admin, router: &Router) {
        while self.tasks.try_join_next().is_some() {}
        self.open.retain(|(task, _)| !task.is_finished());
        if self.open.len() >= MAX_ADMIN_CONNECTIONS {
            let idle = self.open.iter().position(|(_, requests)| requests.0.load(SeqCst) == 0);
            // Without one the newcomer ends, for the others are at work.
            let Some((task, _)) = idle.and_then(|at| self.open.remove(at)) else { return };
            task.abort();
        }
        let requests = Requests::default();
        let router = router.clone().layer(Extension(peer)).layer(Extension(requests.clone()));
        let task = self.tasks.spawn(connection(stream, peer, admin.clone(), router));
        self.open.push_back((task, requests));
    }
}

async fn connection(stream: TcpStream, peer: Peer, admin: Admin, router: Router) {
    let spawner = admin.manager.spawner().clone();
    let plugin = spawn_blocking(move || peers::plugin_behind(peer.remote, peer.local, &spawner)).await;
    if let Ok(Some(plugin)) = plugin {
        tracing::error!(plugin, "Refused a connection of plugin '{plugin}' to admin");
        return;
    }
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    // A broken connection is its client's business.
    server.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router)).await.ok();
}
