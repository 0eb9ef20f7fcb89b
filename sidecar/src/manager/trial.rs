//! Plugins that moved together and may have to go back together, until their grace period is over.

use super::{Manager, Verdict, apply::GroupOutcome, back::Returning, plugin::Plugin};
use crate::{failure::Failure, target::Target};
use rockstar_core::duration;
use std::sync::Arc;
use tokio::time::Instant;

/// One group on trial.
#[derive(Debug)]
pub(super) struct Trial {
    /// In load order.
    pub(super) members: Vec<TrialMember>,
    pub(super) until: Instant,
}

#[derive(Clone, Debug)]
pub(super) struct TrialMember {
    pub(super) plugin: Arc<Plugin>,
    /// None: it left.
    pub(super) target: Option<Target>,
    pub(super) previous: Option<Target>,
}

impl Trial {
    pub(super) fn previous(&self, name: &str) -> Option<Target> {
        self.members.iter().find(|m| m.plugin.name() == name)?.previous.clone()
    }
}

impl Manager {
    /// The grace period is over. Members that moved on meanwhile are no longer of this trial.
    pub(super) async fn prove(&self, trial: Arc<Trial>) {
        let mut proven = Vec::new();
        for member in &trial.members {
            let mut work = member.plugin.lock().await;
            if work.trial.take_if(|t| Arc::ptr_eq(t, &trial)).is_none() {
                continue;
            }
            if let Some(running) = &work.running {
                running.instance().set_on_trial(false);
                member.plugin.slot().update(|state| state.proven = true);
                self.outlived(&member.plugin);
            }
            proven.extend(member.target.clone());
        }
        self.journal.ends(&proven, Verdict::Proven);
        for target in proven {
            let grace = duration::format(target.assignment.policies.reload.grace_period);
            tracing::info!("Plugin {} v{} outlived its grace period of {grace}", target.name(), target.version());
        }
    }

    /// One member crashed in its grace period: all go back.
    pub(super) async fn fall_back(&self, trial: Arc<Trial>, name: &str, failure: Failure) -> GroupOutcome {
        let mut locks = self.lock(trial.members.iter().map(|m| Arc::clone(&m.plugin))).await;
        let mut returning = Vec::new();
        for member in &trial.members {
            let Some((plugin, mut work)) = locks.remove(member.plugin.name()) else { continue };
            if work.trial.take_if(|t| Arc::ptr_eq(t, &trial)).is_none() {
                continue;
            }
            work.watcher = None;
            let failed = work.running.take();
            let (mut target, mut previous) = (member.target.clone(), member.previous.clone());
            // It became stable since its trial began: nothing else may take its place.
            if let Some(current) = member.plugin.current().filter(|current| current.stable) {
                target = Some((*current).clone());
                previous = previous.or_else(|| target.clone());
            }
            returning.push(Returning { plugin, work, target, previous, failed, kept: false });
        }
        self.go_back(returning, name, &failure, None).await
    }
}
