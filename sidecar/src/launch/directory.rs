//! A plugin process's private directory, with the two sockets in it. Their names are short and relative, since a socket's
//! path holds 107 bytes and gRPC libraries stumble over slashes. Does I/O.

use std::{
    fs, io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

pub(super) const PLUGIN_SOCKET: &str = "plugin.sock";
pub(super) const HOST_SOCKET: &str = "host.sock";
pub(super) const DATA: &str = "data";
pub(super) const TEMPORARY: &str = "tmp";
const ATTEMPTS: usize = 16;

/// Removed with all in it when dropped.
#[derive(Debug)]
pub struct PrivateDirectory {
    path: PathBuf,
}

impl PrivateDirectory {
    pub fn new(run: &Path) -> io::Result<Self> {
        let parent = std::path::absolute(run)?.join("p");
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&parent)?;
        let path = fresh(&parent)?;
        let directory = Self { path };
        for inner in [DATA, TEMPORARY] {
            fs::create_dir(directory.path.join(inner))?;
        }
        Ok(directory)
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    #[must_use]
    pub fn plugin_socket(&self) -> PathBuf {
        self.path.join(PLUGIN_SOCKET)
    }

    /// Once the host is connected nobody else needs to find the plugin's socket: other plugins could call it.
    pub fn hide_plugin_socket(&self) -> io::Result<()> {
        let hidden = format!("{:016x}.sock", rand::random::<u64>());
        fs::rename(self.plugin_socket(), self.path.join(hidden))
    }

    #[must_use]
    pub fn host_socket(&self) -> PathBuf {
        self.path.join(HOST_SOCKET)
    }
}

fn fresh(parent: &Path) -> io::Result<PathBuf> {
    for _ in 0..ATTEMPTS {
        let path = parent.join(format!("{:08x}", rand::random::<u32>()));
        match fs::DirBuilder::new().mode(0o700).create(&path) {
            Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => {}
            made => return made.map(|()| path),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

impl Drop for PrivateDirectory {
    fn drop(&mut self) {
        if let Err(cause) = fs::remove_dir_all(&self.path) {
            tracing::warn!(path = %self.path.display(), %cause, "Failed to remove a plugin's private directory");
        }
    }
}
