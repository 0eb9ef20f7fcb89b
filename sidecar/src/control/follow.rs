//! Makes the newest snapshot run, one after another; what waits for its surroundings is tried again. Memory only; the
//! manager does the I/O.

use super::{
    desired::{self, SnapshotError},
    memory::Memory,
};
use crate::{
    failure::{Class, Failure, Step},
    framework::Framework,
    manager::{Applied, Desired, GroupOutcome, GroupResult, Manager, OVERTAKEN, Unknown, WITHDRAWN},
    slot::Status,
    target::Target,
};
use rand::Rng;
use rockstar_core::{backends::Backends, limits::Limits, sandbox::Sandbox, termination::Termination};
use rockstar_proto::control::{GroupState, Snapshot, group_state::Outcome};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::{
    sync::{Mutex, watch},
    time::timeout,
};

/// For what the surroundings keep from running.
const WAITING_RETRIES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// For a stable revision that failed here, while the one before it serves.
const STABLE_RETRIES: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(1800));

/// The first and the longest pause before the same snapshot is applied again.
pub type Retries = (Duration, Duration);

/// How far the newest accepted snapshot is.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Progress {
    pub(super) host_uid: String,
    pub(super) plan_generation: u64,
    pub(super) groups: Vec<GroupState>,
}

/// See the module.
#[derive(Debug)]
pub struct Follower {
    manager: Arc<Manager>,
    framework: Arc<Framework>,
    memory: Arc<Memory>,
    host: watch::Sender<String>,
    progress: watch::Sender<Progress>,
    /// Limits are put in force one after another.
    taking: Mutex<()>,
}

impl Follower {
    /// `host` is told the host's name.
    #[must_use]
    pub fn new(
        manager: Arc<Manager>,
        framework: Arc<Framework>,
        memory: Arc<Memory>,
        host: watch::Sender<String>,
    ) -> Self {
        Self { manager, framework, memory, host, progress: watch::Sender::default(), taking: Mutex::default() }
    }

    pub(super) fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    pub(super) const fn manager(&self) -> &Arc<Manager> {
        &self.manager
    }

