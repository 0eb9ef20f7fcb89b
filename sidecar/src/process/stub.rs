//! What runs between fork and the plugin's program, as `rockstar-sidecar plugin-exec`: a process of one thread that puts
//! itself under the sidecar's rule and then becomes the plugin. The sandbox is entered here, last before execution.

use super::program;
use rustix::process::{Pid, Resource, Rlimit, Signal, getppid, set_parent_process_death_signal, setrlimit, setsid};
use std::{
    ffi::OsString,
    fs, io,
    os::{fd::OwnedFd, unix::process::CommandExt},
    path::Path,
    process::{Command, Stdio},
};

/// The subcommand.
pub const NAME: &str = "plugin-exec";

/// Arguments: the parent's process id, the program, its arguments. Returns only on failure, with the exit code.
#[must_use]
pub fn run(mut arguments: impl Iterator<Item = OsString>) -> u8 {
    let Ok(verdict) = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3) else { return 126 };
    let parent = arguments.next().and_then(|a| a.to_str()?.parse().ok()).and_then(Pid::from_raw);
    let cause = match (parent, arguments.next()) {
        (Some(parent), Some(program)) => become_plugin(parent, program, arguments),
        _ => io::Error::from_raw_os_error(rustix::io::Errno::INVAL.raw_os_error()),
    };
    report(&verdict, &cause);
    126
}

fn become_plugin(parent: Pid, program: OsString, arguments: impl Iterator<Item = OsString>) -> io::Error {
    if let Err(cause) = submit(parent).and_then(|()| program::check(Path::new(&program))) {
        return cause;
    }
    Command::new(program).args(arguments).stdin(Stdio::null()).exec()
}

fn submit(parent: Pid) -> io::Result<()> {
    setsid()?;
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // The parent may have died before the line above.
    if getppid() != Some(parent) {
        return Err(io::Error::from_raw_os_error(rustix::io::Errno::SRCH.raw_os_error()));
    }
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    // When memory is short the kernel takes a plugin, not the sidecar. Some sandboxes forbid even that.
    fs::write("/proc/self/oom_score_adj", "1000").ok();
    Ok(())
}

fn report(verdict: &OwnedFd, cause: &io::Error) {
    let number = cause.raw_os_error().unwrap_or(rustix::io::Errno::INVAL.raw_os_error());
    rustix::io::write(verdict, &number.to_le_bytes()).ok();
}
