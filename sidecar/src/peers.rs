//! Who is at the other end of a connection: each plugin is a session of its own, which the kernel does not let it leave.
//! Whoever must not be there finds the connection closed before the first byte. Does I/O; nothing waits.

use crate::process::{Spawner, is_descendant};
use nix::{
    sys::socket::{getsockopt, sockopt},
    unistd::getsid,
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::Pid,
};
use std::{
    collections::HashSet,
    fs, io,
    net::SocketAddr,
    os::fd::{AsFd, OwnedFd},
};
use tokio::net::{UnixListener, UnixStream};
use tokio_stream::{Stream, StreamExt, wrappers::UnixListenerStream};

/// The other end of a Unix socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// In another container, or begun in one: it has no number here.
    Outside,
    Session(Pid),
    /// It has ended already.
    Gone,
}

impl Peer {
    pub fn of(stream: &impl AsFd) -> io::Result<Self> {
        // Taken first: as long as it names a living process, the number below is that one's.
        let handle: Option<OwnedFd> = getsockopt(stream, sockopt::PeerPidfd).ok();
        let pid = getsockopt(stream, sockopt::PeerCredentials)?.pid();
        let Some(pid) = Pid::from_raw(pid) else { return Ok(Self::Outside) };
        let session = session(pid);
        match (session, handle.is_some_and(|handle| has_ended(&handle))) {
            (Ok(Some(session)), false) => Ok(Self::Session(session)),
            (Ok(None), false) => Ok(Self::Outside),
            _ => Ok(Self::Gone),
        }
    }
}

/// The session of a process. None where its leader is outside of our namespace of process ids, or it is a thread of the kernel.
pub(crate) fn session(pid: Pid) -> io::Result<Option<Pid>> {
    // rustix does not take the 0 that stands for this.
    let session = getsid(Some(nix::unistd::Pid::from_raw(pid.as_raw_nonzero().get())))?.as_raw();
    Ok(if session > 0 { Pid::from_raw(session) } else { None })
}

/// Connections to the context of one plugin: only its own processes may call it.
pub fn of_session(
    listener: UnixListener,
    session: Pid,
    plugin: String,
    spawner: Spawner,
) -> impl Stream<Item = io::Result<UnixStream>> {
    admitted(listener, move |_, peer| match peer {
        Peer::Session(other) if other == session => true,
        _ => {
            let who = name(peer, &spawner);
            tracing::error!(plugin, "Refused a connection of {who} to the context of plugin '{plugin}'");
            false
        }
    })
}

/// Connections to a socket that is for everybody but plugins: for processes that this one did not begin, by way of others
/// neither. A session stays its plugin's until nobody of it is left.
pub fn of_others(
    listener: UnixListener,
    what: &'static str,
    spawner: Spawner,
) -> impl Stream<Item = io::Result<UnixStream>> {
    admitted(listener, move |stream, peer| {
        let admitted = match peer {
            Peer::Outside => true,
            Peer::Session(session) => spawner.plugin_of(session).is_none() && !is_of_sidecar(stream),
            Peer::Gone => false,
        };
        if !admitted {
            let plugin = match peer {
                Peer::Session(session) => spawner.plugin_of(session),
                _ => None,
            };
            tracing::error!(plugin, "Refused a connection of {} to {what}", name(peer, &spawner));
        }
        admitted
    })
}

/// Whether the other end is this process or one that this one, or what it began, has begun. Who cannot be known is.
pub(crate) fn is_of_sidecar(stream: &impl AsFd) -> bool {
    let Ok(peer) = getsockopt(stream, sockopt::PeerCredentials) else { return true };
    // In another container it has no number here.
    Pid::from_raw(peer.pid()).is_some_and(|pid| pid == rustix::process::getpid() || is_descendant(pid))
}

fn admitted(
    listener: UnixListener,
    admits: impl Fn(&UnixStream, Peer) -> bool,
) -> impl Stream<Item = io::Result<UnixStream>> {
    UnixListenerStream::new(listener).filter(move |accepted| match accepted {
        Ok(stream) => admits(stream, Peer::of(stream).unwrap_or(Peer::Gone)),
        Err(_) => true,
    })
}

fn name(peer: Peer, spawner: &Spawner) -> String {
    match peer {
        Peer::Outside => "a process of another container".to_owned(),
        Peer::Gone => "a process that has ended".to_owned(),
        Peer::Session(session) => match spawner.plugin_of(session) {
            Some(plugin) => format!("plugin '{plugin}'"),
            None => format!("a process of session {}", session.as_raw_nonzero()),
        },
    }
}

/// Who has the other end of a TCP connection open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TcpPeer {
    Plugin(String),
    /// A process of this machine that is no plugin's.
    Other,
    /// Not found: it has closed it, or cannot be looked into.
    Unknown,
}

/// Looks for the other end among all processes.
#[must_use]
pub fn behind(peer: SocketAddr, local: SocketAddr, spawner: &Spawner) -> TcpPeer {
    match session_of(peer, local, |_| true) {
        None => TcpPeer::Unknown,
        Some(session) => session.and_then(|session| spawner.plugin_of(session)).map_or(TcpPeer::Other, TcpPeer::Plugin),
    }
}

