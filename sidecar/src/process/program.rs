//! Whether the kernel will take a file as a program. It is asked first because the C library hands what the kernel
//! refuses to a shell, which then reads a program for another machine as a script. Reads one file.

use rustix::io::Errno;
use std::{fs::File, io, io::Read, path::Path};

const ELF: &[u8] = b"\x7fELF";
const HEADER: usize = 20;

/// ENOEXEC unless it is a script with `#!` or a program for the machine that we run on.
pub(super) fn check(path: &Path) -> io::Result<()> {
    let head = head(path)?;
    let own = head_of_self()?;
    match head.starts_with(b"#!") || (head.starts_with(ELF) && kind(&head) == kind(&own)) {
        true => Ok(()),
        false => Err(Errno::NOEXEC.into()),
    }
}

/// Says why the kernel would not take it.
pub(super) fn explain(path: &Path) -> String {
    match (head(path), head_of_self()) {
        (Ok(head), _) if head.is_empty() => "the file is empty".to_owned(),
        (Ok(head), Ok(own)) if head.starts_with(ELF) && kind(&head) != kind(&own) => {
            format!("the program is built for {}, this machine is {}", machine(&head), machine(&own))
        }
        (Ok(head), _) if head.starts_with(ELF) => "the program is damaged".to_owned(),
        _ => "it is neither a program nor a script that begins with #!".to_owned(),
    }
}

fn head(path: &Path) -> io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(HEADER);
    File::open(path)?.take(HEADER as u64).read_to_end(&mut head)?;
    Ok(head)
}

fn head_of_self() -> io::Result<Vec<u8>> {
    head(Path::new("/proc/self/exe"))
}

/// Word size, byte order, machine.
fn kind(head: &[u8]) -> Option<(&[u8], &[u8])> {
    Some((head.get(4..6)?, head.get(18..20)?))
}

fn machine(head: &[u8]) -> String {
    let big_endian = head.get(5) == Some(&2);
    let number = match head.get(18..20) {
        Some(&[a, b]) if big_endian => u16::from_be_bytes([a, b]),
        Some(&[a, b]) => u16::from_le_bytes([a, b]),
        _ => 0,
    };
    match number {
        3 => "x86".to_owned(),
        21 => "ppc64".to_owned(),
        22 => "s390x".to_owned(),
        40 => "arm".to_owned(),
        62 => "x86_64".to_owned(),
        183 => "aarch64".to_owned(),
        243 => "riscv".to_owned(),
        other => format!("machine {other}"),
    }
}
