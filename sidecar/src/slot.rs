//! A plugin as the application sees it: one slot across all versions and restarts of its process, with the gate in
//! front of it, its policies and its record. Memory only.

mod gate;
mod incidents;
mod meters;
mod record;
mod refusal;
mod status;
mod threshold;
mod traffic;
mod withdrawal;

pub use gate::{Gate, Turn};
pub use incidents::{Incident, Incidents};
pub use meters::Meters;
pub use record::{Health, HookMetrics, LoadRecord, Outcome, Record};
pub use refusal::Refusal;
pub use status::{State, Status};
pub use threshold::{Alarm, Threshold};
pub use traffic::{ServiceCalls, Traffic, TrafficReading};
pub use withdrawal::Listed;

use crate::{
    bus::Inbox,
    instance::{Generation, Instance},
};
use arc_swap::{ArcSwap, ArcSwapOption};
use parking_lot::Mutex;
use rockstar_core::{
    assignment::{Policies, Queue},
    permission::{Permission, Permissions},
};
use std::{
    mem,
    sync::{
        Arc, Weak,
        atomic::{AtomicU8, Ordering::SeqCst},
    },
};
use tokio::{sync::watch, time::Instant};

/// One plugin across its versions.
#[derive(Debug)]
pub struct Slot {
    name: String,
    gate: Gate,
    policies: ArcSwap<Policies>,
    current: ArcSwapOption<Instance>,
    /// Started, but not in front of callers yet.
    started: Mutex<Weak<Instance>>,
    state: watch::Sender<State>,
    stage: AtomicU8,
    pub record: Record,
    /// What it measures itself.
    pub meters: Meters,
    /// Events that wait for the plugin.
    pub inbox: Inbox,
    pub traffic: Traffic,
    withdrawal: withdrawal::Withdrawal,
}

/// Whether calls that pass the gate reach the plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Stage {
    /// Nothing serves: not started yet, crashed, or stopped.
    Down,
    Serving,
    /// Unloaded: there is no such plugin any more.
    Retired,
}

/// Who wants to call into a plugin.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    /// When the exchange as a whole must be answered; waiting at the gate ends then.
    pub deadline: Instant,
    /// The version inside which an ancestor of this call runs. It passes a gate that only drains: a handler that
    /// calls its own application would otherwise wait for itself.
    pub inside: Option<Generation>,
}

impl Caller {
    #[must_use]
    pub const fn until(deadline: Instant) -> Self {
        Self { deadline, inside: None }
    }
}

/// Leave to call one version of a plugin. While any lives, that version is not stopped (up to the drain timeout).
#[derive(Debug)]
pub struct Pass {
    slot: Arc<Slot>,
    instance: Arc<Instance>,
    turn: Mutex<Turn>,
}

/// A call that will come back to the same version. While any lives, that version is not stopped (up to the drain
/// timeout).
#[derive(Debug)]
pub struct Parked {
    slot: Arc<Slot>,
    instance: Arc<Instance>,
}

