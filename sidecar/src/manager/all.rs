//! The reference's calls on all plugins at once, and the end of them all.

use super::{
    Manager, ManagerError,
    plugin::{Plugin, Work},
    serve::Entry,
};
use crate::{
    instance::Instance,
    running::{self, Phase},
    slot::{Slot, Stage, Status},
};
use futures::future::join_all;
use rockstar_core::{manifest::HookType, resolve};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::OwnedMutexGuard,
    time::{Instant, timeout},
};

/// How long the end of the sidecar waits for other operations and for its plugins, before it kills them.
const PATIENCE: Duration = Duration::from_secs(15);

type Locked = (Arc<Plugin>, OwnedMutexGuard<Work>);

impl Manager {
    /// Initialize on each that is loaded and not yet initialised, in order; the first failure ends it.
    pub async fn initialize_all(&self) -> Result<(), ManagerError> {
        let _turn = self.applying.lock().await;
        let errors = resolve::check(&self.framework(), &self.loaded_set());
        if !errors.is_empty() {
            return Err(ManagerError::Resolve(errors));
        }
        for (plugin, mut work) in self.locked(|phase| phase == Phase::Loaded).await {
            let Some(running) = work.running.as_mut() else { continue };
            if let Err(failure) = self.initialize(&plugin, running).await {
                return Err(ManagerError::Plugins(vec![failed(&plugin, failure.reason, &failure.message)]));
            }
        }
        Ok(())
    }

    /// Startup hooks, then Start on each that is initialised, in order. A failure keeps only its dependents from starting.
    pub async fn start_all(&self) -> Result<(), ManagerError> {
        let _turn = self.applying.lock().await;
        let fresh = self.locked(|phase| matches!(phase, Phase::Initialized | Phase::Stopped)).await;
        running::lifecycle_hooks(HookType::Startup, &instances(&fresh)).await;
        let (mut entries, mut errors, mut out) = (Vec::new(), Vec::new(), BTreeSet::new());
        for locked in fresh {
            let name = locked.0.name().to_owned();
            match self.start_one(locked, &out).await {
                Ok(entry) => entries.extend(entry),
                Err(error) => {
                    errors.push(error);
                    out.insert(name);
                }
            }
        }
        self.enter(entries).await;
        self.registry.set_ready();
        joined(errors)
    }

    async fn start_one(&self, (plugin, mut work): Locked, out: &BTreeSet<String>) -> Result<Option<Entry>, String> {
        let Some((mut running, target)) = work.running.take().zip(plugin.current()) else { return Ok(None) };
        let missing = target.body.manifest.dependencies.iter().find(|d| !d.optional && out.contains(&d.name));
        let started = match missing {
            Some(d) => Err(format!("not started: it requires '{}', which failed", d.name)),
            None => self.start(&plugin, &mut running).await.map_err(|failure| failure.message),
        };
        if let Err(error) = started {
            work.running = Some(running);
            return Err(failed(&plugin, "StartFailed", &error));
        }
        // Running once it serves.
        plugin.set_status(Status::Initialized);
        Ok(Some(Entry { plugin, work, running: Some(running), target: (*target).clone(), on_trial: false }))
    }

    /// Shutdown hooks, then Stop: dependents before what they require, the others at once, by force after their timeout.
    /// Errors stop nothing.
    pub async fn stop_all(&self) -> Result<(), ManagerError> {
        let _turn = self.applying.lock().await;
        let started = self.locked(|phase| phase == Phase::Started).await;
        running::lifecycle_hooks(HookType::Shutdown, &instances(&started)).await;
        let mut levels: BTreeMap<usize, Vec<Locked>> = BTreeMap::new();
        let depths = depths(&started);
        for locked in started {
            levels.entry(depths.get(locked.0.name()).copied().unwrap_or_default()).or_default().push(locked);
        }
        let mut errors = Vec::new();
        for (_, level) in levels.into_iter().rev() {
            errors.extend(join_all(level.into_iter().map(stop_one)).await.into_iter().flatten());
        }
        joined(errors)
    }

    /// Stops all and ends all processes, for the end of the sidecar.
    pub async fn shut_down(&self) {
        match timeout(PATIENCE, self.stop_all()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!("Stopped with errors: {error}"),
            Err(_) => tracing::error!("Plugins did not stop in time and are killed"),
        }
        self.launcher.spawner.end().await;
    }

    /// Those whose lifecycle has come so far, in load order.
    async fn locked(&self, wanted: impl Fn(Phase) -> bool) -> Vec<Locked> {
        let order = self.load_order();
        let mut locks = self.lock(order.iter().filter_map(|name| self.plugin(name))).await;
        let locked = order.iter().filter_map(|name| locks.remove(name));
        locked.filter(|(_, work)| work.running.as_ref().is_some_and(|r| wanted(r.phase()))).collect()
    }

    /// By name, so that two who lock several never wait for each other.
    pub(super) async fn lock(&self, plugins: impl Iterator<Item = Arc<Plugin>>) -> BTreeMap<String, Locked> {
        let sorted: BTreeMap<_, _> = plugins.map(|p| (p.name().to_owned(), p)).collect();
        let mut locks = BTreeMap::new();
        for (name, plugin) in sorted {
            let work = plugin.lock().await;
            locks.insert(name, (plugin, work));
        }
        locks
    }
}

fn instances(locked: &[Locked]) -> Vec<(Arc<Slot>, Arc<Instance>)> {
    let both =
        |(plugin, work): &Locked| Some((Arc::clone(plugin.slot()), Arc::clone(work.running.as_ref()?.instance())));
    locked.iter().filter_map(both).collect()
}

/// How many plugins stand below each, in load order.
fn depths(locked: &[Locked]) -> BTreeMap<String, usize> {
    let mut depths: BTreeMap<String, usize> = BTreeMap::new();
    for (plugin, _) in locked {
        let target = plugin.current();
        let needs = target.iter().flat_map(|t| &t.body.manifest.dependencies);
        let depth = needs.filter_map(|d| depths.get(&d.name)).max().map_or(0, |below| below + 1);
        depths.insert(plugin.name().to_owned(), depth);
    }
    depths
}

async fn stop_one((plugin, mut work): Locked) -> Option<String> {
    work.watcher = None;
    work.leave_probation();
    let (slot, policies) = (plugin.slot(), plugin.slot().policies());
    slot.hold(&policies.reload.queue);
    slot.drain(Instant::now() + policies.hook_timeout.min(policies.reload.drain_timeout)).await;
    slot.set_stage(Stage::Down);
    let stopped = match &mut work.running {
        Some(running) => running.stop(policies.stop_timeout).await,
        None => Ok(()),
    };
    let error = match stopped {
        Ok(()) => {
            plugin.set_status(Status::Stopped);
            None
        }
        Err(error) => Some(failed(&plugin, "StopFailed", &error)),
    };
    slot.release();
    error
}

/// Records a failure, and words it for the caller.
fn failed(plugin: &Plugin, reason: &str, error: &str) -> String {
    tracing::error!(plugin = plugin.name(), "Plugin {}: {error}", plugin.name());
    plugin.down(reason, error);
    format!("plugin '{}': {error}", plugin.name())
}

fn joined(errors: Vec<String>) -> Result<(), ManagerError> {
    if errors.is_empty() { Ok(()) } else { Err(ManagerError::Plugins(errors)) }
}