    pub(super) const fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }

    /// Follows until the memory is gone. What a snapshot takes away does not wait for the one before to be applied.
    pub async fn run(&self) {
        tokio::join!(self.apply_all(), self.take_away_all());
    }

    async fn take_away_all(&self) {
        let mut snapshots = self.memory.snapshots();
        snapshots.mark_changed();
        while snapshots.changed().await.is_ok() {
            snapshots.mark_unchanged();
            self.take_away().await;
        }
    }

    /// Puts the limits of the newest snapshot in force.
    async fn take_away(&self) {
        let _turn = self.taking.lock().await;
        if let Some(snapshot) = self.memory.snapshot() {
            // Its plugins protect what those of another host protected: as at the start, nobody passes by them.
            self.manager.registry().wait_for_host(&snapshot.host_uid);
            self.manager.set_limits(Limits::told(&snapshot.limits_json));
            self.manager.take_away(desired::allowance(&snapshot)).await;
        }
    }

    async fn apply_all(&self) {
        let mut snapshots = self.memory.snapshots();
        let mut retry = Duration::ZERO;
        loop {
            let newest = snapshots.borrow_and_update().clone();
            let retries = match newest {
                Some(snapshot) => self.apply(&snapshot).await,
                None => None,
            };
            let news = match retries {
                Some((first, longest)) => {
                    retry = (retry * 2).clamp(first, longest);
                    let pause = rand::rng().random_range(retry / 2..=retry);
                    timeout(pause, snapshots.changed()).await.ok()
                }
                None => Some(snapshots.changed().await),
            };
            match news {
                Some(Err(_)) => return,
                Some(Ok(())) => retry = Duration::ZERO,
                None => {}
            }
        }
    }

    /// Says when the same is worth another attempt, if it is.
    async fn apply(&self, snapshot: &Snapshot) -> Option<Retries> {
        match self.try_apply(snapshot).await {
            Ok(applied) => retries(snapshot, &applied),
            Err(error) => {
                tracing::error!("plan {} of {} is not applied: {error}", snapshot.plan_generation, snapshot.host);
                self.tell_unread(snapshot, &error);
                None
            }
        }
    }

    async fn try_apply(&self, snapshot: &Snapshot) -> Result<Applied, SnapshotError> {
        self.take_away().await;
        self.manager.set_framework(desired::framework(snapshot)?);
        let addresses = desired::engines(snapshot);
        self.manager.set_addresses(addresses.clone());
        self.manager.confiner().ask(Sandbox::told(&snapshot.sandbox));
        let sets = desired::sets(snapshot)?;
        self.host.send_replace(snapshot.host.clone());
        self.events(&snapshot.host, &addresses);
        let (configuration, strict) = (desired::configuration(snapshot), snapshot.sandbox == "Required");
        self.framework.backends.apply(&snapshot.host, &addresses, configuration, strict);
        self.memory.applies(snapshot.plan_generation);
        let unknown = sets.unknown.clone();
        let desired = self.memory.read(|ledger| desired::desired(sets, ledger));
        let desired = Desired { host_uid: snapshot.host_uid.clone(), ..desired };
        self.tell(snapshot, self.moving(&desired));
        let applied = self.manager.apply(&desired).await;
        if self.is_followed(snapshot) {
            self.note(&desired, &applied);
        }
        let groups = applied.groups.iter().map(|group| self.state(group));
        self.tell(snapshot, groups.chain(unknown.values().map(|unknown| self.waiting(unknown))).collect());
        Ok(applied)
    }

    /// Tells whether its host is still the one that this sidecar follows.
    fn is_followed(&self, snapshot: &Snapshot) -> bool {
        self.memory.snapshot().is_some_and(|newest| newest.host_uid == snapshot.host_uid)
    }

    /// Says that a plugin waits for a revision that can be read.
    fn waiting(&self, Unknown { assignment, why }: &Unknown) -> GroupState {
        self.memory.unread(&assignment.plugin, &assignment.revision.0, (&why.reason, &why.message));
        self.waits(vec![assignment.plugin.clone()])
    }

    /// Says that all plugins of a snapshot wait for one that can be read.
    fn tell_unread(&self, snapshot: &Snapshot, error: &SnapshotError) {
        let Some(told) = snapshot.target.iter().chain(&snapshot.fallback).find(|told| error.concerns(&told.plugin))
        else {
            return;
        };
        self.memory.applies(snapshot.plan_generation);
        self.memory.unread(&told.plugin, &told.revision, ("SnapshotUnreadable", &error.to_string()));
        self.tell(snapshot, vec![self.waits(snapshot.target.iter().map(|told| told.plugin.clone()).collect())]);
    }

    fn waits(&self, plugins: Vec<String>) -> GroupState {
        let failure = self.memory.read(|ledger| ledger.failure_of(&plugins).unwrap_or_default().to_owned());
        GroupState { plugins, outcome: Outcome::Waiting.into(), failure }
    }

    /// A wrong address leaves what is in force.
    fn events(&self, host: &str, addresses: &Backends) {
        if let Err(error) = self.manager.shared().bus.apply(addresses, host) {
            tracing::error!("backends.events of {host}: {error}");
        }
    }

    fn tell(&self, snapshot: &Snapshot, groups: Vec<GroupState>) {
        let (host_uid, plan_generation) = (snapshot.host_uid.clone(), snapshot.plan_generation);
        self.progress.send_replace(Progress { host_uid, plan_generation, groups });
    }

    /// What differs from what runs is under way.
    fn moving(&self, desired: &Desired) -> Vec<GroupState> {
        let wanted: BTreeMap<_, _> =
            desired.targets.iter().map(|t| (t.name().to_owned(), t.assignment.revision.clone())).collect();
        let slots = self.manager.registry().slots();
        let running: BTreeMap<_, _> =
            slots.iter().filter_map(|(name, slot)| Some((name.clone(), slot.current()?.revision().clone()))).collect();
        let names = wanted.keys().chain(running.keys());
        let mut plugins: Vec<_> = names.filter(|name| wanted.get(*name) != running.get(*name)).cloned().collect();
        plugins.extend(self.manager.reconfigured(desired));
        plugins.sort();
        plugins.dedup();
        match plugins.is_empty() {
            true => vec![],
            false => vec![GroupState { plugins, outcome: Outcome::Moving.into(), failure: String::new() }],
        }
    }

    /// The journal hears of trials that failed; the rest is noted here.
    fn note(&self, desired: &Desired, applied: &Applied) {
        let untold = |f: &Failure| f.class == Class::Environment || f.step == Step::ConfigChange;
        let failures = applied.failures().filter(|(_, f)| untold(f) && ![OVERTAKEN, WITHDRAWN].contains(&f.reason));
        for (name, failure) in failures {
            if let Some(target) = desired.targets.iter().find(|t| t.name() == name) {
                self.memory.failed(target, failure);
            }
        }
        for target in desired.targets.iter().filter(|t| self.runs(t)) {
            self.memory.runs(target.name(), &target.assignment.revision.0);
        }
    }

    /// What serves now, for the time after this process; what is on trial comes first.
    #[must_use]
    pub fn termination(&self) -> Termination {
        let progress = self.progress.borrow().clone();
        let slots = self.manager.registry().slots();
        let up = slots.iter().filter(|(_, slot)| slot.status() == Status::Running);
        let mut up: Vec<_> = up.filter_map(|(name, slot)| Some((name, slot.current()?.revision().clone()))).collect();
        up.sort_by_key(|(name, _)| !self.memory.read(|ledger| ledger.trials().any(|trial| trial == name.as_str())));
        let revisions = up.into_iter().map(|(_, revision)| revision).collect();
        Termination { host_uid: progress.host_uid, plan_generation: progress.plan_generation, revisions }
    }

    fn runs(&self, target: &Target) -> bool {
        self.manager.registry().get(target.name()).is_some_and(|slot| {
            let current = slot.current().map(|i| i.revision().clone());
            slot.status() == Status::Running && current.as_ref() == Some(&target.assignment.revision)
        })
    }

    fn state(&self, group: &GroupResult) -> GroupState {
        let outcome = match group.outcome {
            GroupOutcome::Applied => Outcome::Applied,
            GroupOutcome::RolledBack(..) => Outcome::RolledBack,
            GroupOutcome::Waiting(..) => Outcome::Waiting,
        };
        let failure = match outcome {
            Outcome::Applied => String::new(),
            _ => self.memory.read(|l| l.failure_of(&group.plugins).unwrap_or_default().to_owned()),
        };
        GroupState { plugins: group.plugins.clone(), outcome: outcome.into(), failure }
    }
}

/// What waits for its surroundings is tried again, and so is a stable revision that failed here: nothing else may take its
/// place. A refused configuration waits for another one.
#[must_use]
pub fn retries(snapshot: &Snapshot, applied: &Applied) -> Option<Retries> {
    let is_stable = |plugin: &String| {
        let told = snapshot.target.iter().find(|told| told.plugin == *plugin);
        told.is_some_and(|told| snapshot.fallback.iter().any(|f| f.plugin == *plugin && f.revision == told.revision))
    };
    let outcomes = applied.groups.iter().filter_map(|group| match &group.outcome {
        GroupOutcome::Waiting(..) => Some(WAITING_RETRIES),
        GroupOutcome::RolledBack(_, failure) if failure.step == Step::ConfigChange => None,
        GroupOutcome::RolledBack(..) => group.plugins.iter().all(is_stable).then_some(STABLE_RETRIES),
        GroupOutcome::Applied => None,
    });
    outcomes.min()
}
