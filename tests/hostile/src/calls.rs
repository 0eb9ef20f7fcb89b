//! System calls as an attacker makes them.

#![allow(unsafe_code)] // each call is with constants, or with memory that outlives it

use std::{
    fs::{self, File},
    io::{self, Write},
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd},
        unix::process::CommandExt,
    },
    process::Command,
};

fn result(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn owned(fd: libc::c_long) -> OwnedFd {
    unsafe { OwnedFd::from_raw_fd(fd as i32) }
}

pub(crate) fn socket(domain: i32) -> io::Result<()> {
    let kind = if domain == libc::AF_VSOCK || domain == libc::AF_UNIX { libc::SOCK_STREAM } else { libc::SOCK_RAW };
    result(unsafe { libc::socket(domain, kind, 0) }.into()).map(|fd| drop(owned(fd)))
}

pub(crate) fn io_uring() -> io::Result<()> {
    let parameters = [0_u8; 120];
    let ring = unsafe { libc::syscall(libc::SYS_io_uring_setup, 4, parameters.as_ptr()) };
    result(ring).map(|fd| drop(owned(fd)))
}

pub(crate) fn x32_socket() -> io::Result<()> {
    let number = 0x4000_0000 | libc::SYS_socket;
    result(unsafe { libc::syscall(number, libc::AF_INET, libc::SOCK_DGRAM, 0) }).map(|fd| drop(owned(fd)))
}

/// Runs a copy of a program that lies in no directory.
pub(crate) fn run_from_memory(program: &str, by_descriptor: bool) -> io::Result<()> {
    let fd = owned(result(unsafe { libc::memfd_create(c"program".as_ptr(), 0) }.into())?);
    let mut file = File::from(fd.try_clone()?);
    file.write_all(&fs::read(program)?)?;
    let number = fd.as_raw_fd();
    let mut command = Command::new(format!("/proc/self/fd/{number}"));
    if by_descriptor {
        let (arguments, empty) = ([std::ptr::null::<libc::c_char>(); 1], c"");
        let arguments = arguments.as_ptr() as usize;
        unsafe {
            command.pre_exec(move || {
                let none = arguments as *const *const libc::c_char;
                let flags = libc::AT_EMPTY_PATH;
                libc::syscall(libc::SYS_execveat, number, empty.as_ptr(), none, none, flags);
                Err(io::Error::last_os_error())
            });
        }
    }
    let status = command.status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(status.to_string())) }
}

/// One of the ways out of a session or a namespace, tried by a child: it is no leader of anything.
pub(crate) fn in_child(way: &str) -> io::Result<()> {
    let flags = libc::c_long::from(libc::CLONE_NEWUSER | libc::SIGCHLD);
    let child = match way {
        "clone" => unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) },
        _ => unsafe { libc::fork() }.into(),
    };
    if result(child)? == 0 {
        let failed = unsafe {
            match way {
                "setsid" => libc::setsid() < 0,
                "setpgid" => libc::setpgid(0, 0) < 0,
                "unshare" => libc::unshare(libc::CLONE_NEWUSER) < 0,
                "setns" => libc::setns(0, 0) < 0,
                _ => false,
            }
        };
        let code = if failed { io::Error::last_os_error().raw_os_error().unwrap_or(1) } else { 0 };
        unsafe { libc::_exit(code) }
    }
    let mut status = 0;
    unsafe { libc::waitpid(child as i32, &raw mut status, 0) };
    match libc::WEXITSTATUS(status) {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(code)),
    }
}

pub(crate) fn undumpable() -> io::Result<()> {
    result(unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) }.into()).map(|_| ())
}

pub(crate) fn signal(pid: i32) -> io::Result<()> {
    result(unsafe { libc::kill(pid, 0) }.into()).map(|_| ())
}

/// A child that forks and ends, whose child forks and ends, and so on without end: each lives for microseconds. Each in
/// turn tries to forget what ends it, and to leave.
pub(crate) fn hop(chains: i32) -> io::Result<()> {
    for _ in 0..chains {
        if result(unsafe { libc::fork() }.into())? == 0 {
            loop {
                unsafe {
                    libc::prctl(libc::PR_SET_PDEATHSIG, 0);
                    libc::setsid();
                    libc::setpgid(0, 0);
                    if libc::fork() > 0 {
                        libc::_exit(0);
                    }
                }
            }
        }
    }
    Ok(())
}

/// What happens in a directory.
pub(crate) fn watch(path: &str) -> io::Result<()> {
    let path = std::ffi::CString::new(path)?;
    let watcher = owned(result(unsafe { libc::inotify_init1(libc::IN_CLOEXEC) }.into())?);
    let watch = unsafe { libc::inotify_add_watch(watcher.as_raw_fd(), path.as_ptr(), libc::IN_ALL_EVENTS) };
    result(watch.into()).map(|_| ())
}

/// A child that is waited for: signals reach the plugin's own.
pub(crate) fn end_child() -> io::Result<()> {
    let child = result(unsafe { libc::fork() }.into())? as i32;
    if child == 0 {
        loop {
            unsafe { libc::pause() };
        }
    }
    result(unsafe { libc::kill(child, libc::SIGKILL) }.into())?;
    let mut status = 0;
    result(unsafe { libc::waitpid(child, &raw mut status, 0) }.into())?;
    if libc::WTERMSIG(status) == libc::SIGKILL { Ok(()) } else { Err(io::Error::other("not killed")) }
}

/// A grandchild whose parent is gone, deaf to SIGTERM, with our output open.
pub(crate) fn leave_orphans() -> io::Result<()> {
    let child = result(unsafe { libc::fork() }.into())?;
    if child == 0 {
        unsafe {
            if libc::fork() == 0 {
                libc::signal(libc::SIGTERM, libc::SIG_IGN);
                libc::setsid();
                loop {
                    libc::pause();
                }
            }
            libc::_exit(0);
        }
    }
    unsafe { libc::waitpid(child as i32, std::ptr::null_mut(), 0) };
    Ok(())
}
