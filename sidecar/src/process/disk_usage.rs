//! What a plugin has on the disk: the files below its `data/` and `tmp/`, and those that it removed and keeps open. The
//! walk follows no link, does not recurse, and goes no further than to the bound. Does I/O, blocking.

use super::{
    LimitsNow, Overrun, ProcessLimits,
    sandbox::TEMPORARY,
    session::Session,
    session_processes::{RemovedFile, removed_files},
};
use rustix::{
    fd::OwnedFd,
    fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, Stat, openat, openat2, statat},
};
use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{task::spawn_blocking, time::sleep};

/// Between two walks, at least; and so many times as long as a walk takes.
const PERIOD: Duration = Duration::from_secs(1);
const REST: u32 = 20;
/// What an entry costs at least, in bytes: many empty files fill a disk as well.
const MIN_FILE: u64 = 1 << 10;
const MIN_DIRECTORY: u64 = 4 << 10;
/// Beyond this a name is looked up from a descriptor further in: a path has at most 4 096 bytes.
const MAX_PATH: usize = 3000;
/// Descriptors of one walk. What is deeper counts as too large.
const MAX_DESCRIPTORS: usize = 64;
/// Entries between two chances for others.
const STRIDE: u64 = 1000;

/// Ends the processes of a session once they have too much on the disk.
pub(super) async fn watch(session: Arc<Session>, directory: PathBuf, limits: ProcessLimits, now: LimitsNow) {
    let mut pause = PERIOD;
    loop {
        sleep(pause).await;
        let (session_now, directory) = (Arc::clone(&session), directory.clone());
        let began = Instant::now();
        let found = spawn_blocking(move || passed(&session_now, &directory, &now(limits))).await;
        match found {
            Ok(None) => pause = PERIOD.max(began.elapsed() * REST),
            Ok(Some(overrun)) => return session.end_for(overrun),
            Err(_) => return,
        }
    }
}

/// All that is in the private directory and not in `tmp/` counts for `data/`.
fn passed(session: &Session, directory: &Path, limits: &ProcessLimits) -> Option<Overrun> {
    let removed = removed_files(session.leader(), directory);
    let temporary = directory.join(TEMPORARY);
    let (of_tmp, of_data): (Vec<_>, Vec<_>) = removed.iter().partition(|file| file.path.starts_with(&temporary));
    let over = |files: &[&RemovedFile], root: &Path, limit: u64| {
        let kept: u64 = files.iter().map(|file| file.bytes).sum();
        kept > limit || kept + below(root, limit - kept) > limit
    };
    match () {
        () if over(&of_tmp, &temporary, limits.tmp) => Some(Overrun::Temporary(limits.tmp)),
        () if over(&of_data, directory, limits.data) => Some(Overrun::Data(limits.data)),
        () => None,
    }
}

/// A directory that is still to be read: from a descriptor, by a path below it.
struct Pending {
    from: Option<Rc<OwnedFd>>,
    path: OsString,
}

/// The bytes of all files below a directory, without a `tmp/` right in it; more than `limit` once that is certain.
fn below(directory: &Path, limit: u64) -> u64 {
    let (mut bytes, mut entries) = (0, 0);
    let mut pending = vec![Pending { from: None, path: directory.as_os_str().to_owned() }];
    let mut descriptors = Vec::new();
    while let Some(next) = pending.pop() {
        let Some(opened) = next.open() else { continue };
        let opened = Rc::new(opened);
        let is_root = next.from.is_none();
        let reads = Dir::read_from(&*opened);
        let far = next.path.len() > MAX_PATH || is_root;
        let (from, prefix) = if far { (Some(Rc::clone(&opened)), OsString::new()) } else { (next.from, next.path) };
        if far {
            descriptors.retain(|old: &std::rc::Weak<OwnedFd>| old.strong_count() > 0);
            descriptors.push(Rc::downgrade(&opened));
            if descriptors.len() > MAX_DESCRIPTORS {
                return limit.saturating_add(1);
            }
        }
        for entry in reads.into_iter().flatten().flatten() {
            let name = entry.file_name();
            let is_apart = is_root && name.to_bytes() == TEMPORARY.as_bytes();
            if is_apart || name == c"." || name == c".." {
                continue;
            }
            let Ok(stat) = statat(&*opened, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
            bytes += size(&stat);
            entries += 1;
            if bytes > limit {
                return bytes;
            }
            if entries % STRIDE == 0 {
                std::thread::yield_now();
            }
            if FileType::from_raw_mode(stat.st_mode).is_dir() {
                let path = joined(&prefix, OsStr::from_bytes(name.to_bytes()));
                pending.push(Pending { from: from.clone(), path });
            }
        }
    }
    bytes
}

impl Pending {
    fn open(&self) -> Option<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        match &self.from {
            None => openat(CWD, &*self.path, flags, Mode::empty()).ok(),
            // The plugin may put a link in the place of any part of the path meanwhile.
            Some(from) => {
                let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
                openat2(&**from, &*self.path, flags, Mode::empty(), beneath).ok()
            }
        }
    }
}

