//! Which files the kernel executes to run one program: itself, the interpreter that its first line names, the loader
//! that it is linked to. Reads their heads.

use std::{
    fs::File,
    io,
    io::{Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

/// The kernel follows no more interpreters of interpreters.
const DEPTH: usize = 5;
const LINE: u64 = 256;
const LARGEST_HEADER: u64 = 64 << 10;
const LOADER: u32 = 3; // PT_INTERP

/// All of them, the program first.
pub(super) fn of(program: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut next = Some(program.to_owned());
    while let Some(path) = next.take().filter(|_| found.len() < 2 * DEPTH) {
        next = match interpreter(&path)? {
            Some((env, Some(name))) => {
                found.extend([Some(env.clone()), loader(&env)?].into_iter().flatten());
                named(&name)
            }
            Some((interpreter, None)) => Some(interpreter),
            None => loader(&path)?,
        };
        found.push(path);
    }
    Ok(found)
}

/// What `#!` says, with the program that `env` is to look for.
fn interpreter(script: &Path) -> io::Result<Option<(PathBuf, Option<String>)>> {
    let mut head = Vec::new();
    File::open(script)?.take(LINE).read_to_end(&mut head)?;
    Ok(shebang(&head))
}

fn shebang(head: &[u8]) -> Option<(PathBuf, Option<String>)> {
    let line = head.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let line = std::str::from_utf8(line).ok()?;
    let mut words = line.split_ascii_whitespace();
    let interpreter = PathBuf::from(words.next()?);
    let is_env = interpreter.file_name().is_some_and(|name| name == "env");
    // `env -S NAME`, `env KEY=VALUE NAME`
    let name = words.find(|word| is_env && !word.starts_with('-') && !word.contains('='));
    Some((interpreter, name.map(str::to_owned)))
}

/// As `env` finds it, by the plugin's environment.
fn named(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(name)).find(|program| program.is_file())
}

fn loader(program: &Path) -> io::Result<Option<PathBuf>> {
    let mut file = File::open(program)?;
    match read_loader(&mut file) {
        // Damaged programs are the kernel's to refuse.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        read => read,
    }
}

/// From the program headers of a 64-bit ELF file of our byte order.
fn read_loader(file: &mut (impl Read + Seek)) -> io::Result<Option<PathBuf>> {
    let mut head = [0; 64];
    file.read_exact(&mut head)?;
    if !head.starts_with(b"\x7fELF\x02") {
        return Ok(None);
    }
    let (at, size, count) = (long(&head, 32), short(&head, 54), short(&head, 56));
    for index in 0..u64::from(count) {
        let mut header = [0; 56];
        let place = index.checked_mul(u64::from(size)).and_then(|offset| at.checked_add(offset));
        file.seek(SeekFrom::Start(place.unwrap_or(u64::MAX >> 1)))?;
        file.read_exact(&mut header)?;
        if int(&header, 0) == LOADER {
            return text(file, long(&header, 8), long(&header, 32)).map(Some);
        }
    }
    Ok(None)
}

fn text(file: &mut (impl Read + Seek), at: u64, length: u64) -> io::Result<PathBuf> {
    use std::os::unix::ffi::OsStringExt;
    file.seek(SeekFrom::Start(at))?;
    let mut bytes = Vec::new();
    file.take(length.min(LARGEST_HEADER)).read_to_end(&mut bytes)?;
    bytes.truncate(bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len()));
    Ok(PathBuf::from(std::ffi::OsString::from_vec(bytes)))
}

fn short(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).and_then(|b| b.try_into().ok()).map_or(0, u16::from_ne_bytes)
}

fn int(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_ne_bytes)
}

fn long(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, io::Cursor};

    #[test]
    fn a_program_needs_its_loader() {
        let found = of(Path::new("/bin/sh")).unwrap();
        assert_eq!(found[0], Path::new("/bin/sh"));
        assert!(found[1].file_name().unwrap().to_str().unwrap().starts_with("ld-"), "{found:?}");
    }

    #[test]
    fn a_script_needs_its_interpreter_and_that_ones_loader() {
        let directory = tempfile::tempdir().unwrap();
        let script = directory.path().join("script");
        fs::write(&script, "#!/bin/sh -e\nexit\n").unwrap();
        let shell = of(Path::new("/bin/sh")).unwrap();
        assert_eq!(of(&script).unwrap(), [&[script][..], &shell].concat());
    }

    #[test]
    fn first_lines_are_read_as_the_kernel_and_env_do() {
        let cases: [(&[u8], _); 6] = [
            (b"#!/bin/sh", Some(("/bin/sh", None))),
            (b"#! /usr/bin/python3 -u\nimport x", Some(("/usr/bin/python3", None))),
            (b"#!/usr/bin/env python3\n", Some(("/usr/bin/env", Some("python3")))),
            (b"#!/usr/bin/env -S A=1 node --x\n", Some(("/usr/bin/env", Some("node")))),
            (b"#!\n", None),
            (b"\x7fELF", None),
        ];
        for (head, expected) in cases {
            let expected = expected.map(|(path, name)| (PathBuf::from(path), name.map(str::to_owned)));
            assert_eq!(shebang(head), expected);
        }
    }

    #[test]
    fn damaged_programs_have_no_loader() {
        let mut head = [0; 64];
        head[..5].copy_from_slice(b"\x7fELF\x02");
        head[32..40].copy_from_slice(&u64::MAX.to_ne_bytes());
        head[56] = 9;
        let read = read_loader(&mut Cursor::new(head));
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
