//! Changes of mode, owner, times and extended attributes, which Landlock does not confine. Does I/O.

use super::{
    Answer, Outcome,
    caller::{Caller, Named, through},
    territory::Territory,
};
use rustix::{
    fs::{AtFlags, CWD, FileType, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags, chmod, chownat, utimensat},
    io::Errno,
};
use std::os::fd::OwnedFd;

const AT_FDCWD: i32 = -100;
const UTIME_NOW: i64 = 0x3fff_ffff;
const NOBODY: u32 = u32::MAX;
/// No program of a plugin's making runs with another's rights.
const MODE: u32 = 0o1777;
/// The sidecar must be able to measure and remove what a plugin leaves.
const OWNER: u32 = 0o700;
const MAX_NAME: u64 = 255;
const MAX_VALUE: u64 = 64 << 10;

enum Change {
    Mode(u32),
    Owner(u32, u32),
    Times(Timestamps),
    Set { name: Vec<u8>, value: Vec<u8>, flags: u32 },
    Remove { name: Vec<u8> },
}

/// Makes the change that a call asks for, where the plugin may write.
pub(super) fn change(caller: &Caller<'_>, territory: &Territory) -> Outcome {
    let (named, change) = read(caller)?;
    let file = caller.locate(&named)?;
    caller.check_waiting()?;
    let stat = territory.check(&file)?;
    let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    make(&file, is_directory, change).map(|()| Answer::Done(0))
}

fn read(caller: &Caller<'_>) -> Result<(Named, Change), Errno> {
    let mode = |index| Change::Mode(caller.argument(index) as u32);
    let owner = |index| Change::Owner(caller.argument(index) as u32, caller.argument(index + 1) as u32);
    let read = match caller.request.call {
        "chmod" => (path(caller, 0, true)?, mode(1)),
        "fchmod" => (descriptor(caller), mode(1)),
        "fchmodat" => (path_at(caller, 0)?, mode(2)),
        "fchmodat2" => (path_with_flags(caller, 3)?, mode(2)),
        "chown" => (path(caller, 0, true)?, owner(1)),
        "lchown" => (path(caller, 0, false)?, owner(1)),
        "fchown" => (descriptor(caller), owner(1)),
        "fchownat" => (path_with_flags(caller, 4)?, owner(2)),
        "utime" => (path(caller, 0, true)?, Change::Times(seconds(caller, caller.argument(1))?)),
        "utimes" => (path(caller, 0, true)?, Change::Times(microseconds(caller, caller.argument(1))?)),
        "futimesat" => (path_at(caller, 0)?, Change::Times(microseconds(caller, caller.argument(2))?)),
        "utimensat" => (path_with_flags(caller, 3)?, Change::Times(nanoseconds(caller, caller.argument(2))?)),
        "setxattr" => (path(caller, 0, true)?, set(caller)?),
        "lsetxattr" => (path(caller, 0, false)?, set(caller)?),
        "fsetxattr" => (descriptor(caller), set(caller)?),
        "removexattr" => (path(caller, 0, true)?, remove(caller)?),
        "lremovexattr" => (path(caller, 0, false)?, remove(caller)?),
        "fremovexattr" => (descriptor(caller), remove(caller)?),
        _ => return Err(Errno::PERM),
    };
    Ok(read)
}

const fn descriptor(caller: &Caller<'_>) -> Named {
    Named::Descriptor(caller.int(0))
}

fn path(caller: &Caller<'_>, index: usize, follows: bool) -> Result<Named, Errno> {
    Ok(Named::Path { directory: AT_FDCWD, path: caller.path(caller.argument(index))?, follows })
}

/// Of the first two arguments; no path at all stands for the descriptor itself.
fn path_at(caller: &Caller<'_>, flags: u32) -> Result<Named, Errno> {
    let flags = AtFlags::from_bits_retain(flags);
    if caller.argument(1) == 0 {
        return Ok(descriptor(caller));
    }
    let path = caller.path(caller.argument(1))?;
    let follows = !flags.contains(AtFlags::SYMLINK_NOFOLLOW);
    match path.as_os_str().is_empty() && flags.contains(AtFlags::EMPTY_PATH) {
        true if caller.int(0) == AT_FDCWD => Ok(Named::Path { directory: AT_FDCWD, path: ".".into(), follows }),
        true => Ok(descriptor(caller)),
        false => Ok(Named::Path { directory: caller.int(0), path, follows }),
    }
}

