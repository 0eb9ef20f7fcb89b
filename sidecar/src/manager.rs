//! What runs in this sidecar, and every way to change it: one applier for desired sets, the reference's calls, what is
//! done about crashes. Does I/O through the launcher.

mod alert;
mod all;
mod apply;
mod back;
#[doc(hidden)]
pub mod budget;
mod calls;
mod crash;
#[cfg(test)]
mod fixtures;
mod grace;
mod journal;
mod plugin;
#[doc(hidden)]
pub mod probation;
mod query;
#[doc(hidden)]
pub mod rollback;
mod room;
mod serve;
mod threshold;
#[doc(hidden)]
pub mod transition;
mod unload;
mod wave;
mod withdraw;

pub use apply::{Applied, Desired, GroupOutcome, GroupResult, HeldBack, Newcomers, Unknown};
pub use calls::ManagerError;
pub use journal::{Journal, LogOnly, Verdict};
pub use query::PluginInfo;
pub use serve::{OVERTAKEN, WITHDRAWN};
pub use withdraw::{Allowed, AllowedPlugin};

use crate::{
    bounds,
    confine::Confiner,
    framework::Framework,
    launch::Launcher,
    process::Spawner,
    registry::Registry,
    slot::{Incidents, Slot},
    target::Target,
};
use arc_swap::ArcSwap;
use crash::Event;
use parking_lot::Mutex;
use plugin::Plugin;
use probation::Probations;
use rockstar_core::{
    assignment::Policies,
    backends::Backends,
    limits::{Limit, Limits},
};
use semver::Version;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Weak},
};
use tokio::{
    sync::{mpsc, watch},
    task::AbortHandle,
};

const EVENTS: usize = 1024;

/// See the module.
#[derive(Debug)]
pub struct Manager {
    registry: Arc<Registry>,
    launcher: Launcher,
    framework: ArcSwap<Version>,
    addresses: ArcSwap<Backends>,
    plugins: Mutex<BTreeMap<String, Arc<Plugin>>>,
    probations: Mutex<Probations>,
    /// Sets are applied one after another.
    applying: tokio::sync::Mutex<()>,
    journal: Box<dyn Journal>,
    events: mpsc::Sender<Event>,
    keeper: AbortHandle,
    incidents: Arc<Incidents>,
    guard: AbortHandle,
    newcomers: Mutex<Newcomers>,
    /// Plugins of the desired set that have a stable version, whether or not it runs here.
    stable: Mutex<BTreeSet<String>>,
    /// Their stable versions, as far as these are known.
    fallback: Mutex<BTreeMap<String, Target>>,
    /// What the newest plan allows; none: nobody said.
    allowed: watch::Sender<Option<Arc<Allowed>>>,
}

impl Manager {
    #[must_use]
    pub fn new(
        registry: Arc<Registry>,
        launcher: Launcher,
        framework: Version,
        journal: Box<dyn Journal>,
    ) -> Arc<Self> {
        let (events, inbox) = mpsc::channel(EVENTS);
        let incidents = Arc::<Incidents>::default();
        Arc::new_cyclic(|myself: &Weak<Self>| Self {
            registry,
            launcher,
            framework: ArcSwap::from_pointee(framework),
            addresses: ArcSwap::default(),
            plugins: Mutex::default(),
            probations: Mutex::default(),
            applying: tokio::sync::Mutex::default(),
            journal,
            events,
            keeper: tokio::spawn(crash::keep(myself.clone(), inbox)).abort_handle(),
            guard: tokio::spawn(threshold::guard(myself.clone(), Arc::clone(&incidents))).abort_handle(),
            incidents,
            newcomers: Mutex::default(),
            stable: Mutex::default(),
            fallback: Mutex::default(),
            allowed: watch::Sender::new(None),
        })
    }

    #[must_use]
    pub const fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// What all plugins share.
    #[must_use]
    pub fn shared(&self) -> &Arc<Framework> {
        &self.launcher.framework
    }

    #[must_use]
    pub fn framework(&self) -> Arc<Version> {
        self.framework.load_full()
    }

    #[must_use]
    pub const fn spawner(&self) -> &Spawner {
        &self.launcher.spawner
    }

    #[must_use]
    pub fn confiner(&self) -> &Confiner {
        &self.launcher.confiner
    }

    pub fn set_framework(&self, version: Version) {
        self.framework.store(Arc::new(version));
    }

    /// Of the engines that its host or file names.
    #[must_use]
    pub fn addresses(&self) -> Arc<Backends> {
        self.addresses.load_full()
    }

    /// Puts in force what one plugin may take, as far as the container has the memory for it.
    pub fn set_limits(&self, limits: Limits) {
        let (limits, fits) = room::fit(limits, self.launcher.memory);
        let before = bounds::limits();
        let changed = Limit::ALL.into_iter().filter(|limit| limits.get(*limit) != before.get(*limit));
        let changes: Vec<_> = changed.map(|limit| format!("{} {}", limit.name(), limits.format(limit))).collect();
        if changes.is_empty() {
            return;
        }
        if let Err(error) = fits {
            tracing::error!("{error}");
        }
        tracing::info!("Limits of plugins changed: {}", changes.join(", "));
        bounds::set_limits(limits);
    }

    pub fn set_addresses(&self, addresses: Backends) {
        self.addresses.store(Arc::new(addresses));
    }

    /// Errors of all plugins, for who keeps a history of them.
    #[must_use]
    pub const fn incidents(&self) -> &Arc<Incidents> {
        &self.incidents
    }

    /// What newcomers that failed mean for this instance.
    #[must_use]
    pub fn newcomers(&self) -> Newcomers {
        *self.newcomers.lock()
    }

    fn plugin(&self, name: &str) -> Option<Arc<Plugin>> {
        self.plugins.lock().get(name).cloned()
    }

    /// The plugin of that name, made if it is new.
    fn plugin_for(&self, target: &Target) -> Arc<Plugin> {
        self.plugin_or_new(target.name(), &target.assignment.policies)
    }

    fn plugin_or_new(&self, name: &str, policies: &Policies) -> Arc<Plugin> {
        let made = || {
            let slot = Slot::new(name, policies.clone(), Arc::clone(&self.incidents));
            self.limit(&slot);
            Arc::new(Plugin::new(slot))
        };
        Arc::clone(self.plugins.lock().entry(name.to_owned()).or_insert_with(made))
    }

    /// All plugins by name.
    fn all(&self) -> BTreeMap<String, Arc<Plugin>> {
        self.plugins.lock().clone()
    }

    /// Gives the registry the plugins in load order, and tells its readers.
    fn publish(&self) -> u64 {
        let plugins = self.all();
        let order = self.load_order();
        let slots = order.iter().filter_map(|name| Some((name.clone(), Arc::clone(plugins.get(name)?.slot()))));
        self.registry.set(slots.collect())
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        self.keeper.abort();
        self.guard.abort();
    }
}
