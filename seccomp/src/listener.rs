//! Installs a filter, and answers what the kernel asks on behalf of the processes under it. Does I/O; no call waits.

use crate::{
    filter::Filter,
    kernel::{self, Answer},
    numbers::Machine,
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::OFlags,
    io::Errno,
};
use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
};

const AT_ONCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
const CONTINUE: u32 = 1; // SECCOMP_USER_NOTIF_FLAG_CONTINUE

/// The end on which the kernel asks. When it is closed, what it would have been asked about fails.
#[derive(Debug)]
pub struct Listener(OwnedFd);

/// One process waits for the answer to this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    id: u64,
    /// The thread that waits, as this process numbers it; 0 if it has no number here.
    pub thread: u32,
    /// The call's name; empty if the table of numbers does not have it.
    pub call: &'static str,
    /// As the caller gave them; what pointers lead to may change at any time.
    pub arguments: [u64; 6],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    Request(Request),
    Nothing,
    /// No process is left under the filter.
    Over,
}

impl Filter {
    /// Puts the calling thread, and all that it starts, under the filter for good.
    pub fn install(self) -> io::Result<Option<Listener>> {
        let machine = Machine::own().ok_or(io::ErrorKind::Unsupported)?;
        rustix::thread::set_no_new_privs(true)?;
        let listener = kernel::install(&self.program(&machine), self.listener)?;
        Ok(listener.map(Listener))
    }
}

impl Listener {
    pub fn next(&self) -> io::Result<Next> {
        loop {
            let mut polled = [PollFd::new(&self.0, PollFlags::IN)];
            poll(&mut polled, Some(&AT_ONCE))?;
            let events = polled[0].revents();
            if !events.contains(PollFlags::IN) {
                return Ok(if events.is_empty() { Next::Nothing } else { Next::Over });
            }
            match kernel::receive(self.0.as_fd()) {
                Ok(asked) => return Ok(Next::Request(request(&asked))),
                // Whoever waited was killed meanwhile.
                Err(error) if is(&error, Errno::NOENT) || is(&error, Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The call goes on as if there were no filter.
    pub fn allow(&self, request: Request) -> io::Result<()> {
        self.answer(Answer { id: request.id, flags: CONTINUE, ..Answer::default() })
    }

    /// The call fails.
    pub fn refuse(&self, request: Request, error: Errno) -> io::Result<()> {
        self.answer(Answer { id: request.id, error: -error.raw_os_error(), ..Answer::default() })
    }

    /// The call has been made in the caller's place, with this result.
    pub fn succeed(&self, request: Request, value: i64) -> io::Result<()> {
        self.answer(Answer { id: request.id, value, ..Answer::default() })
    }

    /// Whether the caller still waits. As long as it does, its number is its own.
    #[must_use]
    pub fn is_waiting(&self, request: Request) -> bool {
        kernel::is_valid(self.0.as_fd(), request.id)
    }

    /// Puts a descriptor in the place of one of the caller's.
    pub fn replace(&self, request: Request, number: u32, descriptor: impl AsFd, closes: bool) -> io::Result<()> {
        self.add(request, descriptor, Some(number), closes).map(|_| ())
    }

    /// Gives the caller another descriptor; gives its number there.
    pub fn give(&self, request: Request, descriptor: impl AsFd, closes: bool) -> io::Result<u32> {
        self.add(request, descriptor, None, closes)
    }

    /// `closes`: when another program begins.
    fn add(&self, request: Request, fd: impl AsFd, number: Option<u32>, closes: bool) -> io::Result<u32> {
        let flags = if closes { OFlags::CLOEXEC.bits() } else { 0 };
        kernel::add_descriptor(self.0.as_fd(), request.id, fd.as_fd(), number, flags)
    }

    fn answer(&self, answer: Answer) -> io::Result<()> {
        match kernel::send(self.0.as_fd(), &answer) {
            // As above.
            Err(error) if is(&error, Errno::NOENT) => Ok(()),
            sent => sent,
        }
    }
}

fn request(asked: &kernel::Notification) -> Request {
    let call = Machine::own().and_then(|machine| machine.name(asked.number)).unwrap_or_default();
    Request { id: asked.id, thread: asked.pid, call, arguments: asked.arguments }
}

fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno.raw_os_error())
}

impl From<OwnedFd> for Listener {
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Listener {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}
