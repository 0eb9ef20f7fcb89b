//! Signals, where Landlock does not keep them inside: sent by the sidecar, to processes of the caller's session. Does I/O.

use super::{Answer, Outcome, caller::Caller};
use crate::peers;
use rustix::{
    io::Errno,
    process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open, pidfd_send_signal, test_kill_process_group},
};

pub(super) fn kill(caller: &Caller<'_>, session: Pid) -> Outcome {
    let (target, number) = (caller.int(0), caller.int(1));
    let signal = if number == 0 { None } else { Some(Signal::from_named_raw(number).ok_or(Errno::INVAL)?) };
    if target == -session.as_raw_nonzero().get() {
        let sent = signal.map_or_else(|| test_kill_process_group(session), |s| kill_process_group(session, s));
        return sent.map(|()| Answer::Done(0));
    }
    let target = Pid::from_raw(target).filter(|pid| pid.as_raw_nonzero().get() > 0).ok_or(Errno::PERM)?;
    // As long as the handle names a living process, the number is that one's.
    let handle = pidfd_open(target, PidfdFlags::empty())?;
    if peers::session(target).ok().flatten() != Some(session) || peers::has_ended(&handle) {
        return Err(Errno::PERM);
    }
    if let Some(signal) = signal {
        pidfd_send_signal(handle, signal)?;
    }
    Ok(Answer::Done(0))
}
