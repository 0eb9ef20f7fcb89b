//! What a plugin's processes took too much of, for which they are ended. Plain data.

use rockstar_core::quantity;

/// A bound that was passed, in its unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Overrun {
    #[error("out of memory: more than {} MiB resident", .0 >> 20)]
    Memory(u64),
    #[error("too many threads: more than {0} (limits.threads)")]
    Threads(u64),
    #[error("too many open files: more than {0} descriptors (limits.descriptors)")]
    Descriptors(u64),
    #[error("data/ is too large: more than {} (limits.data)", quantity::format(*.0))]
    Data(u64),
    #[error("tmp/ is too large: more than {} (limits.tmp)", quantity::format(*.0))]
    Temporary(u64),
}

impl Overrun {
    /// Whether others may have found nothing left of what the whole sidecar has.
    pub(super) const fn starves_others(self) -> bool {
        matches!(self, Self::Threads(_) | Self::Descriptors(_))
    }
}
