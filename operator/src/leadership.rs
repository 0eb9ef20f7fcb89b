//! Who leads: only the holder of the lease decides and serves the control stream. No I/O here.

use tokio::sync::watch;

/// This replica's part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leadership {
    Leading,
    /// `address` of the leader's control port, empty if it is not known.
    Following {
        address: String,
    },
}

impl Leadership {
    #[must_use]
    pub const fn is_leading(&self) -> bool {
        matches!(self, Self::Leading)
    }

    /// For a process that has no rival. The sender must live as long as it leads.
    #[must_use]
    pub fn alone() -> (watch::Sender<Self>, watch::Receiver<Self>) {
        watch::channel(Self::Leading)
    }
}
