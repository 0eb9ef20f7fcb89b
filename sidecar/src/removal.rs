//! Removes directories that others filled, of any depth and mode: neither recursion nor descriptors grow with the depth.
//! What lies deeper is moved up to the root until the root is empty. Does I/O, blocking.

use rustix::{
    fd::{AsFd, AsRawFd, OwnedFd},
    fs::{self, AtFlags, Dir, Mode, OFlags},
    io::Errno,
};
use std::{
    ffi::{CStr, CString},
    io,
    path::{Path, PathBuf},
};

/// Removes a file, or a directory with all in it. A link is removed and not followed.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::unlinkat(fs::CWD, path, AtFlags::empty()) {
        Err(Errno::ISDIR) => {}
        done => return Ok(done?),
    }
    let root = open(fs::CWD, path)?;
    let mut names = Names::new();
    while !is_emptied(&root, &mut names)? {}
    Ok(fs::unlinkat(fs::CWD, path, AtFlags::REMOVEDIR)?)
}

/// Moves a directory out of its place at once, and removes it in the background where there is a runtime.
pub fn retire(path: &Path, to: &Path) -> io::Result<()> {
    let moved = to.join(format!("{:016x}", rand::random::<u64>()));
    let path = match std::fs::create_dir_all(to).and_then(|()| std::fs::rename(path, &moved)) {
        Ok(()) => moved,
        Err(_) => path.to_owned(),
    };
    match tokio::runtime::Handle::try_current() {
        Ok(runtime) => {
            runtime.spawn_blocking(move || warn(&path, remove_tree(&path)));
            Ok(())
        }
        Err(_) => remove_tree(&path),
    }
}

fn warn(path: &Path, removed: io::Result<()>) {
    if let Err(cause) = removed {
        tracing::warn!(path = %path.display(), %cause, "Failed to remove {}: {cause}", path.display());
    }
}

/// Names that nothing in a directory has already.
struct Names {
    prefix: u64,
    count: u64,
}

impl Names {
    fn new() -> Self {
        Self { prefix: rand::random(), count: 0 }
    }

    fn next(&mut self) -> PathBuf {
        self.count += 1;
        format!("{:016x}-{}", self.prefix, self.count).into()
    }
}

/// Goes once through the root; tells whether it was empty. Fails once nothing can be removed any more.
fn is_emptied(root: &OwnedFd, names: &mut Names) -> io::Result<bool> {
    let (mut removed, mut error) = (0_u64, None);
    for_each(root, |name| match remove_entry(root, name, names) {
        Ok(()) => removed += 1,
        Err(cause) => error = Some(cause),
    })?;
    match error {
        Some(cause) if removed == 0 => Err(cause),
        Some(_) => Ok(false),
        None => Ok(removed == 0),
    }
}

fn remove_entry(root: &OwnedFd, name: &CStr, names: &mut Names) -> io::Result<()> {
    if unlink(root, name)? {
        return Ok(());
    }
    let directory = open(root, name)?;
    let mut error = None;
    for_each(&directory, |inner| {
        let raised = unlink(&directory, inner).and_then(|done| match done {
            true => Ok(()),
            false => raise(&directory, inner, root, names),
        });
        error = raised.err().or(error.take());
    })?;
    fs::unlinkat(root, name, AtFlags::REMOVEDIR).map_err(|cause| error.unwrap_or(cause.into()))
}

/// Removes what is no directory; tells whether it was none.
fn unlink(parent: &OwnedFd, name: &CStr) -> io::Result<bool> {
    match fs::unlinkat(parent, name, AtFlags::empty()) {
        Err(Errno::ISDIR) => Ok(false),
        Err(Errno::NOENT) => Ok(true),
        done => Ok(done.map(|()| true)?),
    }
}

fn raise(parent: &OwnedFd, name: &CStr, root: &OwnedFd, names: &mut Names) -> io::Result<()> {
    // A directory that changes its parent must be writable itself.
    make_accessible(parent, name)?;
    Ok(fs::renameat(parent, name, root, names.next())?)
}

fn open(parent: impl AsFd, name: impl rustix::path::Arg + Copy) -> io::Result<OwnedFd> {
    make_accessible(parent.as_fd(), name)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(fs::openat(parent, name, flags, Mode::empty())?)
}

/// Its owner may read, write and enter a directory again.
fn make_accessible(parent: impl AsFd, name: impl rustix::path::Arg) -> io::Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = fs::openat(parent, name, flags, Mode::empty())?;
    let mode = Mode::from_raw_mode(fs::fstat(&directory)?.st_mode);
    if !mode.contains(Mode::RWXU) {
        // By its descriptor, for a name could be a link by now.
        fs::chmod(format!("/proc/self/fd/{}", directory.as_raw_fd()), mode | Mode::RWXU)?;
    }
    Ok(())
}

fn for_each(directory: &OwnedFd, mut with: impl FnMut(&CStr)) -> io::Result<()> {
    for entry in Dir::read_from(directory)? {
        let name: CString = entry?.file_name().to_owned();
        if ![c".", c".."].contains(&name.as_c_str()) {
            with(&name);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    const LEVELS: usize = 16_000;

    /// Makes a chain of directories, deeper than any path can say.
    fn nest(at: &Path, levels: usize) {
        std::fs::create_dir(at).unwrap();
        let mut current = open(fs::CWD, at).unwrap();
        for _ in 0..levels {
            fs::mkdirat(&current, "d", Mode::RWXU).unwrap();
            fs::openat(&current, "file", OFlags::CREATE | OFlags::WRONLY, Mode::RUSR).unwrap();
            current = open(&current, "d").unwrap();
        }
    }

    #[test]
    fn depth_does_not_matter() {
        // As in a pod, where what lies in the run directory lies in memory.
        let directory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let deep = directory.path().join("deep");
        nest(&deep, LEVELS);
        // A recursion over them would not fit onto this stack.
        let small = std::thread::Builder::new().stack_size(128 << 10);
        small.spawn(move || remove_tree(&deep).unwrap()).unwrap().join().unwrap();
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn modes_do_not_matter_and_links_are_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let (doomed, kept) = (directory.path().join("doomed"), directory.path().join("kept"));
        std::fs::create_dir_all(doomed.join("a/b/c")).unwrap();
        std::fs::create_dir(&kept).unwrap();
        std::fs::write(kept.join("file"), "x").unwrap();
        symlink(&kept, doomed.join("a/link")).unwrap();
        for inner in ["a/b/c", "a/b", "a"] {
            std::fs::set_permissions(doomed.join(inner), std::fs::Permissions::from_mode(0o0)).unwrap();
        }
        remove_tree(&doomed).unwrap();
        assert!(!doomed.exists() && kept.join("file").exists());
        remove_tree(&kept.join("file")).unwrap();
        assert!(remove_tree(&kept.join("file")).is_err());
    }

    #[tokio::test]
    async fn what_is_retired_leaves_its_place_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let (old, away) = (directory.path().join("old"), directory.path().join("away"));
        nest(&old, 10);
        retire(&old, &away).unwrap();
        assert!(!old.exists());
        while std::fs::read_dir(&away).unwrap().count() > 0 {
            tokio::task::yield_now().await;
        }
    }
}
