//! One plugin's processes: a session, which is one process group, since none of them may leave either. The kernel signals a
//! group at once, also those that are being forked; it is signalled until nobody is in it. Does I/O; no call blocks.

use super::{Overrun, session_processes as processes};
use parking_lot::Mutex;
use rustix::{
    io::Errno,
    process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open, pidfd_send_signal},
};
use std::{os::fd::OwnedFd, sync::OnceLock};

#[derive(Debug)]
pub(super) struct Session {
    plugin: String,
    leader: Pid,
    /// Readable when the first process has ended.
    life: Option<OwnedFd>,
    state: Mutex<State>,
    /// Why it was ended, where that is why.
    overrun: OnceLock<Overrun>,
}

#[derive(Debug, Default)]
struct State {
    /// The first process has ended and its number is free, as soon as nobody is left in the group.
    reaped: bool,
    /// Nobody is left, and the number may be another one's.
    gone: bool,
}

impl Session {
    /// Of a child that is about to begin it.
    pub(super) fn new(plugin: String, leader: Pid) -> Self {
        let life = pidfd_open(leader, PidfdFlags::empty()).ok();
        Self { plugin, leader, life, state: Mutex::default(), overrun: OnceLock::new() }
    }

    pub(super) fn plugin(&self) -> &str {
        &self.plugin
    }

    pub(super) const fn leader(&self) -> Pid {
        self.leader
    }

    pub(super) const fn life(&self) -> Option<&OwnedFd> {
        self.life.as_ref()
    }

    pub(super) fn set_reaped(&self) {
        self.state.lock().reaped = true;
    }

    pub(super) fn is_reaped(&self) -> bool {
        self.state.lock().reaped
    }

    /// Asks all processes to end.
    pub(super) fn terminate(&self) {
        if !self.state.lock().gone {
            kill_process_group(self.leader, Signal::TERM).ok();
        }
    }

    /// Kills all processes. True: nobody is left.
    pub(super) fn kill(&self) -> bool {
        let mut state = self.state.lock();
        if state.gone {
            return true;
        }
        // It may not have begun its session yet.
        if let Some(life) = self.life.as_ref().filter(|_| !state.reaped) {
            pidfd_send_signal(life, Signal::KILL).ok();
        }
        let group = kill_process_group(self.leader, Signal::KILL);
        // Without a filter a process can leave its group, though not what it has begun.
        let members = processes::kill_members(self.leader);
        state.gone = state.reaped && group == Err(Errno::SRCH) && members == 0;
        state.gone
    }

    /// Kills all processes for what they took.
    pub(super) fn end_for(&self, overrun: Overrun) {
        self.overrun.get_or_init(|| overrun);
        self.kill();
    }

    pub(super) fn overrun(&self) -> Option<Overrun> {
        self.overrun.get().copied()
    }

    /// Resident bytes of all processes.
    pub(super) fn resident(&self) -> u64 {
        processes::resident(self.leader)
    }
}
