//! A simulated sidecar in its pod: it takes snapshots, moves change groups, fails, goes back and reports.

use rockstar_core::{
    revision::RevisionId,
    rollout::{Assignment, Failure, FailureClass, Set},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

pub(crate) const GRACE: i64 = 30_000;
const MOVE: i64 = 1_000;
const RETRY: i64 = 5_000;

/// How a revision behaves wherever it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Law {
    FailsToStart,
    CrashesAfter(i64),
}

/// What is true of the world around the pods.
#[derive(Clone, Debug, Default)]
pub(crate) struct Laws {
    pub(crate) revisions: BTreeMap<RevisionId, Law>,
    /// In these pods alone, by name.
    pub(crate) local: BTreeMap<(String, RevisionId), Law>,
    /// Nodes that do not reach the registry.
    pub(crate) cut_off: BTreeSet<usize>,
    /// Revisions that answer nobody, as what they depend on is away.
    pub(crate) down: BTreeSet<RevisionId>,
}

impl Laws {
    fn of(&self, pod: &str, revision: &RevisionId) -> Option<Law> {
        let local = self.local.get(&(pod.to_owned(), revision.clone()));
        local.or_else(|| self.revisions.get(revision)).copied()
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Report {
    pub(crate) accepted: i64,
    pub(crate) moving: bool,
    pub(crate) waiting: bool,
    pub(crate) ready: bool,
    pub(crate) down: BTreeSet<String>,
    pub(crate) serving: Arc<Set>,
    pub(crate) proven: Arc<Set>,
    pub(crate) failures: Vec<Failure>,
}

#[derive(Clone, Debug)]
pub(crate) struct Pod {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) node: usize,
    pub(crate) created: i64,
    pub(crate) ends_at: Option<i64>,
    pub(crate) accepted: i64,
    pub(crate) target: Arc<Set>,
    pub(crate) fallback: Arc<Set>,
    pub(crate) serving: Set,
    /// Since when each plugin runs.
    since: BTreeMap<String, i64>,
    act_at: i64,
    blocked: BTreeSet<String>,
    /// The target, with the groups that failed under the accepted snapshot as in the fallback.
    goal: Set,
    pub(crate) failures: Vec<Failure>,
    recorded: usize,
    pub(crate) ready_since: Option<i64>,
}

impl Pod {
    pub(crate) fn new(number: usize, now: i64, ends_at: Option<i64>) -> Self {
        Self {
            id: format!("uid-{number}"),
            name: format!("pod-{number:04}"),
            node: number % 20,
            created: now,
            ends_at,
            accepted: 0,
            target: Arc::default(),
            fallback: Arc::default(),
            serving: Set::new(),
            since: BTreeMap::new(),
            act_at: i64::MAX,
            blocked: BTreeSet::new(),
            goal: Set::new(),
            failures: Vec::new(),
            recorded: 0,
            ready_since: None,
        }
    }

    pub(crate) fn ended(&self, now: i64) -> bool {
        self.ends_at.is_some_and(|end| end <= now)
    }

    /// Takes a snapshot unless it is older than what it has.
    pub(crate) fn accept(&mut self, generation: i64, assignment: &Assignment, now: i64) {
        if generation < self.accepted {
            return;
        }
        let again = generation > self.accepted;
        let same = self.target == assignment.target && self.fallback == assignment.fallback;
        assert!(again || same, "one generation, two contents: {}", self.name);
        self.accepted = generation;
        self.target = Arc::clone(&assignment.target);
        self.fallback = Arc::clone(&assignment.fallback);
        if again {
            self.goal = Set::clone(&self.target);
        }
        self.blocked.clear();
        self.act_at = now + MOVE;
    }

    pub(crate) fn step(&mut self, now: i64, laws: &Laws) {
        if let Some((plugin, revision)) = self.crashed(now, laws) {
            self.go_back(&plugin, revision, "CrashedInGracePeriod", now);
        }
        if self.accepted > 0 && self.act_at <= now {
            self.act(now, laws);
        }
        if self.ready_since.is_none() && self.accepted > 0 && self.open_groups().is_empty() {
            self.ready_since = Some(now);
        }
    }

    fn crashed(&self, now: i64, laws: &Laws) -> Option<(String, RevisionId)> {
        let in_grace = |(plugin, revision): &(&String, &RevisionId)| {
            let age = now - self.since.get(*plugin).copied().unwrap_or(now);
            let crash = laws.of(&self.name, revision);
            let on_trial = self.fallback.get(*plugin) != Some(*revision);
            on_trial && matches!(crash, Some(Law::CrashesAfter(after)) if after < GRACE && age >= after)
        };
        self.serving.iter().find(in_grace).map(|(plugin, revision)| (plugin.clone(), revision.clone()))
    }

    fn act(&mut self, now: i64, laws: &Laws) {
        self.blocked.clear();
        for group in self.open_groups() {
            self.act_on(&group, now, laws);
        }
        self.act_at = if self.blocked.is_empty() { i64::MAX } else { now + RETRY };
    }

