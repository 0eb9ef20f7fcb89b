//! A simulated sidecar: real snapshots and the product's own decisions over processes that take time, fail and crash.
//! It models what the product's manager does with processes, and asks the product's own code who moves together, drops out,
//! goes back and is proven.

use crate::{random::Random, simulation::Nature, step::Behaviour};
use rockstar_core::{assignment::FailurePolicy, revision::RevisionId};
use rockstar_proto::control::{
    FailureRecord, GroupState, Hello, PluginState, Report, Snapshot, ToInstance, Withdraw, group_state::Outcome,
    to_instance,
};
use rockstar_sidecar::{
    control::{
        desired,
        follow::{self, Retries},
        ledger::{Ledger, Moment},
    },
    failure::{Class, Failure, Step},
    manager::{
        Allowed, Applied, Desired, GroupOutcome, GroupResult, Newcomers, OVERTAKEN, Unknown, Verdict, WITHDRAWN,
        budget::Restart,
        probation::{self, ProbationId, Probations, Standing, Surroundings},
        rollback::{self, Exclusion, GroupFailure, Return},
        transition::{self, Fate, Member, Move, Transition},
    },
    readiness::Availability,
    slot::Status,
    target::Target,
};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

/// What outlives the sidecar's process.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    pub(crate) snapshot: Option<Snapshot>,
    pub(crate) ledger: Ledger,
    /// Revisions whose files are here.
    cache: BTreeSet<String>,
}

#[derive(Clone, Debug)]
pub(crate) struct Slot {
    wanted: Option<Target>,
    pub(crate) current: Option<Target>,
    pub(crate) status: Status,
    pub(crate) proven: bool,
    /// When what runs began to.
    pub(crate) since: i64,
    /// Applies while its version is not known.
    failure_policy: FailurePolicy,
    probation: Option<ProbationId>,
    /// It was down when its probation ended.
    unproven: Option<probation::Member>,
    again_at: Option<i64>,
    crash_at: Option<i64>,
    outlived_at: Option<i64>,
    restarts: i64,
    last_error: String,
    reason: &'static str,
}

impl Slot {
    fn target(&self) -> Option<&Target> {
        self.current.as_ref().or(self.wanted.as_ref())
    }

    fn leave_probation(&mut self) {
        self.probation = None;
        self.unproven = None;
    }
}

/// The end of a grace period.
#[derive(Debug)]
struct GraceEnd {
    at: i64,
    id: ProbationId,
    /// Lists the members once it has come; it waits for those that are in a wave.
    closed: Option<Vec<probation::Member>>,
}

