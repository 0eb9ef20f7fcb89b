//! What is known of the plugins, for the reference's questions. Memory only.

use super::Manager;
use crate::{
    slot::{Health, State},
    target::{self, Target},
};
use indexmap::IndexMap;
use rockstar_core::{
    assignment::FailurePolicy,
    manifest::ConfigKey,
    resolve::{self, ResolveError, Set},
};
use std::{collections::BTreeMap, sync::Arc};

/// One plugin, as it is.
#[derive(Clone, Debug)]
pub struct PluginInfo {
    pub name: String,
    /// What runs, or should; None where nobody knows what would.
    pub target: Option<Arc<Target>>,
    pub state: State,
    /// As declared, with what the plugin's own schema adds.
    pub schema: IndexMap<String, ConfigKey>,
    /// In the load order, from 1.
    pub order: usize,
    /// Nothing of it ran here yet, and nothing proven should.
    pub newcomer: bool,
    /// What its failure means for requests.
    pub failure_policy: FailurePolicy,
    /// Calls that wait while a version is replaced.
    pub queued: usize,
}

impl Manager {
    /// All plugins in load order.
    #[must_use]
    pub fn list(&self) -> Vec<PluginInfo> {
        let plugins = self.all();
        let info = |(index, name): (usize, String)| {
            let (plugin, order) = (plugins.get(&name)?, index + 1);
            let (target, slot) = (plugin.shown(), plugin.slot());
            let reported = slot.current().map(|instance| instance.manifest().config.clone());
            let declared = || target.as_ref().map(|t| t.body.manifest.config.clone()).unwrap_or_default();
            let (state, queued, newcomer) = (slot.state(), slot.queued(), plugin.is_newcomer());
            let schema = reported.unwrap_or_else(declared);
            let told = target.as_ref().map(|t| t.assignment.policies.failure_policy);
            let failure_policy = told.unwrap_or_else(|| slot.policies().failure_policy);
            Some(PluginInfo { schema, target, state, order, newcomer, failure_policy, queued, name })
        };
        self.load_order().into_iter().enumerate().filter_map(info).collect()
    }

    #[must_use]
    pub fn get(&self, name: &str) -> Option<PluginInfo> {
        self.list().into_iter().find(|info| info.name == name)
    }

    #[must_use]
    pub fn is_loaded(&self, name: &str) -> bool {
        self.plugin(name).is_some_and(|p| p.slot().state().loaded_at.is_some())
    }

    /// None for an unknown name.
    #[must_use]
    pub fn health(&self, name: &str) -> Option<(State, Health)> {
        let plugin = self.plugin(name)?;
        Some((plugin.slot().state(), plugin.slot().health()))
    }

    #[must_use]
    pub fn resolve(&self) -> Vec<ResolveError> {
        resolve::check(&self.framework(), &self.wanted_set())
    }

    #[must_use]
    pub fn graph(&self) -> BTreeMap<String, Vec<String>> {
        resolve::graph(&self.wanted_set())
    }

    /// Known plugins in load order; those of whom only the name is known come last.
    pub(super) fn load_order(&self) -> Vec<String> {
        let plugins = self.all();
        let targets: Vec<_> = plugins.values().filter_map(|p| p.shown()).collect();
        let mut order = resolve::load_order(&target::set(targets.iter().map(|t| &**t)));
        let rest: Vec<_> = plugins.into_keys().filter(|name| !order.contains(name)).collect();
        order.extend(rest);
        order
    }

    /// Those that are loaded, and those that should be: what keeps them out is to be seen.
    fn wanted_set(&self) -> Set {
        let plugins = self.all();
        let wanted = plugins.values().filter(|p| p.current().is_some() || p.slot().state().enabled);
        let targets: Vec<_> = wanted.filter_map(|p| p.shown()).collect();
        target::set(targets.iter().map(|t| &**t))
    }

    /// Those that are loaded.
    pub(super) fn loaded_set(&self) -> Set {
        let loaded: Vec<_> = self.all().values().filter_map(|p| p.current()).collect();
        target::set(loaded.iter().map(|t| &**t))
    }
}
