//! One process of one version of a plugin, as callers see it: its link and what it registered. Memory only; the process
//! itself belongs to `process`.

mod registrations;

pub use registrations::{Hook, Middleware, Registrations, Route, Service, Subscription};

use crate::link::Link;
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rockstar_core::{manifest::Manifest, permission::Permissions, revision::RevisionId};
use serde_json::{Map, Value};
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::SeqCst},
};

/// Tells the processes of all plugins apart, also those of one version. Never used twice by a sidecar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub u64);

impl Generation {
    #[must_use]
    pub fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, SeqCst))
    }
}

/// What an instance is made of.
#[derive(Debug)]
pub struct Parts {
    pub manifest: Arc<Manifest>,
    pub revision: RevisionId,
    pub link: Link,
    /// Defaults applied.
    pub config: Map<String, Value>,
    /// Effective grants.
    pub permissions: Permissions,
}

/// See the module.
#[derive(Debug)]
pub struct Instance {
    generation: Generation,
    manifest: Arc<Manifest>,
    revision: RevisionId,
    link: Link,
    config: ArcSwap<Map<String, Value>>,
    permissions: ArcSwap<Permissions>,
    registrations: ArcSwap<Registrations>,
    /// What Initialize registers: it counts only once Initialize has answered. Taken for every change.
    staged: Mutex<Option<Registrations>>,
    registered: AtomicU32,
    on_trial: AtomicBool,
    debugs: AtomicBool,
    parked: AtomicUsize,
    interest_bytes: AtomicUsize,
}

impl Instance {
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        Self {
            generation: Generation::next(),
            manifest: parts.manifest,
            revision: parts.revision,
            link: parts.link,
            config: ArcSwap::from_pointee(parts.config),
            permissions: ArcSwap::from_pointee(parts.permissions),
            registrations: ArcSwap::default(),
            staged: Mutex::new(Some(Registrations::default())),
            registered: AtomicU32::new(0),
            on_trial: AtomicBool::new(false),
            debugs: AtomicBool::new(false),
            parked: AtomicUsize::new(0),
            interest_bytes: AtomicUsize::new(0),
        }
    }

    #[must_use]
    pub const fn generation(&self) -> Generation {
        self.generation
    }

    #[must_use]
    pub fn plugin(&self) -> &str {
        &self.manifest.name
    }

    #[must_use]
    pub const fn manifest(&self) -> &Arc<Manifest> {
        &self.manifest
    }

    #[must_use]
    pub const fn revision(&self) -> &RevisionId {
        &self.revision
    }

    #[must_use]
    pub const fn link(&self) -> &Link {
        &self.link
    }

    /// What `PluginConfig()` answers.
    #[must_use]
    pub fn config(&self) -> Arc<Map<String, Value>> {
        self.config.load_full()
    }

    pub fn set_config(&self, config: Map<String, Value>) {
        self.config.store(Arc::new(config));
    }

    #[must_use]
    pub fn permissions(&self) -> Arc<Permissions> {
        self.permissions.load_full()
    }

    pub fn set_permissions(&self, permissions: Permissions) {
        self.permissions.store(Arc::new(permissions));
    }

    /// What is in force.
    #[must_use]
    pub fn registrations(&self) -> Arc<Registrations> {
        self.registrations.load_full()
    }

    /// The place of the next registration, of any kind.
    #[must_use]
    pub fn next_order(&self) -> u32 {
        self.registered.fetch_add(1, SeqCst)
    }

    /// Changes what is registered. True says that it is in force at once and the registry must be told
    /// (`Registry::touch`); during Initialize it waits for `activate`. An error changes nothing.
    pub fn edit<E>(&self, change: impl FnOnce(&mut Registrations) -> Result<(), E>) -> Result<bool, E> {
        let mut staged = self.staged.lock();
        let mut changed = staged.clone().unwrap_or_else(|| (*self.registrations.load_full()).clone());
        change(&mut changed)?;
        self.interest_bytes.store(changed.interest_bytes(), SeqCst);
        match staged.as_mut() {
            Some(staged) => *staged = changed,
            None => self.registrations.store(Arc::new(changed)),
        }
        Ok(staged.is_none())
    }

    /// Puts what Initialize registered in force, in one step.
    pub fn activate(&self) {
        if let Some(staged) = self.staged.lock().take() {
            self.registrations.store(Arc::new(staged));
        }
    }

    /// The plugin wants to see in its log what the host does for it.
    pub fn set_debugs(&self, debugs: bool) {
        self.debugs.store(debugs, SeqCst);
    }

    /// A line in the plugin's log, where its level is debug; else only in the sidecar's, where that is.
    pub fn debug(&self, text: &str) {
        let plugin = self.plugin();
        match self.debugs.load(SeqCst) {
            true => tracing::info!(target: "plugin", plugin, level = "debug", "{text}"),
            false => tracing::debug!(target: "plugin", plugin, "{text}"),
        }
    }

    /// What it serves itself, or will once Initialize has answered.
    #[must_use]
    pub fn routes(&self) -> Vec<Route> {
        let staged = self.staged.lock();
        staged.as_ref().map_or_else(|| self.registrations.load().routes.clone(), |staged| staged.routes.clone())
    }

    /// What applications are or will be told of it, in bytes.
    #[must_use]
    pub fn interest_bytes(&self) -> usize {
        self.interest_bytes.load(SeqCst)
    }

    /// Calls that will come back to this version.
    #[must_use]
    pub fn parked(&self) -> usize {
        self.parked.load(SeqCst)
    }

    pub(crate) fn park(&self) {
        self.parked.fetch_add(1, SeqCst);
    }

    pub(crate) fn unpark(&self) {
        self.parked.fetch_sub(1, SeqCst);
    }

    /// Whether a crash now brings back the version before.
    #[must_use]
    pub fn is_on_trial(&self) -> bool {
        self.on_trial.load(SeqCst)
    }

    pub fn set_on_trial(&self, on_trial: bool) {
        self.on_trial.store(on_trial, SeqCst);
    }
}
