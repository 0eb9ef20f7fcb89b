//! What happens to plugins that moved together when their grace period is over, and when one of them crashes in it.

use super::{
    Manager, Verdict,
    back::Returning,
    plugin::{Plugin, Work},
    probation::{ProbationId, Standing, Surroundings},
    rollback::GroupFailure,
};
use rockstar_core::duration;
use std::{collections::BTreeMap, sync::Arc};
use tokio::sync::OwnedMutexGuard;

type Locks = BTreeMap<String, (Arc<Plugin>, OwnedMutexGuard<Work>)>;

impl Manager {
    /// Ends a probation whose grace period is over. Members that moved on meanwhile are no longer part of it.
    pub(super) async fn end_probation(&self, id: ProbationId) {
        let Some(members) = self.probations.lock().close(id) else { return };
        let mut proven = Vec::new();
        for member in members {
            let Some(plugin) = self.plugin(&member.plugin) else { continue };
            let mut work = plugin.lock().await;
            if work.probation.take_if(|probation| *probation == id).is_none() {
                continue;
            }
            let is_stable = plugin.current().is_none_or(|current| current.stable);
            if work.running.is_none() && !is_stable {
                // What is down outlived nothing.
                work.unproven = Some(member);
                continue;
            }
            self.note_outlived(&plugin, &work);
            proven.extend(member.target);
        }
        self.probations.lock().remove(id);
        self.journal.ends(&proven, Verdict::Proven);
        for target in proven {
            let grace = duration::format(target.assignment.policies.reload.grace_period);
            tracing::info!("Plugin {} v{} outlived its grace period of {grace}", target.name(), target.version());
        }
    }

    /// Notes that what runs of a plugin has outlived its grace period.
    pub(super) fn note_outlived(&self, plugin: &Plugin, work: &Work) {
        if let Some(running) = &work.running {
            running.instance().set_on_trial(false);
            plugin.slot().update(|state| state.proven = true);
            self.outlived(plugin);
        }
    }

    /// Takes a group back of which one member crashed in its grace period, and with it what began on top of it.
    pub(super) async fn roll_back(&self, id: ProbationId, failed: &GroupFailure) {
        let mut locks = self.lock_concerned(id).await;
        let surroundings = Surroundings { running: self.running_targets(), fallback: self.fallback.lock().clone() };
        let returns = self.probations.lock().roll_back(id, &standing(&locks), &surroundings);
        let returning = returns.into_iter().filter_map(|way| {
            let (plugin, mut work) = locks.remove(&way.plugin)?;
            work.leave_probation();
            work.watcher = None;
            let failed = work.running.take();
            Some(Returning { plugin, work, way, failed })
        });
        let returning: Vec<_> = returning.collect();
        drop(locks);
        // Another member may have failed at the same time.
        if !returning.is_empty() {
            self.go_back(returning, failed, None).await;
        }
    }

    /// Locks all plugins that a rollback of the probation concerns.
    async fn lock_concerned(&self, id: ProbationId) -> Locks {
        let mut locks = Locks::new();
        loop {
            let concerned = self.probations.lock().concerned(id);
            let plugins: Vec<_> = concerned.iter().filter_map(|name| self.plugin(name)).collect();
            if plugins.iter().all(|plugin| locks.contains_key(plugin.name())) {
                return locks;
            }
            // Locks are taken in order of names, and what begins meanwhile brings along who moved in it.
            drop(locks);
            locks = self.lock(plugins.into_iter()).await;
        }
    }
}

fn standing(locks: &Locks) -> BTreeMap<String, Standing> {
    let standing = |(plugin, work): &(Arc<Plugin>, OwnedMutexGuard<Work>)| Standing {
        probation: work.probation,
        current: plugin.current().map(|target| (*target).clone()),
    };
    locks.iter().map(|(name, locked)| (name.clone(), standing(locked))).collect()
}
