//! Free ports of the loopback interface. Opens sockets, and closes them again.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
};

/// All different: each is held until all are found.
pub(super) fn free(count: usize) -> io::Result<Vec<SocketAddr>> {
    let held = (0..count).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).collect::<io::Result<Vec<_>>>()?;
    held.iter().map(TcpListener::local_addr).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn ports_differ() {
        let mut ports: Vec<_> = super::free(8).unwrap().into_iter().map(|address| address.port()).collect();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 8);
    }
}
