//! The one applier: from what runs to a desired set, whoever desires it. Plugins whose revision changed move in groups;
//! of the others only what may change while they run.

use super::{
    Manager,
    plugin::{Plugin, Work},
    transition::{self, Move},
    wave::{Step, Wave},
};
use crate::{
    failure::{Class, Failure, Step as FailedStep},
    launch,
    slot::Status,
    target::Target,
};
use rockstar_core::assignment::Assignment;
use rockstar_proto::plugin;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use tokio::time::Instant;

/// A set that should run.
#[derive(Clone, Debug, Default)]
pub struct Desired {
    pub targets: Vec<Target>,
    /// What a plugin goes back to if nothing of it runs yet.
    pub fallback: BTreeMap<String, Target>,
    /// Groups with one of these stay as they are.
    pub held_back: BTreeMap<String, (Target, HeldBack)>,
    /// Nobody here knows what they should run: their groups stay as they are, too.
    pub unknown: BTreeMap<String, Unknown>,
    pub newcomers: Newcomers,
    /// Of the host that desires it; empty where there is none.
    pub host_uid: String,
    /// Plugins with a stable version: requests do not pass by them while nothing of them runs here.
    pub stable: BTreeSet<String>,
}

/// Why a target is not tried.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeldBack {
    /// CamelCase.
    pub reason: String,
    pub message: String,
}

impl HeldBack {
    pub(crate) fn moved_with_failed() -> Self {
        Self { reason: "MovedWithFailed".to_owned(), message: String::new() }
    }
}

/// A plugin whose assigned revision cannot be read here.
#[derive(Clone, Debug)]
pub struct Unknown {
    pub assignment: Assignment,
    pub why: HeldBack,
}

impl Desired {
    pub(super) fn is_held_back(&self, plugin: &str) -> bool {
        self.held_back.contains_key(plugin) || self.unknown.contains_key(plugin)
    }
}

/// What a plugin that failed with nothing before it means for its instance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Newcomers {
    /// The instance is not ready; plugins that the set does not name are kept for those who ask.
    #[default]
    Counted,
    /// Nothing: the instance serves as before.
    Spared,
    /// The instance is not ready, and requests follow the plugin's failure policy.
    Required,
}

/// What became of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    pub groups: Vec<GroupResult>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupResult {
    pub plugins: Vec<String>,
    pub outcome: GroupOutcome,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupOutcome {
    Applied,
    /// The named plugin failed.
    RolledBack(String, Failure),
    /// The named plugin could not be brought up here; worth another attempt.
    Waiting(String, Failure),
}

impl GroupOutcome {
    pub(super) fn failed(name: &str, failure: &Failure) -> Self {
        match failure.class {
            Class::Revision => Self::RolledBack(name.to_owned(), failure.clone()),
            Class::Environment => Self::Waiting(name.to_owned(), failure.clone()),
        }
    }
}

impl Applied {
    /// The first failure of each group, with its plugin.
    pub fn failures(&self) -> impl Iterator<Item = (&str, &Failure)> {
        self.groups.iter().filter_map(|g| match &g.outcome {
            GroupOutcome::Applied => None,
            GroupOutcome::RolledBack(name, failure) | GroupOutcome::Waiting(name, failure) => {
                Some((name.as_str(), failure))
            }
        })
    }
}

impl Manager {
    /// Brings what runs to the desired set. Until the first set ran, all groups move at once and callers wait; later one
    /// group after another.
    pub async fn apply(&self, desired: &Desired) -> Applied {
        let _turn = self.applying.lock().await;
        self.set_rules(desired);
        self.finish_withdrawals().await;
        let plan = transition::plan(&self.running_targets(), desired, *self.registry.ready().borrow());
        let mut groups = self.adjust(&plan.staying).await;
        self.revoke(desired);
        let waves: Vec<Vec<Step>> = plan.transitions.into_iter().map(|moves| self.steps(moves)).collect();
        for steps in waves {
            groups.extend(Wave::new(self, steps, None).await.run().await);
        }
        self.mention_held_back(desired);
        self.forget_absent(desired).await;
        self.publish();
        self.registry.set_ready_under(&desired.host_uid);
        Applied { groups }
    }

