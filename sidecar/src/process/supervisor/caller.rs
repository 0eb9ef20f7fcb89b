//! The thread that waits for an answer: its arguments, its memory, its descriptors, and files as it names them. All is
//! read under its number, which is its own as long as it waits: `is_waiting` is asked after reading and before acting.

use rockstar_seccomp::{Listener, Request};
use rustix::{
    fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2},
    io::Errno,
};
use std::{
    fs::{self, File},
    io,
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::{ffi::OsStringExt, fs::FileExt},
    },
    path::{Path, PathBuf},
};

const PAGE: u64 = 4096;
/// PATH_MAX
const MAX_PATH: u64 = 4096;
const AT_FDCWD: i32 = -100;

pub(super) struct Caller<'a> {
    pub(super) listener: &'a Listener,
    pub(super) request: Request,
}

/// What a call names.
pub(super) enum Named {
    Descriptor(i32),
    Path { directory: i32, path: PathBuf, follows: bool },
}

impl<'a> Caller<'a> {
    pub(super) const fn new(listener: &'a Listener, request: Request) -> Self {
        Self { listener, request }
    }

    pub(super) const fn argument(&self, index: usize) -> u64 {
        self.request.arguments[index]
    }

    /// An argument that the kernel takes as int.
    pub(super) const fn int(&self, index: usize) -> i32 {
        self.request.arguments[index] as u32 as i32
    }

    /// An error unless the caller still waits: else what was read may be another one's.
    pub(super) fn check_waiting(&self) -> Result<(), Errno> {
        if self.listener.is_waiting(self.request) { Ok(()) } else { Err(Errno::SRCH) }
    }

    /// Bytes of its memory.
    pub(super) fn read(&self, address: u64, length: usize) -> Result<Vec<u8>, Errno> {
        let mut bytes = vec![0; length];
        self.memory()?.read_exact_at(&mut bytes, address).map_err(|_| Errno::FAULT)?;
        Ok(bytes)
    }

    /// A text of its memory that ends with NUL.
    pub(super) fn text(&self, address: u64, max: u64) -> Result<Vec<u8>, Errno> {
        let memory = self.memory()?;
        let mut text = Vec::new();
        while (text.len() as u64) < max {
            let at = address.checked_add(text.len() as u64).ok_or(Errno::FAULT)?;
            // The next page may not be there.
            let mut chunk = vec![0; (PAGE - at % PAGE) as usize];
            memory.read_exact_at(&mut chunk, at).map_err(|_| Errno::FAULT)?;
            match chunk.iter().position(|byte| *byte == 0) {
                Some(end) => {
                    text.extend(&chunk[..end]);
                    return if text.len() as u64 <= max { Ok(text) } else { Err(Errno::NAMETOOLONG) };
                }
                None => text.extend(chunk),
            }
        }
        Err(Errno::NAMETOOLONG)
    }

    pub(super) fn path(&self, address: u64) -> Result<PathBuf, Errno> {
        self.text(address, MAX_PATH - 1).map(|text| PathBuf::from(std::ffi::OsString::from_vec(text)))
    }

    fn memory(&self) -> Result<File, Errno> {
        File::open(self.place("mem")).map_err(|error| errno(&error))
    }

    fn place(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{name}", self.request.thread))
    }

    /// What a call names, as a handle that does nothing but name it.
    pub(super) fn locate(&self, named: &Named) -> Result<OwnedFd, Errno> {
        match named {
            Named::Descriptor(number) => self.descriptor(*number),
            Named::Path { path, .. } if path.as_os_str().is_empty() => Err(Errno::NOENT),
            Named::Path { path, follows: true, .. } if own_descriptor(path).is_some() => {
                self.descriptor(own_descriptor(path).unwrap_or(-1))
            }
            Named::Path { directory, path, follows } => self.resolve(*directory, path, *follows),
        }
    }

    fn resolve(&self, directory: i32, path: &Path, follows: bool) -> Result<OwnedFd, Errno> {
        let base = match (path.is_absolute(), directory) {
            (true, _) => None,
            (false, AT_FDCWD) => Some(self.open_place("cwd")?),
            (false, number) => Some(self.descriptor(number)?),
        };
        let flags = OFlags::PATH | OFlags::CLOEXEC | if follows { OFlags::empty() } else { OFlags::NOFOLLOW };
        // Links of /proc would be the sidecar's, not the caller's.
        let base = base.as_ref().map_or(CWD, AsFd::as_fd);
        openat2(base, path, flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS)
    }

    /// The very object that a descriptor of the caller is open on. Sockets and pipes cannot be named like this.
    fn descriptor(&self, number: i32) -> Result<OwnedFd, Errno> {
        if number < 0 {
            return Err(Errno::BADF);
        }
        match self.open_place(&format!("fd/{number}")) {
            Err(Errno::NOENT) => Err(Errno::BADF),
            opened => opened,
        }
    }

    fn open_place(&self, name: &str) -> Result<OwnedFd, Errno> {
        openat(CWD, self.place(name), OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
    }

    /// Flags of a descriptor of the caller's that is a socket.
    pub(super) fn socket_flags(&self, number: i32) -> Result<OFlags, Errno> {
        let target = fs::read_link(self.place(&format!("fd/{number}"))).map_err(|_| Errno::BADF)?;
        if !target.to_string_lossy().starts_with("socket:") {
            return Err(Errno::NOTSOCK);
        }
        let told = fs::read_to_string(self.place(&format!("fdinfo/{number}"))).map_err(|_| Errno::BADF)?;
        let flags = told.lines().find_map(|line| line.strip_prefix("flags:")).map(str::trim);
        let flags = flags.and_then(|flags| u32::from_str_radix(flags, 8).ok()).ok_or(Errno::BADF)?;
        Ok(OFlags::from_bits_retain(flags))
    }
}

/// `/proc/self/fd/N`, by which C libraries name a descriptor.
fn own_descriptor(path: &Path) -> Option<i32> {
    let path = path.to_str()?;
    let number = ["/proc/self/fd/", "/proc/thread-self/fd/", "/dev/fd/"].iter().find_map(|p| path.strip_prefix(p))?;
    number.parse().ok().filter(|number| *number >= 0)
}

/// The path by which the sidecar itself names an object that it has a handle of.
pub(super) fn through(handle: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", handle.as_raw_fd())
}

pub(super) fn errno(error: &io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::PERM)
}
