//! Processes of a measurement: they end with their owner, and with this program however it ends.

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, getppid, kill_process, set_parent_process_death_signal};
use std::{
    ffi::{OsStr, OsString},
    os::unix::process::CommandExt as _,
    process::{Child as Process, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

/// The subcommand under which this program becomes another one.
pub(crate) const BECOME: &str = "become";
const LIMIT: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(crate) struct Child {
    process: Process,
}

impl Child {
    /// Starts a program; to be called from the main thread, with whose end the child ends.
    pub(crate) fn start<S: AsRef<OsStr>>(command: impl IntoIterator<Item = S>) -> Result<Self> {
        let process = Command::new(std::env::current_exe()?)
            .arg(BECOME)
            .arg(std::process::id().to_string())
            .args(command)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()?;
        Ok(Self { process })
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    fn end(&mut self) {
        let pid = Pid::from_child(&self.process);
        let limit = Instant::now() + LIMIT;
        let _ = kill_process(pid, Signal::TERM);
        while Instant::now() < limit && matches!(self.process.try_wait(), Ok(None)) {
            sleep(Duration::from_millis(5));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.end();
    }
}

/// In the child: binds it to the life of its parent, then becomes the program.
pub(crate) fn become_program(parent: u32, command: &[OsString]) -> Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let alive = getppid().is_some_and(|now| now.as_raw_nonzero().get().unsigned_abs() == parent);
    ensure!(alive, "the parent has ended");
    let (program, args) = command.split_first().context("no program given")?;
    Err(Command::new(program).args(args).exec()).with_context(|| format!("cannot run {}", program.display()))
}