    fn set_rules(&self, desired: &Desired) {
        *self.newcomers.lock() = desired.newcomers;
        self.stable.lock().clone_from(&desired.stable);
        self.fallback.lock().clone_from(&desired.fallback);
        for plugin in self.all().values().filter(|plugin| plugin.slot().state().missing) {
            self.note_missing(plugin);
        }
    }

    /// Tells whether the plugin has a stable version, also where nothing of it runs here.
    pub(super) fn has_stable(&self, plugin: &Plugin) -> bool {
        self.stable.lock().contains(plugin.name())
    }

    /// Notes whether requests would pass by a plugin that must not be skipped: nothing of it ever served here, and it has a
    /// stable version, or the host has no stable set at all.
    pub(super) fn note_missing(&self, plugin: &Plugin) {
        let slot = plugin.slot();
        let is_required = self.newcomers() == Newcomers::Required || self.has_stable(plugin);
        let missing = is_required && slot.current().is_none();
        if slot.state().missing != missing {
            slot.update(|state| state.missing = missing);
            self.registry.touch();
        }
    }

    /// Shows those that are not tried, and why.
    fn mention_held_back(&self, desired: &Desired) {
        for (target, why) in desired.held_back.values() {
            let plugin = self.plugin_for(target);
            if plugin.current().is_none() {
                plugin.set_wanted(Some(target.clone()));
                self.set_aside(&plugin, &why.reason, &why.message);
            }
        }
        for (name, Unknown { assignment, why }) in &desired.unknown {
            let plugin = self.plugin_or_new(name, &assignment.policies);
            if plugin.current().is_none() {
                plugin.slot().set_policies(assignment.policies.clone());
                plugin.set_wanted(None);
                self.set_aside(&plugin, &why.reason, &why.message);
            }
        }
    }

    /// Leaves a plugin out that has nothing to go back to.
    pub(super) fn set_aside(&self, plugin: &Plugin, reason: &str, error: &str) {
        plugin.set_current(None);
        let slot = plugin.slot();
        slot.set_current(None);
        let before = slot.state();
        if (before.status, before.reason.as_str()) != (Status::Error, reason) {
            plugin.down(reason, error);
        }
        slot.update(|state| state.loaded_at = None);
        self.note_missing(plugin);
        self.registry.touch();
        self.open(plugin);
    }

    /// Forgets plugins that neither run nor should.
    async fn forget_absent(&self, desired: &Desired) {
        if desired.newcomers == Newcomers::Counted {
            return;
        }
        let named: BTreeSet<&str> = desired.targets.iter().map(Target::name).collect();
        let is_absent = |name: &str| !named.contains(name) && !desired.is_held_back(name);
        for (name, plugin) in self.all() {
            if is_absent(&name) && plugin.current().is_none() {
                let mut work = plugin.lock().await;
                // It may have been brought back meanwhile.
                if plugin.current().is_none() {
                    *work = Work::default();
                    self.forget(&plugin);
                }
            }
        }
    }

    pub(super) fn running_targets(&self) -> BTreeMap<String, Target> {
        self.all().into_iter().filter_map(|(name, plugin)| Some((name, (*plugin.current()?).clone()))).collect()
    }

    /// The plugins that stay and are told another configuration than they have.
    pub fn reconfigured(&self, desired: &Desired) -> Vec<String> {
        let running = self.running_targets();
        let differs = |target: &&Target| {
            let current = running.get(target.name()).map(|current| &current.assignment);
            let same = current.filter(|current| current.revision == target.assignment.revision);
            same.is_some_and(|current| !target.unconfigured && current.config != target.assignment.config)
        };
        desired.targets.iter().filter(differs).map(|target| target.name().to_owned()).collect()
    }

