//! What kills the processes of plugins when the sidecar itself is killed: the kernel kills only each plugin's first process
//! then. It runs as `rockstar-sidecar plugin-cleanup`, in a session of its own, and is told over its standard input which
//! sessions there are; when that ends, the sidecar has. Does I/O.

use rustix::{
    io::Errno,
    process::{Pid, Signal, kill_process_group, setsid},
};
use std::{
    collections::BTreeSet,
    io::{self, BufRead, Write},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// The subcommand.
pub const NAME: &str = "plugin-cleanup";
const PAUSE: Duration = Duration::from_millis(5);
/// How long killed processes have to vanish.
const KILL_TIMEOUT: Duration = Duration::from_secs(10);

/// The sidecar's end.
#[derive(Debug)]
pub(super) struct Cleanup {
    child: Child,
}

impl Cleanup {
    pub(super) fn start(program: &Path) -> io::Result<Self> {
        let mut command = Command::new(program);
        command.arg(NAME).env_clear().current_dir("/");
        let child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        Ok(Self { child })
    }

    pub(super) fn process(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub(super) fn add(&mut self, session: Pid) -> io::Result<()> {
        self.tell('+', session)
    }

    pub(super) fn remove(&mut self, session: Pid) -> io::Result<()> {
        self.tell('-', session)
    }

    fn tell(&mut self, what: char, session: Pid) -> io::Result<()> {
        let input = self.child.stdin.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        input.write_all(format!("{what}{}\n", session.as_raw_nonzero()).as_bytes())
    }
}

/// Returns the exit code, after the sidecar's end.
#[must_use]
pub fn run() -> u8 {
    // What ends the sidecar's group must not end this.
    setsid().ok();
    let mut sessions = BTreeSet::new();
    for line in io::stdin().lock().lines().map_while(Result::ok) {
        note(&mut sessions, &line);
    }
    let until = Instant::now() + KILL_TIMEOUT;
    while !sessions.is_empty() && Instant::now() < until {
        sessions.retain(|session| !is_gone(*session));
        thread::sleep(PAUSE);
    }
    u8::from(!sessions.is_empty())
}

fn note(sessions: &mut BTreeSet<i32>, line: &str) {
    match line.split_at_checked(1) {
        Some(("+", session)) => sessions.extend(session.parse::<i32>()),
        Some(("-", session)) => {
            session.parse::<i32>().ok().map(|session| sessions.remove(&session));
        }
        _ => {}
    }
}

fn is_gone(session: i32) -> bool {
    Pid::from_raw(session).is_none_or(|session| kill_process_group(session, Signal::KILL) == Err(Errno::SRCH))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_come_and_go() {
        let mut sessions = BTreeSet::new();
        ["+7", "+8", "-7", "-9", "", "x", "+", "-8x"].iter().for_each(|line| note(&mut sessions, line));
        assert_eq!(sessions, BTreeSet::from([8]));
    }
}