/// The plugin that has the other end of a TCP connection open. Only on this machine can it be looked for.
#[must_use]
pub fn plugin_behind(peer: SocketAddr, local: SocketAddr, spawner: &Spawner) -> Option<String> {
    let here = peer.ip().to_canonical().is_loopback() || peer.ip() == local.ip();
    let plugin = |session: Option<Pid>| session.and_then(|session| spawner.plugin_of(session));
    here.then(|| session_of(peer, local, |session| plugin(session).is_some())).flatten().and_then(plugin)
}

pub(crate) fn has_ended(handle: &OwnedFd) -> bool {
    let mut polled = [PollFd::new(handle, PollFlags::IN)];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut polled, Some(&at_once)).is_ok_and(|ready| ready > 0)
}

/// Which of these sessions has the other end of a TCP connection of this machine open. It may be one without a number here.
fn session_of(peer: SocketAddr, local: SocketAddr, sessions: impl Fn(Option<Pid>) -> bool) -> Option<Option<Pid>> {
    let inode = inode_of(peer, local)?;
    let socket = format!("socket:[{inode}]");
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?));
    pids.filter_map(|pid| Some((pid, session(pid).ok()?)))
        .filter(|(_, session)| sessions(*session))
        .find(|(pid, _)| descriptors(*pid).contains(&socket))
        .map(|(_, session)| session)
}

fn descriptors(pid: Pid) -> HashSet<String> {
    let directory = fs::read_dir(format!("/proc/{}/fd", pid.as_raw_nonzero())).into_iter().flatten().flatten();
    directory.filter_map(|entry| fs::read_link(entry.path()).ok()?.to_str().map(str::to_owned)).collect()
}

fn inode_of(peer: SocketAddr, local: SocketAddr) -> Option<u64> {
    ["/proc/net/tcp", "/proc/net/tcp6"].iter().find_map(|table| find(&fs::read_to_string(table).ok()?, peer, local))
}

/// The row whose own address is the peer's, in the kernel's table of connections.
fn find(table: &str, peer: SocketAddr, local: SocketAddr) -> Option<u64> {
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<_> = line.split_ascii_whitespace().collect();
        let is = |index: usize, address: SocketAddr| fields.get(index).and_then(|f| port(f)) == Some(address.port());
        (is(1, peer) && is(2, local)).then(|| fields.get(9)?.parse().ok()).flatten().filter(|inode| *inode != 0)
    })
}

/// Ports are enough: of two ends on one machine no other pair has both.
fn port(address: &str) -> Option<u16> {
    u16::from_str_radix(address.rsplit_once(':')?.1, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_peer_of_this_process_is_of_this_session() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        // A container's first processes are of no session of their own.
        let own = session(rustix::process::getpid()).unwrap().map_or(Peer::Outside, Peer::Session);
        assert_eq!(Peer::of(&ours).unwrap(), own);
    }

    #[tokio::test]
    async fn what_this_process_is_or_began_is_of_it() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("s");
        let listener = UnixListener::bind(&socket).unwrap();
        let _own = UnixStream::connect(&socket).await.unwrap();
        assert!(is_of_sidecar(&listener.accept().await.unwrap().0));
        let connect = "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); s.recv(1)";
        let mut began = std::process::Command::new("setsid");
        let mut began = began.args(["python3", "-c", connect]).arg(&socket).spawn().unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        assert!(is_of_sidecar(&stream), "in whatever session");
        drop(stream);
        began.wait().unwrap();
    }

    #[tokio::test]
    async fn a_connection_over_loopback_is_found() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let local = listener.local_addr().unwrap();
        let client = Client::of(local);
        let (_stream, peer) = listener.accept().await.unwrap();
        let session = Pid::from_raw(client.0.id().cast_signed());
        assert_eq!(session_of(peer, local, |other| other == session), Some(session));
        assert_eq!(session_of(peer, local, |_| false), None);
    }

    /// A process that leads a session and holds one connection open.
    struct Client(std::process::Child);

    impl Client {
        fn of(address: SocketAddr) -> Self {
            let connect = format!("exec 3<>/dev/tcp/{}/{} && read -r <&3", address.ip(), address.port());
            Self(std::process::Command::new("setsid").args(["bash", "-c", &connect]).spawn().unwrap())
        }
    }

    impl Drop for Client {
        fn drop(&mut self) {
            self.0.kill().unwrap();
            self.0.wait().unwrap();
        }
    }

    #[tokio::test]
    async fn whoever_has_closed_is_unknown() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let local = listener.local_addr().unwrap();
        let client = tokio::net::TcpStream::connect(local).await.unwrap();
        let (_stream, peer) = listener.accept().await.unwrap();
        drop(client);
        assert_eq!(session_of(peer, local, |_| true), None);
    }

    #[test]
    fn the_table_is_read_by_both_ends() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            0: 0100007F:1F90 0100007F:D431 01 00000000:00000000 00:00000000 00000000 0 0 71 1 0\n\
            1: 0100007F:D431 0100007F:1F90 01 00000000:00000000 00:00000000 00000000 0 0 72 1 0\n";
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        assert_eq!(find(table, address(0xd431), address(0x1f90)), Some(72));
        assert_eq!(find(table, address(0xd432), address(0x1f90)), None);
    }
}
