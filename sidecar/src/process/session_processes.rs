//! The processes of a session, read from /proc. Does I/O, synchronously; no call blocks.

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use std::{
    collections::{HashMap, HashSet},
    ffi::OsStr,
    fs,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
};

/// What the kernel puts after the name of a file that has none any more.
const REMOVED: &[u8] = b" (deleted)";

/// How far a process's parents are followed.
const MAX_DEPTH: usize = 4096;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    pid: Pid,
    parent: Option<Pid>,
    /// None where its leader is outside of our namespace of process ids.
    session: Option<Pid>,
    zombie: bool,
    threads: u64,
}

/// What the processes of a session have together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Usage {
    /// Bytes.
    pub(super) resident: u64,
    pub(super) threads: u64,
    pub(super) descriptors: u64,
}

/// A file without a name that a process holds open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RemovedFile {
    /// Where it was.
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
}

/// Kills the processes of a session one by one; gives how many were left.
pub(super) fn kill_members(session: Pid) -> usize {
    let members: Vec<_> = all().filter(|p| p.session == Some(session) && !p.zombie).collect();
    for member in &members {
        // It may be gone already.
        kill_process(member.pid, Signal::KILL).ok();
    }
    members.len()
}

/// Kills what left its session and was handed to us when its parent ended: children that are none of `known`.
pub(super) fn kill_strays(known: impl Fn(Pid) -> bool) {
    let strays = children("/proc/self/task").unwrap_or_default();
    for stray in strays.into_iter().filter_map(stat).filter(|p| !p.zombie && !known(p.pid)) {
        // Every plugin began a session; only something of our own is in ours. It is read, not asked for: rustix takes a
        // number for granted, and a session that began outside of our namespace of process ids has none.
        let Some(own) = stat(rustix::process::getpid()) else { return };
        if let Some(session) = stray.session.filter(|s| !known(*s) && Some(*s) != own.session) {
            kill_process_group(session, Signal::KILL).ok();
            kill_members(session);
        }
    }
}

/// Whether a process was begun by this one, or by what this one began.
pub(crate) fn is_descendant(process: Pid) -> bool {
    let own = rustix::process::getpid();
    let parents = std::iter::successors(Some(process), |pid| stat(*pid).and_then(|stat| stat.parent));
    parents.skip(1).take(MAX_DEPTH).any(|parent| parent == own)
}

/// Resident bytes of one session.
pub(super) fn resident(session: Pid) -> u64 {
    usages(&HashSet::from([session])).get(&session).copied().unwrap_or_default().resident
}

/// What each session has. Looks only at our own descendants, where the kernel lists children.
pub(super) fn usages(sessions: &HashSet<Pid>) -> HashMap<Pid, Usage> {
    let page = rustix::param::page_size() as u64;
    let mut sums: HashMap<Pid, Usage> = HashMap::new();
    for process in candidates() {
        if let Some(session) = process.session.filter(|s| sessions.contains(s)) {
            let sum = sums.entry(session).or_default();
            sum.resident += resident_pages(process.pid) * page;
            sum.threads += process.threads;
            sum.descriptors += descriptors(process.pid);
        }
    }
    sums
}

/// Files below a directory that processes of a session have removed and hold open.
pub(super) fn removed_files(session: Pid, directory: &Path) -> Vec<RemovedFile> {
    let mut known = HashSet::new();
    let members = candidates().into_iter().filter(|process| process.session == Some(session));
    let links = members.flat_map(|process| fs::read_dir(descriptor_directory(process.pid)).into_iter().flatten());
    let files = links.flatten().filter_map(|link| {
        let name = fs::read_link(link.path()).ok()?;
        let path = name.as_os_str().as_bytes().strip_suffix(REMOVED)?;
        let path = Path::new(OsStr::from_bytes(path)).to_owned();
        let metadata = path.starts_with(directory).then(|| fs::metadata(link.path()).ok()).flatten()?;
        let is_new = metadata.is_file() && metadata.nlink() == 0 && known.insert((metadata.dev(), metadata.ino()));
        is_new.then(|| RemovedFile { path, bytes: metadata.blocks() * 512 })
    });
    files.collect()
}