fn joined(prefix: &OsStr, name: &OsStr) -> OsString {
    let mut path = prefix.to_owned();
    if !path.is_empty() {
        path.push("/");
    }
    path.push(name);
    path
}

/// A file with several names counts in parts.
fn size(stat: &Stat) -> u64 {
    let bytes = u64::try_from(stat.st_blocks).unwrap_or_default().saturating_mul(512);
    // The field is narrower on aarch64.
    #[allow(clippy::useless_conversion)]
    let names = u64::from(stat.st_nlink).max(1);
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => bytes.max(MIN_DIRECTORY),
        _ => (bytes / names).max(MIN_FILE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::symlink};

    const MUCH: u64 = 1 << 30;

    fn made() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    #[test]
    fn files_count_with_what_they_take_and_links_are_not_followed() {
        let directory = made();
        let path = directory.path();
        assert_eq!(below(path, MUCH), 0);
        fs::write(path.join("a"), vec![1; 1 << 20]).unwrap();
        let file = below(path, MUCH);
        assert!((1 << 20..(1 << 20) + 65_536).contains(&file), "{file}");
        fs::hard_link(path.join("a"), path.join("b")).unwrap();
        assert_eq!(below(path, MUCH), file, "two names of one file");
        fs::File::create(path.join("sparse")).unwrap().set_len(1 << 40).unwrap();
        fs::write(path.join("empty"), "").unwrap();
        assert_eq!(below(path, MUCH), file + 2 * MIN_FILE);
        let elsewhere = made();
        fs::write(elsewhere.path().join("large"), vec![1; 1 << 20]).unwrap();
        symlink(elsewhere.path(), path.join("link")).unwrap();
        symlink("/", path.join("root")).unwrap();
        assert_eq!(below(path, MUCH), file + 4 * MIN_FILE);
        assert!(below(&path.join("link"), MUCH) == 0, "nor is the root itself a link");
        assert_eq!(below(&path.join("absent"), MUCH), 0);
    }

    #[test]
    fn it_ends_at_the_bound() {
        let directory = made();
        for n in 0..200 {
            fs::write(directory.path().join(n.to_string()), "").unwrap();
        }
        assert_eq!(below(directory.path(), 200 * MIN_FILE), 200 * MIN_FILE);
        assert_eq!(below(directory.path(), 100 * MIN_FILE), 101 * MIN_FILE);
    }

    #[test]
    fn what_is_deep_is_found() {
        let directory = made();
        let mut at = rustix::fs::openat(CWD, directory.path(), OFlags::RDONLY, Mode::empty()).unwrap();
        let name = "n".repeat(100);
        for _ in 0..1000 {
            rustix::fs::mkdirat(&at, &*name, Mode::RWXU).unwrap();
            at = rustix::fs::openat(&at, &*name, OFlags::RDONLY, Mode::empty()).unwrap();
        }
        let file = rustix::fs::openat(&at, "file", OFlags::CREATE | OFlags::WRONLY, Mode::RWXU).unwrap();
        rustix::io::write(&file, &[1; 4096]).unwrap();
        let found = below(directory.path(), MUCH);
        assert!(found >= 1000 * MIN_DIRECTORY + 4096, "{found}");
        crate::removal::remove_tree(&directory.path().join(&name)).unwrap();
    }

    #[test]
    fn what_keeps_too_many_levels_open_counts_as_too_large() {
        let directory = made();
        let mut at = rustix::fs::openat(CWD, directory.path(), OFlags::RDONLY, Mode::empty()).unwrap();
        // Whichever of two siblings is read first, the other one waits.
        for _ in 0..2000 {
            for name in ["a", "b"] {
                rustix::fs::mkdirat(&at, format!("{name}{}", "n".repeat(200)), Mode::RWXU).unwrap();
            }
            at = rustix::fs::openat(&at, format!("a{}", "n".repeat(200)), OFlags::RDONLY, Mode::empty()).unwrap();
        }
        let found = below(directory.path(), MUCH);
        assert!(found == MUCH + 1 || found >= 4000 * MIN_DIRECTORY, "{found}");
        for entry in fs::read_dir(directory.path()).unwrap() {
            crate::removal::remove_tree(&entry.unwrap().path()).unwrap();
        }
    }
}
