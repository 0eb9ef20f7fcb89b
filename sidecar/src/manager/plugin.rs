//! One plugin as the manager knows it. Memory only.

use super::probation::{self, ProbationId};
use crate::{
    running::Running,
    slot::{Slot, Stage, Status},
    target::Target,
};
use arc_swap::ArcSwapOption;
use std::sync::Arc;
use tokio::{
    sync::{Mutex, OwnedMutexGuard},
    task::AbortHandle,
};

#[derive(Debug)]
pub(super) struct Plugin {
    slot: Arc<Slot>,
    /// What runs, or ran before it crashed.
    current: ArcSwapOption<Target>,
    /// What should run; shown where nothing does.
    wanted: ArcSwapOption<Target>,
    work: Arc<Mutex<Work>>,
}

/// What only one operation at a time may touch.
#[derive(Debug, Default)]
pub(super) struct Work {
    pub(super) running: Option<Running>,
    pub(super) watcher: Option<Watcher>,
    /// That its last move is part of.
    pub(super) probation: Option<ProbationId>,
    /// It was down when its probation ended, and is on one of its own once it runs.
    pub(super) unproven: Option<probation::Member>,
    /// The task that has it started again after a pause.
    pub(super) restart: Option<Watcher>,
}

impl Work {
    /// Takes the plugin out of its probation. False: it was in none.
    pub(super) fn leave_probation(&mut self) -> bool {
        let unproven = self.unproven.take().is_some();
        self.probation.take().is_some() || unproven
    }
}

/// A task that ends with its owner.
#[derive(Debug)]
pub(super) struct Watcher(pub(super) AbortHandle);

impl Drop for Watcher {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Plugin {
    pub(super) fn new(slot: Slot) -> Self {
        Self {
            slot: Arc::new(slot),
            current: ArcSwapOption::empty(),
            wanted: ArcSwapOption::empty(),
            work: Arc::default(),
        }
    }

    pub(super) const fn slot(&self) -> &Arc<Slot> {
        &self.slot
    }

    pub(super) fn name(&self) -> &str {
        self.slot.name()
    }

    pub(super) fn current(&self) -> Option<Arc<Target>> {
        self.current.load_full()
    }

    pub(super) fn set_current(&self, target: Option<Target>) {
        self.current.store(target.map(Arc::new));
    }

    pub(super) fn set_wanted(&self, target: Option<Target>) {
        self.wanted.store(target.map(Arc::new));
    }

    /// What is reported of it.
    pub(super) fn shown(&self) -> Option<Arc<Target>> {
        self.current().or_else(|| self.wanted.load_full())
    }

    pub(super) async fn lock(&self) -> OwnedMutexGuard<Work> {
        Arc::clone(&self.work).lock_owned().await
    }

    pub(super) fn try_lock(&self) -> Option<OwnedMutexGuard<Work>> {
        Arc::clone(&self.work).try_lock_owned().ok()
    }

    pub(super) fn set_status(&self, status: Status) {
        self.slot.update(|state| state.status = status);
    }

    /// Nothing serves any more, for a reason that is recorded.
    pub(super) fn down(&self, reason: &str, error: &str) {
        self.slot.set_stage(Stage::Down);
        self.slot.record.error(error);
        self.slot.update(|state| {
            state.status = Status::Error;
            reason.clone_into(&mut state.reason);
        });
    }

    /// Nothing of it ran here, and what should cannot.
    pub(super) fn is_newcomer(&self) -> bool {
        self.current().is_none() && self.wanted.load().as_ref().is_none_or(|wanted| !wanted.stable)
    }

    /// Tells crashes of one attempt apart from those of another.
    pub(super) fn attempt(target: &Target) -> String {
        let assignment = &target.assignment;
        format!("{}@{}@{}", assignment.revision, assignment.reload_at, assignment.retry_token)
    }
}
