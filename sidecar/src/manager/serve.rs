//! Putting started versions in front of callers: publish, release what waited, and call them running once every
//! application stream has heard of them.

use super::{
    Manager,
    crash::{self, Event},
    plugin::{Plugin, Watcher, Work},
};
use crate::{
    failure::Failure,
    instance::Instance,
    running::{self, Running},
    slot::{LoadRecord, Slot, Stage, Status},
    target::Target,
};
use rockstar_core::{duration, manifest::HookType};
use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::{sync::OwnedMutexGuard, time::Instant};

/// How long application streams have to hear of new interests before they are closed.
const HEARING: Duration = Duration::from_secs(1);
/// A load that takes longer is worth a warning.
const SLOW: Duration = Duration::from_secs(1);

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
        let mut running = self.load(plugin, target).await?;
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
        let began = Instant::now();
        let launched = self.launcher.launch(target, plugin.slot()).await;
        let load = LoadRecord { success: launched.is_ok(), took: began.elapsed(), at: SystemTime::now() };
        plugin.slot().record.loaded(load);
        slow(plugin.slot(), "load", began);
        launched.map(Running::new)
    }

    pub(super) async fn initialize(&self, plugin: &Plugin, running: &mut Running) -> Result<(), Failure> {
        let began = Instant::now();
        running.initialize(&self.launcher.limits).await?;
        slow(plugin.slot(), "Initialize", began);
        plugin.set_status(Status::Initialized);
        Ok(())
    }

    pub(super) async fn start(&self, plugin: &Plugin, running: &mut Running) -> Result<(), Failure> {
        let began = Instant::now();
        running.start(&self.launcher.limits).await?;
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
