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
    own: Vec<PathBuf>,
    volumes: Vec<PathBuf>,
    host: (u64, u64),
}

/// Whose sockets a place may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The plugin's alone.
    Own,
    /// Those of other programs, too.
    Volume,
}

impl Territory {
    /// Of a private directory with directories in it that may be written, and of volumes. `host` is the socket of the
    /// plugin's context.
    pub(in crate::process) fn new(
        directory: &Path,
        own: &[&str],
        volumes: &[&Path],
        host: Option<&Path>,
    ) -> io::Result<Self> {
        let directory = directory.canonicalize()?;
        let host = host.and_then(|host| rustix::fs::stat(host).ok()).map(|stat| identity(&stat)).unwrap_or_default();
        let own = own.iter().map(|name| directory.join(name)).collect();
        // A volume that is not there cannot be written.
        let volumes = volumes.iter().filter_map(|path| path.canonicalize().ok()).collect();
        Ok(Self { directory, own, volumes, host })
    }

    /// Checks that a file is in what the plugin may write, and its own.
    pub(super) fn check(&self, file: &OwnedFd) -> Result<Stat, Errno> {
        let path = location(file)?;
        let stat = fstat(file)?;
        let own = stat.st_uid == rustix::process::geteuid().as_raw();
        if own && (is_below(&path, &self.own) || is_below(&path, &self.volumes)) { Ok(stat) } else { Err(Errno::PERM) }
    }

    /// Whose sockets may be here; None: no socket that the plugin may reach.
    pub(super) fn place(&self, file: &OwnedFd) -> Result<Option<Place>, Errno> {
        let path = location(file)?;
        let beside = path == self.directory || path.parent() == Some(&self.directory);
        Ok(match beside || is_below(&path, &self.own) {
            true => Some(Place::Own),
            false => is_below(&path, &self.volumes).then_some(Place::Volume),
        })
    }

    /// Whether it is the socket of the plugin's own context.
    pub(super) fn is_host(&self, file: &OwnedFd) -> Result<bool, Errno> {
        Ok(identity(&fstat(file)?) == self.host)
    }
}

fn is_below(path: &Path, directories: &[PathBuf]) -> bool {
    directories.iter().any(|directory| path.starts_with(directory))
}

fn identity(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

fn location(file: &OwnedFd) -> Result<PathBuf, Errno> {
    fs::read_link(through(file)).map_err(|error| super::caller::errno(&error))
}
