//! Taking away what the newest plan does not allow, at once: it waits for no operation that another plugin, or the same
//! one, is in. No call enters a withdrawn plugin, and the host refuses what it may not use, from the first moment on;
//! processes that have more from the kernel than they may are stopped, killed and started without it.

use super::{
    Manager, Verdict,
    crash::Event,
    plugin::{Plugin, Work},
};
use crate::{
    confine,
    slot::{Slot, Stage},
    target::Target,
};
use futures::future::join_all;
use rockstar_core::{permission::Permissions, revision::RevisionId};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tokio::time::{Instant, timeout};

/// Within it, the end of a fetch that is overtaken lets go of the plugin.
const LOCK_TIMEOUT: Duration = Duration::from_millis(500);
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);
const STOP_TIMEOUT: Duration = Duration::from_secs(3);
const CLEANUP_TIMEOUT: Duration = Duration::from_millis(500);

/// What a plan allows, by plugin.
pub type Allowed = BTreeMap<String, AllowedPlugin>;

/// What a plan allows one plugin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowedPlugin {
    pub permissions: Permissions,
    /// That the plan names.
    pub revisions: BTreeSet<RevisionId>,
}

impl Manager {
    /// Puts a plan's limits in force. Returns when what exceeds them has ended; nothing waits for what starts anew.
    pub async fn take_away(&self, allowed: Allowed) {
        let allowed = Arc::new(allowed);
        // Before it looks for plugins: those that are made later find it.
        self.allowed.send_replace(Some(Arc::clone(&allowed)));
        let plugins = self.all();
        let (stay, gone): (Vec<_>, Vec<_>) =
            plugins.into_values().partition(|plugin| allowed.contains_key(plugin.name()));
        stay.iter().chain(&gone).for_each(|plugin| limit(plugin.slot(), &allowed));
        let removals = join_all(gone.iter().map(|plugin| self.remove(plugin)));
        let excess = stay.iter().filter(|plugin| plugin.slot().has_excess());
        let renewals = join_all(excess.map(|plugin| self.renew(plugin)));
        tokio::join!(removals, renewals);
    }

    /// Puts the limits of the newest plan in force for a slot that is being made.
    pub(super) fn limit(&self, slot: &Slot) {
        if let Some(allowed) = &*self.allowed.borrow() {
            limit(slot, allowed);
        }
    }

    /// Forgets withdrawn plugins that another operation was busy with.
    pub(super) async fn finish_withdrawals(&self) {
        for plugin in self.all().into_values().filter(|plugin| plugin.slot().is_withdrawn()) {
            let work = plugin.lock().await;
            self.end(&plugin, work).await;
        }
    }

    async fn remove(&self, plugin: &Arc<Plugin>) {
        match plugin.try_lock() {
            Some(work) => self.end(plugin, work).await,
            None => interrupt(plugin).await,
        }
    }

    async fn end(&self, plugin: &Arc<Plugin>, mut work: tokio::sync::OwnedMutexGuard<Work>) {
        plugin.slot().drain(Instant::now() + DRAIN_TIMEOUT).await;
        let running = std::mem::take(&mut *work).running;
        let current: Vec<Target> = plugin.current().iter().map(|target| (**target).clone()).collect();
        self.journal.ends(&current, Verdict::Undecided);
        plugin.slot().set_stage(Stage::Retired);
        if let Some(mut running) = running {
            let stopped = running.stop(STOP_TIMEOUT).await;
            plugin.slot().set_current(None);
            self.registry.touch();
            match stopped {
                Ok(()) => drop(running.finish(CLEANUP_TIMEOUT).await),
                Err(_) => running.process().kill().await,
            }
        }
        drop(work);
        self.forget(plugin);
    }

    /// Ends a process that has too much from the kernel; another one without it is started by itself.
    async fn renew(&self, plugin: &Arc<Plugin>) {
        // Whoever brings up what is not allowed any more gives up at once.
        let Ok(mut work) = timeout(LOCK_TIMEOUT, plugin.lock()).await else { return interrupt(plugin).await };
        if !plugin.slot().has_excess() {
            return;
        }
        let Some((mut running, current)) = work.running.take().zip(plugin.current()) else { return };
        work.watcher = None;
        let slot = plugin.slot();
        slot.hold(&slot.policies().reload.queue);
        slot.drain(Instant::now() + DRAIN_TIMEOUT).await;
        slot.set_stage(Stage::Down);
        running.stop(STOP_TIMEOUT).await.ok();
        running.process().kill().await;
        drop(running);
        narrow(plugin, &current);
        // It keeps its lock: the next plan may fetch for minutes before it lets go of it.
        self.events.send(Event::Renewed { plugin: Arc::clone(plugin), work }).await.ok();
    }
}

fn limit(slot: &Slot, allowed: &Allowed) {
    match allowed.get(slot.name()) {
        Some(limits) => slot.set_ceiling(limits.permissions.clone()),
        None => slot.withdraw(),
    }
}

/// Takes leave of a process that a withdrawal killed while another operation was busy with its plugin. False: it ended by
/// itself.
pub(super) fn clear_interrupted(plugin: &Plugin, work: &mut Work) -> bool {
    let (slot, Some(current)) = (plugin.slot(), plugin.current()) else { return false };
    let born_with = confine::kernel_permissions(&current.assignment.permissions);
    // Another process of the plugin may have taken the note of the interruption.
    let was_killed = slot.take_interrupted() || slot.narrowed(&born_with) != born_with;
    if was_killed {
        (work.running, work.watcher) = (None, None);
        slot.set_stage(Stage::Down);
    }
    if was_killed && !slot.is_withdrawn() {
        slot.hold(&slot.policies().reload.queue);
        narrow(plugin, &current);
    }
    was_killed
}

/// The plugin will start again without what was taken away.
fn narrow(plugin: &Plugin, current: &Target) {
    let mut narrowed = current.clone();
    narrowed.assignment.permissions = plugin.slot().narrowed(&narrowed.assignment.permissions);
    plugin.set_current(Some(narrowed));
    tracing::info!(plugin = plugin.name(), "Plugin {} starts again with fewer permissions", plugin.name());
}

/// Stops and kills what another operation has in hand; that operation then fails, and condemns nothing.
async fn interrupt(plugin: &Plugin) {
    if let Some(instance) = plugin.slot().current().filter(|instance| !instance.link().is_down()) {
        timeout(STOP_TIMEOUT, instance.link().stop(Instant::now() + STOP_TIMEOUT)).await.ok();
    }
    plugin.slot().interrupt_excess();
}
