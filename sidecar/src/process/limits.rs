//! What a plugin's processes may take together. Plain data.

use super::{Overrun, session_processes::Usage};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessLimits {
    /// Resident bytes.
    pub memory: u64,
    pub threads: u64,
    pub descriptors: u64,
    /// Bytes of `data/` and `tmp/` on the disk.
    pub data: u64,
    pub tmp: u64,
}

/// Makes of the limits that a process began with those that count now.
pub type LimitsNow = fn(ProcessLimits) -> ProcessLimits;

impl ProcessLimits {
    /// The first that is passed.
    pub(super) fn passed(&self, usage: &Usage) -> Option<Overrun> {
        match usage {
            Usage { resident, .. } if *resident > self.memory => Some(Overrun::Memory(self.memory)),
            Usage { threads, .. } if *threads > self.threads => Some(Overrun::Threads(self.threads)),
            Usage { descriptors, .. } if *descriptors > self.descriptors => {
                Some(Overrun::Descriptors(self.descriptors))
            }
            _ => None,
        }
    }
}
