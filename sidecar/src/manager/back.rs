//! The way back: the failed versions are removed, the ones before them come back as fresh processes.

use super::{
    Manager, Verdict,
    apply::GroupOutcome,
    plugin::{Plugin, Work},
    serve::Entry,
    trial::Trial,
};
use crate::{
    failure::{Class, Failure, Step},
    running::Running,
    target::Target,
};
use rockstar_core::assignment::Queue;
use std::sync::Arc;
use tokio::sync::OwnedMutexGuard;

/// One member of a group that goes back.
#[derive(Debug)]
pub(super) struct Returning {
    pub(super) plugin: Arc<Plugin>,
    pub(super) work: OwnedMutexGuard<Work>,
    /// What failed, or moved with what failed. None: it was leaving.
    pub(super) target: Option<Target>,
    pub(super) previous: Option<Target>,
    /// The process that has to go.
    pub(super) failed: Option<Running>,
    /// The version before was not stopped yet and serves on.
    pub(super) kept: bool,
    /// The open trial that its version before is part of.
    pub(super) rejoins: Option<Arc<Trial>>,
}

impl Manager {
    /// Members are in load order. `name` says whose failure it is.
    pub(super) async fn go_back(
        &self,
        mut group: Vec<Returning>,
        name: &str,
        failure: &Failure,
        queue: Option<&Queue>,
    ) -> GroupOutcome {
        for member in group.iter().rev().filter(|m| !m.kept) {
            let own = &member.plugin.slot().policies().reload.queue;
            member.plugin.slot().hold(queue.unwrap_or(own));
        }
        self.tell(&group, name, failure);
        for member in group.iter_mut().rev() {
            self.discard(member).await;
        }
        let mut entries = Vec::new();
        for member in group {
            entries.extend(self.restore(member, name, failure).await);
        }
        self.enter(entries).await;
        match failure.class {
            Class::Revision => GroupOutcome::RolledBack(name.to_owned(), failure.clone()),
            Class::Environment => GroupOutcome::Waiting(name.to_owned(), failure.clone()),
        }
    }

    /// On disk and in the log, before anything else is done about it.
    fn tell(&self, group: &[Returning], name: &str, failure: &Failure) {
        let targets: Vec<Target> = group.iter().filter_map(|m| m.target.clone()).collect();
        let culprit = targets.iter().find(|t| t.name() == name);
        match (failure.class, culprit) {
            (Class::Revision, Some(target)) => self.journal.ends(&targets, Verdict::Failed(target, failure)),
            _ => self.journal.ends(&targets, Verdict::Undecided),
        }
        // A crash was recorded when it was seen.
        if let Some(plugin) = self.plugin(name).filter(|_| failure.step != Step::Grace) {
            plugin.slot().record.error(&failure.message);
        }
        let version = culprit.map(Target::version).unwrap_or_default();
        match failure.class {
            Class::Revision => {
                let step = failure.step;
                tracing::error!(
                    plugin = name,
                    reason = failure.reason,
                    "Plugin reload failed: {name} v{version}: {step}: {failure}"
                );
            }
            Class::Environment => {
                tracing::warn!(
                    plugin = name,
                    reason = failure.reason,
                    "Plugin {name} v{version} cannot be loaded here now: {failure}"
                );
            }
        }
    }

    async fn discard(&self, member: &mut Returning) {
        let patience = member.plugin.slot().policies().stop_timeout;
        let Some(mut failed) = member.failed.take() else { return };
        for error in [failed.stop(patience).await, failed.finish(patience).await].into_iter().filter_map(Result::err) {
            tracing::warn!(plugin = member.plugin.name(), "Plugin {}: {error}", member.plugin.name());
        }
    }

    async fn restore(&self, mut member: Returning, name: &str, failure: &Failure) -> Option<Entry> {
        let plugin = Arc::clone(&member.plugin);
        if member.kept {
            self.keep(member, failure);
            return None;
        }
        let Some(previous) = member.previous.take() else {
            self.give_up(member, name, failure);
            return None;
        };
        tracing::info!("Rolling back to previous version: {} v{}", plugin.name(), previous.version());
        match self.bring_up(&plugin, &previous).await {
            Ok(running) => {
                tracing::info!("Previous version restored successfully");
                plugin.slot().record.threshold.rearm();
                let on_trial = self.rejoin(&mut member, &previous);
                Some(Entry { plugin, work: member.work, running: Some(running), target: previous, on_trial })
            }
            Err(second) => {
                let text =
                    format!("{failure}; then its previous version v{} failed as well: {second}", previous.version());
                tracing::error!(plugin = plugin.name(), "Plugin {}: {text}", plugin.name());
                plugin.down(second.reason, &text);
                plugin.set_current(Some(previous.clone()));
                self.note_missing(&plugin);
                self.rejoin(&mut member, &previous);
                self.try_again(&plugin, &mut member.work, second.class);
                self.open(&plugin);
                None
            }
        }
    }

    /// A version that was on trial with others is on trial with them again. True: it is.
    fn rejoin(&self, member: &mut Returning, previous: &Target) -> bool {
        member.work.trial = member.rejoins.take().filter(|trial| trial.is_open());
        let Some(trial) = member.work.trial.as_ref().filter(|_| !previous.stable) else { return false };
        let partners: Vec<String> = trial.members.iter().map(|m| m.plugin.name().to_owned()).collect();
        self.journal.rejoins(previous, &partners);
        true
    }

    /// It was never stopped: calls go on as before.
    fn keep(&self, mut member: Returning, failure: &Failure) {
        if let Some(previous) = member.previous.clone() {
            self.rejoin(&mut member, &previous);
        }
        if failure.class == Class::Revision {
            let version = member.previous.as_ref().map(Target::version).unwrap_or_default();
            tracing::info!("Rolling back to previous version: {} v{version}", member.plugin.name());
            tracing::info!("Previous version restored successfully");
        }
        self.open(&member.plugin);
    }

    /// There is nothing to go back to.
    fn give_up(&self, member: Returning, name: &str, failure: &Failure) {
        let plugin = member.plugin;
        match plugin.name() == name {
            true => self.set_aside(&plugin, failure.reason, &failure.message),
            false => {
                let text = format!("not started with '{name}', which failed: {failure}");
                self.set_aside(&plugin, "MovedWithFailed", &text);
            }
        }
    }
}
