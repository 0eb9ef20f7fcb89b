//! What the stub tells the sidecar before it becomes the plugin: the end on which the kernel asks, then nothing if all
//! went well, else what failed. Over a socket that closes when the plugin's program begins. Does I/O.

use rockstar_seccomp::Listener;
use rustix::{
    io::Errno,
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage,
        SendFlags, recvmsg, sendmsg,
    },
};
use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, OwnedFd},
};
use tokio::{io::Interest, net::UnixStream};

/// Comes with the listener.
const LISTENER: u8 = b'L';

/// What the stub was doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Begin,
    Confine,
    Execute,
}

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    pub(super) listener: Option<Listener>,
    pub(super) failure: Option<(Step, io::Error)>,
}

impl Step {
    const fn letter(self) -> u8 {
        match self {
            Self::Begin => b'B',
            Self::Confine => b'C',
            Self::Execute => b'E',
        }
    }

    fn of(letter: u8) -> Option<Self> {
        [Self::Begin, Self::Confine, Self::Execute].into_iter().find(|step| step.letter() == letter)
    }
}

pub(super) fn hand_over(socket: &OwnedFd, listener: &Listener) -> io::Result<()> {
    let fds = [listener.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&fds));
    sendmsg(socket, &[IoSlice::new(&[LISTENER])], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// A letter for the step, the error's number, or its text where it has none.
pub(super) fn tell(socket: &OwnedFd, step: Step, cause: &io::Error) -> io::Result<()> {
    let number = cause.raw_os_error().unwrap_or_default();
    let text = if number == 0 { cause.to_string() } else { String::new() };
    let message = [&[step.letter()], &number.to_le_bytes()[..], text.as_bytes()].concat();
    rustix::io::write(socket, &message)?;
    Ok(())
}

/// Takes what comes next: the listener, or bytes of a failure. False at the end.
pub(super) async fn take(socket: &UnixStream, verdict: &mut Verdict, failure: &mut Vec<u8>) -> io::Result<bool> {
    let mut bytes = [0; 512];
    let (count, listener) = socket.async_io(Interest::READABLE, || receive(socket, &mut bytes)).await?;
    let bytes = bytes.get(..count).unwrap_or_default();
    match listener {
        Some(fd) => {
            verdict.listener = Some(fd.into());
            failure.extend(bytes.iter().skip(1));
        }
        None => failure.extend(bytes),
    }
    if count == 0 {
        verdict.failure = read(failure);
    }
    Ok(count > 0)
}

fn receive(socket: &UnixStream, bytes: &mut [u8]) -> io::Result<(usize, Option<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received =
        recvmsg(socket, &mut [IoSliceMut::new(bytes)], &mut control, RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC)?;
    if received.flags.contains(ReturnFlags::CTRUNC) {
        return Err(Errno::MSGSIZE.into());
    }
    let fds = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => Some(fds),
        _ => None,
    });
    let listener = fds.flatten().last();
    Ok((received.bytes, listener))
}

fn read(failure: &[u8]) -> Option<(Step, io::Error)> {
    let (head, text) = failure.split_at_checked(5)?;
    let number = i32::from_le_bytes(head.get(1..)?.try_into().ok()?);
    let cause = match number {
        0 => io::Error::other(String::from_utf8_lossy(text).into_owned()),
        number => io::Error::from_raw_os_error(number),
    };
    Some((Step::of(*head.first()?)?, cause))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn failures_arrive_with_their_number_or_their_text() {
        for (step, cause) in [(Step::Execute, Errno::NOEXEC.into()), (Step::Confine, io::Error::other("no rules"))] {
            let (ours, theirs) = UnixStream::pair().unwrap();
            tell(&theirs.into_std().unwrap().into(), step, &cause).unwrap();
            let (mut verdict, mut failure) = (Verdict::default(), Vec::new());
            while take(&ours, &mut verdict, &mut failure).await.unwrap() {}
            let (told, error) = verdict.failure.unwrap();
            assert_eq!((told, error.to_string()), (step, cause.to_string()));
            assert!(verdict.listener.is_none());
        }
    }
}
