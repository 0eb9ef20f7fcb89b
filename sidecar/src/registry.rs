//! All plugins of this sidecar by name, in load order, with a version that grows with every change that callers must
//! hear of. Memory only.

mod audience;

pub use audience::{Audience, Listener};

use crate::slot::Slot;
use arc_swap::ArcSwap;
use indexmap::IndexMap;
use parking_lot::Mutex;
use std::sync::Arc;
use tokio::sync::watch;

/// A reading of the registry: slots in load order.
pub type Slots = IndexMap<String, Arc<Slot>>;

/// See the module.
#[derive(Debug)]
pub struct Registry {
    slots: ArcSwap<Slots>,
    version: watch::Sender<u64>,
    /// True once the first set ran; until then exchanges wait.
    ready: watch::Sender<bool>,
    /// The uid of the host whose set has to run; empty where there is none.
    host: Mutex<String>,
    audience: Audience,
}

impl Default for Registry {
    fn default() -> Self {
        Self {
            slots: ArcSwap::default(),
            version: watch::Sender::new(1),
            ready: watch::Sender::new(false),
            host: Mutex::default(),
            audience: Audience::default(),
        }
    }
}

impl Registry {
    #[must_use]
    pub fn slots(&self) -> Arc<Slots> {
        self.slots.load_full()
    }

    #[must_use]
    pub fn get(&self, name: &str) -> Option<Arc<Slot>> {
        self.slots.load().get(name).cloned()
    }

    /// Replaces the whole, in load order. One writer: the manager.
    pub fn set(&self, slots: Slots) -> u64 {
        self.slots.store(Arc::new(slots));
        self.touch()
    }

    /// Says that a slot's instance, its hooks or its priority changed. Gives the new version.
    pub fn touch(&self) -> u64 {
        self.version.send_modify(|v| *v += 1);
        *self.version.borrow()
    }

    /// Changes whenever tables of hooks must be made anew.
    pub fn version(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    pub fn ready(&self) -> watch::Receiver<bool> {
        self.ready.subscribe()
    }

    pub fn set_ready(&self) {
        self.ready.send_replace(true);
    }

    /// Exchanges wait for a set of this host, unless one ran already.
    pub fn wait_for_host(&self, uid: &str) {
        let mut host = self.host.lock();
        if *host != uid {
            uid.clone_into(&mut host);
            self.ready.send_replace(false);
        }
    }

    /// A set of this host ran. That of a host which is not followed any more lets nobody in.
    pub fn set_ready_under(&self, uid: &str) {
        if *self.host.lock() == uid {
            self.set_ready();
        }
    }

    /// Who must have seen a version before its plugins count as running.
    #[must_use]
    pub const fn audience(&self) -> &Audience {
        &self.audience
    }
}