fn path_with_flags(caller: &Caller<'_>, index: usize) -> Result<Named, Errno> {
    path_at(caller, caller.argument(index) as u32)
}

fn make(file: &OwnedFd, is_directory: bool, change: Change) -> Result<(), Errno> {
    let path = through(file);
    match change {
        Change::Mode(mode) => {
            let kept = if is_directory { OWNER } else { 0 };
            chmod(path, Mode::from_raw_mode(mode & MODE | kept))
        }
        Change::Owner(user, group) => {
            let own_user = rustix::process::geteuid().as_raw();
            let own_group = rustix::process::getegid().as_raw();
            if ![NOBODY, own_user].contains(&user) || ![NOBODY, own_group].contains(&group) {
                return Err(Errno::PERM);
            }
            let user = (user != NOBODY).then(|| Uid::from_raw(user));
            let group = (group != NOBODY).then(|| Gid::from_raw(group));
            chownat(file, "", user, group, AtFlags::EMPTY_PATH)
        }
        Change::Times(times) => utimensat(CWD, path, &times, AtFlags::empty()),
        Change::Set { name, value, flags } => {
            rustix::fs::setxattr(path, own(&name)?, &value, XattrFlags::from_bits_retain(flags))
        }
        Change::Remove { name } => rustix::fs::removexattr(path, own(&name)?),
    }
}

/// Others than a user's own could take the sidecar's rights away, or mean something to the kernel.
fn own(name: &[u8]) -> Result<&[u8], Errno> {
    if name.starts_with(b"user.") { Ok(name) } else { Err(Errno::OPNOTSUPP) }
}

fn set(caller: &Caller<'_>) -> Result<Change, Errno> {
    if caller.argument(3) > MAX_VALUE {
        return Err(Errno::TOOBIG);
    }
    let value = caller.read(caller.argument(2), caller.argument(3) as usize)?;
    Ok(Change::Set { name: name(caller)?, value, flags: caller.argument(4) as u32 })
}

fn remove(caller: &Caller<'_>) -> Result<Change, Errno> {
    Ok(Change::Remove { name: name(caller)? })
}

fn name(caller: &Caller<'_>) -> Result<Vec<u8>, Errno> {
    caller.text(caller.argument(1), MAX_NAME).map_err(|error| match error {
        Errno::NAMETOOLONG => Errno::RANGE,
        other => other,
    })
}

/// struct timespec[2]
fn nanoseconds(caller: &Caller<'_>, address: u64) -> Result<Timestamps, Errno> {
    times(caller, address, |[a, b, c, d]| [(a, b), (c, d)])
}

/// struct timeval[2]
fn microseconds(caller: &Caller<'_>, address: u64) -> Result<Timestamps, Errno> {
    let checked = |part: i64| if (0..1_000_000).contains(&part) { part * 1000 } else { -1 };
    times(caller, address, |[a, b, c, d]| [(a, checked(b)), (c, checked(d))])
}

/// struct utimbuf
fn seconds(caller: &Caller<'_>, address: u64) -> Result<Timestamps, Errno> {
    if address == 0 {
        return Ok(now());
    }
    let bytes = caller.read(address, 16)?;
    Ok(stamps([(long(&bytes, 0), 0), (long(&bytes, 8), 0)]))
}

fn times(
    caller: &Caller<'_>,
    address: u64,
    pairs: impl FnOnce([i64; 4]) -> [(i64, i64); 2],
) -> Result<Timestamps, Errno> {
    if address == 0 {
        return Ok(now());
    }
    let bytes = caller.read(address, 32)?;
    Ok(stamps(pairs([0, 8, 16, 24].map(|at| long(&bytes, at)))))
}

fn long(bytes: &[u8], at: usize) -> i64 {
    bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, i64::from_ne_bytes)
}

fn now() -> Timestamps {
    stamps([(0, UTIME_NOW), (0, UTIME_NOW)])
}

fn stamps([access, change]: [(i64, i64); 2]) -> Timestamps {
    let stamp = |(seconds, nanoseconds)| Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
    Timestamps { last_access: stamp(access), last_modification: stamp(change) }
}
