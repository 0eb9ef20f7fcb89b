//! Putting started versions in front of callers: publish, release what waited, and call them running once every
//! application stream has heard of them.

use super::{
    Manager,
    crash::{self, Event},
    plugin::{Plugin, Watcher, Work},
    withdraw::Allowed,
};
use crate::{
    confine,
    failure::{Failure, Step},
    instance::Instance,
    launch::Launched,
    running::{self, Running},
    slot::{LoadRecord, Slot, Stage, Status},
    target::Target,
};
use rockstar_core::{assignment::Assignment, duration, manifest::HookType};
use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::{sync::OwnedMutexGuard, time::Instant};

/// How long application streams have to hear of new interests before they are closed.
const HEARING: Duration = Duration::from_secs(1);
/// A load that takes longer is worth a warning.
const SLOW: Duration = Duration::from_secs(1);

/// Reasons of failures that are no failures: another plan came in between.
pub const OVERTAKEN: &str = "Overtaken";
pub const WITHDRAWN: &str = "Withdrawn";

/// A version about to serve.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) plugin: Arc<Plugin>,
    pub(super) work: OwnedMutexGuard<Work>,
    pub(super) running: Option<Running>,
    pub(super) target: Target,
    pub(super) on_trial: bool,
}

impl Manager {
    /// From nothing to a started process, startup hooks included.
    pub(super) async fn bring_up(&self, plugin: &Plugin, target: &Target) -> Result<Running, Failure> {
        let mut running = self.load_while_named(plugin, target).await?;
        self.initialize(plugin, &mut running).await?;
        let both = (Arc::clone(plugin.slot()), Arc::clone(running.instance()));
        running::lifecycle_hooks(HookType::Startup, &[both]).await;
        self.start(plugin, &mut running).await?;
        Ok(running)
    }

    /// Fetch, verify, spawn, shake hands.
    pub(super) async fn load(&self, plugin: &Plugin, target: &Target) -> Result<Running, Failure> {
        if !plugin.slot().is_serving() {
            plugin.set_status(Status::Loading);
        }
        if target.unconfigured {
            let text = "its configuration cannot be read now, and this instance has none; it waits for the Secret or ConfigMap";
            return Err(Failure::environment(Step::Load, "ConfigSourceMissing", text));
        }
        let began = Instant::now();
        let launched = self.launch(plugin, target).await;
        let load = LoadRecord { success: launched.is_ok(), took: began.elapsed(), at: SystemTime::now() };
        plugin.slot().record.loaded(load);
        slow(plugin.slot(), "load", began);
        launched.map(Running::new)
    }

    /// The same, given up when the newest plan does not name the target any more, or takes from it what its process would
    /// be born with.
    pub(super) async fn load_while_named(&self, plugin: &Plugin, target: &Target) -> Result<Running, Failure> {
        let target = narrowed(plugin, target);
        tokio::select! {
            loaded = self.load(plugin, &target) => loaded,
            () = self.overtaken(&target) => {
                let text = "a newer plan does not name this revision any more, or gives it fewer permissions";
                Err(Failure::environment(Step::Load, OVERTAKEN, text))
            }
        }
    }

    /// Launches with what is left of the permissions, unless the plugin is withdrawn.
    async fn launch(&self, plugin: &Plugin, target: &Target) -> Result<Launched, Failure> {
        let (slot, narrowed) = (plugin.slot(), narrowed(plugin, target));
        if slot.is_withdrawn() {
            return Err(withdrawn());
        }
        let launched = self.launcher.launch(&narrowed, slot).await;
        match slot.take_interrupted()
            || slot.narrowed(&narrowed.assignment.permissions) != narrowed.assignment.permissions
        {
            true => Err(withdrawn()),
            false => launched,
        }
    }

    /// Returns when the newest plan does not let the target start.
    async fn overtaken(&self, target: &Target) {
        let mut allowed = self.allowed.subscribe();
        // The sender lives as long as the manager.
        allowed.wait_for(|allowed| allowed.as_ref().is_some_and(|allowed| !lets_start(allowed, target))).await.ok();
    }

    pub(super) async fn initialize(&self, plugin: &Plugin, running: &mut Running) -> Result<(), Failure> {
        let began = Instant::now();
        running.initialize(&self.launcher.limits).await.map_err(|failure| excused(plugin, failure))?;
        slow(plugin.slot(), "Initialize", began);
        plugin.set_status(Status::Initialized);
        Ok(())
    }

    pub(super) async fn start(&self, plugin: &Plugin, running: &mut Running) -> Result<(), Failure> {
        let began = Instant::now();
        running.start(&self.launcher.limits).await.map_err(|failure| excused(plugin, failure))?;
        slow(plugin.slot(), "Start", began);
        plugin.slot().record.started(began.elapsed());
        plugin.slot().set_started(running.instance());
        compare(running.instance());
        Ok(())
    }