    /// What is taken away of a revision that runs is refused at once, also where only another process ends it.
    fn revoke(&self, desired: &Desired) {
        for target in &desired.targets {
            let current = self.plugin(target.name()).and_then(|plugin| plugin.slot().current());
            let Some(instance) = current.filter(|i| *i.revision() == target.assignment.revision) else { continue };
            let left = instance.permissions().intersection(&target.assignment.permissions).copied().collect();
            instance.set_permissions(left);
        }
    }

    fn steps(&self, moves: Vec<Move>) -> Vec<Step> {
        let step = |to: Move| {
            let plugin = match &to.new {
                Some(target) => self.plugin_for(target),
                None => self.plugin(&to.plugin)?,
            };
            Some(Step { plugin, to })
        };
        moves.into_iter().filter_map(step).collect()
    }

    /// What changes without a move: policies, grants, configuration.
    async fn adjust(&self, staying: &[Target]) -> Vec<GroupResult> {
        let mut results = Vec::new();
        for target in staying {
            let Some(plugin) = self.plugin(target.name()) else { continue };
            let outcome = match self.adjust_one(&plugin, target).await {
                Ok(()) => GroupOutcome::Applied,
                Err(failure) => GroupOutcome::failed(target.name(), &failure),
            };
            results.push(GroupResult { plugins: vec![target.name().to_owned()], outcome });
        }
        results
    }

    async fn adjust_one(&self, plugin: &Arc<Plugin>, target: &Target) -> Result<(), Failure> {
        let work = plugin.lock().await;
        let Some(current) = plugin.current() else { return Ok(()) };
        let slot = plugin.slot();
        let mut now = Target { assignment: target.assignment.clone(), ..(*current).clone() };
        now.stable |= target.stable;
        if target.unconfigured {
            now.assignment.config.clone_from(&current.assignment.config);
        }
        now.unconfigured &= target.unconfigured;
        slot.set_policies(target.assignment.policies.clone());
        let Some(running) = &work.running else {
            let is_retried = Plugin::attempt(&current) != Plugin::attempt(&now);
            plugin.set_current(Some(now));
            if is_retried {
                self.start_again_now(plugin).await;
            }
            return Ok(());
        };
        let instance = running.instance();
        instance.set_permissions(target.assignment.permissions.clone());
        let changed = self.reconfigure(plugin, instance, &now).await;
        if changed.is_err() {
            now.assignment.config = current.assignment.config.clone();
        }
        let refused = changed.as_ref().map_err(|failure| failure.reason).err();
        slot.update(|state| refused.unwrap_or_default().clone_into(&mut state.reason));
        plugin.set_current(Some(now));
        changed
    }

    /// OnConfigChange, if the values with their defaults differ. A refused change leaves the old ones.
    async fn reconfigure(
        &self,
        plugin: &Plugin,
        instance: &crate::instance::Instance,
        target: &Target,
    ) -> Result<(), Failure> {
        let refused = |text: String| Failure::revision(FailedStep::ConfigChange, "ConfigChangeRefused", text);
        let values = launch::configure(instance.manifest(), target).map_err(|f| refused(f.message));
        let outcome = match values {
            Ok(values) if values == *instance.config() => return Ok(()),
            Ok(values) => {
                let generation = plugin.slot().state().config_generation + 2;
                let config = plugin::Config { values: Some((&values).into()), generation };
                let deadline = Instant::now() + self.launcher.limits.config_change;
                let answer = instance.link().on_config_change(config, deadline).await;
                answer.map(|()| instance.set_config(values)).map_err(|error| refused(error.to_string()))
            }
            Err(failure) => Err(failure),
        };
        match &outcome {
            Ok(()) => {
                plugin.slot().update(|state| state.config_generation += 1);
                tracing::info!(plugin = plugin.name(), "Plugin {} configuration changed", plugin.name());
            }
            Err(failure) => {
                plugin.slot().record.error(&failure.message);
                tracing::error!(
                    plugin = plugin.name(),
                    "Plugin {} refused its configuration: {failure}",
                    plugin.name()
                );
            }
        }
        outcome
    }
}