impl Slot {
    /// A slot without a version; its gate is held until one serves.
    #[must_use]
    pub fn new(name: &str, policies: Policies, incidents: Arc<Incidents>) -> Self {
        let record = Record::new(name, incidents);
        record.threshold.configure(policies.error_threshold.clone());
        Self {
            name: name.to_owned(),
            gate: Gate::default(),
            policies: ArcSwap::from_pointee(policies),
            current: ArcSwapOption::empty(),
            started: Mutex::default(),
            state: watch::Sender::new(State::default()),
            stage: AtomicU8::new(Stage::Down as u8),
            record,
            meters: Meters::new(name),
            inbox: Inbox::default(),
            traffic: Traffic::default(),
            withdrawal: withdrawal::Withdrawal::default(),
        }
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    #[must_use]
    pub fn policies(&self) -> Arc<Policies> {
        self.policies.load_full()
    }

    pub fn set_policies(&self, policies: Policies) {
        self.record.threshold.configure(policies.error_threshold.clone());
        self.policies.store(Arc::new(policies));
    }

    /// The version that serves, or served last: after a crash it stays here, its link down, until another replaces it.
    #[must_use]
    pub fn current(&self) -> Option<Arc<Instance>> {
        self.current.load_full()
    }

    pub fn set_current(&self, instance: Option<Arc<Instance>>) {
        self.current.store(instance);
        *self.started.lock() = Weak::new();
    }

    /// Plugins that start after this version may call it before the application may.
    pub fn set_started(&self, instance: &Arc<Instance>) {
        *self.started.lock() = Arc::downgrade(instance);
    }

    /// A version that has started and does not serve the application yet.
    #[must_use]
    pub fn started(&self) -> Option<Arc<Instance>> {
        self.started.lock().upgrade()
    }

    pub fn set_stage(&self, stage: Stage) {
        self.stage.store(stage as u8, SeqCst);
    }

    #[must_use]
    pub fn is_serving(&self) -> bool {
        self.stage.load(SeqCst) == Stage::Serving as u8
    }

    #[must_use]
    pub fn state(&self) -> State {
        self.state.borrow().clone()
    }

    #[must_use]
    pub fn status(&self) -> Status {
        self.state.borrow().status
    }

    /// Changes the state; watchers hear of it only if it differs.
    pub fn update(&self, change: impl FnOnce(&mut State)) {
        self.state.send_if_modified(|state| {
            let before = state.clone();
            change(state);
            *state != before
        });
    }

    /// Its record as it is now, the hook types that it listens to included.
    #[must_use]
    pub fn health(&self) -> Health {
        let registered = self.current().map(|instance| instance.registrations());
        let listens: Vec<_> = registered.iter().flat_map(|r| r.hooks.iter().map(|hook| hook.kind)).collect();
        self.record.health(&listens)
    }

    pub fn watch(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    /// Keeps new calls out; they queue by `queue` until `release`.
    pub fn hold(&self, queue: &Queue) {
        self.gate.hold(queue);
    }

    /// Waits until no call runs in the plugin, and none is parked there. False if some still do at the deadline; they no
    /// longer hold anything up.
    pub async fn drain(&self, deadline: Instant) -> bool {
        self.drain_both(deadline, deadline).await
    }

    /// The same with a deadline for calls that run and one for those that are parked.
    pub async fn drain_both(&self, calls: Instant, parked: Instant) -> bool {
        let instance = self.current();
        let parked_calls = || instance.as_ref().map_or(0, |instance| instance.parked());
        let settled = self.gate.settle(parked, || parked_calls() == 0).await;
        self.gate.drain(calls).await && settled
    }

    /// Lets the queued calls in, in their order, and all later ones. Gives how many were queued.
    pub fn release(&self) -> usize {
        self.gate.release()
    }

    /// How many calls wait at the gate.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.gate.queued()
    }

    #[must_use]
    pub fn is_held(&self) -> bool {
        self.gate.is_held()
    }

    /// Waits until no version is being replaced.
    pub async fn until_open(&self) {
        self.gate.until_open().await;
    }

    /// Asks to call the plugin. Waits at the gate while the plugin is replaced; the caller's own timeout begins after.
    pub async fn enter(self: &Arc<Self>, caller: Caller) -> Result<Pass, Refusal> {
        let pass = self.enter_in_turn(caller).await?;
        drop(pass.turn());
        Ok(pass)
    }

    /// The same for one whose place in the queue counts: those behind it wait until its turn is dropped.
    pub async fn enter_in_turn(self: &Arc<Self>, caller: Caller) -> Result<Pass, Refusal> {
        let mut turn = Turn::default();
        loop {
            let inside = self.current.load().as_ref().is_some_and(|i| Some(i.generation()) == caller.inside);
            turn = self.gate.pass_in_turn(turn, caller.deadline, inside).await?;
            match self.current.load_full() {
                Some(instance) if self.is_answering(&instance) => {
                    return Ok(Pass { slot: Arc::clone(self), instance, turn: Mutex::new(turn) });
                }
                // Its connection is gone, and nobody has held the gate yet: the version before it comes back.
                Some(instance) if self.is_serving() && instance.is_on_trial() && instance.link().is_down() => {
                    self.gate.hold(&self.policies.load().reload.queue);
                    self.gate.leave();
                    // It came back meanwhile: nobody else would open the gate.
                    let unchanged = self.current.load().as_ref().is_some_and(|i| Arc::ptr_eq(i, &instance));
                    if !unchanged {
                        self.gate.release();
                    }
                }
                _ => {
                    self.gate.leave();
                    return Err(self.refusal());
                }
            }
        }
    }

    /// From now on no call enters, and the plugin may use nothing.
    pub fn withdraw(&self) {
        self.withdrawal.withdraw();
        self.release();
    }

    #[must_use]
    pub fn is_withdrawn(&self) -> bool {
        self.withdrawal.is_withdrawn()
    }

    /// Bounds what any process of the plugin may use, from now on.
    pub fn set_ceiling(&self, ceiling: Permissions) {
        self.withdrawal.set_ceiling(ceiling);
    }

    #[must_use]
    pub fn allows(&self, permission: Permission) -> bool {
        self.withdrawal.allows(permission)
    }

    /// What is left of permissions under the ceiling.
    #[must_use]
    pub fn narrowed(&self, permissions: &Permissions) -> Permissions {
        self.withdrawal.narrowed(permissions)
    }

    /// Tells whether a process has from the kernel what it must not have any more.
    #[must_use]
    pub fn has_excess(&self) -> bool {
        self.withdrawal.has_excess()
    }

    /// Kills such processes in the middle of whatever is done with them.
    pub fn interrupt_excess(&self) {
        self.withdrawal.interrupt();
        self.withdrawal.kill();
    }

    /// Tells whether a failure is the work of a withdrawal, once.
    pub fn take_interrupted(&self) -> bool {
        self.withdrawal.take_interrupted()
    }

    /// Notes a process with what the kernel enforces on it.
    pub fn list(self: &Arc<Self>, born_with: Permissions, killer: crate::process::Killer) -> Listed {
        Listed::new(Arc::clone(self), born_with, killer)
    }

    fn is_answering(&self, instance: &Instance) -> bool {
        self.is_serving() && !self.is_withdrawn() && !instance.link().is_down() && !self.record.threshold.is_tripped()
    }

    fn refusal(&self) -> Refusal {
        match self.is_withdrawn() || self.stage.load(SeqCst) == Stage::Retired as u8 {
            true => Refusal::Unloaded,
            false => Refusal::Down { plugin: self.name.clone(), status: self.status().name() },
        }
    }

    /// After a call into `pass` found the process gone: holds the gate if that version is on trial, since the version
    /// before it will come back. True says that the call may be made once more by a new `enter`.
    pub fn lost(&self, pass: &Pass) -> bool {
        let on_trial = pass.instance.is_on_trial();
        if on_trial && self.current.load().as_ref().is_some_and(|i| Arc::ptr_eq(i, &pass.instance)) {
            self.hold(&self.policies.load().reload.queue);
        }
        on_trial
    }
}

impl Pass {
    #[must_use]
    pub const fn instance(&self) -> &Arc<Instance> {
        &self.instance
    }

    #[must_use]
    pub const fn slot(&self) -> &Arc<Slot> {
        &self.slot
    }

    /// Its turn in the queue, once.
    pub fn turn(&self) -> Turn {
        mem::take(&mut self.turn.lock())
    }

    /// This call will come back.
    #[must_use]
    pub fn park(&self) -> Parked {
        self.instance.park();
        Parked { slot: Arc::clone(&self.slot), instance: Arc::clone(&self.instance) }
    }
}

impl Parked {
    #[must_use]
    pub const fn slot(&self) -> &Arc<Slot> {
        &self.slot
    }

    #[must_use]
    pub const fn instance(&self) -> &Arc<Instance> {
        &self.instance
    }

    #[must_use]
    pub fn generation(&self) -> Generation {
        self.instance.generation()
    }
}

impl Drop for Parked {
    fn drop(&mut self) {
        self.instance.unpark();
        self.slot.gate.look_again();
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.slot.gate.leave();
    }
}
