//! Whether threads, processes or descriptors ran out for all while a plugin started: then its failure may be another's
//! doing. Does I/O; no call blocks.

use rustix::io::Errno;
use std::{
    fs, io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

const GROUPS: &str = "/sys/fs/cgroup";

/// How many plugins were ended for what others needed.
#[derive(Clone, Debug, Default)]
pub(super) struct Starvings(Arc<AtomicU64>);

impl Starvings {
    pub(super) fn add(&self) {
        self.0.fetch_add(1, Relaxed);
    }
}

/// What had happened at one moment.
#[derive(Clone, Debug)]
pub struct Exhaustion {
    starvings: Starvings,
    seen: u64,
    refused: Option<u64>,
}

impl Exhaustion {
    pub(super) fn begin(starvings: &Starvings) -> Self {
        Self { starvings: starvings.clone(), seen: starvings.0.load(Relaxed), refused: refused() }
    }

    /// Whether anything ran out since. `own`: a plugin that was ended for it itself does not count.
    #[must_use]
    pub fn has_happened(&self, own: bool) -> bool {
        let others = self.starvings.0.load(Relaxed).saturating_sub(self.seen) > u64::from(own);
        others || (!own && refused() > self.refused)
    }
}

/// Whether a call failed because the machine, or the sidecar, has nothing left of something. Of a program that does not
/// start, EAGAIN says so too.
#[must_use]
pub fn is_shortage(cause: &io::Error) -> bool {
    const SHORT: [Errno; 4] = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::NOBUFS];
    SHORT.iter().any(|errno| cause.raw_os_error() == Some(errno.raw_os_error()))
}

/// How often the container was refused another process. None: the kernel does not count it here.
fn refused() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    let own = Path::new(GROUPS).join(own.trim_start_matches('/'));
    // In a namespace of its own the path is the root's, and from outside it may lead nowhere.
    let events = [own.join("pids.events"), Path::new(GROUPS).join("pids.events")];
    let text = events.iter().find_map(|path| fs::read_to_string(path).ok())?;
    text.lines().find_map(|line| line.strip_prefix("max ")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_took_is_told_from_what_a_plugin_took_itself() {
        let starvings = Starvings::default();
        starvings.add();
        let exhaustion = Exhaustion::begin(&starvings);
        assert!(!exhaustion.has_happened(true));
        starvings.add();
        assert!(!exhaustion.has_happened(true));
        assert!(exhaustion.has_happened(false));
        starvings.add();
        assert!(exhaustion.has_happened(true));
    }
}
