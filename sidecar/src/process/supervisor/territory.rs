//! Where a plugin's files are its own: its data and temporary directories, and the volumes that it may write. Does I/O.

use super::caller::through;
use rustix::{
    fs::{Stat, fstat},
    io::Errno,
};
use std::{
    fs, io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

#[derive(Clone, Debug)]
pub(in crate::process) struct Territory {
    /// The private directory, in which its sockets are.
    directory: PathBuf,
    writable: Vec<PathBuf>,
    host: (u64, u64),
}

impl Territory {
    /// Of a private directory, and more that may be written. `host` is the socket of the plugin's context.
    pub(in crate::process) fn new(directory: &Path, writable: &[&Path], host: Option<&Path>) -> io::Result<Self> {
        let directory = directory.canonicalize()?;
        let host = host.and_then(|host| rustix::fs::stat(host).ok()).map(|stat| identity(&stat)).unwrap_or_default();
        // A volume that is not there cannot be written.
        let writable = writable.iter().filter_map(|path| directory.join(path).canonicalize().ok()).collect();
        Ok(Self { directory, writable, host })
    }

    /// Checks that a file is in what the plugin may write, and its own.
    pub(super) fn check(&self, file: &OwnedFd) -> Result<Stat, Errno> {
        let path = location(file)?;
        let stat = fstat(file)?;
        let own = stat.st_uid == rustix::process::geteuid().as_raw();
        let inside = self.writable.iter().any(|writable| path.starts_with(writable));
        if own && inside { Ok(stat) } else { Err(Errno::PERM) }
    }

    /// Whether a plugin's socket may be here.
    pub(super) fn holds_sockets(&self, file: &OwnedFd) -> Result<bool, Errno> {
        let path = location(file)?;
        let beside = path == self.directory || path.parent() == Some(&self.directory);
        Ok(beside || self.writable.iter().any(|writable| path.starts_with(writable)))
    }

    /// Whether it is the socket of the plugin's own context.
    pub(super) fn is_host(&self, file: &OwnedFd) -> Result<bool, Errno> {
        Ok(identity(&fstat(file)?) == self.host)
    }
}

fn identity(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

fn location(file: &OwnedFd) -> Result<PathBuf, Errno> {
    fs::read_link(through(file)).map_err(|error| super::caller::errno(&error))
}
