//! The calls into the kernel that have no safe wrapper anywhere: installing a filter, taking a notification, handing over
//! a descriptor, and answering. Does I/O; the only unsafe code of the workspace.

#![allow(unsafe_code)]

use crate::filter::Instruction;
use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
};

const SET_FILTER: libc::c_uint = 1; // SECCOMP_SET_MODE_FILTER
const NEW_LISTENER: libc::c_ulong = 1 << 3; // SECCOMP_FILTER_FLAG_NEW_LISTENER
/// SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV: who waits for an answer is not disturbed by signals. Since Linux 5.19.
const UNDISTURBED: libc::c_ulong = 1 << 5;
const RECEIVE: u32 = 0xc050_2100; // SECCOMP_IOCTL_NOTIF_RECV
const SEND: u32 = 0xc018_2101; // SECCOMP_IOCTL_NOTIF_SEND
const IS_VALID: u32 = 0x4008_2102; // SECCOMP_IOCTL_NOTIF_ID_VALID
const ADD_DESCRIPTOR: u32 = 0x4018_2103; // SECCOMP_IOCTL_NOTIF_ADDFD
const AT_NUMBER: u32 = 1; // SECCOMP_ADDFD_FLAG_SETFD

/// struct seccomp_notif, with struct seccomp_data in it.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(crate) struct Notification {
    pub(crate) id: u64,
    pub(crate) pid: u32,
    flags: u32,
    pub(crate) number: u32,
    audit: u32,
    instruction_pointer: u64,
    pub(crate) arguments: [u64; 6],
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

/// struct seccomp_notif_addfd.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
struct Descriptor {
    id: u64,
    flags: u32,
    source: u32,
    target: u32,
    target_flags: u32,
}

const _: () = assert!(size_of::<Notification>() == 80 && size_of::<Answer>() == 24 && size_of::<Instruction>() == 8);
const _: () = assert!(size_of::<Descriptor>() == 24);

#[repr(C)]
struct Program {
    length: libc::c_ushort,
    instructions: *const Instruction,
}

/// Puts the calling thread under the program, for good. It must have `no_new_privs`.
pub(crate) fn install(program: &[Instruction], listen: bool) -> io::Result<Option<OwnedFd>> {
    let length = u16::try_from(program.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let program = Program { length, instructions: program.as_ptr() };
    let install = |flags: libc::c_ulong| {
        // SAFETY: the kernel reads `length` instructions of 8 bytes during the call and keeps no pointer to them; both
        // `program` and the slice live until it returns.
        unsafe { libc::syscall(libc::SYS_seccomp, SET_FILTER, flags, &raw const program) }
    };
    let result = match listen {
        true => match install(NEW_LISTENER | UNDISTURBED) {
            ..0 => install(NEW_LISTENER),
            fd => fd,
        },
        false => install(0),
    };
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

/// Whether the caller of this notification still waits. What was read about it by its number was about itself then.
pub(crate) fn is_valid(listener: BorrowedFd<'_>, id: u64) -> bool {
    // SAFETY: the kernel reads 8 bytes.
    unsafe { libc::ioctl(listener.as_raw_fd(), IS_VALID as _, &raw const id) == 0 }
}

/// Gives the caller of a notification a copy of a descriptor: in place of its own `target`, or the lowest that is free.
/// Gives its number there.
pub(crate) fn add_descriptor(
    listener: BorrowedFd<'_>,
    id: u64,
    descriptor: BorrowedFd<'_>,
    target: Option<u32>,
    target_flags: u32,
) -> io::Result<u32> {
    let source = u32::try_from(descriptor.as_raw_fd()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let flags = if target.is_some() { AT_NUMBER } else { 0 };
    let added = Descriptor { id, flags, source, target: target.unwrap_or_default(), target_flags };
    // SAFETY: the kernel reads 24 bytes, which is the size of the structure (asserted above).
    let result = unsafe { libc::ioctl(listener.as_raw_fd(), ADD_DESCRIPTOR as _, &raw const added) };
    u32::try_from(result).map_err(|_| io::Error::last_os_error())
}