/// A crash in a grace period; its group goes back once none of it is in a wave.
#[derive(Debug)]
struct Crash {
    id: ProbationId,
    failed: GroupFailure,
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
    waves: VecDeque<Vec<Move>>,
    wave: Transition,
    results: Vec<GroupResult>,
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
    probations: Probations,
    ends: Vec<GraceEnd>,
    crashes: Vec<Crash>,
    work: Work,
    apply: Option<Apply>,
    retry: Duration,
    retry_at: Option<i64>,
    host_uid: String,
    pub(crate) plan_generation: u64,
    groups: Vec<GroupState>,
    keep_ready: bool,
    newcomers: Newcomers,
    /// Plugins with a stable version, and these as far as they are known.
    stable: BTreeSet<String>,
    fallback: BTreeMap<String, Target>,
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
            probations: Probations::default(),
            ends: Vec::new(),
            crashes: Vec::new(),
            work: Work::Idle,
            apply: None,
            retry: Duration::ZERO,
            retry_at: None,
            host_uid: String::new(),
            plan_generation: 0,
            groups: Vec::new(),
            keep_ready: false,
            newcomers: Newcomers::default(),
            stable: BTreeSet::new(),
            fallback: BTreeMap::new(),
            down_since: BTreeMap::new(),
            newest: u64::from(self.disk.snapshot.is_some()),
            followed: 0,
        });
    }

    /// True: something happened, and more may.
    fn step(&mut self, now: i64, nature: &Nature) -> bool {
        self.crash_due(now)
            || self.outlived_due(now)
            || self.start_again(now, nature)
            || self.roll_back_due(now, nature)
            || self.end_grace_due(now)
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
            process.retry = Duration::ZERO;
        }
        process.retry_at = None;
        process.followed = process.newest;
        let Some(snapshot) = self.disk.snapshot.clone() else { return false };
        self.take_away();
        let Ok(sets) = desired::sets(&snapshot) else { return false };
        self.disk.ledger.forgive(snapshot.plan_generation);
        let desired = desired::desired(sets, &self.disk.ledger);
        let process = self.process();
        process.host_uid.clone_from(&snapshot.host_uid);
        process.plan_generation = snapshot.plan_generation;
        process.newcomers = desired.newcomers;
        process.stable.clone_from(&desired.stable);
        process.fallback.clone_from(&desired.fallback);
        process.groups = process.moving(&desired);
        let plan = transition::plan(&process.running(), &desired, process.first_set_ran);
        process.adjust(&plan.staying, now);
        let (waves, wave) = (plan.transitions.into(), Transition::default());
        process.apply = Some(Apply { desired, waves, wave, results: Vec::new() });
        self.next_wave(now);
        true
    }

    fn next_wave(&mut self, now: i64) {
        let Some(apply) = self.process().apply.as_mut() else { return };
        let Some(moves) = apply.waves.pop_front() else { return self.applied(now) };
        let members = moves.into_iter().filter_map(|step| self.process().begin(step)).collect();
        let wave = Transition::new(members);
        let moment = self.moment(now);
        wave.unproven().iter().for_each(|group| self.disk.ledger.begins(group, moment));
        let mut targets = wave.members().iter().filter_map(|m| m.new.as_ref());
        let cached = targets.all(|target| self.disk.cache.contains(revision_of(target)));
        let took = if cached { self.random.between(20, 100) } else { self.random.between(200, 1_500) };
        *self.wave() = wave;
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

    fn wave(&mut self) -> &mut Transition {
        &mut self.process().apply.as_mut().expect("a snapshot that is applied").wave
    }

    /// Positions and targets of those that move on, and do not leave.
    fn coming(&mut self) -> Vec<(usize, Target)> {
        let wave = self.wave();
        wave.going().into_iter().filter_map(|index| Some((index, wave.members()[index].new.clone()?))).collect()
    }

    fn fetched(&mut self, now: i64, nature: &Nature) {
        for (index, target) in self.coming() {
            match self.fetch(&target, now, nature) {
                Ok(()) => drop(self.disk.cache.insert(revision_of(&target).to_owned())),
                Err(failure) => self.wave().fail(index, failure),
            }
        }
        self.fail_misfits();
        for (_, target) in self.coming() {
            let slot = self.process().slot(target.name());
            slot.status = Status::Initialized;
            slot.crash_at = None;
            slot.again_at = None;
        }
        let going = self.wave().going();
        going.iter().for_each(|index| self.wave().note_stopped(*index));
        let took = if going.is_empty() { 0 } else { self.random.between(200, 1_000) };
        self.process().work = Work::Switching(now + took);
    }

    fn fail_misfits(&mut self) {
        let running = self.process().running();
        self.wave().fail_misfits(&running);
    }

    fn fetch(&self, target: &Target, now: i64, nature: &Nature) -> Result<(), Failure> {
        self.may_start(target)?;
        let named = self.allowed().is_none_or(|allowed| {
            allowed.get(target.name()).is_some_and(|plugin| plugin.revisions.contains(&target.assignment.revision))
        });
        if !named {
            return Err(Failure::environment(Step::Load, OVERTAKEN, "a newer plan does not name it"));
        }
        if self.disk.cache.contains(revision_of(target)) {
            return Ok(());
        }
        let behaviour = nature.behaviour(target);
        if behaviour == Behaviour::Unreachable || nature.is_cut(self.node, now) {
            Err(Failure::environment(Step::Load, "RegistryUnavailable", "the registry is away"))
        } else if behaviour == Behaviour::NotFound {
            Err(Failure::revision(Step::Load, "NotFound", "no such artifact"))
        } else {
            Ok(())
        }
    }

    /// Tells whether nothing but the process itself keeps it from starting.
    fn may_start(&self, target: &Target) -> Result<(), Failure> {
        if self.allowed().is_some_and(|allowed| !allowed.contains_key(target.name())) {
            return Err(Failure::environment(Step::Load, WITHDRAWN, "it was taken away meanwhile"));
        }
        if target.unconfigured {
            return Err(Failure::environment(Step::Load, "ConfigSourceMissing", "its configuration cannot be read"));
        }
        Ok(())
    }

    /// From nothing to a started process.
    fn bring_up(&self, target: &Target, nature: &Nature) -> Result<(), Failure> {
        self.may_start(target)?;
        match nature.behaviour(target) {
            Behaviour::FailsToStart => Err(Failure::revision(Step::Start, "StartFailed", "does not start")),
            _ => Ok(()),
        }
    }

    fn switched(&mut self, now: i64, nature: &Nature) {
        for (index, target) in self.coming() {
            if let Err(failure) = self.bring_up(&target, nature) {
                self.wave().fail(index, failure);
            }
        }
        self.fail_misfits();
        self.settle(now, nature);
        self.happened.push(Happened::Moved);
        self.process().work = Work::Idle;
        self.next_wave(now);
    }

    fn settle(&mut self, now: i64, nature: &Nature) {
        let wave = std::mem::take(self.wave());
        let process = self.process();
        process.apply.as_mut().expect("a snapshot that is applied").results.extend(wave.results());
        let probations = process.open_probations(&wave, now);
        let mut back: BTreeMap<usize, Vec<Return>> = BTreeMap::new();
        for member in wave.members().iter().cloned() {
            let probation = probations.get(&member.group).copied();
            match member.fate {
                Fate::Going => self.arrive(member, probation, now, nature),
                Fate::Excluded => self.drop_out(&member, wave.failure(member.group), now),
                Fate::RolledBack => {
                    let slot = self.process().slot(&member.plugin);
                    let serves = slot.status == Status::Running;
                    slot.leave_probation();
                    back.entry(member.group).or_default().push(member.into_return(serves));
                }
            }
        }
        for (group, members) in back {
            if let Some(failed) = wave.failure(group) {
                self.go_back(members, failed, now, nature);
            }
        }
    }

    fn arrive(&mut self, member: Member, probation: Option<ProbationId>, now: i64, nature: &Nature) {
        let left = member.left_probation();
        if let Some(left) = left.and_then(|id| self.process().probations.target(id, &member.plugin)) {
            self.disk.ledger.ends(&[left]);
        }
        let Some(target) = member.new else {
            self.process().slots.remove(&member.plugin);
            return;
        };
        let on_trial = probation.is_some() && !target.stable;
        let slot = self.process().slot(&member.plugin);
        slot.leave_probation();
        slot.probation = probation;
        self.enter(&member.plugin, target, on_trial, now, nature);
    }

    fn enter(&mut self, name: &str, mut target: Target, on_trial: bool, now: i64, nature: &Nature) {
        let crash = nature.crash_after(&target, &self.pod);
        if on_trial {
            let replaces_down = self.process().down_since.contains_key(name);
            self.happened.push(Happened::Began { revision: revision_of(&target).to_owned(), replaces_down });
        }
        if let Some(allowed) = self.allowed() {
            narrow(&mut target, &allowed);
        }
        let slot = self.process().slot(name);
        slot.wanted = Some(target.clone());
        slot.current = Some(target);
        slot.status = Status::Running;
        slot.since = now;
        slot.proven = !on_trial;
        slot.again_at = None;
        slot.crash_at = crash.map(|after| now + after);
        slot.reason = "";
    }

    /// A newcomer that failed leaves the pod as it was.
    fn drop_out(&mut self, member: &Member, failed: Option<&GroupFailure>, now: i64) {
        self.process().slot(&member.plugin).leave_probation();
        let Some(failed) = failed else { return };
        self.process().set_aside(&member.plugin, failed.exclude_dependent(&member.plugin));
        let targets: Vec<Target> = member.new.iter().cloned().collect();
        self.note_end(&targets, failed, now);
    }

    /// What moved together is over.
    fn note_end(&mut self, targets: &[Target], failed: &GroupFailure, now: i64) {
        let moment = self.moment(now);
        match failed.verdict(targets) {
            Verdict::Failed(culprit, failure) => {
                self.disk.ledger.ends_failed(targets, culprit, failure, moment);
                self.note_failure(culprit);
            }
            Verdict::Proven | Verdict::Undecided => self.disk.ledger.ends(targets),
        }
    }

    fn note_failure(&mut self, target: &Target) {
        self.happened.push(Happened::Failed { revision: revision_of(target).to_owned(), shared: false });
    }

    fn go_back(&mut self, mut group: Vec<Return>, failed: &GroupFailure, now: i64, nature: &Nature) {
        self.note_end(&rollback::targets(&group), failed, now);
        self.renew(&mut group, now);
        for way in group {
            self.restore(way, failed, now, nature);
        }
        self.happened.push(Happened::Moved);
    }

    fn restore(&mut self, way: Return, failed: &GroupFailure, now: i64, nature: &Nature) {
        let Some(previous) = way.previous else {
            return self.process().set_aside(&way.plugin, failed.exclude_partner(&way.plugin));
        };
        if way.kept {
            self.rejoin(&way.plugin, &previous, way.rejoins, now);
            if way.rejoins.is_some() && self.process().slot(&way.plugin).probation.is_none() {
                self.note_outlived(&way.plugin);
            }
            return;
        }
        match self.bring_up(&previous, nature) {
            Ok(()) => {
                let on_trial = self.rejoin(&way.plugin, &previous, way.rejoins, now);
                self.enter(&way.plugin, previous, on_trial, now, nature);
            }
            Err(failure) => {
                let slot = self.process().slot(&way.plugin);
                slot.current = Some(previous.clone());
                slot.status = Status::Error;
                slot.reason = failure.reason;
                self.rejoin(&way.plugin, &previous, way.rejoins, now);
                self.try_again(&way.plugin, failure.class, now);
            }
        }
    }

    /// Puts a version that was on probation with others on probation with them again. True: it is.
    fn rejoin(&mut self, name: &str, previous: &Target, rejoins: Option<ProbationId>, now: i64) -> bool {
        let moment = self.moment(now);
        let process = self.process();
        let probation = rejoins.filter(|id| process.probations.is_open(*id));
        process.slot(name).probation = probation;
        let Some(id) = probation.filter(|_| !previous.stable) else { return false };
        let partners = process.probations.plugins(id);
        self.disk.ledger.rejoins(previous, &partners, moment);
        true
    }

    /// Begins a probation of what comes back after its own was over.
    fn renew(&mut self, group: &mut [Return], now: i64) {
        let process = self.process();
        if let Some((id, grace)) = process.probations.renew(group, &process.fallback) {
            process.ends.push(GraceEnd { at: now + milliseconds(grace), id, closed: None });
        }
    }

    fn applied(&mut self, now: i64) {
        let Some(apply) = self.process().apply.take() else { return };
        self.process().forget(&apply.desired);
        self.process().work = Work::Idle;
        let applied = Applied { groups: apply.results };
        let followed = self.disk.snapshot.as_ref().map(|s| s.host_uid.clone());
        let is_followed = followed.as_ref() == Some(&self.process().host_uid);
        if is_followed {
            self.note(&apply.desired, &applied, now);
        }
        let state = |group: &GroupResult| GroupState {
            plugins: group.plugins.clone(),
            outcome: outcome(&group.outcome).into(),
            failure: match group.outcome {
                GroupOutcome::Applied => String::new(),
                _ => self.disk.ledger.failure_of(&group.plugins).unwrap_or_default().to_owned(),
            },
        };
        let states = applied.groups.iter().map(state).collect();
        let retries = self.disk.snapshot.as_ref().and_then(|snapshot| follow::retries(snapshot, &applied));
        let retry_at = retries.map(|retries| now + self.pause(retries));
        let process = self.process();
        process.groups = states;
        process.first_set_ran |= is_followed;
        process.retry_at = retry_at;
    }

    /// What no trial tells of is noted here.
    fn note(&mut self, desired: &Desired, applied: &Applied, now: i64) {
        let moment = self.moment(now);
        let untold = |f: &Failure| f.class == Class::Environment && ![OVERTAKEN, WITHDRAWN].contains(&f.reason);
        for (name, failure) in applied.failures().filter(|(_, f)| untold(f)) {
            if let Some(target) = desired.targets.iter().find(|t| t.name() == name) {
                self.disk.ledger.failed(target, failure, moment);
            }
        }
        for target in &desired.targets {
            let runs = |slot: &Slot| slot.current.as_ref().map(revision_of) == Some(revision_of(target));
            let slot = self.process().slots.get(target.name()).filter(|slot| slot.status == Status::Running);
            if slot.is_some_and(runs) {
                self.disk.ledger.runs(target.name(), revision_of(target));
            }
        }
    }

    fn pause(&mut self, (first, longest): Retries) -> i64 {
        let retry = (self.process().retry * 2).clamp(first, longest);
        self.process().retry = retry;
        self.random.between(milliseconds(retry / 2), milliseconds(retry))
    }

    // ---- Probations, crashes, restarts ----

    fn end_grace_due(&mut self, now: i64) -> bool {
        let process = self.process();
        let due = process.ends.iter().position(|end| end.closed.is_none() && end.at <= now);
        if let Some(at) = due {
            let GraceEnd { id, .. } = process.ends.remove(at);
            if let closed @ Some(_) = process.probations.close(id) {
                process.ends.push(GraceEnd { at: now, id, closed });
            }
            return true;
        }
        let is_free = |end: &GraceEnd| {
            let members = end.closed.as_ref();
            members.is_some_and(|members| !members.iter().any(|member| process.is_moving(&member.plugin)))
        };
        let Some(at) = process.ends.iter().position(is_free) else { return false };
        let end = process.ends.remove(at);
        self.end_probation(end.id, end.closed.unwrap_or_default());
        true
    }

    fn end_probation(&mut self, id: ProbationId, members: Vec<probation::Member>) {
        let process = self.process();
        let mut proven = Vec::new();
        for member in members {
            let Some(slot) = process.slots.get_mut(&member.plugin).filter(|s| s.probation == Some(id)) else {
                continue;
            };
            slot.probation = None;
            let is_stable = slot.current.as_ref().is_none_or(|current| current.stable);
            if slot.status != Status::Running && !is_stable {
                slot.unproven = Some(member);
                continue;
            }
            proven.extend(member.target);
        }
        process.probations.remove(id);
        self.disk.ledger.ends(&proven);
        proven.iter().for_each(|target| self.note_outlived(target.name()));
    }

    /// What runs of a plugin has outlived its grace period.
    fn note_outlived(&mut self, name: &str) {
        let slot = self.process().slot(name);
        let Some(current) = slot.current.clone().filter(|_| slot.status == Status::Running) else { return };
        slot.proven = true;
        self.outlived(name);
        self.happened.push(Happened::Proved { revision: revision_of(&current).to_owned() });
    }

    fn crash_due(&mut self, now: i64) -> bool {
        let process = self.process();
        let due =
            |(name, slot): &(&String, &Slot)| slot.crash_at.is_some_and(|at| at <= now) && !process.is_moving(name);
        let Some(name) = process.slots.iter().find(due).map(|(name, _)| name.clone()) else { return false };
        let slot = process.slot(&name);
        slot.crash_at = None;
        if slot.status != Status::Running {
            return true;
        }
        slot.outlived_at = None;
        slot.status = Status::Error;
        slot.last_error = "plugin process ended unexpectedly".to_owned();
        slot.reason = "Crashed";
        let (probation, current) = (slot.probation, slot.current.clone());
        match probation.filter(|id| process.probations.fail(*id, &name, current.as_ref(), true)) {
            Some(id) => {
                let failure = Failure::revision(Step::Grace, "CrashedInGracePeriod", "ended unexpectedly");
                process.crashes.push(Crash { id, failed: GroupFailure { plugin: name, failure } });
            }
            None => self.try_again(&name, Class::Revision, now),
        }
        true
    }

    fn roll_back_due(&mut self, now: i64, nature: &Nature) -> bool {
        let process = self.process();
        let is_free = |crash: &Crash| {
            let concerned = process.probations.concerned(crash.id);
            !concerned.iter().any(|name| process.is_moving(name))
        };
        let Some(at) = process.crashes.iter().position(is_free) else { return false };
        let Crash { id, failed } = process.crashes.remove(at);
        let standing = process.standing();
        let surroundings = Surroundings { running: process.running(), fallback: process.fallback.clone() };
        let returns = process.probations.roll_back(id, &standing, &surroundings);
        returns.iter().for_each(|way| process.slot(&way.plugin).leave_probation());
        if !returns.is_empty() {
            self.go_back(returns, &failed, now, nature);
        }
        true
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
        slot.again_at = Some(now + milliseconds(restart.pause()));
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
        let due = |(name, s): &(&String, &Slot)| s.again_at.is_some_and(|at| at <= now) && !process.is_moving(name);
        let Some(name) = process.slots.iter().find(due).map(|(name, _)| name.clone()) else { return false };
        let slot = process.slot(&name);
        slot.again_at = None;
        let Some(target) = slot.current.clone().filter(|_| slot.status == Status::Error) else { return true };
        slot.restarts += 1;
        if let Err(failure) = self.bring_up(&target, nature) {
            self.try_again(&name, failure.class, now);
        } else {
            let until = now + milliseconds(target.assignment.policies.reload.grace_period);
            let on_trial = self.process().resume_probation(&name, &target, until);
            self.enter(&name, target, on_trial, now, nature);
            self.process().slot(&name).outlived_at = Some(until);
        }
        true
    }

    // ---- Readiness ----

    /// The Closed plugins of its set that cannot answer.
    fn down(&self) -> BTreeSet<String> {
        let slots =
            self.process.iter().flat_map(|process| process.slots.iter().map(move |(name, slot)| (process, name, slot)));
        let down = slots.filter(|(process, name, slot)| process.availability(name, slot).is_down());
        down.map(|(_, name, _)| name.clone()).collect()
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
        let is_borne = |(name, since): (&String, &i64)| {
            process.slots.get(name).is_none_or(|slot| now - since < process.patience(name, slot))
        };
        process.first_set_ran && process.down_since.iter().all(is_borne)
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

    fn withdraw(&mut self, withdrawal: &Withdraw) {
        let Some(old) = self.disk.snapshot.clone() else { return };
        self.follow_snapshot(desired::cut(old, withdrawal));
    }

    fn follow_snapshot(&mut self, snapshot: Snapshot) {
        if self.disk.snapshot.as_ref() != Some(&snapshot) {
            self.disk.snapshot = Some(snapshot);
            self.process().newest += 1;
            self.take_away();
        }
    }

    /// What the newest snapshot allows; none: nobody said.
    fn allowed(&self) -> Option<Allowed> {
        self.disk.snapshot.as_ref().map(desired::allowance)
    }

    /// At once, whatever else is under way.
    fn take_away(&mut self) {
        let Some(allowed) = self.allowed() else { return };
        let slots = std::mem::take(&mut self.process().slots);
        for (name, mut slot) in slots {
            slot.current.iter_mut().chain(&mut slot.wanted).for_each(|target| narrow(target, &allowed));
            match (allowed.contains_key(&name), &slot.current) {
                (true, _) => drop(self.process().slots.insert(name, slot)),
                (false, Some(current)) => self.disk.ledger.ends(std::slice::from_ref(current)),
                (false, None) => {}
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
        if is_other_host {
            self.disk.ledger.forgive_all();
            self.process().first_set_ran = false;
        }
        self.follow_snapshot(complete);
    }
}

/// Nothing is used that is not allowed.
fn narrow(target: &mut Target, allowed: &Allowed) {
    if let Some(plugin) = allowed.get(target.name()) {
        target.assignment.permissions.retain(|permission| plugin.permissions.contains(permission));
    }
}

const fn outcome(group: &GroupOutcome) -> Outcome {
    match group {
        GroupOutcome::Applied => Outcome::Applied,
        GroupOutcome::RolledBack(..) => Outcome::RolledBack,
        GroupOutcome::Waiting(..) => Outcome::Waiting,
    }
}

pub(crate) fn revision_of(target: &Target) -> &str {
    &target.assignment.revision.0
}

fn attempt(target: &Target) -> String {
    let assignment = &target.assignment;
    format!("{}@{}@{}", assignment.revision, assignment.reload_at, assignment.retry_token)
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
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

impl Process {
    /// It was set aside, and requests would pass by it.
    fn is_missing(&self, name: &str, slot: &Slot) -> bool {
        let is_required = self.newcomers == Newcomers::Required || self.stable.contains(name);
        is_required && slot.current.is_none() && slot.status == Status::Error
    }

    fn availability(&self, name: &str, slot: &Slot) -> Availability {
        let spared = self.newcomers == Newcomers::Spared;
        let counts = slot.current.as_ref().or(slot.wanted.as_ref().filter(|wanted| !spared || wanted.stable));
        let policies = slot.target().map(|target| &target.assignment.policies);
        Availability {
            failure_policy: policies.map_or(slot.failure_policy, |policies| policies.failure_policy),
            status: slot.status,
            enabled: true,
            has_target: counts.is_some(),
            missing: self.is_missing(name, slot),
            queue_timeout: policies.map_or(Duration::ZERO, |policies| policies.reload.queue.timeout),
        }
    }

    fn patience(&self, name: &str, slot: &Slot) -> i64 {
        milliseconds(self.availability(name, slot).patience())
    }

    fn next_event(&self, now: i64) -> i64 {
        let work = match self.work {
            Work::Fetching(until) | Work::Switching(until) => until,
            Work::Idle if self.apply.is_none() && self.followed < self.newest => 0,
            Work::Idle => i64::MAX,
        };
        let slots = self.slots.iter().filter(|(name, _)| !self.is_moving(name));
        let slots = slots.flat_map(|(_, s)| [s.crash_at, s.again_at, s.outlived_at]).flatten();
        let is_out = |(name, since): (&String, &i64)| Some(since + self.patience(name, self.slots.get(name)?));
        let down = self.down_since.iter().filter_map(is_out).filter(|at| *at > now);
        let ends = self.ends.iter().filter(|end| end.closed.is_none()).map(|end| end.at);
        slots.chain(down).chain(ends).chain(self.retry_at).chain([work]).min().unwrap_or(i64::MAX)
    }

    fn slot(&mut self, name: &str) -> &mut Slot {
        self.slots.entry(name.to_owned()).or_insert_with(|| Slot {
            wanted: None,
            current: None,
            status: Status::Loading,
            proven: false,
            since: 0,
            failure_policy: FailurePolicy::Open,
            probation: None,
            unproven: None,
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
        let held = |name: &str| desired.held_back.contains_key(name) || desired.unknown.contains_key(name);
        self.slots.retain(|name, slot| slot.current.is_some() || named(name) || held(name));
        for (name, (target, why)) in &desired.held_back {
            let slot = self.slot(name);
            if slot.current.is_none() {
                slot.wanted = Some(target.clone());
                slot.status = Status::Error;
                slot.last_error.clone_from(&why.message);
            }
        }
        for (name, Unknown { assignment, .. }) in &desired.unknown {
            let slot = self.slot(name);
            if slot.current.is_none() {
                slot.wanted = None;
                slot.status = Status::Error;
                slot.failure_policy = assignment.policies.failure_policy;
            }
        }
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

    fn adjust(&mut self, staying: &[Target], now: i64) {
        for target in staying {
            let Some(slot) = self.slots.get_mut(target.name()) else { continue };
            let Some(current) = slot.current.as_mut() else { continue };
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

    /// None: it is gone already.
    fn begin(&mut self, step: Move) -> Option<Member> {
        if step.new.is_none() && !self.slots.contains_key(&step.plugin) {
            return None;
        }
        let slot = self.slot(&step.plugin);
        if step.new.is_some() {
            slot.wanted.clone_from(&step.new);
        }
        let (current, base) = (slot.current.clone(), slot.probation);
        Some(Member::new(step, current, base.filter(|id| self.probations.is_open(*id))))
    }

    /// It is in a wave, which nothing else of it happens in.
    fn is_moving(&self, name: &str) -> bool {
        let members = self.apply.iter().flat_map(|apply| apply.wave.members());
        members.into_iter().any(|member| member.plugin == name)
    }

    fn open_probations(&mut self, wave: &Transition, now: i64) -> BTreeMap<usize, ProbationId> {
        let running = self.running();
        let mut ids = BTreeMap::new();
        for (group, new) in wave.probations(true) {
            let (id, at) = (self.probations.open(new.members, &running), now + milliseconds(new.grace));
            self.ends.push(GraceEnd { at, id, closed: None });
            ids.insert(group, id);
        }
        ids
    }

    /// Tells whether a version that starts again is on probation: on one of its own, if its last was over while it was down.
    fn resume_probation(&mut self, name: &str, target: &Target, until: i64) -> bool {
        if target.stable {
            return false;
        }
        let slot = self.slot(name);
        let (probation, unproven) = (slot.probation, slot.unproven.take());
        let ended = probation.and_then(|id| self.probations.ended(id, name));
        if let Some(unproven) = unproven.or(ended) {
            let id = self.probations.open_alone(unproven);
            self.ends.push(GraceEnd { at: until, id, closed: None });
            self.slot(name).probation = Some(id);
        }
        self.slot(name).probation.is_some()
    }

    fn standing(&self) -> BTreeMap<String, Standing> {
        let standing = |slot: &Slot| Standing { probation: slot.probation, current: slot.current.clone() };
        self.slots.iter().map(|(name, slot)| (name.clone(), standing(slot))).collect()
    }

    fn set_aside(&mut self, name: &str, excluded: Exclusion) {
        let slot = self.slot(name);
        slot.current = None;
        slot.status = Status::Error;
        slot.leave_probation();
        slot.last_error = excluded.message;
        slot.reason = excluded.reason;
    }
}
