//! A simulated sidecar: real snapshots and the product's own control code over processes that take time, fail and crash.
//! What the product's manager does with processes is modelled here: waves, trials, going back, dropping out, restarts.

use crate::{random::Random, simulation::Nature, step::Behaviour};
use rockstar_core::{assignment::FailurePolicy, manifest::Dependency, resolve, revision::RevisionId};
use rockstar_proto::control::{
    FailureRecord, GroupState, Hello, PluginState, Report, Snapshot, ToInstance, Withdraw, group_state::Outcome,
    to_instance,
};
use rockstar_sidecar::{
    control::{
        desired,
        ledger::{Ledger, Moment},
    },
    failure::{Class, Failure, Step},
    manager::budget::Restart,
    manager::{Desired, Newcomers},
    target::{self, Target},
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// A plugin that must not be skipped takes the pod out of service after so long.
const PATIENCE: i64 = 10_000;
const FIRST_RETRY: i64 = 1_000;
const LAST_RETRY: i64 = 60_000;

/// What outlives the sidecar's process.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    pub(crate) snapshot: Option<Snapshot>,
    pub(crate) ledger: Ledger,
    /// Revisions whose files are here.
    cache: BTreeSet<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Loading,
    Initialized,
    Running,
    Error,
}

impl Status {
    const fn name(self) -> &'static str {
        match self {
            Self::Loading => "loading",
            Self::Initialized => "initialized",
            Self::Running => "running",
            Self::Error => "error",
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Slot {
    wanted: Option<Target>,
    pub(crate) current: Option<Target>,
    pub(crate) status: Status,
    pub(crate) proven: bool,
    trial: Option<u64>,
    again_at: Option<i64>,
    crash_at: Option<i64>,
    outlived_at: Option<i64>,
    restarts: i64,
    last_error: String,
    reason: &'static str,
}

#[derive(Debug)]
struct Trial {
    id: u64,
    members: Vec<(String, Option<Target>, Option<Target>)>,
    until: i64,
    /// The trials that it began on top of.
    bases: Vec<u64>,
}

impl Trial {
    fn has(&self, name: &str) -> bool {
        self.members.iter().any(|(member, ..)| member == name)
    }

    fn target(&self, name: &str) -> Option<&Target> {
        self.members.iter().find(|(member, ..)| member == name)?.1.as_ref()
    }

    /// A need is met by what its member goes back to.
    fn may_end(&self, need: &Dependency) -> bool {
        let member = self.members.iter().find(|(member, ..)| *member == need.name);
        let fits = |previous: &Target| need.constraint().is_ok_and(|c| c.matches(&previous.body.manifest.version));
        member.and_then(|(_, _, previous)| previous.as_ref()).map_or(need.optional, fits)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Course {
    Going,
    Dropped,
    Back,
}

#[derive(Clone, Debug)]
struct Member {
    name: String,
    group: usize,
    new: Option<Target>,
    previous: Option<Target>,
    course: Course,
    stopped: bool,
    /// The open trial that it is part of until it has moved.
    base: Option<u64>,
}

#[derive(Debug)]
enum Work {
    Idle,
    Fetching(i64),
    Switching(i64),
}

/// One snapshot being applied.
#[derive(Debug)]
struct Apply {
    desired: Desired,
    waves: VecDeque<Vec<Member>>,
    wave: Vec<Member>,
    failures: BTreeMap<usize, (String, Failure)>,
    results: Vec<(Vec<String>, Outcome)>,
}

/// What happened in a pod, for the laws.
#[derive(Clone, Debug)]
pub(crate) enum Happened {
    /// A served pod began to run a revision that is not stable.
    Began {
        revision: String,
        replaces_down: bool,
    },
    Proved {
        revision: String,
    },
    /// The revision failed by its own fault.
    Failed {
        revision: String,
        shared: bool,
    },
    /// The processes of a wave are what they are now.
    Moved,
}

#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) slots: BTreeMap<String, Slot>,
    pub(crate) first_set_ran: bool,
    trials: Vec<Trial>,
    next_trial: u64,
    work: Work,
    apply: Option<Apply>,
    retry: i64,
    retry_at: Option<i64>,
    host_uid: String,
    pub(crate) plan_generation: u64,
    groups: Vec<GroupState>,
    keep_ready: bool,
    newcomers: Newcomers,
    down_since: BTreeMap<String, i64>,
    /// Counts snapshots; the one that was followed last.
    newest: u64,
    followed: u64,
}

#[derive(Debug)]
pub(crate) struct Sidecar {
    pub(crate) pod: String,
    pub(crate) node: usize,
    pub(crate) disk: Disk,
    pub(crate) process: Option<Process>,
    starts_at: i64,
    random: Random,
    /// Its clock minus the true time.
    pub(crate) skew: i64,
    pub(crate) happened: Vec<Happened>,
    pub(crate) truth: Truth,
    /// Grows with each change of what it reports.
    pub(crate) version: u64,
    was_ready: bool,
}

/// What was true of a pod so far.
#[derive(Debug, Default)]
pub(crate) struct Truth {
    /// By plugin: the revision that last ran, up, and until when.
    pub(crate) up: BTreeMap<String, (String, i64)>,
    /// The revisions that it proved, and those that it ever began on trial.
    pub(crate) proved: BTreeSet<String>,
    pub(crate) began: BTreeSet<String>,
    pub(crate) served_since: Option<i64>,
    pub(crate) attached_since: Option<i64>,
    /// It had something that is not stable a moment ago.
    pub(crate) holds: bool,
    /// Since when it follows one snapshot in one process.
    pub(crate) quiet_since: i64,
    following: Option<(String, u64)>,
}

impl Sidecar {
    pub(crate) fn new(pod: &str, node: usize, starts_at: i64, seed: u64) -> Self {
        Self {
            pod: pod.to_owned(),
            node,
            disk: Disk::default(),
            process: None,
            starts_at,
            random: Random::new(seed),
            skew: 0,
            happened: Vec::new(),
            truth: Truth::default(),
            version: 0,
            was_ready: false,
        }
    }

    /// Takes up what is true until now.
    pub(crate) fn note_truth(&mut self, attached: bool, now: i64) {
        let truth = &mut self.truth;
        if attached {
            truth.attached_since.get_or_insert(now);
        } else {
            truth.attached_since = None;
        }
        if self.disk.ledger.served() {
            truth.served_since.get_or_insert(now);
        }
        let following = self.process.as_ref().map(|p| (p.host_uid.clone(), p.plan_generation));
        if following != truth.following {
            truth.following = following;
            truth.quiet_since = now;
        }
        let slots = || self.process.iter().flat_map(|p| &p.slots);
        truth.holds = slots().any(|(_, slot)| slot.current.as_ref().is_some_and(|current| !current.stable));
        for (plugin, slot) in slots() {
            let Some(current) = slot.current.as_ref().filter(|_| slot.status == Status::Running) else { continue };
            match truth.up.get_mut(plugin) {
                Some((revision, at)) if revision == revision_of(current) => *at = now,
                _ => drop(truth.up.insert(plugin.clone(), (revision_of(current).to_owned(), now))),
            }
            if slot.proven && !truth.proved.contains(revision_of(current)) {
                truth.proved.insert(revision_of(current).to_owned());
            }
        }
    }

    pub(crate) fn served(&self) -> bool {
        self.disk.ledger.served()
    }

    /// No process ends by itself any more.
    pub(crate) fn heal(&mut self) {
        let slots = self.process.iter_mut().flat_map(|p| p.slots.values_mut());
        slots.for_each(|slot| slot.crash_at = None);
    }

    /// When something happens by itself.
    pub(crate) fn next_event(&self, now: i64) -> i64 {
        self.process.as_ref().map_or(self.starts_at, |process| process.next_event(now))
    }

    /// The process ends without a word.
    pub(crate) fn kill(&mut self, now: i64) {
        self.process = None;
        self.version += 1;
        self.starts_at = now + 2_000;
    }

    /// The process ends in order.
    pub(crate) fn restart(&mut self, now: i64) {
        if self.process.is_some() {
            self.disk.ledger.close();
            self.kill(now);
        }
    }

    /// One plugin's process ends.
    pub(crate) fn crash(&mut self, plugin: &str, now: i64) {
        let slot = self.process.as_mut().and_then(|p| p.slots.get_mut(plugin));
        if let Some(slot) = slot.filter(|slot| slot.status == Status::Running) {
            slot.crash_at = Some(now);
        }
    }

    fn moment(&self, now: i64) -> Moment {
        Moment { unix_ms: now + self.skew, plan_generation: self.process.as_ref().map_or(0, |p| p.plan_generation) }
    }

    /// Lets all happen that is due.
    pub(crate) fn advance(&mut self, now: i64, nature: &Nature) {
        if self.process.is_none() {
            if now < self.starts_at {
                return;
            }
            self.start(now);
        }
        while self.step(now, nature) {
            self.version += 1;
        }
        self.note_readiness(now);
    }

    fn start(&mut self, now: i64) {
        let moment = self.moment(now);
        let known: BTreeSet<String> = self.records().into_iter().map(|r| r.id).collect();
        let first_set = self.disk.snapshot.as_ref().is_some_and(|s| s.first_set);
        self.disk.ledger.died_on_trial(first_set, moment);
        for record in self.records().into_iter().filter(|r| !known.contains(&r.id)) {
            self.happened.push(Happened::Failed { revision: record.revision, shared: record.shared });
        }
        self.process = Some(Process {
            slots: BTreeMap::new(),
            first_set_ran: false,
            trials: Vec::new(),
            next_trial: 0,
            work: Work::Idle,
            apply: None,
            retry: FIRST_RETRY,
            retry_at: None,
            host_uid: String::new(),
            plan_generation: 0,
            groups: Vec::new(),
            keep_ready: false,
            newcomers: Newcomers::default(),
            down_since: BTreeMap::new(),
            newest: u64::from(self.disk.snapshot.is_some()),
            followed: 0,
        });
    }

    /// True: something happened, and more may.
    fn step(&mut self, now: i64, nature: &Nature) -> bool {
        self.crash_due(now, nature)
            || self.outlived_due(now)
            || self.start_again(now, nature)
            || self.prove_due(now)
            || self.work(now, nature)
            || self.follow(now)
    }

    fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("a process that works")
    }

    // ---- The follower and its waves ----

    fn follow(&mut self, now: i64) -> bool {
        let process = self.process();
        let due = process.followed < process.newest || process.retry_at.is_some_and(|at| at <= now);
        if process.apply.is_some() || !due {
            return false;
        }
        if process.followed < process.newest {
            process.retry = FIRST_RETRY;
        } else {
            process.retry = (process.retry * 2).min(LAST_RETRY);
        }
        process.retry_at = None;
        process.followed = process.newest;
        let Some(snapshot) = self.disk.snapshot.clone() else { return false };
        let Ok(sets) = desired::sets(&snapshot) else { return false };
        self.disk.ledger.forgive(snapshot.plan_generation);
        let desired = desired::desired(sets, &self.disk.ledger);
        let process = self.process();
        process.host_uid.clone_from(&snapshot.host_uid);
        process.plan_generation = snapshot.plan_generation;
        process.newcomers = desired.newcomers;
        process.groups = process.moving(&desired);
        process.adjust(&desired, now);
        let waves = process.waves(&desired);
        let apply = Apply { desired, waves, wave: Vec::new(), failures: BTreeMap::new(), results: Vec::new() };
        process.apply = Some(apply);
        self.next_wave(now);
        true
    }

    fn next_wave(&mut self, now: i64) {
        let Some(apply) = self.process().apply.as_mut() else { return };
        let Some(wave) = apply.waves.pop_front() else { return self.applied(now) };
        apply.wave = wave;
        apply.failures.clear();
        let wave = apply.wave.clone();
        let mut groups: BTreeMap<usize, Vec<Target>> = BTreeMap::new();
        for member in &wave {
            groups.entry(member.group).or_default().extend(member.new.iter().filter(|t| !t.stable).cloned());
        }
        let moment = self.moment(now);
        groups.values().filter(|g| !g.is_empty()).for_each(|group| self.disk.ledger.begins(group, moment));
        let process = self.process();
        for member in &wave {
            if let Some(new) = &member.new {
                process.slot(&member.name).wanted = Some(new.clone());
            }
        }
        let cached = wave.iter().filter_map(|m| m.new.as_ref()).all(|t| self.disk.cache.contains(revision_of(t)));
        let took = if cached { self.random.between(20, 100) } else { self.random.between(200, 1_500) };
        self.process().work = Work::Fetching(now + took);
    }

    fn work(&mut self, now: i64, nature: &Nature) -> bool {
        match self.process().work {
            Work::Fetching(until) if until <= now => self.fetched(now, nature),
            Work::Switching(until) if until <= now => self.switched(now, nature),
            _ => return false,
        }
        true
    }

    fn wave(&mut self) -> &mut Vec<Member> {
        &mut self.process().apply.as_mut().expect("a snapshot that is applied").wave
    }

    fn going(&mut self) -> Vec<Member> {
        self.wave().iter().filter(|m| m.course == Course::Going).cloned().collect()
    }

    fn fetched(&mut self, now: i64, nature: &Nature) {
        for target in self.going().into_iter().filter_map(|m| m.new) {
            if target.unconfigured {
                let failure = Failure::environment(Step::Load, "ConfigSourceMissing", "its values cannot be read");
                self.fail(target.name(), failure);
                continue;
            }
            if self.disk.cache.contains(revision_of(&target)) {
                continue;
            }
            let behaviour = nature.behaviour(&target);
            if behaviour == Behaviour::Unreachable || nature.is_cut(self.node, now) {
                let failure = Failure::environment(Step::Load, "RegistryUnavailable", "the registry is away");
                self.fail(target.name(), failure);
            } else if behaviour == Behaviour::NotFound {
                self.fail(target.name(), Failure::revision(Step::Load, "NotFound", "no such artifact"));
            } else {
                self.disk.cache.insert(revision_of(&target).to_owned());
            }
        }
        for member in self.going() {
            let process = self.process();
            if member.new.is_some() {
                let slot = process.slot(&member.name);
                slot.status = Status::Initialized;
                slot.crash_at = None;
                slot.again_at = None;
            }
        }
        for member in self.wave().iter_mut().filter(|m| m.course == Course::Going) {
            member.stopped = true;
        }
        let took = if self.going().is_empty() { 0 } else { self.random.between(200, 1_000) };
        let until = now + took;
        self.process().work = Work::Switching(until);
    }

    fn switched(&mut self, now: i64, nature: &Nature) {
        for target in self.going().into_iter().filter_map(|m| m.new) {
            if nature.behaviour(&target) == Behaviour::FailsToStart {
                self.fail(target.name(), Failure::revision(Step::Start, "StartFailed", "does not start"));
            }
        }
        self.settle(now, nature);
        self.happened.push(Happened::Moved);
        self.process().work = Work::Idle;
        self.next_wave(now);
    }

    /// If neither the plugin nor those of its group that require it have anything to go back to, they alone drop out;
    /// else the whole group goes back.
    fn fail(&mut self, name: &str, failure: Failure) {
        let wave = self.wave();
        let Some(index) = wave.iter().position(|m| m.name == name && m.course == Course::Going) else { return };
        let group = wave[index].group;
        let lost = with_dependents(wave, index);
        let alone = lost.iter().all(|i| wave[*i].previous.is_none());
        for (at, member) in wave.iter_mut().enumerate().filter(|(_, m)| m.group == group) {
            if !alone {
                member.course = Course::Back;
            } else if lost.contains(&at) {
                member.course = Course::Dropped;
            }
        }
        let apply = self.process().apply.as_mut().expect("a snapshot that is applied");
        apply.failures.entry(group).or_insert((name.to_owned(), failure));
    }

    fn settle(&mut self, now: i64, nature: &Nature) {
        let members = std::mem::take(self.wave());
        let apply = self.process().apply.as_mut().expect("a snapshot that is applied");
        let failures = std::mem::take(&mut apply.failures);
        let mut results: BTreeMap<usize, (Vec<String>, Outcome)> = BTreeMap::new();
        for member in &members {
            let outcome = match failures.get(&member.group).map(|(_, f)| f.class) {
                None => Outcome::Applied,
                Some(Class::Revision) => Outcome::RolledBack,
                Some(Class::Environment) => Outcome::Waiting,
            };
            results.entry(member.group).or_insert_with(|| (Vec::new(), outcome)).0.push(member.name.clone());
        }
        apply.results.extend(results.into_values());
        let trials = self.new_trials(&members, now);
        let mut back: BTreeMap<usize, Vec<Member>> = BTreeMap::new();
        for member in members {
            let trial = trials.get(&member.group).copied();
            match member.course {
                Course::Going => self.arrive(&member, trial, now, nature),
                Course::Dropped => self.drop_out(&member, failures.get(&member.group), now),
                Course::Back => back.entry(member.group).or_default().push(member),
            }
        }
        for (group, members) in back {
            if let Some((name, failure)) = failures.get(&group) {
                self.go_back(members, name, failure, now, nature);
            }
        }
    }

    fn new_trials(&mut self, members: &[Member], now: i64) -> BTreeMap<usize, u64> {
        let mut groups: BTreeMap<usize, Vec<&Member>> = BTreeMap::new();
        for member in members.iter().filter(|m| m.course == Course::Going) {
            groups.entry(member.group).or_default().push(member);
        }
        groups.retain(|_, members| members.iter().any(|m| m.new.as_ref().is_some_and(|t| !t.stable)));
        let process = self.process();
        let mut ids = BTreeMap::new();
        for (group, members) in groups {
            let grace = members.iter().filter_map(|m| m.new.as_ref()).map(grace).max().unwrap_or_default();
            process.next_trial += 1;
            ids.insert(group, process.next_trial);
            let bases = members.iter().filter_map(|m| m.base).chain(process.needed(&members)).collect();
            let members = members.iter().map(|m| (m.name.clone(), m.new.clone(), m.previous.clone())).collect();
            process.trials.push(Trial { id: process.next_trial, members, until: now + grace, bases });
        }
        ids
    }

    fn arrive(&mut self, member: &Member, trial: Option<u64>, now: i64, nature: &Nature) {
        let Some(target) = member.new.clone() else {
            self.process().slots.remove(&member.name);
            return;
        };
        let on_trial = trial.is_some() && !target.stable;
        self.enter(&member.name, target, on_trial, trial, now, nature);
    }

    fn enter(&mut self, name: &str, target: Target, on_trial: bool, trial: Option<u64>, now: i64, nature: &Nature) {
        let crash = nature.crash_after(&target, &self.pod);
        if on_trial {
            let replaces_down = self.process().down_since.contains_key(name);
            self.happened.push(Happened::Began { revision: revision_of(&target).to_owned(), replaces_down });
        }
        self.disk.ledger.runs(name, revision_of(&target));
        let slot = self.process().slot(name);
        slot.wanted = Some(target.clone());
        slot.current = Some(target);
        slot.status = Status::Running;
        slot.proven = !on_trial;
        slot.trial = trial;
        slot.again_at = None;
        slot.crash_at = crash.map(|after| now + after);
        slot.reason = "";
    }

    /// A newcomer that failed leaves the pod as it was.
    fn drop_out(&mut self, member: &Member, failure: Option<&(String, Failure)>, now: i64) {
        let moment = self.moment(now);
        let Some(target) = member.new.clone() else { return };
        let slot = self.process().slot(&member.name);
        slot.current = None;
        slot.status = Status::Error;
        slot.trial = None;
        let Some((name, failure)) = failure else { return };
        slot.last_error.clone_from(&failure.message);
        slot.reason = failure.reason;
        let targets = std::slice::from_ref(&target);
        if *name == member.name && failure.class == Class::Revision {
            self.disk.ledger.ends_failed(targets, &target, failure, moment);
            self.note_failure(&target);
        } else {
            self.disk.ledger.ends(targets);
        }
    }

    fn note_failure(&mut self, target: &Target) {
        self.happened.push(Happened::Failed { revision: revision_of(target).to_owned(), shared: false });
    }

    fn go_back(&mut self, group: Vec<Member>, name: &str, failure: &Failure, now: i64, nature: &Nature) {
        let moment = self.moment(now);
        let targets: Vec<Target> = group.iter().filter_map(|m| m.new.clone()).collect();
        match targets.iter().find(|t| t.name() == name && failure.class == Class::Revision) {
            Some(culprit) => {
                self.disk.ledger.ends_failed(&targets, culprit, failure, moment);
                self.note_failure(culprit);
            }
            None => self.disk.ledger.ends(&targets),
        }
        for member in group {
            match member.previous {
                // It was not stopped and serves on.
                Some(previous) if !member.stopped && self.process().slot(&member.name).current.is_some() => {
                    let trial = self.rejoins(member.base, &previous, moment);
                    self.process().slot(&member.name).trial = trial;
                }
                Some(previous) if previous.unconfigured || nature.behaviour(&previous) == Behaviour::FailsToStart => {
                    let class = if previous.unconfigured { Class::Environment } else { Class::Revision };
                    let slot = self.process().slot(&member.name);
                    slot.current = Some(previous);
                    slot.status = Status::Error;
                    slot.trial = None;
                    self.try_again(&member.name, class, now);
                }
                Some(previous) => {
                    let trial = self.rejoins(member.base, &previous, moment);
                    self.enter(&member.name, previous, trial.is_some(), trial, now, nature);
                }
                None => {
                    let slot = self.process().slot(&member.name);
                    slot.current = None;
                    slot.status = Status::Error;
                    slot.trial = None;
                }
            }
        }
        self.happened.push(Happened::Moved);
    }

    /// A version that was on trial with others is on trial with them again.
    fn rejoins(&mut self, base: Option<u64>, previous: &Target, moment: Moment) -> Option<u64> {
        let trial = self.process().trials.iter().find(|trial| Some(trial.id) == base && !previous.stable)?;
        let (id, partners) = (trial.id, trial.members.iter().map(|(name, ..)| name.clone()).collect::<Vec<_>>());
        self.disk.ledger.rejoins(previous, &partners, moment);
        Some(id)
    }

    fn applied(&mut self, now: i64) {
        let Some(apply) = self.process().apply.take() else { return };
        self.process().forget(&apply.desired);
        self.process().work = Work::Idle;
        let moment = self.moment(now);
        // Environment failures are told of here; the others were when their trial ended.
        let waiting: Vec<String> =
            apply.results.iter().filter(|(_, o)| *o == Outcome::Waiting).flat_map(|(p, _)| p.clone()).collect();
        for target in &apply.desired.targets {
            let runs = |s: &Slot| s.current.as_ref().map(revision_of) == Some(revision_of(target));
            let runs = self.process().slots.get(target.name()).is_some_and(runs);
            if waiting.iter().any(|name| name == target.name()) && !runs {
                let failure = Failure::environment(Step::Load, "RegistryUnavailable", "the registry is away");
                self.disk.ledger.failed(target, &failure, moment);
            }
        }
        let states = apply.results.iter().map(|(plugins, outcome)| GroupState {
            plugins: plugins.clone(),
            outcome: (*outcome).into(),
            failure: self.disk.ledger.failure_of(plugins).unwrap_or_default().to_owned(),
        });
        let states = states.collect();
        let retry = self.process().retry;
        let pause = self.random.between(retry / 2, retry);
        let process = self.process();
        process.groups = states;
        process.first_set_ran = true;
        process.retry_at = (!waiting.is_empty()).then_some(now + pause);
    }

    // ---- Trials, crashes, restarts ----

    fn prove_due(&mut self, now: i64) -> bool {
        let process = self.process();
        let Some(at) = process.trials.iter().position(|t| t.until <= now) else { return false };
        let trial = process.trials.remove(at);
        let mut proven = Vec::new();
        for (name, target, _) in &trial.members {
            let Some(slot) = process.slots.get_mut(name).filter(|s| s.trial == Some(trial.id)) else { continue };
            slot.trial = None;
            slot.proven |= slot.status == Status::Running;
            proven.extend(target.clone());
        }
        self.disk.ledger.ends(&proven);
        for target in proven {
            self.outlived(target.name());
            self.happened.push(Happened::Proved { revision: revision_of(&target).to_owned() });
        }
        true
    }

    fn crash_due(&mut self, now: i64, nature: &Nature) -> bool {
        let process = self.process();
        let due = |(_, s): &(&String, &mut Slot)| s.crash_at.is_some_and(|at| at <= now);
        let Some((name, slot)) = process.slots.iter_mut().find(due) else { return false };
        // The way back waits for a wave that has one of those that go back.
        let family = slot.trial.map(|id| trial_family(&process.trials, id)).unwrap_or_default();
        let mut members = process.trials.iter().filter(|t| family.contains(&t.id)).flat_map(|t| &t.members);
        let wave: Vec<&str> = process.apply.iter().flat_map(|a| &a.wave).map(|m| m.name.as_str()).collect();
        let busy = members.any(|(member, ..)| wave.contains(&member.as_str()));
        if let Some(until) = process.work.until().filter(|_| busy) {
            slot.crash_at = Some(until.max(now) + 1);
            return true;
        }
        slot.crash_at = None;
        if slot.status != Status::Running {
            return true;
        }
        slot.outlived_at = None;
        slot.status = Status::Error;
        slot.last_error = "plugin process ended unexpectedly".to_owned();
        slot.reason = "Crashed";
        // What became stable since its trial began is started again.
        let is_stable = slot.current.as_ref().is_some_and(|current| current.stable);
        let (name, trial) = (name.clone(), slot.trial.filter(|_| !is_stable));
        match trial.and_then(|id| process.trials.iter().position(|t| t.id == id)) {
            Some(at) => {
                let trial = process.trials.remove(at);
                self.fall_back(trial, &name, now, nature);
            }
            None => self.try_again(&name, Class::Revision, now),
        }
        true
    }

    fn fall_back(&mut self, trial: Trial, name: &str, now: i64, nature: &Nature) {
        let failure = Failure::revision(Step::Grace, "CrashedInGracePeriod", "ended unexpectedly");
        let process = self.process();
        let family = process.take_family(trial);
        let ids: BTreeSet<u64> = family.iter().map(|trial| trial.id).collect();
        let mut group: Vec<Member> = Vec::new();
        for trial in &family {
            for (name, _, previous) in &trial.members {
                let Some(slot) = process.slots.get(name).filter(|s| s.trial.is_some_and(|id| ids.contains(&id))) else {
                    continue;
                };
                if group.iter().any(|member| member.name == *name) {
                    continue;
                }
                let latest = family.iter().find(|t| Some(t.id) == slot.trial);
                let (mut new, mut previous) = (latest.and_then(|t| t.target(name)).cloned(), previous.clone());
                // It became stable since its trial began: nothing else may take its place.
                if let Some(current) = slot.current.as_ref().filter(|current| current.stable) {
                    new = Some(current.clone());
                    previous = previous.or_else(|| new.clone());
                }
                let is_base = |t: &&Trial| trial.bases.contains(&t.id) && t.has(name);
                let base = process.trials.iter().find(is_base).map(|t| t.id);
                let name = name.clone();
                group.push(Member { name, group: 0, new, previous, course: Course::Back, stopped: true, base });
            }
        }
        self.go_back(group, name, &failure, now, nature);
    }

    fn try_again(&mut self, name: &str, class: Class, now: i64) {
        let at = now + self.skew;
        let slot = self.process().slot(name);
        let budget = slot.current.as_ref().map(|t| t.assignment.policies.crash_budget.clone()).unwrap_or_default();
        let attempt = slot.current.as_ref().map(attempt).unwrap_or_default();
        let mut crashes = self.disk.ledger.crashes(name).of(&attempt);
        let restart = match class {
            Class::Revision => crashes.crashed(&budget, at),
            Class::Environment => crashes.waits(),
        };
        self.disk.ledger.keep_crashes(name, crashes);
        let slot = self.process().slot(name);
        if matches!(restart, Restart::Once(_)) {
            slot.reason = "CrashBudgetExhausted";
        }
        slot.again_at = Some(now + i64::try_from(restart.pause().as_millis()).unwrap_or(i64::MAX));
    }

    fn outlived(&mut self, name: &str) {
        let slot = self.process().slot(name);
        slot.outlived_at = None;
        let attempt = slot.current.as_ref().map(attempt).unwrap_or_default();
        let mut crashes = self.disk.ledger.crashes(name).of(&attempt);
        crashes.outlived();
        self.disk.ledger.keep_crashes(name, crashes);
    }

    fn outlived_due(&mut self, now: i64) -> bool {
        let due = |(_, s): &(&String, &Slot)| s.outlived_at.is_some_and(|at| at <= now);
        let Some(name) = self.process().slots.iter().find(due).map(|(name, _)| name.clone()) else { return false };
        self.outlived(&name);
        true
    }

    fn start_again(&mut self, now: i64, nature: &Nature) -> bool {
        let process = self.process();
        let due = |(_, s): &(&String, &Slot)| s.again_at.is_some_and(|at| at <= now);
        let Some((name, _)) = process.slots.iter().find(due) else { return false };
        let name = name.clone();
        let slot = process.slot(&name);
        slot.again_at = None;
        let Some(target) = slot.current.clone().filter(|_| slot.status == Status::Error) else { return true };
        slot.restarts += 1;
        if target.unconfigured {
            self.try_again(&name, Class::Environment, now);
        } else if nature.behaviour(&target) == Behaviour::FailsToStart {
            self.try_again(&name, Class::Revision, now);
        } else {
            let until = now + grace(&target);
            self.enter(&name, target, false, None, now, nature);
            self.process().slot(&name).outlived_at = Some(until);
        }
        true
    }

    // ---- Readiness ----

    /// The Closed plugins of its set that cannot answer.
    fn down(&self) -> BTreeSet<String> {
        let Some(process) = &self.process else { return BTreeSet::new() };
        let spared = process.newcomers == Newcomers::Spared;
        let is_down = |slot: &Slot| {
            let target = slot.current.as_ref().or(slot.wanted.as_ref().filter(|wanted| !spared || wanted.stable));
            target.is_some_and(is_closed) && slot.status != Status::Running
        };
        process.slots.iter().filter(|(_, slot)| is_down(slot)).map(|(name, _)| name.clone()).collect()
    }

    fn note_readiness(&mut self, now: i64) {
        let down = self.down();
        let process = self.process();
        process.down_since.retain(|name, _| down.contains(name));
        for name in down {
            process.down_since.entry(name).or_insert(now);
        }
        let ready = self.is_ready(now);
        if ready {
            self.disk.ledger.serves();
        }
        self.version += u64::from(ready != self.was_ready);
        self.was_ready = ready;
    }

    /// Without the operator's override.
    pub(crate) fn is_ready(&self, now: i64) -> bool {
        let Some(process) = &self.process else { return false };
        process.first_set_ran && process.down_since.values().all(|since| now - since < PATIENCE)
    }

    /// What its kubelet is told.
    pub(crate) fn readyz(&self, now: i64) -> bool {
        let kept = self.served() && self.process.as_ref().is_some_and(|p| p.keep_ready && p.first_set_ran);
        kept || self.is_ready(now)
    }

    // ---- The stream ----

    pub(crate) fn hello(&self, now: i64) -> Hello {
        let report = self.report(now);
        Hello {
            sidecar_version: "0.1.0".to_owned(),
            capabilities: Vec::new(),
            revisions: report.revisions.clone(),
            report: Some(report),
            failures: self.records(),
        }
    }

    pub(crate) fn records(&self) -> Vec<FailureRecord> {
        self.disk.ledger.records()
    }

    pub(crate) fn report(&self, now: i64) -> Report {
        let Some(process) = &self.process else { return Report::default() };
        let bodies = self.disk.snapshot.iter().flat_map(|s| s.bodies.iter().map(|b| b.revision.clone()));
        Report {
            host_uid: process.host_uid.clone(),
            plan_generation: process.plan_generation,
            plugins: process.slots.iter().map(|(name, slot)| state(name, slot)).collect(),
            ready: self.is_ready(now),
            revisions: bodies.collect(),
            sandbox: "enforced".to_owned(),
            groups: process.groups.clone(),
            served: self.disk.ledger.served(),
            host: self.disk.snapshot.as_ref().map(|s| s.host.clone()).unwrap_or_default(),
        }
    }

    /// False: the stream ends.
    pub(crate) fn hear(&mut self, message: ToInstance) -> bool {
        self.version += 1;
        match message.message {
            Some(to_instance::Message::Snapshot(snapshot)) => self.keep(snapshot),
            Some(to_instance::Message::FailureSeen(seen)) => self.disk.ledger.heard(&seen.ids),
            Some(to_instance::Message::KeepReady(keep)) => self.process().keep_ready = keep.keep,
            Some(to_instance::Message::Moved(_)) => return false,
            Some(to_instance::Message::Withdraw(withdrawal)) => self.withdraw(&withdrawal),
            None => {}
        }
        true
    }

    /// At once, whatever else is under way.
    fn withdraw(&mut self, withdrawal: &Withdraw) {
        let gone = |name: &str| withdrawal.plugins.iter().any(|p| p == name);
        self.disk.snapshot = self.disk.snapshot.take().map(|snapshot| desired::cut(snapshot, withdrawal));
        let process = self.process();
        process.slots.retain(|name, _| !gone(name));
        for slot in process.slots.values_mut() {
            for target in slot.current.iter_mut().chain(&mut slot.wanted) {
                cut(target, withdrawal);
            }
        }
        for trial in &mut process.trials {
            trial.members.retain(|(name, ..)| !gone(name));
            for (_, new, previous) in &mut trial.members {
                new.iter_mut().chain(previous).for_each(|target| cut(target, withdrawal));
            }
        }
        if let Some(apply) = &mut process.apply {
            apply.desired.targets.retain(|t| !gone(t.name()));
            for wave in apply.waves.iter_mut().chain([&mut apply.wave]) {
                wave.retain(|m| !gone(&m.name));
                for member in wave {
                    member.new.iter_mut().chain(&mut member.previous).for_each(|target| cut(target, withdrawal));
                }
            }
        }
    }

    fn keep(&mut self, new: Snapshot) {
        let old = self.disk.snapshot.as_ref();
        let known = old.filter(|o| o.host_uid == new.host_uid).map_or(0, |o| o.plan_generation);
        if new.plan_generation < known {
            return;
        }
        let is_other_host = old.is_some_and(|o| o.host_uid != new.host_uid);
        let complete = desired::complete(new, old);
        let is_news = old != Some(&complete);
        if is_other_host {
            self.disk.ledger.forgive_all();
            self.process().first_set_ran = false;
        }
        if is_news {
            self.disk.snapshot = Some(complete);
            self.process().newest += 1;
        }
    }
}

fn cut(target: &mut Target, withdrawal: &Withdraw) {
    if let Some(allowed) = withdrawal.permissions.iter().find(|a| a.plugin == target.name()) {
        let stays = |p: &rockstar_core::permission::Permission| allowed.permissions.iter().any(|name| name == p.name());
        target.assignment.permissions.retain(|p| stays(p));
    }
}

fn is_closed(target: &Target) -> bool {
    target.assignment.policies.failure_policy == FailurePolicy::Closed
}

pub(crate) fn revision_of(target: &Target) -> &str {
    &target.assignment.revision.0
}

fn attempt(target: &Target) -> String {
    let assignment = &target.assignment;
    format!("{}@{}@{}", assignment.revision, assignment.reload_at, assignment.retry_token)
}

fn grace(target: &Target) -> i64 {
    i64::try_from(target.assignment.policies.reload.grace_period.as_millis()).unwrap_or(i64::MAX)
}

fn state(name: &str, slot: &Slot) -> PluginState {
    let current = slot.current.as_ref();
    PluginState {
        plugin: name.to_owned(),
        revision: current.map(|t| revision_of(t).to_owned()).unwrap_or_default(),
        version: current.map(Target::version).unwrap_or_default(),
        status: slot.status.name().to_owned(),
        proven: slot.proven && current.is_some(),
        last_error: slot.last_error.clone(),
        restarts: slot.restarts,
        acknowledged: true,
        reason: slot.reason.to_owned(),
        ..PluginState::default()
    }
}

/// Members of one group that require another one, directly or not, and that one.
fn with_dependents(wave: &[Member], index: usize) -> BTreeSet<usize> {
    let mut lost = BTreeSet::from([index]);
    loop {
        let names: Vec<&str> = lost.iter().map(|i| wave[*i].name.as_str()).collect();
        let requires = |member: &Member| {
            let needs = member.new.iter().flat_map(|t| &t.body.manifest.dependencies);
            needs.filter(|d| !d.optional).any(|d| names.contains(&d.name.as_str()))
        };
        let more: Vec<usize> = (0..wave.len())
            .filter(|i| wave[*i].group == wave[index].group && !lost.contains(i) && requires(&wave[*i]))
            .collect();
        if more.is_empty() {
            return lost;
        }
        lost.extend(more);
    }
}

/// A trial with those that began on top of it.
fn trial_family(trials: &[Trial], id: u64) -> BTreeSet<u64> {
    let mut family = BTreeSet::from([id]);
    // Ids grow, so that a base comes before what stands on it.
    for trial in trials {
        if trial.bases.iter().any(|base| family.contains(base)) {
            family.insert(trial.id);
        }
    }
    family
}

impl Work {
    const fn until(&self) -> Option<i64> {
        match self {
            Self::Fetching(until) | Self::Switching(until) => Some(*until),
            Self::Idle => None,
        }
    }
}

impl Process {
    fn next_event(&self, now: i64) -> i64 {
        let work = match self.work {
            Work::Fetching(until) | Work::Switching(until) => until,
            Work::Idle if self.apply.is_none() && self.followed < self.newest => 0,
            Work::Idle => i64::MAX,
        };
        let slots = self.slots.values().flat_map(|s| [s.crash_at, s.again_at, s.outlived_at]).flatten();
        let down = self.down_since.values().map(|since| since + PATIENCE).filter(|at| *at > now);
        let trials = self.trials.iter().map(|t| t.until);
        slots.chain(down).chain(trials).chain(self.retry_at).chain([work]).min().unwrap_or(i64::MAX)
    }

    fn slot(&mut self, name: &str) -> &mut Slot {
        self.slots.entry(name.to_owned()).or_insert_with(|| Slot {
            wanted: None,
            current: None,
            status: Status::Loading,
            proven: false,
            trial: None,
            again_at: None,
            crash_at: None,
            outlived_at: None,
            restarts: 0,
            last_error: String::new(),
            reason: "",
        })
    }

    fn running(&self) -> BTreeMap<String, Target> {
        self.slots.iter().filter_map(|(name, slot)| Some((name.clone(), slot.current.clone()?))).collect()
    }

    /// Plugins that neither run nor should leave no trace; those that are held back are shown.
    fn forget(&mut self, desired: &Desired) {
        let named = |name: &str| desired.targets.iter().any(|t| t.name() == name);
        let held = |name: &str| desired.held_back.contains_key(name);
        self.slots.retain(|name, slot| slot.current.is_some() || named(name) || held(name));
        for (name, (target, _)) in &desired.held_back {
            let slot = self.slot(name);
            if slot.current.is_none() {
                slot.wanted = Some(target.clone());
                slot.status = Status::Error;
            }
        }
    }

    /// The open trials of others whose end would leave a need of the members unmet.
    fn needed(&self, members: &[&Member]) -> Vec<u64> {
        let needs = members.iter().flat_map(|m| &m.new).flat_map(|t| &t.body.manifest.dependencies);
        let others = needs.filter(|d| !members.iter().any(|m| m.name == d.name));
        let trial = |need: &Dependency| {
            let current = self.slots.get(&need.name)?.current.as_ref().map(revision_of)?;
            let runs = |trial: &&Trial| trial.target(&need.name).map(revision_of) == Some(current);
            self.trials.iter().rev().find(runs).filter(|trial| !trial.may_end(need)).map(|trial| trial.id)
        };
        others.filter_map(trial).collect()
    }

    /// A trial with those that began on top of it, that one first; they are open no more.
    fn take_family(&mut self, trial: Trial) -> Vec<Trial> {
        let ids = trial_family(&self.trials, trial.id);
        let mut family = vec![trial];
        family.extend(self.trials.extract_if(.., |other| ids.contains(&other.id)));
        family
    }

    fn moving(&self, desired: &Desired) -> Vec<GroupState> {
        let running: BTreeMap<_, _> = self.running().into_iter().map(|(n, t)| (n, t.assignment.revision)).collect();
        let wanted: BTreeMap<String, RevisionId> =
            desired.targets.iter().map(|t| (t.name().to_owned(), t.assignment.revision.clone())).collect();
        let names: BTreeSet<_> = wanted.keys().chain(running.keys()).cloned().collect();
        let plugins: Vec<_> = names.into_iter().filter(|n| wanted.get(n) != running.get(n)).collect();
        if plugins.is_empty() {
            return Vec::new();
        }
        vec![GroupState { plugins, outcome: Outcome::Moving.into(), failure: String::new() }]
    }

    fn adjust(&mut self, desired: &Desired, now: i64) {
        for target in &desired.targets {
            let Some(slot) = self.slots.get_mut(target.name()) else { continue };
            let Some(current) = slot.current.as_mut().filter(|c| revision_of(c) == revision_of(target)) else {
                continue;
            };
            let before = current.clone();
            current.stable |= target.stable;
            current.assignment = target.assignment.clone();
            if target.unconfigured {
                current.assignment.config.clone_from(&before.assignment.config);
            }
            current.unconfigured &= target.unconfigured;
            if slot.again_at.is_some() && attempt(current) != attempt(&before) {
                slot.again_at = Some(now);
            }
        }
    }

    fn waves(&self, desired: &Desired) -> VecDeque<Vec<Member>> {
        let running = self.running();
        let (old, new) = (target::set(running.values()), target::set(&desired.targets));
        let groups = resolve::change_groups_before(&old, &new, &target::set(desired.fallback.values()));
        let groups = groups.into_iter().filter(|g| !g.plugins.iter().any(|p| desired.held_back.contains_key(p)));
        let mut waves = VecDeque::new();
        for (number, group) in groups.enumerate() {
            let member = |name: &String| {
                let new = desired.targets.iter().find(|t| t.name() == name).cloned();
                if new.is_none() && !self.slots.contains_key(name) {
                    return None;
                }
                let previous = running.get(name).cloned().or_else(|| desired.fallback.get(name).cloned());
                let slot = self.slots.get(name).and_then(|slot| slot.trial);
                let base = slot.filter(|id| self.trials.iter().any(|trial| trial.id == *id));
                let name = name.clone();
                Some(Member { name, group: number, new, previous, course: Course::Going, stopped: false, base })
            };
            waves.push_back(group.plugins.iter().filter_map(member).collect::<Vec<_>>());
        }
        if self.first_set_ran {
            return waves;
        }
        let all: Vec<_> = waves.into_iter().flatten().collect();
        if all.is_empty() { VecDeque::new() } else { [all].into() }
    }
}