fn candidates() -> Vec<Stat> {
    match descendants() {
        Some(pids) => pids.into_iter().filter_map(stat).collect(),
        None => all().collect(),
    }
}

fn descriptor_directory(pid: Pid) -> String {
    format!("/proc/{}/fd", pid.as_raw_nonzero())
}

fn descriptors(pid: Pid) -> u64 {
    let directory = descriptor_directory(pid);
    match fs::metadata(&directory).map_or(0, |metadata| metadata.len()) {
        // Before Linux 6.2 the kernel does not say.
        0 => fs::read_dir(&directory).map_or(0, |open| open.count() as u64),
        count => count,
    }
}

fn all() -> impl Iterator<Item = Stat> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|e| pid(e.file_name().to_str()?)).filter_map(stat)
}

fn stat(pid: Pid) -> Option<Stat> {
    parse(pid, &fs::read_to_string(format!("/proc/{pid}/stat", pid = pid.as_raw_nonzero())).ok()?)
}

/// `pid (name) state ppid pgrp session …`, the 20th its threads; the name may hold anything, parentheses included.
fn parse(own: Pid, line: &str) -> Option<Stat> {
    let mut fields = line.rsplit_once(')')?.1.split_ascii_whitespace();
    let zombie = matches!(fields.next()?, "Z" | "X");
    let parent = pid(fields.next()?);
    let session = pid(fields.nth(1)?);
    let threads = fields.nth(13).and_then(|number| number.parse().ok()).unwrap_or_default();
    Some(Stat { pid: own, parent, session, zombie, threads })
}

fn pid(text: &str) -> Option<Pid> {
    // The kernel writes -1 for the session of a process that is just ending.
    Pid::from_raw(text.parse().ok().filter(|number| *number > 0)?)
}

fn resident_pages(pid: Pid) -> u64 {
    let statm = fs::read_to_string(format!("/proc/{}/statm", pid.as_raw_nonzero())).unwrap_or_default();
    statm.split_ascii_whitespace().nth(1).and_then(|n| n.parse().ok()).unwrap_or_default()
}

/// None if the kernel does not list children.
fn descendants() -> Option<Vec<Pid>> {
    let mut found = Vec::new();
    let mut open = children("/proc/self/task")?;
    while let Some(next) = open.pop() {
        found.push(next);
        open.extend(children(&format!("/proc/{}/task", next.as_raw_nonzero())).unwrap_or_default());
    }
    Some(found)
}

fn children(tasks: &str) -> Option<Vec<Pid>> {
    let mut pids = Vec::new();
    for task in fs::read_dir(tasks).ok()?.flatten() {
        let list = fs::read_to_string(task.path().join("children")).ok()?;
        pids.extend(list.split_ascii_whitespace().filter_map(pid));
    }
    Some(pids)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_session_whatever_the_name() {
        let own = Pid::from_raw(7).unwrap();
        let stat = parse(own, "7 (a) b (c) S 1 5 3 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 9 0 77").unwrap();
        let (parent, session) = (Pid::from_raw(1), Pid::from_raw(3));
        assert_eq!(stat, Stat { pid: own, parent, session, zombie: false, threads: 9 });
    }

    #[test]
    fn a_session_from_outside_has_no_id_here() {
        let own = Pid::from_raw(7).unwrap();
        let stat = parse(own, "7 (sh) S 0 0 0 0 -1 4194560").unwrap();
        assert_eq!(stat, Stat { pid: own, parent: None, session: None, zombie: false, threads: 0 });
    }

    #[test]
    fn a_process_that_is_ending_has_no_session() {
        let own = Pid::from_raw(7).unwrap();
        let stat = parse(own, "7 (sh) X 0 -1 -1 0 -1 4194560").unwrap();
        assert_eq!(stat, Stat { pid: own, parent: None, session: None, zombie: true, threads: 0 });
    }

    #[test]
    fn sees_itself() {
        let own = rustix::process::getpid();
        assert!(all().any(|p| p.pid == own));
        assert!(resident_pages(own) > 0);
        assert!(stat(own).unwrap().threads > 0);
        let before = descriptors(own);
        let held: Vec<_> = (0..100).map(|_| fs::File::open("/dev/null").unwrap()).collect();
        assert!(descriptors(own) >= before + 50, "{before}");
        drop(held);
    }
}
