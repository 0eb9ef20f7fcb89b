//! The three calls into the kernel that have no safe wrapper anywhere: installing a filter, taking a notification, and
//! answering it. Does I/O; the only unsafe code of the workspace.

#![allow(unsafe_code)]

use crate::filter::Instruction;
use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
};

const SET_FILTER: libc::c_uint = 1; // SECCOMP_SET_MODE_FILTER
const NEW_LISTENER: libc::c_ulong = 1 << 3; // SECCOMP_FILTER_FLAG_NEW_LISTENER
const RECEIVE: u32 = 0xc050_2100; // SECCOMP_IOCTL_NOTIF_RECV
const SEND: u32 = 0xc018_2101; // SECCOMP_IOCTL_NOTIF_SEND

/// struct seccomp_notif, with struct seccomp_data in it.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(crate) struct Notification {
    pub(crate) id: u64,
    pub(crate) pid: u32,
    flags: u32,
    number: i32,
    audit: u32,
    instruction_pointer: u64,
    arguments: [u64; 6],
}

/// struct seccomp_notif_resp.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(crate) struct Answer {
    pub(crate) id: u64,
    pub(crate) value: i64,
    pub(crate) error: i32,
    pub(crate) flags: u32,
}

const _: () = assert!(size_of::<Notification>() == 80 && size_of::<Answer>() == 24 && size_of::<Instruction>() == 8);

#[repr(C)]
struct Program {
    length: libc::c_ushort,
    instructions: *const Instruction,
}

/// Puts the calling thread under the program, for good. It must have `no_new_privs`.
pub(crate) fn install(program: &[Instruction], listen: bool) -> io::Result<Option<OwnedFd>> {
    let length = u16::try_from(program.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let program = Program { length, instructions: program.as_ptr() };
    let flags = if listen { NEW_LISTENER } else { 0 };
    // SAFETY: the kernel reads `length` instructions of 8 bytes during the call and keeps no pointer to them; both
    // `program` and the slice live until it returns.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, SET_FILTER, flags, &raw const program) };
    match (result, listen) {
        (..0, _) => Err(io::Error::last_os_error()),
        (_, false) => Ok(None),
        (fd, true) => {
            let fd = RawFd::try_from(fd).map_err(|_| io::ErrorKind::InvalidData)?;
            // SAFETY: with NEW_LISTENER a result that is no error is a descriptor just made, which nobody else has.
            Ok(Some(unsafe { OwnedFd::from_raw_fd(fd) }))
        }
    }
}

/// Takes the next notification; waits for one if there is none.
pub(crate) fn receive(listener: BorrowedFd<'_>) -> io::Result<Notification> {
    let mut notification = Notification::default();
    // SAFETY: the kernel writes 80 bytes, which is the size of the structure (asserted above), and wants them zeroed;
    // every pattern of bits is a value of it.
    let result = unsafe { libc::ioctl(listener.as_raw_fd(), RECEIVE as _, &raw mut notification) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(notification) }
}

pub(crate) fn send(listener: BorrowedFd<'_>, answer: &Answer) -> io::Result<()> {
    // SAFETY: the kernel reads 24 bytes, which is the size of the structure (asserted above).
    let result = unsafe { libc::ioctl(listener.as_raw_fd(), SEND as _, &raw const *answer) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
