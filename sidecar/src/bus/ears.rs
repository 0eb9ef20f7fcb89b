//! One listener of the application: which events it wants, and those that wait for it. Memory only.

use super::{Inbox, QueuedBytes, inbox::Pushed};
use rockstar_core::backends::EventOverflow;
use rockstar_proto::plugin::Event;
use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

/// The events that are listened to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Names {
    All,
    These(BTreeSet<String>),
}

/// See the module.
#[derive(Debug)]
pub struct Ears {
    names: Names,
    inbox: Inbox,
    dropped: AtomicU64,
}

impl Ears {
    pub(super) fn new(names: Names) -> Self {
        Self { names, inbox: Inbox::default(), dropped: AtomicU64::new(0) }
    }

    pub(super) fn want(&self, event: &str) -> bool {
        match &self.names {
            Names::All => true,
            Names::These(names) => names.contains(event),
        }
    }

    pub(super) fn hear(&self, event: Event, overflow: EventOverflow, queued: &QueuedBytes) {
        let Pushed { dropped, .. } = self.inbox.push(event, overflow, queued);
        let count = u64::try_from(dropped.len()).unwrap_or(u64::MAX);
        if !dropped.is_empty() && self.dropped.fetch_add(count, Relaxed) == 0 {
            tracing::warn!("Events for the application are dropped: it does not take them out of its stream");
        }
    }

    /// The next event, once there is one.
    pub async fn next(&self) -> Event {
        self.inbox.next().await
    }

    #[must_use]
    pub const fn names(&self) -> &Names {
        &self.names
    }
}