    fn act_on(&mut self, group: &BTreeSet<String>, now: i64, laws: &Laws) {
        let starting: Vec<_> = group.iter().filter_map(|p| Some((p.clone(), self.goal.get(p)?.clone()))).collect();
        let cut_off = laws.cut_off.contains(&self.node);
        if cut_off && starting.iter().any(|(p, revision)| self.fallback.get(p) != Some(revision)) {
            self.blocked.extend(group.iter().cloned());
            starting.into_iter().for_each(|(p, r)| self.record(p, r, FailureClass::Environment, "RegistryAway", now));
            return;
        }
        let bad = |(_, revision): &&(String, RevisionId)| laws.of(&self.name, revision) == Some(Law::FailsToStart);
        if let Some((plugin, revision)) = starting.iter().find(bad).cloned() {
            self.go_back(&plugin, revision, "StartFailed", now);
            return;
        }
        self.take(group, now);
        let served = &self.goal;
        self.failures.retain(|f| f.class == FailureClass::Revision || served.get(&f.plugin) != Some(&f.revision));
    }

    /// The group of `plugin`, as target and fallback tell it, returns to the fallback.
    fn go_back(&mut self, plugin: &str, revision: RevisionId, reason: &str, now: i64) {
        let group = groups(&self.fallback, &self.target).into_iter().find(|g| g.contains(plugin));
        let group = group.unwrap_or_else(|| BTreeSet::from([plugin.to_owned()]));
        let wanted = self.target.get(plugin) != Some(&revision);
        let goal = self.goal.clone();
        put(&mut self.goal, &group, &self.fallback);
        for open in self.open_groups().into_iter().filter(|open| !open.is_disjoint(&group)) {
            self.take(&open, now);
        }
        if wanted {
            self.goal = goal;
            self.act_at = now + MOVE;
        }
        self.record(plugin.to_owned(), revision, FailureClass::Revision, reason, now);
    }

    fn take(&mut self, group: &BTreeSet<String>, now: i64) {
        let starts = group.iter().filter(|plugin| self.serving.get(*plugin) != self.goal.get(*plugin));
        self.since.extend(starts.map(|plugin| (plugin.clone(), now)));
        put(&mut self.serving, group, &self.goal);
    }

    fn record(&mut self, plugin: String, revision: RevisionId, class: FailureClass, reason: &str, at: i64) {
        self.failures.retain(|f| f.class == FailureClass::Revision || f.plugin != plugin);
        self.recorded += 1;
        self.failures.push(Failure {
            id: format!("{}-{}", self.id, self.recorded),
            plugin,
            revision,
            class,
            reason: reason.to_owned(),
            message: "simulated".to_owned(),
            at,
            plan_generation: self.accepted,
            shared: false,
        });
    }

    /// kill -9 of the sidecar: whatever is on trial is given up, the rest starts again.
    pub(crate) fn kill(&mut self, now: i64) {
        let proven = self.proven(now);
        let on_trial = self.serving.iter().find(|(p, _)| !proven.contains_key(*p));
        if let Some((plugin, revision)) = on_trial.map(|(p, r)| (p.clone(), r.clone())) {
            self.go_back(&plugin, revision, "UncleanEndOnTrial", now);
        }
    }

    fn open_groups(&self) -> Vec<BTreeSet<String>> {
        groups(&self.serving, &self.goal)
    }

    fn proven(&self, now: i64) -> Set {
        let proven = |(plugin, revision): &(&String, &RevisionId)| {
            let age = now - self.since.get(*plugin).copied().unwrap_or(now);
            age >= GRACE || self.fallback.get(*plugin) == Some(*revision)
        };
        self.serving.iter().filter(proven).map(|(p, r)| (p.clone(), r.clone())).collect()
    }

    pub(crate) fn report(&self, now: i64, laws: &Laws) -> Report {
        let open = self.open_groups();
        let down: BTreeSet<_> =
            self.serving.iter().filter(|(_, r)| laws.down.contains(*r)).map(|(p, _)| p.clone()).collect();
        Report {
            accepted: self.accepted,
            moving: !open.is_empty(),
            waiting: !open.is_empty() && open.iter().flatten().all(|p| self.blocked.contains(p)),
            ready: self.ready_since.is_some() && down.is_empty(),
            down,
            serving: Arc::new(self.serving.clone()),
            proven: Arc::new(self.proven(now)),
            failures: self.failures.clone(),
        }
    }

    /// It has a snapshot that it is not done with, other than to drop what was taken away.
    pub(crate) fn moving(&self) -> bool {
        self.open_groups().iter().flatten().any(|plugin| self.goal.contains_key(plugin))
    }

    pub(crate) fn runs_unproven(&self, plugin: &str, revision: &RevisionId, now: i64) -> bool {
        self.serving.get(plugin) == Some(revision) && self.proven(now).get(plugin) != Some(revision)
    }
}

fn put(set: &mut Set, group: &BTreeSet<String>, from: &Set) {
    for plugin in group {
        match from.get(plugin) {
            Some(revision) => set.insert(plugin.clone(), revision.clone()),
            None => set.remove(plugin),
        };
    }
}

/// In the simulated world `a` requires `b`; nothing else requires anything.
pub(crate) fn groups(from: &Set, to: &Set) -> Vec<BTreeSet<String>> {
    let differ: BTreeSet<_> = from.keys().chain(to.keys()).filter(|p| from.get(*p) != to.get(*p)).cloned().collect();
    let pair: BTreeSet<_> = differ.iter().filter(|p| ["a", "b"].contains(&p.as_str())).cloned().collect();
    let single = differ.difference(&pair).map(|p| BTreeSet::from([p.clone()]));
    single.chain((!pair.is_empty()).then(|| pair.clone())).collect()
}
