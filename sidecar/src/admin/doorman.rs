//! Keeps plugins out of admin: whoever of them is at the other end finds the connection closed. Does I/O.

use crate::{manager::Manager, peers};
use axum::serve::Listener;
use std::{io, net::SocketAddr, sync::Arc};
use tokio::net::{TcpListener, TcpStream};

#[derive(Debug)]
pub(super) struct Doorman {
    pub(super) listener: TcpListener,
    pub(super) manager: Arc<Manager>,
}

impl Listener for Doorman {
    type Io = TcpStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        loop {
            let (stream, peer) = Listener::accept(&mut self.listener).await;
            let local = stream.local_addr();
            match local.ok().and_then(|local| peers::plugin_behind(peer, local, self.manager.spawner())) {
                None => return (stream, peer),
                Some(plugin) => tracing::error!(plugin, "Refused a connection of plugin '{plugin}' to admin"),
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}
