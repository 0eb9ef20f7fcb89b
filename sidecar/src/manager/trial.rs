//! Plugins that moved together and may have to go back together, until their grace period is over.

use super::{
    Manager, Verdict,
    apply::GroupOutcome,
    back::Returning,
    plugin::{Plugin, Work},
};
use crate::{failure::Failure, target::Target};
use parking_lot::Mutex;
use rockstar_core::{duration, manifest::Dependency};
use std::sync::{
    Arc, Weak,
    atomic::{AtomicBool, Ordering::SeqCst},
};
use tokio::time::Instant;

/// The trials that are open.
#[derive(Debug, Default)]
pub(super) struct Trials(Mutex<Vec<Weak<Trial>>>);

impl Trials {
    /// Takes up a trial that begins.
    pub(super) fn begin(&self, trial: Trial) -> Arc<Trial> {
        let trial = Arc::new(trial);
        let mut known = self.0.lock();
        known.retain(|other| other.upgrade().is_some_and(|other| other.is_open()));
        known.push(Arc::downgrade(&trial));
        trial
    }

    fn open(&self) -> Vec<Arc<Trial>> {
        self.0.lock().iter().filter_map(Weak::upgrade).filter(|trial| trial.is_open()).collect()
    }

    /// The trial that a plugin is part of with what it runs now.
    pub(super) fn of(&self, plugin: &Plugin) -> Option<Arc<Trial>> {
        let current = plugin.current()?;
        let runs = |trial: &Arc<Trial>| {
            trial.target(plugin.name()).is_some_and(|t| t.assignment.revision == current.assignment.revision)
        };
        self.open().into_iter().rev().find(runs)
    }

    /// A trial with those that began on top of it, that one first: members go back to what they had before the first.
    fn family(&self, trial: &Arc<Trial>) -> Vec<Arc<Trial>> {
        let mut family = vec![Arc::clone(trial)];
        family.extend(self.open().into_iter().filter(|other| !Arc::ptr_eq(other, trial) && other.stands_on(trial)));
        family
    }
}

/// One group on trial.
#[derive(Debug)]
pub(super) struct Trial {
    /// In load order.
    pub(super) members: Vec<TrialMember>,
    pub(super) until: Instant,
    /// Open trials that its members were part of before they moved again, which is what this one falls back to, and those of
    /// what its members require.
    pub(super) bases: Vec<Arc<Self>>,
    /// It is over: proven, or fallen back.
    pub(super) closed: AtomicBool,
}

#[derive(Clone, Debug)]
pub(super) struct TrialMember {
    pub(super) plugin: Arc<Plugin>,
    /// None: it left.
    pub(super) target: Option<Target>,
    pub(super) previous: Option<Target>,
}

impl Trial {
    fn member(&self, name: &str) -> Option<&TrialMember> {
        self.members.iter().find(|m| m.plugin.name() == name)
    }

    pub(super) fn previous(&self, name: &str) -> Option<Target> {
        self.member(name)?.previous.clone()
    }

    pub(super) fn target(&self, name: &str) -> Option<Target> {
        self.member(name)?.target.clone()
    }

    /// Tells whether a need is met by what its member goes back to.
    pub(super) fn may_end(&self, need: &Dependency) -> bool {
        let fits = |previous: &Target| need.constraint().is_ok_and(|c| c.matches(&previous.body.manifest.version));
        self.previous(&need.name).map_or(need.optional, |previous| fits(&previous))
    }

    pub(super) fn is_open(&self) -> bool {
        !self.closed.load(SeqCst)
    }

    /// A trial that begins now for one member of this one.
    pub(super) fn alone(&self, target: &Target) -> Self {
        let members = self.member(target.name()).cloned().into_iter().collect();
        let until = Instant::now() + target.assignment.policies.reload.grace_period;
        Self { members, until, bases: vec![], closed: AtomicBool::default() }
    }

    /// Tells whether it is that trial, or began on top of it.
    fn stands_on(&self, other: &Arc<Self>) -> bool {
        std::ptr::eq(self, Arc::as_ptr(other)) || self.bases.iter().any(|base| base.stands_on(other))
    }

    /// The open trial on which the plugin was before it moved again.
    fn base_of(&self, name: &str) -> Option<Arc<Self>> {
        let has = |trial: &&Arc<Self>| trial.is_open() && trial.member(name).is_some();
        self.bases.iter().find(has).cloned()
    }
}

impl Manager {
    /// The grace period is over. Members that moved on meanwhile are no longer of this trial.
    pub(super) async fn prove(&self, trial: Arc<Trial>) {
        trial.closed.store(true, SeqCst);
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
            } else if member.plugin.current().is_some_and(|current| !current.stable) {
                // What is down outlived nothing: it is on trial again once it runs.
                work.trial = Some(Arc::clone(&trial));
                continue;
            }
            proven.extend(member.target.clone());
        }
        self.journal.ends(&proven, Verdict::Proven);
        for target in proven {
            let grace = duration::format(target.assignment.policies.reload.grace_period);
            tracing::info!("Plugin {} v{} outlived its grace period of {grace}", target.name(), target.version());
        }
    }

    /// One member crashed in its grace period: all go back, and so do trials that began on top of this one.
    pub(super) async fn fall_back(&self, trial: Arc<Trial>, name: &str, failure: Failure) -> GroupOutcome {
        let mut locks = self.lock(trial.members.iter().map(|m| Arc::clone(&m.plugin))).await;
        let family = loop {
            // A member that moved again, or one that requires a member, is in a later trial, which goes back with this one.
            let family = self.trials.family(&trial);
            let plugins: Vec<_> =
                family.iter().flat_map(|t| &t.members).map(|member| Arc::clone(&member.plugin)).collect();
            if plugins.iter().all(|plugin| locks.contains_key(plugin.name())) {
                break family;
            }
            // Locks are taken in order of names.
            drop(locks);
            locks = self.lock(plugins.into_iter()).await;
        };
        let mut returning = Vec::new();
        for trial in &family {
            trial.closed.store(true, SeqCst);
            for member in &trial.members {
                let is_in = |work: &Work| work.trial.as_ref().is_some_and(|t| family.iter().any(|f| Arc::ptr_eq(f, t)));
                let Some((plugin, mut work)) = locks.remove(member.plugin.name()) else { continue };
                if !is_in(&work) {
                    continue;
                }
                let latest = work.trial.take();
                work.watcher = None;
                let failed = work.running.take();
                let target = latest.and_then(|latest| latest.target(plugin.name()));
                let (mut target, mut previous) = (target, member.previous.clone());
                // It became stable since its trial began: nothing else may take its place.
                if let Some(current) = plugin.current().filter(|current| current.stable) {
                    target = Some((*current).clone());
                    previous = previous.or_else(|| target.clone());
                }
                let rejoins = trial.base_of(plugin.name());
                returning.push(Returning { plugin, work, target, previous, failed, kept: false, rejoins });
            }
        }
        self.go_back(returning, name, &failure, None).await
    }
}
