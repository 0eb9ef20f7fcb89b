//! Unix sockets, where Landlock does not confine connections to them (below ABI 9): the sidecar connects a plugin to its
//! own context, to sockets of its own processes and to those in volumes that it may write, and to nothing else.
//!
//! With the permission `network` a call must be able to pass, and what passes is read again by the kernel: then no socket
//! that the process has can be connected to a Unix socket. What it makes is connected already to nobody, and what it binds
//! listens already; both are replaced by what the sidecar connects or binds. Does I/O; no call waits.

use super::{
    Answer, Outcome, Rights,
    caller::{Caller, Named, errno, through},
    territory::Place,
};
use crate::peers::{self, Peer};
use rustix::{
    fs::{FileType, OFlags, fstat},
    io::Errno,
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, listen, socket_with},
    process::Pid,
};
use std::{
    ffi::OsString,
    os::{
        fd::OwnedFd,
        unix::{ffi::OsStringExt, net::UnixStream as Stream},
    },
    path::{Path, PathBuf},
};
use tokio::{net::UnixStream, sync::mpsc};

const AT_FDCWD: i32 = -100;
const AF_UNIX: u16 = 1;
/// struct sockaddr_un
const MAX_ADDRESS: u64 = 110;
const SOCK_NONBLOCK: u32 = 0o4000;
const SOCK_CLOEXEC: u32 = 0o2_000_000;
const BACKLOG: i32 = 128;

enum Address {
    Path(PathBuf),
    Abstract,
    /// Of another family.
    Other,
}

/// Connects a plugin to what is its own.
pub(super) fn connect(caller: &Caller<'_>, rights: &Rights, session: Pid, host: &mpsc::Sender<UnixStream>) -> Outcome {
    let path = match address(caller)? {
        Address::Path(path) => path,
        Address::Other if rights.network => return Ok(Answer::Pass),
        Address::Abstract | Address::Other => return Err(Errno::PERM),
    };
    let flags = caller.socket_flags(caller.int(0))?;
    let socket = caller.locate(&Named::Path { directory: AT_FDCWD, path, follows: true })?;
    caller.check_waiting()?;
    let connected = match rights.territory.is_host(&socket)? {
        true => connect_host(host)?,
        false => connect_other(&socket, rights.territory.place(&socket)?.ok_or(Errno::ACCESS)?, session)?,
    };
    replace(caller, &connected, flags)
}

/// A connection to the plugin's context that needs no proof of who is at its end.
fn connect_host(host: &mpsc::Sender<UnixStream>) -> Result<OwnedFd, Errno> {
    let (theirs, ours) = Stream::pair().map_err(|error| errno(&error))?;
    ours.set_nonblocking(true).map_err(|error| errno(&error))?;
    let ours = UnixStream::from_std(ours).map_err(|error| errno(&error))?;
    host.try_send(ours).map_err(|error| match error {
        mpsc::error::TrySendError::Full(_) => Errno::AGAIN,
        mpsc::error::TrySendError::Closed(_) => Errno::CONNREFUSED,
    })?;
    Ok(theirs.into())
}

/// The connection is made with the sidecar's name: it is closed before the first byte unless its other end is the plugin's
/// own or, in a volume, that of a program that is none of the sidecar's.
fn connect_other(socket: &OwnedFd, place: Place, session: Pid) -> Result<OwnedFd, Errno> {
    if FileType::from_raw_mode(fstat(socket)?.st_mode) != FileType::Socket {
        return Err(Errno::CONNREFUSED);
    }
    let stream = new_socket()?;
    let address = SocketAddrUnix::new(through(socket))?;
    rustix::net::connect(&stream, &address)?;
    let admitted = match Peer::of(&stream) {
        Ok(Peer::Session(other)) if other == session => true,
        Ok(Peer::Session(_) | Peer::Outside) => place == Place::Volume && !peers::is_of_sidecar(&stream),
        _ => false,
    };
    if admitted { Ok(stream) } else { Err(Errno::ACCESS) }
}

/// A socket that cannot connect: it is connected, to nobody.
pub(super) fn socket(caller: &Caller<'_>) -> Outcome {
    let kind = caller.argument(1) as u32;
    let (socket, _) = Stream::pair().map_err(|error| errno(&error))?;
    socket.set_nonblocking(kind & SOCK_NONBLOCK != 0).map_err(|error| errno(&error))?;
    let number = caller.listener.give(caller.request, &socket, kind & SOCK_CLOEXEC != 0);
    number.map(|number| Answer::Done(number.into())).map_err(|error| errno(&error))
}

/// Binds a socket where the plugin's sockets may be.
pub(super) fn bind(caller: &Caller<'_>, rights: &Rights) -> Outcome {
    let path = match address(caller)? {
        Address::Path(path) => path,
        // A socket that cannot connect may have any name; others are the network's.
        Address::Abstract | Address::Other => return Ok(Answer::Pass),
    };
    let flags = caller.socket_flags(caller.int(0))?;
    let name = path.file_name().ok_or(Errno::ADDRINUSE)?;
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let parent = caller.locate(&Named::Path { directory: AT_FDCWD, path: parent.to_owned(), follows: true })?;
    caller.check_waiting()?;
    rights.territory.place(&parent)?.ok_or(Errno::ACCESS)?;
    let socket = new_socket()?;
    let place = Path::new(&through(&parent)).join(name);
    rustix::net::bind(&socket, &SocketAddrUnix::new(place)?)?;
    // A socket that listens cannot connect. Whoever calls listen on it takes its name over.
    listen(&socket, BACKLOG)?;
    replace(caller, &socket, flags)
}

fn new_socket() -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
}

/// Puts a socket in the place of the one that the call is about.
fn replace(caller: &Caller<'_>, socket: &OwnedFd, flags: OFlags) -> Outcome {
    rustix::io::ioctl_fionbio(socket, flags.contains(OFlags::NONBLOCK))?;
    let replaced =
        caller.listener.replace(caller.request, caller.argument(0) as u32, socket, flags.contains(OFlags::CLOEXEC));
    replaced.map(|()| Answer::Done(0)).map_err(|error| errno(&error))
}

/// The second and third argument of the call, read once.
fn address(caller: &Caller<'_>) -> Result<Address, Errno> {
    let length = caller.argument(2) & u64::from(u32::MAX);
    if length < 2 {
        return Err(Errno::INVAL);
    }
    let bytes = caller.read(caller.argument(1), length.min(MAX_ADDRESS) as usize)?;
    let (family, path) = bytes.split_at(2);
    if family != AF_UNIX.to_ne_bytes() {
        return Ok(Address::Other);
    }
    if length > MAX_ADDRESS {
        return Err(Errno::INVAL);
    }
    let path: Vec<_> = path.iter().copied().take_while(|byte| *byte != 0).collect();
    if path.is_empty() { Ok(Address::Abstract) } else { Ok(Address::Path(OsString::from_vec(path).into())) }
}
