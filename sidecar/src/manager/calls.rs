//! The reference's calls on single plugins and on all of them.

use super::{
    GroupOutcome, Manager,
    budget::Crashes,
    transition::Move,
    wave::{Step, Wave},
};
use crate::{failure::Failure, slot::Status, target::Target};
use rockstar_core::{
    assignment::{Policies, Queue},
    resolve::ResolveError,
};
use std::{collections::BTreeSet, time::SystemTime};

/// What a call fails with; the texts are the reference's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManagerError {
    #[error("plugin not found: '{0}'")]
    NotFound(String),
    #[error("plugin already loaded: '{0}'")]
    AlreadyLoaded(String),
    #[error("{}", .0.of_load())]
    Load(Failure),
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Resolve(Vec<ResolveError>),
    #[error("plugin reload failed: new version {}: {}", .0.step, .0.message)]
    Reload(Failure),
    #[error("{}", .0.join("; "))]
    Plugins(Vec<String>),
}

impl Manager {
    /// Loads one plugin beside those that are: it is not initialised yet.
    pub async fn load_one(&self, target: Target) -> Result<(), ManagerError> {
        let _turn = self.applying.lock().await;
        let name = target.name().to_owned();
        if self.is_loaded(&name) {
            return Err(ManagerError::AlreadyLoaded(name));
        }
        self.fits(&target)?;
        let plugin = self.plugin_for(&target);
        let mut work = plugin.lock().await;
        match self.load(&plugin, &target).await {
            Ok(running) => {
                plugin.slot().set_policies(target.assignment.policies.clone());
                plugin.slot().update(|state| (state.enabled, state.loaded_at) = (true, Some(SystemTime::now())));
                plugin.set_current(Some(running.pin(target)));
                work.running = Some(running);
                self.publish();
                Ok(())
            }
            Err(failure) => {
                // It stays in sight with its error, and may be loaded again.
                plugin.set_wanted(Some(target));
                plugin.down(failure.reason, &failure.message);
                self.publish();
                Err(ManagerError::Load(failure))
            }
        }
    }

    /// Its needs are checked against what is loaded.
    fn fits(&self, target: &Target) -> Result<(), ManagerError> {
        let mut set = self.loaded_set();
        set.extend(crate::target::set([target]));
        let about = |e: &ResolveError| match e {
            ResolveError::Framework { plugin, .. }
            | ResolveError::Missing { plugin, .. }
            | ResolveError::Mismatch { plugin, .. } => plugin == target.name(),
            ResolveError::Circular { path } => path.iter().any(|p| p == target.name()),
        };
        let errors: Vec<_> = rockstar_core::resolve::check(&self.framework(), &set).into_iter().filter(about).collect();
        if errors.is_empty() { Ok(()) } else { Err(ManagerError::Resolve(errors)) }
    }

    /// The six steps. Dependents stay, with a warning.
    pub async fn unload(&self, name: &str) -> Result<(), ManagerError> {
        let _turn = self.applying.lock().await;
        let plugin = self.plugin(name).ok_or_else(|| ManagerError::NotFound(name.to_owned()))?;
        let dependents = self.dependents(name);
        if !dependents.is_empty() {
            tracing::warn!("Plugin {name} is unloaded while required by {}, which keep running", dependents.join(", "));
        }
        let mut work = plugin.lock().await;
        work.watcher = None;
        work.leave_probation();
        let slot = plugin.slot();
        let (policies, now) = (slot.policies(), tokio::time::Instant::now());
        slot.hold(&policies.reload.queue);
        slot.drain_both(now + policies.hook_timeout, now + policies.reload.drain_timeout).await;
        let outcome = match work.running.take() {
            Some(running) => self.dismantle(&plugin, running).await,
            None => Ok(()),
        };
        drop(work);
        self.forget(&plugin);
        outcome.map_err(|error| ManagerError::Plugins(vec![format!("plugin '{name}': {error}")]))
    }

    fn dependents(&self, name: &str) -> Vec<String> {
        let requires = |t: &Target| t.body.manifest.dependencies.iter().any(|d| d.name == name && !d.optional);
        let all = self.all();
        all.into_iter().filter(|(_, p)| p.current().is_some_and(|t| requires(&t))).map(|(n, _)| n).collect()
    }

    /// Replaces what runs of one plugin by a fresh process of `target`.
    pub async fn reload(&self, target: Target, queue: Option<Queue>) -> Result<(), ManagerError> {
        let _turn = self.applying.lock().await;
        let name = target.name().to_owned();
        let plugin = self.plugin(&name).ok_or_else(|| ManagerError::NotFound(name.clone()))?;
        if let Err(unfit) = self.fits(&target) {
            let failure = Failure::revision(crate::failure::Step::Load, "DependenciesUnresolved", unfit);
            self.tell_refused(&name, &target.version(), &failure);
            return Err(ManagerError::Reload(failure));
        }
        self.journal.keep_crashes(&name, Crashes::default());
        let to = Move { plugin: name, new: Some(target), fallback: None, group: 0 };
        let results = Wave::new(self, vec![Step { plugin, to }], queue).await.run().await;
        match results.into_iter().next().map(|r| r.outcome) {
            Some(GroupOutcome::RolledBack(_, failure) | GroupOutcome::Waiting(_, failure)) => {
                Err(ManagerError::Reload(failure))
            }
            _ => Ok(()),
        }
    }

    /// A new version that cannot even be tried: what runs was never stopped. `version` is empty where nobody can tell.
    pub fn tell_refused(&self, name: &str, version: &str, failure: &Failure) {
        let Some(current) = self.plugin(name).and_then(|p| p.current()) else { return };
        let new = if version.is_empty() { String::new() } else { format!(" v{version}") };
        tracing::error!("Plugin reload failed: {name}{new}: {}: {failure}", failure.step);
        tracing::info!("Rolling back to previous version: {name} v{}", current.version());
        tracing::info!("Previous version restored successfully");
    }

    /// Shows a plugin that does not run, and why.
    pub fn mention(&self, name: &str, policies: &Policies, target: Option<Target>, error: Option<&str>) {
        let plugin = self.plugin_or_new(name, policies);
        if plugin.current().is_some() {
            return;
        }
        plugin.set_wanted(target);
        let known = plugin.slot().record.health(&[]).last_error.map(|(text, _)| text);
        match error {
            Some(error) if known.as_deref() != Some(error) => plugin.down("NotLoaded", error),
            Some(_) => plugin.set_status(Status::Error),
            None => plugin.set_status(Status::Unloaded),
        }
        plugin.slot().update(|state| state.enabled = error.is_some());
        self.publish();
    }

    /// Forgets plugins that do not run and are none of these.
    pub fn mention_only(&self, names: &BTreeSet<String>) {
        self.plugins.lock().retain(|name, plugin| names.contains(name) || plugin.current().is_some());
        self.publish();
    }
}
