//! One process of one version of a plugin, as callers see it: its link and what it registered. Memory only; the process
//! itself belongs to `process`.

use crate::link::Link;
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rockstar_core::{
    manifest::{HookType, Manifest},
    permission::Permissions,
    revision::RevisionId,
};
use serde_json::{Map, Value};
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::SeqCst},
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
    hooks: ArcSwap<Vec<Hook>>,
    /// What Initialize registers: it counts only once Initialize has answered.
    staged: Mutex<Option<Vec<Hook>>>,
    registrations: AtomicU32,
    on_trial: AtomicBool,
}

/// A registered hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    pub kind: HookType,
    pub priority: i32,
    /// Comes back in `Call.handler`.
    pub handler: String,
    /// Place among the instance's registrations of any kind; breaks ties of priority.
    pub order: u32,
    /// Whether it wants the body too.
    pub body: bool,
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
            hooks: ArcSwap::default(),
            staged: Mutex::new(Some(Vec::new())),
            registrations: AtomicU32::new(0),
            on_trial: AtomicBool::new(false),
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

    /// The active hooks, in order of registration.
    #[must_use]
    pub fn hooks(&self) -> Arc<Vec<Hook>> {
        self.hooks.load_full()
    }

    /// Registers a hook. True says that it is active at once and the registry must be told (`Registry::touch`);
    /// during Initialize it waits for `activate`.
    pub fn register(&self, kind: HookType, priority: i32, handler: &str, body: bool) -> bool {
        let order = self.registrations.fetch_add(1, SeqCst);
        let hook = Hook { kind, priority, handler: handler.to_owned(), order, body };
        match self.staged.lock().as_mut() {
            Some(staged) => {
                staged.push(hook);
                false
            }
            None => {
                self.hooks.rcu(|hooks| hooks.iter().cloned().chain([hook.clone()]).collect::<Vec<_>>());
                true
            }
        }
    }

    /// How many registrations there were.
    #[must_use]
    pub fn registered(&self) -> usize {
        usize::try_from(self.registrations.load(SeqCst)).unwrap_or(usize::MAX)
    }

    /// Puts what Initialize registered in force, in one step.
    pub fn activate(&self) {
        if let Some(staged) = self.staged.lock().take() {
            self.hooks.store(Arc::new(staged));
        }
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
