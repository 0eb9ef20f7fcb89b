//! A plugin process's private directory, with the two sockets in it. Their names are short and relative, since a socket's
//! path holds 107 bytes and gRPC libraries stumble over slashes. The directory's own name is a secret that other plugins
//! cannot learn: they run as the same user, so its parent can be entered and cannot be listed or watched, and the sockets
//! are bound by names that the kernel's table of sockets may show. Does I/O.

use crate::{
    process::sandbox::{DATA, TEMPORARY},
    removal,
};
use std::{
    fs, io,
    os::{
        fd::AsRawFd,
        unix::fs::{DirBuilderExt, PermissionsExt},
    },
    path::{Path, PathBuf},
};
use tokio::net::UnixListener;

pub(super) const PLUGIN_SOCKET: &str = "plugin.sock";
pub(super) const HOST_SOCKET: &str = "host.sock";
/// Entered and changed, not read.
const UNLISTED: u32 = 0o300;
const ATTEMPTS: usize = 16;

/// Where private directories are, and where they wait for their removal.
const LIVE: &str = "p";
const RETIRED: &str = "removed";

/// Removed with all in it when dropped.
#[derive(Debug)]
pub struct PrivateDirectory {
    path: PathBuf,
    handle: fs::File,
    retired: PathBuf,
}

/// Removes what a sidecar that was killed left in this run directory. Nobody else may use it meanwhile.
pub fn sweep(run: &Path) -> io::Result<()> {
    let retired = run.join(RETIRED);
    for left in [run.join(LIVE), retired.clone()] {
        if !left.exists() {
            continue;
        }
        fs::set_permissions(&left, fs::Permissions::from_mode(0o700))?;
        for entry in fs::read_dir(&left)? {
            removal::retire(&entry?.path(), &retired)?;
        }
    }
    Ok(())
}

impl PrivateDirectory {
    pub fn new(run: &Path) -> io::Result<Self> {
        let run = std::path::absolute(run)?;
        let parent = run.join(LIVE);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&parent)?;
        fs::set_permissions(&parent, fs::Permissions::from_mode(UNLISTED))?;
        let path = fresh(&parent)?;
        let directory = Self { handle: fs::File::open(&path)?, path, retired: run.join(RETIRED) };
        for inner in [DATA, TEMPORARY] {
            fs::create_dir(directory.path.join(inner))?;
        }
        Ok(directory)
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// By a path that fits into a socket's address, however long the directory's is.
    #[must_use]
    pub fn plugin_socket(&self) -> PathBuf {
        self.through(PLUGIN_SOCKET)
    }

    /// Once the host is connected nobody else needs to find the plugin's socket: other plugins could call it.
    pub fn remove_plugin_socket(&self) -> io::Result<()> {
        fs::remove_file(self.plugin_socket())
    }

    /// Listens on the host's socket; its name in the kernel's table does not tell the directory's.
    pub fn listen(&self) -> io::Result<UnixListener> {
        UnixListener::bind(self.through(HOST_SOCKET))
    }

    fn through(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}/{name}", self.handle.as_raw_fd()))
    }

    #[must_use]
    pub fn host_socket(&self) -> PathBuf {
        self.path.join(HOST_SOCKET)
    }
}

fn fresh(parent: &Path) -> io::Result<PathBuf> {
    for _ in 0..ATTEMPTS {
        let path = parent.join(format!("{:016x}", rand::random::<u64>()));
        match fs::DirBuilder::new().mode(0o700).create(&path) {
            Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => {}
            made => return made.map(|()| path),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

impl Drop for PrivateDirectory {
    fn drop(&mut self) {
        if let Err(cause) = removal::retire(&self.path, &self.retired) {
            tracing::warn!(path = %self.path.display(), %cause, "Failed to remove a plugin's private directory");
        }
    }
}
