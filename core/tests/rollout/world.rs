//! The world around the planner: a spec, an operator that may lose its memory, streams that delay and break, pods.

use crate::pod::{Laws, Pod, Report};
use rockstar_core::{
    revision::RevisionId,
    rollout::{self, Assignment, Event, FailureClass, Input, Instance, Plan, Policy, Presence, Set, State},
};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

pub(crate) const TICK: i64 = 1_000;

#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) version: u32,
    pub(crate) token: u32,
}

/// What the operator knows of one pod as long as it lives itself.
#[derive(Debug, Default)]
struct Known {
    connected: bool,
    report: Option<Report>,
    waiting_since: Option<i64>,
    assigned: Option<Assignment>,
    published: i64,
    /// On their way, in order, with the time of arrival.
    reports: VecDeque<(i64, Report)>,
    /// The newest alone, with the acknowledged failures.
    snapshot: Option<(i64, i64, Assignment)>,
    acknowledged: BTreeSet<String>,
}

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) now: i64,
    pub(crate) spec: BTreeMap<String, Wanted>,
    pub(crate) policy: Policy,
    pub(crate) laws: Laws,
    pub(crate) pods: BTreeMap<String, Pod>,
    pub(crate) state: State,
    pub(crate) plan: Option<Plan>,
    pub(crate) events: Vec<Event>,
    /// Longest delay of a message, in milliseconds.
    pub(crate) delay: i64,
    /// The operator is away until then.
    pub(crate) leaderless_until: i64,
    /// Pods whose stream is cut until then.
    pub(crate) cut: BTreeMap<String, i64>,
    known: BTreeMap<String, Known>,
    born: usize,
    dice: u64,
    tokens: u32,
    /// Plugin and revision that somebody truly proved.
    pub(crate) proven: BTreeSet<RevisionId>,
    /// The pods that a revision failed in, by attempt.
    pub(crate) failed_in: BTreeMap<(RevisionId, u32), BTreeSet<String>>,
    pub(crate) plans: usize,
}

pub(crate) fn revision(plugin: &str, version: u32) -> RevisionId {
    RevisionId(format!("{plugin}-{version}"))
}

/// `a` requires `b` of its own major version; the first digit of two.
fn major(revision: &RevisionId) -> u32 {
    revision.0.split('-').nth(1).and_then(|version| version.parse::<u32>().ok()).unwrap_or_default() / 10
}

