//! Makes the newest snapshot run, one after another; what waits for its surroundings is tried again. Memory only; the
//! manager does the I/O.

use super::{
    desired::{self, SnapshotError},
    memory::Memory,
};
use crate::{
    failure::{Class, Failure, Step},
    framework::Framework,
    manager::{Applied, Desired, GroupOutcome, GroupResult, Manager},
    slot::Status,
    target::Target,
};
use rand::Rng;
use rockstar_core::{backends::Backends, sandbox::Sandbox};
use rockstar_proto::control::{GroupState, Snapshot, group_state::Outcome};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::{sync::watch, time::timeout};

const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(60);

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
        Self { manager, framework, memory, host, progress: watch::Sender::default() }
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

    /// Follows until the memory is gone.
    pub async fn run(&self) {
        let mut snapshots = self.memory.snapshots();
        let mut retry = FIRST_RETRY;
        loop {
            let newest = snapshots.borrow_and_update().clone();
            let waiting = match newest {
                Some(snapshot) => self.apply(&snapshot).await,
                None => false,
            };
            let pause = rand::rng().random_range(retry / 2..=retry);
            let news = match waiting {
                true => timeout(pause, snapshots.changed()).await.ok(),
                false => Some(snapshots.changed().await),
            };
            match news {
                Some(Err(_)) => return,
                Some(Ok(())) => retry = FIRST_RETRY,
                None => retry = (retry * 2).min(LAST_RETRY),
            }
        }
    }

    /// True: something waits and is worth another attempt.
    async fn apply(&self, snapshot: &Snapshot) -> bool {
        match self.try_apply(snapshot).await {
            Ok(applied) => applied.groups.iter().any(|g| matches!(g.outcome, GroupOutcome::Waiting(..))),
            Err(error) => {
                tracing::error!("plan {} of {} is not applied: {error}", snapshot.plan_generation, snapshot.host);
                false
            }
        }
    }

    async fn try_apply(&self, snapshot: &Snapshot) -> Result<Applied, SnapshotError> {
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
        let desired = self.memory.read(|ledger| desired::desired(sets, ledger));
        self.tell(snapshot, self.moving(&desired));
        let applied = self.manager.apply(&desired).await;
        self.note(&desired, &applied);
        self.tell(snapshot, applied.groups.iter().map(|group| self.state(group)).collect());
        Ok(applied)
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
        for (name, failure) in applied.failures().filter(|(_, failure)| untold(failure)) {
            if let Some(target) = desired.targets.iter().find(|t| t.name() == name) {
                self.memory.failed(target, failure);
            }
        }
        for target in desired.targets.iter().filter(|t| self.runs(t)) {
            self.memory.runs(target.name(), &target.assignment.revision.0);
        }
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