    /// Versions in load order begin to serve, and what waited for them goes in.
    pub(super) async fn enter(&self, entries: Vec<Entry>) {
        let mut plugins = Vec::new();
        for entry in entries {
            let plugin = Arc::clone(&entry.plugin);
            plugins.push((plugin, self.serve(entry)));
        }
        let version = self.publish();
        for (plugin, _work) in &plugins {
            self.open(plugin);
        }
        let late = self.registry.audience().all_seen(version, Instant::now() + HEARING).await;
        if late > 0 {
            tracing::warn!(
                streams = late,
                "Closed {late} application streams that did not acknowledge the new plugins"
            );
        }
        for (plugin, _work) in &plugins {
            plugin.slot().update(|state| {
                state.acknowledged = true;
                // It may have crashed meanwhile.
                if state.status == Status::Initialized {
                    state.status = Status::Running;
                }
            });
        }
    }

    /// Lets in what waited at the gate.
    pub(super) fn open(&self, plugin: &Plugin) {
        let queued = plugin.slot().release();
        if queued > 0 {
            tracing::info!(plugin = plugin.name(), "Processing {queued} queued requests");
        }
    }

    fn serve(&self, entry: Entry) -> OwnedMutexGuard<Work> {
        let Entry { plugin, mut work, running, mut target, on_trial } = entry;
        let slot = plugin.slot();
        slot.set_policies(target.assignment.policies.clone());
        slot.take_interrupted();
        if let Some(running) = running {
            let instance = Arc::clone(running.instance());
            instance.set_on_trial(on_trial);
            work.watcher = self.watch(&plugin, &running);
            target = running.pin(target);
            slot.set_current(Some(instance));
            work.running = Some(running);
        }
        slot.update(|state| {
            state.enabled = true;
            state.disabled_by_threshold = false;
            state.missing = false;
            state.reason.clear();
            state.loaded_at = Some(SystemTime::now());
            state.proven = !on_trial;
            state.acknowledged = false;
            state.config_generation = 0;
        });
        slot.set_stage(Stage::Serving);
        target.assignment.permissions = slot.narrowed(&target.assignment.permissions);
        plugin.set_current(Some(target));
        work
    }

    /// A task that tells the keeper when the process ends or hangs.
    fn watch(&self, plugin: &Plugin, running: &Running) -> Option<Watcher> {
        let (instance, ended) = (Arc::clone(running.instance()), running.process().ended());
        let (slot, events) = (Arc::clone(plugin.slot()), self.events.clone());
        let task = tokio::spawn(async move {
            let cause = crash::until_lost(&instance, ended).await;
            if instance.is_on_trial() {
                slot.hold(&slot.policies().reload.queue);
            }
            instance.link().set_down();
            let event = Event::Lost { plugin: slot.name().to_owned(), generation: instance.generation(), cause };
            // The keeper is gone only with the manager.
            events.send(event).await.ok();
        });
        Some(Watcher(task.abort_handle()))
    }
}

/// The target with what is left of its permissions.
fn narrowed(plugin: &Plugin, target: &Target) -> Target {
    let permissions = plugin.slot().narrowed(&target.assignment.permissions);
    Target { assignment: Assignment { permissions, ..target.assignment.clone() }, ..target.clone() }
}

/// Tells whether a plan lets a process of the target start. A version that ran here may come back though the plan does not
/// name it: that needs no fetch, and callers are served until the plan is applied.
fn lets_start(allowed: &Allowed, target: &Target) -> bool {
    let Some(plugin) = allowed.get(target.name()) else { return false };
    let is_named = target.pinned.is_some() || plugin.revisions.contains(&target.assignment.revision);
    is_named && confine::kernel_permissions(&target.assignment.permissions).is_subset(&plugin.permissions)
}

fn withdrawn() -> Failure {
    let text = "what it was started with was taken away meanwhile";
    Failure::environment(Step::Load, WITHDRAWN, text)
}

/// What a withdrawal interrupted is not the revision's fault.
fn excused(plugin: &Plugin, failure: Failure) -> Failure {
    if plugin.slot().take_interrupted() { withdrawn() } else { failure }
}

/// What a plugin registers counts; a difference to its manifest is pointed out.
fn compare(instance: &Instance) {
    let plugin = instance.plugin();
    for what in instance.registrations().lacking(instance.manifest()) {
        tracing::warn!(plugin, "Plugin {plugin} declares {what} in its manifest and has not registered it");
    }
}

fn slow(slot: &Slot, step: &str, began: Instant) {
    let took = began.elapsed();
    if took > SLOW {
        let took = duration::format(Duration::from_millis(u64::try_from(took.as_millis()).unwrap_or(u64::MAX)));
        tracing::warn!(plugin = slot.name(), step, "Slow {step}: {took}: plugin {}", slot.name());
    }
}
