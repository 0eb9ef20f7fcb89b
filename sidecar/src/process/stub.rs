//! What runs between fork and the plugin's program, as `rockstar-sidecar plugin-exec`: a process of one thread that puts
//! itself under the sidecar's rule and then becomes the plugin. The sandbox is entered here, last before execution.

use super::{
    program,
    sandbox::Confinement,
    verdict::{self, Step},
};
use rustix::process::{
    Pid, Resource, Rlimit, Signal, getppid, getrlimit, set_parent_process_death_signal, setrlimit, setsid,
};
use std::{
    ffi::OsString,
    fs, io,
    os::{fd::OwnedFd, unix::process::CommandExt},
    path::Path,
    process::{Command, Stdio},
};

/// The subcommand.
pub const NAME: &str = "plugin-exec";

/// Arguments: the parent's process id, the most descriptors of a process, the confinement as JSON, the program, its
/// arguments. Its standard input is the socket for its verdict. Returns only on failure, with the exit code.
#[must_use]
pub fn run(mut arguments: impl Iterator<Item = OsString>) -> u8 {
    let Ok(verdict) = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3) else { return 126 };
    let parent = arguments.next().and_then(|a| a.to_str()?.parse().ok()).and_then(Pid::from_raw);
    let descriptors = arguments.next().and_then(|a| a.to_str()?.parse().ok());
    let confinement = arguments.next().and_then(|a| serde_json::from_str(a.to_str()?).ok());
    let (step, cause) = match (parent.zip(descriptors), confinement, arguments.next()) {
        (Some(begin), Some(confinement), Some(program)) => {
            become_plugin(begin, &confinement, program, arguments, &verdict)
        }
        _ => (Step::Begin, rustix::io::Errno::INVAL.into()),
    };
    verdict::tell(&verdict, step, &cause).ok();
    126
}

fn become_plugin(
    (parent, descriptors): (Pid, u64),
    confinement: &Confinement,
    program: OsString,
    arguments: impl Iterator<Item = OsString>,
    verdict: &OwnedFd,
) -> (Step, io::Error) {
    if let Err(cause) = submit(parent, descriptors) {
        return (Step::Begin, cause);
    }
    if let Err(cause) = program::check(Path::new(&program)) {
        return (Step::Execute, cause);
    }
    let entered = confinement.enter(Path::new(&program));
    match entered.and_then(|listener| listener.map_or(Ok(()), |listener| verdict::hand_over(verdict, &listener))) {
        Ok(()) => (Step::Execute, Command::new(program).args(arguments).stdin(Stdio::null()).exec()),
        Err(cause) => (Step::Confine, cause),
    }
}

fn submit(parent: Pid, descriptors: u64) -> io::Result<()> {
    setsid()?;
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // The parent may have died before the line above.
    if getppid() != Some(parent) {
        return Err(rustix::io::Errno::SRCH.into());
    }
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    let most = getrlimit(Resource::Nofile).maximum.map_or(descriptors, |most| most.min(descriptors));
    setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum: Some(most) })?;
    // When memory is short the kernel takes a plugin, not the sidecar. Some sandboxes forbid even that.
    fs::write("/proc/self/oom_score_adj", "1000").ok();
    Ok(())
}
