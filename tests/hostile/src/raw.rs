//! Any system call, as text: `call NAME ARGUMENT…`, where an argument is a number, `s:TEXT` for a pointer to it, or
//! `w:N,N,…` for a pointer to these words, with zeros behind them.

#![allow(unsafe_code)] // pointers are to memory that outlives the call, longer than anything a call here writes

use rockstar_seccomp::Machine;
use std::{
    ffi::CString,
    fs::File,
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

/// Words of memory that each pointer is to, at least.
const ROOM: usize = 512;
/// What they give is a descriptor.
const OPENING: [&str; 9] = [
    "open",
    "openat",
    "socket",
    "inotify_init1",
    "fanotify_init",
    "memfd_create",
    "pidfd_open",
    "perf_event_open",
    "userfaultfd",
];

enum Argument {
    Number(i64),
    Text(CString),
    Words(Vec<i64>),
}

/// Makes the call.
pub(crate) fn call(text: &str) -> io::Result<()> {
    let mut words = text.split(' ');
    let name = words.next().unwrap_or_default();
    let arguments = words.map(argument).collect::<io::Result<Vec<_>>>()?;
    invoke(name, &arguments)
}

/// The same with a descriptor of this file, open for reading, as the first argument: `fd PATH NAME ARGUMENT…`.
pub(crate) fn call_on_file(text: &str) -> io::Result<()> {
    let mut words = text.split(' ');
    let file = File::open(words.next().unwrap_or_default())?;
    let name = words.next().unwrap_or_default();
    let mut arguments = vec![Argument::Number(file.as_raw_fd().into())];
    for word in words {
        arguments.push(argument(word)?);
    }
    invoke(name, &arguments)
}

fn invoke(name: &str, arguments: &[Argument]) -> io::Result<()> {
    let number = Machine::own().and_then(|machine| machine.number(name)).ok_or(io::ErrorKind::InvalidInput)?;
    let mut values = [0_i64; 6];
    for (value, argument) in values.iter_mut().zip(arguments) {
        *value = match argument {
            Argument::Number(number) => *number,
            Argument::Text(text) => text.as_ptr() as i64,
            Argument::Words(words) => words.as_ptr() as i64,
        };
    }
    let [a, b, c, d, e, f] = values;
    let result = unsafe { libc::syscall(number.into(), a, b, c, d, e, f) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    if OPENING.contains(&name) {
        drop(unsafe { OwnedFd::from_raw_fd(result as i32) });
    }
    Ok(())
}

fn argument(word: &str) -> io::Result<Argument> {
    if let Some(text) = word.strip_prefix("s:") {
        return Ok(Argument::Text(CString::new(text)?));
    }
    if let Some(list) = word.strip_prefix("w:") {
        let mut words = list.split(',').map(number).collect::<io::Result<Vec<_>>>()?;
        words.resize(ROOM, 0);
        return Ok(Argument::Words(words));
    }
    number(word).map(Argument::Number)
}

fn number(text: &str) -> io::Result<i64> {
    match text.strip_prefix("0x") {
        Some(digits) => i64::from_str_radix(digits, 16).map_err(io::Error::other),
        None => text.parse().map_err(io::Error::other),
    }
}