pub(crate) fn fits(set: &Set) -> bool {
    set.get("a").is_none_or(|a| set.get("b").is_some_and(|b| major(a) == major(b)))
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            now: 1_000_000,
            spec: BTreeMap::new(),
            policy: Policy::default(),
            laws: Laws::default(),
            pods: BTreeMap::new(),
            state: State::default(),
            plan: None,
            events: Vec::new(),
            delay: 0,
            leaderless_until: 0,
            cut: BTreeMap::new(),
            known: BTreeMap::new(),
            born: 0,
            dice: seed | 1,
            tokens: 0,
            proven: BTreeSet::new(),
            failed_in: BTreeMap::new(),
            plans: 0,
        }
    }

    pub(crate) fn with(pods: usize, plugins: &[(&str, u32)]) -> Self {
        let mut world = Self::new(7);
        plugins.iter().for_each(|(plugin, version)| world.apply(plugin, *version));
        world.scale(pods);
        world
    }

    pub(crate) fn roll(&mut self, sides: i64) -> i64 {
        self.dice = self.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        i64::try_from(self.dice >> 33).unwrap_or_default() % sides.max(1)
    }

    pub(crate) fn apply(&mut self, plugin: &str, version: u32) {
        self.tokens += 1;
        self.spec.insert(plugin.to_owned(), Wanted { version, token: self.tokens });
    }

    pub(crate) fn retry(&mut self, plugin: &str) {
        let version = self.spec[plugin].version;
        self.apply(plugin, version);
    }

    pub(crate) fn remove(&mut self, plugin: &str) {
        self.spec.remove(plugin);
    }

    pub(crate) fn scale(&mut self, pods: usize) {
        while self.pods.len() < pods {
            self.spawn(None);
        }
        while self.pods.len() > pods {
            let victim = usize::try_from(self.roll(i64::try_from(self.pods.len()).unwrap_or(1))).unwrap_or_default();
            let id = self.pods.keys().nth(victim).cloned().unwrap_or_default();
            self.delete(&id);
        }
    }

    pub(crate) fn spawn(&mut self, lifetime: Option<i64>) {
        self.born += 1;
        let pod = Pod::new(self.born, self.now, lifetime.map(|l| self.now + l));
        self.pods.insert(pod.id.clone(), pod);
    }

    pub(crate) fn delete(&mut self, id: &str) {
        self.pods.remove(id);
        self.known.remove(id);
        self.cut.remove(id);
    }

    /// Its stream breaks, with all that is on it.
    pub(crate) fn cut(&mut self, id: &str, until: i64) {
        self.cut.insert(id.to_owned(), until);
        if let Some(known) = self.known.get_mut(id) {
            known.connected = false;
            known.reports.clear();
            known.snapshot = None;
            known.published = -1;
        }
    }

    pub(crate) fn kill(&mut self, id: &str) {
        let now = self.now;
        if let Some(pod) = self.pods.get_mut(id) {
            pod.kill(now);
        }
        self.cut(id, now + 2_000);
    }

    /// The operator dies; all that it kept in memory is gone.
    pub(crate) fn lose_leader(&mut self, until: i64) {
        self.leaderless_until = until;
        self.known.clear();
        let ids: Vec<_> = self.pods.keys().cloned().collect();
        for id in ids {
            let back = until + self.roll(6_000);
            self.cut.insert(id, back);
        }
    }

    pub(crate) fn tick(&mut self) {
        self.now += TICK;
        self.step_pods();
        if self.now >= self.leaderless_until {
            self.exchange();
            self.pass();
        }
    }

    pub(crate) fn run(&mut self, seconds: i64) {
        let end = self.now + seconds * 1_000;
        while self.now < end {
            self.tick();
            crate::invariants::check(self);
        }
    }

    /// Runs until it holds, for at most so many seconds.
    pub(crate) fn until(&mut self, seconds: i64, holds: impl Fn(&Self) -> bool) {
        let end = self.now + seconds * 1_000;
        while !holds(self) {
            assert!(self.now < end, "did not happen: {:#?}\n{:?}", self.state, self.plan.as_ref().map(|p| &p.plugins));
            self.run(1);
        }
    }

    fn step_pods(&mut self) {
        let now = self.now;
        for pod in self.pods.values_mut().filter(|pod| !pod.ended(now)) {
            pod.step(now, &self.laws);
            let report = pod.report(now, &self.laws);
            self.proven.extend(report.proven.values().cloned());
            for failure in report.failures.iter().filter(|f| f.class == FailureClass::Revision) {
                let token = self.spec.get(&failure.plugin).map_or(0, |wanted| wanted.token);
                self.failed_in.entry((failure.revision.clone(), token)).or_default().insert(pod.id.clone());
            }
        }
        let ended = self.pods.values().filter(|pod| pod.ended(now));
        self.proven.extend(ended.flat_map(|pod| pod.serving.values().cloned()));
    }

    /// Carries reports up and snapshots down.
    fn exchange(&mut self) {
        let ids: Vec<_> = self.pods.keys().cloned().collect();
        for id in ids {
            if self.pods[&id].ended(self.now) {
                // Whatever it said last has arrived by the time its end is seen.
                self.arrive(&id, true);
            } else if self.cut.get(&id).is_none_or(|until| *until <= self.now) {
                self.report(&id);
                self.arrive(&id, false);
                self.deliver(&id);
            }
        }
    }

    fn report(&mut self, id: &str) {
        let report = self.pods[id].report(self.now, &self.laws);
        let at = self.now + self.roll(self.delay + 1);
        let duplicate = self.delay > 0 && self.roll(10) == 0;
        let known = self.known.entry(id.to_owned()).or_default();
        if !known.connected {
            // Hello comes before anything else.
            known.connected = true;
            known.published = -1;
            known.reports.push_back((self.now, report));
            return;
        }
        let newest = known.reports.back().map(|(_, report)| report).or(known.report.as_ref());
        if newest != Some(&report) || duplicate {
            known.reports.push_back((at, report));
        }
    }

    fn arrive(&mut self, id: &str, all: bool) {
        let Some(known) = self.known.get_mut(id) else { return };
        while known.reports.front().is_some_and(|(at, _)| all || *at <= self.now) {
            if let Some((_, report)) = known.reports.pop_front() {
                known.waiting_since = report.waiting.then(|| known.waiting_since.unwrap_or(self.now));
                known.report = Some(report);
            }
        }
    }

    fn deliver(&mut self, id: &str) {
        let (Some(known), Some(pod)) = (self.known.get_mut(id), self.pods.get_mut(id)) else { return };
        pod.failures.retain(|failure| !known.acknowledged.contains(&failure.id));
        known.acknowledged.clear();
        if let Some((at, generation, assignment)) = known.snapshot.take() {
            if at <= self.now {
                pod.accept(generation, &assignment, self.now);
            } else {
                known.snapshot = Some((at, generation, assignment));
            }
        }
    }

    /// One pass of the operator.
    fn pass(&mut self) {
        let input = self.input();
        let plan = self.decide(&input);
        self.plans += 1;
        if self.delay > 0 && self.roll(20) == 0 {
            return; // the write of the state met a conflict; nothing is published
        }
        assert!(plan.state.plan_generation >= self.state.plan_generation, "the plan generation fell");
        crate::invariants::promotion(self, &plan.state);
        self.state = persisted(&plan.state);
        self.events.extend(plan.events.iter().cloned());
        self.publish(&plan, &input);
        crate::invariants::idempotent(self, &plan);
        self.plan = Some(plan);
    }

    pub(crate) fn decide(&self, input: &Input) -> Plan {
        let judged = rollout::judge(&self.state, input);
        let wanted = self.resolve(&judged.state);
        rollout::plan(judged, &wanted, input)
    }

    pub(crate) fn input(&self) -> Input {
        let requires = (0..100).map(|version| (revision("a", version), vec!["b".to_owned()])).collect();
        Input {
            now: self.now,
            policy: self.policy.clone(),
            plugins: self.spec.iter().map(|(p, wanted)| (p.clone(), wanted.token.to_string())).collect(),
            asked: self.spec.iter().map(|(p, wanted)| (p.clone(), revision(p, wanted.version))).collect(),
            closed: BTreeSet::new(),
            requires,
            recovering: false,
            resumed: false,
            instances: self.pods.values().map(|pod| self.instance(pod)).collect(),
        }
    }

    fn instance(&self, pod: &Pod) -> Instance {
        let nothing = Known::default();
        let known = self.known.get(&pod.id).unwrap_or(&nothing);
        let report = known.report.clone();
        let presence = match &report {
            _ if pod.ended(self.now) => Presence::Succeeded,
            Some(_) if known.connected => Presence::Connected,
            _ => Presence::Away,
        };
        Instance {
            id: pod.id.clone(),
            name: pod.name.clone(),
            created: pod.created,
            presence,
            transient: pod.ends_at.is_some(),
            expected: pod.ready_since.is_some(),
            new: pod.ready_since.is_none(),
            seen_since: pod.created,
            away_since: (presence == Presence::Away).then_some(self.now),
            ready: report.as_ref().is_some_and(|r| r.ready),
            down: report.iter().flat_map(|r| &r.down).map(|p| (p.clone(), rollout::Down::default())).collect(),
            accepted: report.as_ref().map_or(0, |r| r.accepted),
            moving: report.as_ref().is_some_and(|r| r.moving),
            busy: BTreeSet::new(),
            waiting: known.waiting_since,
            serving: report.as_ref().map(|r| Arc::clone(&r.serving)).unwrap_or_default(),
            proven: report.as_ref().map(|r| Arc::clone(&r.proven)).unwrap_or_default(),
            failures: report.map(|r| r.failures).unwrap_or_default(),
            assigned: known.assigned.clone(),
        }
    }

    /// Candidates, and the fall of whoever does not fit: DESIGN's rounds, for the one edge of this world.
    fn resolve(&self, state: &State) -> Set {
        let stable = state.stable.clone().unwrap_or_default();
        let mut set = Set::new();
        for (plugin, wanted) in &self.spec {
            let candidate = revision(plugin, wanted.version);
            let failed = state.failed.get(plugin).is_some_and(|failed| failed.revision == candidate);
            if let Some(found) = if failed { stable.get(plugin) } else { Some(&candidate) } {
                set.insert(plugin.clone(), found.clone());
            }
        }
        for _ in 0..2 {
            fall(&mut set, &stable);
        }
        if !fits(&set) {
            set.remove("a");
        }
        set
    }

    fn publish(&mut self, plan: &Plan, input: &Input) {
        for instance in &input.instances {
            let delay = self.roll(self.delay + 1);
            let Some(known) = self.known.get_mut(&instance.id) else { continue };
            known.acknowledged.extend(acknowledged(instance));
            known.assigned = plan.assignments.get(&instance.id).cloned();
            let Some(assignment) = known.assigned.clone().filter(|_| known.connected) else { continue };
            if assignment.generation != known.published {
                known.published = assignment.generation;
                let generation = assignment.generation;
                known.snapshot = Some((self.now + delay, generation, assignment));
            }
        }
    }

    /// Who truly runs a revision.
    pub(crate) fn running(&self, plugin: &str, version: u32) -> usize {
        let revision = revision(plugin, version);
        self.pods.values().filter(|pod| !pod.ended(self.now) && pod.serving.get(plugin) == Some(&revision)).count()
    }

    pub(crate) fn everywhere(&self, plugin: &str, version: u32) -> bool {
        self.running(plugin, version) == self.pods.len()
    }

    pub(crate) fn is_stable(&self, plugin: &str, version: u32) -> bool {
        self.state.stable.as_ref().and_then(|stable| stable.get(plugin)) == Some(&revision(plugin, version))
    }

    pub(crate) fn verdict(&self, plugin: &str) -> Option<rollout::Verdict> {
        self.plan.as_ref().and_then(|plan| plan.plugins.get(plugin)).map(|summary| summary.verdict)
    }

    pub(crate) fn with_assigned(&self, input: &Input, plan: &Plan) -> Input {
        let mut input = input.clone();
        for instance in &mut input.instances {
            instance.assigned = plan.assignments.get(&instance.id).cloned();
        }
        input
    }
}

fn acknowledged(instance: &Instance) -> impl Iterator<Item = String> + '_ {
    instance.failures.iter().filter(|f| f.class == FailureClass::Revision).map(|f| f.id.clone())
}

fn fall(set: &mut Set, stable: &Set) {
    if fits(set) {
        return;
    }
    let back = |set: &mut Set, plugin: &str| match stable.get(plugin) {
        Some(revision) => set.insert(plugin.to_owned(), revision.clone()),
        None => set.remove(plugin),
    };
    let mut with_stable_b = set.clone();
    back(&mut with_stable_b, "b");
    if set.get("b") != stable.get("b") && stable.contains_key("b") && fits(&with_stable_b) {
        *set = with_stable_b;
    } else {
        back(set, "a");
    }
}

/// As it comes back from the API server.
fn persisted(state: &State) -> State {
    let back = serde_json::to_string(state).and_then(|text| serde_json::from_str(&text));
    assert!(back.is_ok(), "{back:?}");
    back.unwrap_or_default()
}
