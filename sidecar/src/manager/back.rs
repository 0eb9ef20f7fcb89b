//! The way back: the failed versions are removed, the ones before them come back as fresh processes.

use super::{
    Manager,
    crash::Event,
    plugin::{Plugin, Work},
    rollback::{self, GroupFailure, Return},
    serve::Entry,
};
use crate::{
    failure::{Class, Step},
    running::Running,
    target::Target,
};
use rockstar_core::assignment::Queue;
use std::sync::Arc;
use tokio::{sync::OwnedMutexGuard, time::Instant};

/// One member of a group that goes back.
#[derive(Debug)]
pub(super) struct Returning {
    pub(super) plugin: Arc<Plugin>,
    pub(super) work: OwnedMutexGuard<Work>,
    pub(super) way: Return,
    /// The process that has to go.
    pub(super) failed: Option<Running>,
}

impl Manager {
    /// Members are in load order.
    pub(super) async fn go_back(&self, mut group: Vec<Returning>, failed: &GroupFailure, queue: Option<&Queue>) {
        for member in group.iter().rev().filter(|m| !m.way.kept) {
            let own = &member.plugin.slot().policies().reload.queue;
            member.plugin.slot().hold(queue.unwrap_or(own));
        }
        self.tell(&group, failed);
        for member in group.iter_mut().rev() {
            self.discard(member).await;
        }
        let renewed = {
            let stable = self.fallback.lock().clone();
            self.probations.lock().renew(group.iter_mut().map(|member| &mut member.way), &stable)
        };
        let mut entries = Vec::new();
        for member in group {
            entries.extend(self.restore(member, failed).await);
        }
        self.enter(entries).await;
        if let Some((id, grace)) = renewed {
            self.events.send(Event::GraceOver { id, until: Instant::now() + grace }).await.ok();
        }
    }

    /// On disk and in the log, before anything else is done about it.
    fn tell(&self, group: &[Returning], failed: &GroupFailure) {
        let targets = rollback::targets(group.iter().map(|member| &member.way));
        self.journal.ends(&targets, failed.verdict(&targets));
        let (name, failure) = (failed.plugin.as_str(), &failed.failure);
        // A crash was recorded when it was seen.
        if let Some(plugin) = self.plugin(name).filter(|_| failure.step != Step::Grace) {
            plugin.slot().record.error(&failure.message);
        }
        let version = failed.culprit(&targets).map(Target::version).unwrap_or_default();
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

    async fn restore(&self, mut member: Returning, failed: &GroupFailure) -> Option<Entry> {
        let plugin = Arc::clone(&member.plugin);
        if member.way.kept {
            self.keep(member, failed);
            return None;
        }
        let Some(previous) = member.way.previous.take() else {
            let excluded = failed.exclude_partner(plugin.name());
            self.set_aside(&plugin, excluded.reason, &excluded.message);
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
                let (failure, version) = (&failed.failure, previous.version());
                let text = format!("{failure}; then its previous version v{version} failed as well: {second}");
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

    /// Puts a version that was on probation with others on probation with them again. True: it is.
    fn rejoin(&self, member: &mut Returning, previous: &Target) -> bool {
        let (id, probations) = (member.way.rejoins, self.probations.lock());
        member.work.probation = id.filter(|id| probations.is_open(*id));
        let Some(id) = member.work.probation.filter(|_| !previous.stable) else { return false };
        let partners = probations.plugins(id);
        drop(probations);
        self.journal.rejoins(previous, &partners);
        true
    }

    /// It was never stopped: calls go on as before.
    fn keep(&self, mut member: Returning, failed: &GroupFailure) {
        let previous = member.way.previous.take();
        if let Some(previous) = &previous {
            self.rejoin(&mut member, previous);
        }
        // Its grace period ended while it was about to move: nobody else could tell.
        if member.way.rejoins.is_some() && member.work.probation.is_none() {
            self.note_outlived(&member.plugin, &member.work);
        }
        if failed.failure.class == Class::Revision {
            let version = previous.as_ref().map(Target::version).unwrap_or_default();
            tracing::info!("Rolling back to previous version: {} v{version}", member.plugin.name());
            tracing::info!("Previous version restored successfully");
        }
        self.open(&member.plugin);
    }
}
