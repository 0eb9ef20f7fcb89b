//! What was taken away from a plugin, in force for every process of it, also one that is being started. Memory only.

use crate::process::Killer;
use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use rockstar_core::permission::{Permission, Permissions};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Withdrawal {
    /// The plugin is to be unloaded.
    withdrawn: AtomicBool,
    /// All that any process of it may use; none: no bound.
    ceiling: ArcSwapOption<Permissions>,
    /// A process was killed in the middle of another operation.
    interrupted: AtomicBool,
    processes: Mutex<BTreeMap<u64, Process>>,
    count: AtomicU64,
}

/// A live process, with the permissions that the kernel enforces on it.
#[derive(Debug)]
struct Process {
    born_with: Permissions,
    killer: Killer,
}

/// Takes a process out of the list when dropped.
#[derive(Debug)]
pub struct Listed {
    slot: Arc<super::Slot>,
    number: u64,
}

impl Withdrawal {
    pub(super) fn is_withdrawn(&self) -> bool {
        self.withdrawn.load(SeqCst)
    }

    pub(super) fn withdraw(&self) {
        self.withdrawn.store(true, SeqCst);
    }

    pub(super) fn allows(&self, permission: Permission) -> bool {
        !self.is_withdrawn() && self.ceiling.load().as_ref().is_none_or(|ceiling| ceiling.contains(&permission))
    }

    pub(super) fn set_ceiling(&self, ceiling: Permissions) {
        self.ceiling.store(Some(Arc::new(ceiling)));
    }

    pub(super) fn narrowed(&self, permissions: &Permissions) -> Permissions {
        permissions.iter().copied().filter(|permission| self.allows(*permission)).collect()
    }

    /// Kills processes that may do what they were born with and must not any more. True: there were such.
    pub(super) fn kill(&self) -> bool {
        let mut killed = false;
        for process in self.processes.lock().values().filter(|process| self.exceeds(&process.born_with)) {
            process.killer.kill();
            killed = true;
        }
        killed
    }

    pub(super) fn has_excess(&self) -> bool {
        self.processes.lock().values().any(|process| self.exceeds(&process.born_with))
    }

    fn exceeds(&self, born_with: &Permissions) -> bool {
        self.is_withdrawn() || born_with.iter().any(|permission| !self.allows(*permission))
    }

    pub(super) fn interrupt(&self) {
        self.interrupted.store(true, SeqCst);
    }

    pub(super) fn take_interrupted(&self) -> bool {
        self.interrupted.swap(false, SeqCst) || self.is_withdrawn()
    }
}

impl Listed {
    pub(super) fn new(slot: Arc<super::Slot>, born_with: Permissions, killer: Killer) -> Self {
        let number = slot.withdrawal.count.fetch_add(1, SeqCst);
        slot.withdrawal.processes.lock().insert(number, Process { born_with, killer });
        Self { slot, number }
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.slot.withdrawal.processes.lock().remove(&self.number);
    }
}
