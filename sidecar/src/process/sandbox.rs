//! What a plugin's process may do, enforced by the kernel: Landlock for files and programs, seccomp for system calls.
//! Entered by the stub just before the plugin's program; nothing that is granted later loosens it.

mod files;
mod parts;
mod programs;

pub use parts::{PROBE, Parts, probe};

use rockstar_seccomp::{Filter, Listener};
use rustix::thread::{CapabilitySet, remove_capability_from_bounding_set};
use serde::{Deserialize, Serialize};
use std::{
    fmt, io,
    path::{Path, PathBuf},
    str::FromStr,
};

/// Where a plugin's own files are, in its private directory.
pub(crate) const DATA: &str = "data";
pub(crate) const TEMPORARY: &str = "tmp";

/// What one process is confined to. Its own directory is the one that it starts in.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Confinement {
    /// What of this the kernel can enforce.
    pub parts: Parts,
    /// The plugin's files.
    pub artifact: PathBuf,
    /// What `filesystem` grants.
    pub volumes: Vec<Volume>,
    pub filesystem: bool,
    pub network: bool,
    pub exec: bool,
}

/// A directory that the permission `filesystem` is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    pub path: PathBuf,
    pub read_only: bool,
}

/// A volume that cannot be granted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VolumeError {
    #[error("'{0}' is not an absolute path")]
    Relative(String),
    #[error("the root directory cannot be granted: name the directories that plugins may use")]
    Root,
}

impl FromStr for Volume {
    type Err = VolumeError;

    /// `DIR`, or `DIR:ro`.
    fn from_str(text: &str) -> Result<Self, VolumeError> {
        let (path, read_only) = text.strip_suffix(":ro").map_or((text, false), |path| (path, true));
        let path = PathBuf::from(path);
        if !path.is_absolute() {
            return Err(VolumeError::Relative(text.to_owned()));
        }
        let names_nothing = |path: &Path| !path.components().any(|c| matches!(c, std::path::Component::Normal(_)));
        // By way of links and dots, too. What does not exist yet is judged by its name.
        match names_nothing(&path) || path.canonicalize().is_ok_and(|path| names_nothing(&path)) {
            true => Err(VolumeError::Root),
            false => Ok(Self { path, read_only }),
        }
    }
}

impl fmt::Display for Volume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.path.display(), if self.read_only { ":ro" } else { "" })
    }
}

impl Confinement {
    /// What the calling process, which leads the plugin's session, may call.
    fn filter(&self) -> Filter {
        Filter {
            network: self.network,
            exec: self.exec,
            filesystem: self.filesystem,
            signals_scoped: self.parts.landlock >= parts::SIGNALS,
            sockets_scoped: self.parts.landlock >= parts::SOCKETS,
            listener: self.parts.notifications,
            memory: self.parts.memory,
            leader: std::process::id(),
        }
    }

    /// Confines the calling thread, which must be the only one, to what `program` may do. Gives the end on which the
    /// kernel asks about what the filter leaves to the sidecar.
    pub(super) fn enter(&self, program: &Path) -> io::Result<Option<Listener>> {
        drop_capabilities();
        if self.parts.landlock > 0 {
            files::restrict(self, program)?;
        }
        if !self.parts.filter {
            return Ok(None);
        }
        self.filter().install()
    }
}

/// Where the sidecar is root its plugins must not have root's powers. Others have none to drop, and may not try.
fn drop_capabilities() {
    for capability in CapabilitySet::all().iter() {
        remove_capability_from_bounding_set(capability).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_are_absolute_and_never_the_root() {
        let volume = |text: &str| text.parse::<Volume>();
        assert_eq!(volume("/srv/data"), Ok(Volume { path: "/srv/data".into(), read_only: false }));
        assert_eq!(volume("/srv/data:ro"), Ok(Volume { path: "/srv/data".into(), read_only: true }));
        assert_eq!(volume("data"), Err(VolumeError::Relative("data".into())));
        for root in ["/", "//", "/:ro", "/.", "/usr/..", "/proc/self/root"] {
            assert_eq!(volume(root), Err(VolumeError::Root), "{root}");
        }
    }
}
