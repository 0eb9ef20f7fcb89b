//! Where the command line finds the token of a sidecar on this machine: in a directory of the user alone, under the port of
//! the sidecar's admin address. Pure.

use std::path::{Path, PathBuf};

/// The file of a sidecar that runs without an operator. `runtime` is the user's runtime directory, if there is one.
#[must_use]
pub fn path(runtime: Option<&Path>, user: u32, port: u16) -> PathBuf {
    directory(runtime, user).join(format!("admin-{port}.token"))
}

/// Belongs to the user, who alone may enter it.
#[must_use]
pub fn directory(runtime: Option<&Path>, user: u32) -> PathBuf {
    match runtime {
        Some(runtime) => runtime.join("rockstar"),
        None => Path::new("/tmp").join(format!("rockstar-{user}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_port_has_a_file() {
        assert_eq!(path(Some(Path::new("/run/user/7")), 7, 80), Path::new("/run/user/7/rockstar/admin-80.token"));
        assert_eq!(path(None, 7, 8080), Path::new("/tmp/rockstar-7/admin-8080.token"));
    }
}
