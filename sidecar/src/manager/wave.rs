//! Moving groups of plugins from what runs to what should: all new versions are brought up to the handshake first, then
//! calls are held and drained, the old versions stopped, the new ones initialised and started, and calls let in.
//! A group that fails goes back alone.

use super::{
    Manager, Verdict,
    apply::{GroupOutcome, GroupResult},
    back::Returning,
    crash::Event,
    plugin::{Plugin, Work},
    room::Room,
    serve::Entry,
    trial::{Trial, TrialMember},
};
use crate::{
    failure::{self, Class, Failure},
    running::{self, Running},
    slot::Stage,
    target::Target,
};
use futures::{StreamExt, stream};
use rockstar_core::{
    assignment::Queue,
    manifest::{Dependency, HookType},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};
use tokio::{sync::OwnedMutexGuard, time::Instant};

/// Launches at a time.
const LAUNCHES: usize = 4;

/// One plugin that moves.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) plugin: Arc<Plugin>,
    /// None: it leaves.
    pub(super) new: Option<Target>,
    /// What to go back to, where nothing runs yet.
    pub(super) fallback: Option<Target>,
    pub(super) group: usize,
}

#[derive(Debug)]
struct Member {
    step: Step,
    work: OwnedMutexGuard<Work>,
    previous: Option<Target>,
    ready: Option<Running>,
    course: Course,
    stopped: bool,
    /// The open trial that it is part of until it has moved.
    base: Option<Arc<Trial>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Course {
    Going,
    /// Failed with nothing to go back to; the others of its group go on without it.
    Dropped,
    /// Its group goes back.
    Back,
}

/// Groups on the move, members in load order.
#[derive(Debug)]
pub(super) struct Wave<'a> {
    manager: &'a Manager,
    members: Vec<Member>,
    /// By group: whose failure it was.
    failures: BTreeMap<usize, (String, Failure)>,
    /// Instead of the plugins' own, for this reload.
    queue: Option<Queue>,
}

impl<'a> Wave<'a> {
    /// Waits for other operations on these plugins. `steps` are in load order.
    pub(super) async fn new(manager: &'a Manager, steps: Vec<Step>, queue: Option<Queue>) -> Self {
        let mut locks = manager.lock(steps.iter().map(|s| Arc::clone(&s.plugin))).await;
        let member = |step: Step| Some(Member::new(locks.remove(step.plugin.name())?.1, step));
        let members = steps.into_iter().filter_map(member).collect();
        Self { manager, members, failures: BTreeMap::new(), queue }
    }

    /// One result a group, by number.
    pub(super) async fn run(mut self) -> Vec<GroupResult> {
        self.begin();
        self.make_room();
        self.prepare().await;
        self.hold().await;
        self.stop().await;
        self.initialize().await;
        self.start().await;
        self.settle().await
    }

    fn begin(&self) {
        let targets: Vec<Target> = self.members.iter().filter_map(|m| m.step.new.clone()).collect();
        for target in targets {
            if let Some(plugin) = self.manager.plugin(target.name()) {
                self.manager.expect(&plugin, target);
            }
        }
        let mut groups: BTreeMap<usize, Vec<Target>> = BTreeMap::new();
        for member in &self.members {
            groups.entry(member.step.group).or_default().extend(member.step.new.iter().filter(|t| !t.stable).cloned());
        }
        groups.values().filter(|unproven| !unproven.is_empty()).for_each(|u| self.manager.journal.begins(u));
        // They may call each other's services while they start.
        if self.members.iter().any(|m| self.manager.registry.get(m.step.plugin.name()).is_none()) {
            self.manager.publish();
        }
    }

    /// Who leaves makes room first. Those for whom there is none are not even started.
    fn make_room(&mut self) {
        let running = self.manager.running_targets();
        let mut room = Room::new(self.manager.launcher.memory, running.values().map(Target::memory).sum());
        let (coming, leaving): (Vec<_>, Vec<_>) =
            self.going().into_iter().partition(|i| self.members[*i].step.new.is_some());
        for index in leaving.into_iter().chain(coming) {
            let Step { plugin, new, .. } = &self.members[index].step;
            let had = running.get(plugin.name()).map_or(0, Target::memory);
            let taken = room.take(had, new.as_ref().map_or(0, Target::memory));
            if let Err(error) = taken {
                self.fail(index, Failure::environment(failure::Step::Load, "NeedsPodRestart", error));
            }
        }
    }

    async fn prepare(&mut self) {
        let manager = self.manager;
        let going = self.going().into_iter().map(|i| (i, &self.members[i].step));
        let wanted: Vec<_> = going.filter_map(|(i, s)| Some((i, Arc::clone(&s.plugin), s.new.clone()?))).collect();
        let launches = stream::iter(wanted)
            .map(|(index, plugin, target)| async move { (index, manager.load_while_named(&plugin, &target).await) });
        let mut loaded: Vec<_> = launches.buffer_unordered(LAUNCHES).collect().await;
        loaded.sort_by_key(|(index, _)| *index);
        for (index, result) in loaded {
            match result {
                Ok(running) => self.members[index].ready = Some(running),
                Err(failure) => self.fail(index, failure),
            }
        }
    }

    /// Dependents first, so that what they still call is there.
    async fn hold(&mut self) {
        for index in self.going().into_iter().rev() {
            let slot = self.members[index].step.plugin.slot();
            let policies = slot.policies();
            slot.hold(self.queue.as_ref().unwrap_or(&policies.reload.queue));
            let now = Instant::now();
            let (calls, parked) = (now + policies.hook_timeout, now + policies.reload.drain_timeout);
            if slot.is_serving() && !slot.drain_both(calls, parked).await {
                tracing::warn!("Plugin {}: calls still ran when it was replaced", slot.name());
            }
        }
    }

    async fn stop(&mut self) {
        for index in self.going().into_iter().rev() {
            let member = &mut self.members[index];
            let Some(running) = member.work.running.take() else { continue };
            member.work.watcher = None;
            member.stopped = true;
            match member.step.new {
                Some(_) => retire(&member.step.plugin, running).await,
                None => drop(self.manager.dismantle(&member.step.plugin, running).await),
            }
        }
    }

    async fn initialize(&mut self) {
        for index in self.going() {
            let member = &mut self.members[index];
            let Some(ready) = member.ready.as_mut().filter(|_| member.course == Course::Going) else { continue };
            if let Err(failure) = self.manager.initialize(&member.step.plugin, ready).await {
                self.fail(index, failure);
            }
        }
    }

    async fn start(&mut self) {
        let going = self.members.iter().filter(|m| m.course == Course::Going);
        let fresh: Vec<_> = going
            .filter_map(|m| Some((Arc::clone(m.step.plugin.slot()), Arc::clone(m.ready.as_ref()?.instance()))))
            .collect();
        running::lifecycle_hooks(HookType::Startup, &fresh).await;
        for index in self.going() {
            let member = &mut self.members[index];
            let Some(ready) = member.ready.as_mut().filter(|_| member.course == Course::Going) else { continue };
            if let Err(failure) = self.manager.start(&member.step.plugin, ready).await {
                self.fail(index, failure);
            }
        }
    }

    /// Lets in those that go, removes those that do not, brings back groups that failed.
    async fn settle(self) -> Vec<GroupResult> {
        let Self { manager, members, failures, queue } = self;
        let mut results = results(&members, &failures);
        let mut entries = Vec::new();
        let mut back: BTreeMap<usize, Vec<Returning>> = BTreeMap::new();
        let trials = trials(manager, &members);
        for mut member in members {
            let group = member.step.group;
            member.work.trial = trials.get(&group).cloned();
            match member.course {
                Course::Going => {
                    manager.end_trial_by_command(&member);
                    entries.extend(manager.arrive(member));
                }
                Course::Dropped => manager.drop_out(member, failures.get(&group)).await,
                Course::Back => back.entry(group).or_default().push(member.returning()),
            }
        }
        manager.enter(entries).await;
        for (group, members) in back {
            if let Some((name, failure)) = failures.get(&group) {
                let outcome = manager.go_back(members, name, failure, queue.as_ref()).await;
                results.iter_mut().filter(|(g, _)| *g == group).for_each(|(_, r)| r.outcome = outcome.clone());
            }
        }
        for trial in trials.into_values() {
            manager.events.send(Event::Trial(trial)).await.ok();
        }
        results.into_iter().map(|(_, result)| result).collect()
    }

    fn going(&self) -> Vec<usize> {
        self.members.iter().enumerate().filter(|(_, m)| m.course == Course::Going).map(|(i, _)| i).collect()
    }

    /// If neither the plugin nor those of its group that require it have anything to go back to, they alone drop out;
    /// else the whole group goes back.
    fn fail(&mut self, index: usize, failure: Failure) {
        let group = self.members[index].step.group;
        if self.members[index].course != Course::Going {
            return;
        }
        let lost = self.with_dependents(index);
        let alone = lost.iter().all(|i| self.members[*i].previous.is_none());
        let name = self.members[index].step.plugin.name().to_owned();
        for member in self.members.iter_mut().enumerate().filter(|(_, m)| m.step.group == group) {
            match member {
                (i, m) if alone && lost.contains(&i) => m.course = Course::Dropped,
                (_, m) if !alone => m.course = Course::Back,
                _ => {}
            }
        }
        self.failures.entry(group).or_insert((name, failure));
    }

    /// Members of one group that require another one, directly or not, and that one.
    fn with_dependents(&self, index: usize) -> BTreeSet<usize> {
        let group = self.members[index].step.group;
        let mut lost = BTreeSet::from([index]);
        loop {
            let names: Vec<_> = lost.iter().map(|i| self.members[*i].step.plugin.name()).collect();
            let more: Vec<_> = (0..self.members.len())
                .filter(|i| self.members[*i].step.group == group && !lost.contains(i))
                .filter(|i| self.members[*i].requires(&names))
                .collect();
            if more.is_empty() {
                return lost;
            }
            lost.extend(more);
        }
    }
}

impl Member {
    fn new(work: OwnedMutexGuard<Work>, step: Step) -> Self {
        let current = step.plugin.current().map(|t| (*t).clone());
        let base = work.trial.clone().filter(|trial| trial.is_open());
        // A version on trial is what its partners in the trial fit; with them it may still go back further.
        let previous = current.or_else(|| step.fallback.clone());
        let previous = previous.map(|previous| without_revoked(previous, step.new.as_ref()));
        Self { step, work, previous, ready: None, course: Course::Going, stopped: false, base }
    }

    fn requires(&self, names: &[&str]) -> bool {
        let dependencies = self.step.new.iter().flat_map(|t| &t.body.manifest.dependencies);
        dependencies.filter(|d| !d.optional).any(|d| names.contains(&d.name.as_str()))
    }

    fn returning(mut self) -> Returning {
        let running = !self.stopped && self.work.running.is_some();
        Returning {
            plugin: self.step.plugin,
            failed: self.ready.take(),
            target: self.step.new,
            previous: self.previous,
            kept: running,
            rejoins: self.base,
            work: self.work,
        }
    }
}

impl Manager {
    /// Notes what should run. Until something of the plugin serves, the target's policies say what that means for requests.
    fn expect(&self, plugin: &Plugin, target: Target) {
        if plugin.slot().current().is_none() {
            plugin.slot().set_policies(target.assignment.policies.clone());
        }
        plugin.set_wanted(Some(target));
        if self.has_stable(plugin) {
            self.note_missing(plugin);
        }
    }

    /// Closes the books on a version that was on trial when something proven, or nothing, was to take its place.
    fn end_trial_by_command(&self, member: &Member) {
        let name = member.step.plugin.name();
        let left = member.base.iter().filter_map(|base| base.target(name));
        let left: Vec<Target> = left.filter(|_| member.step.new.as_ref().is_none_or(|new| new.stable)).collect();
        if !left.is_empty() {
            self.journal.ends(&left, Verdict::Undecided);
        }
    }

    fn arrive(&self, member: Member) -> Option<Entry> {
        let plugin = member.step.plugin;
        let Some(target) = member.step.new else {
            self.forget(&plugin);
            return None;
        };
        let on_trial = member.work.trial.is_some() && !target.stable;
        plugin.slot().record.threshold.rearm();
        let work = member.work;
        Some(Entry { plugin, work, running: member.ready, target, on_trial })
    }

    async fn drop_out(&self, mut member: Member, failure: Option<&(String, Failure)>) {
        let plugin = &member.step.plugin;
        member.work.trial = None;
        if let Some(mut ready) = member.ready.take() {
            let patience = plugin.slot().policies().stop_timeout;
            ready.stop(patience).await.ok();
            ready.finish(patience).await.ok();
        }
        let Some((name, failure)) = failure else { return };
        let target: Vec<Target> = member.step.new.iter().cloned().collect();
        match &target[..] {
            [own] if name == plugin.name() => {
                self.set_aside(plugin, failure.reason, &failure.message);
                self.journal.ends(&target, verdict(own, failure));
                tracing::error!(
                    plugin = name,
                    reason = failure.reason,
                    "Failed to load plugin: {name} v{}: {failure}",
                    own.version()
                );
            }
            _ => {
                let text = format!("not started: it requires '{name}', which failed: {failure}");
                self.set_aside(plugin, "DependencyFailed", &text);
                self.journal.ends(&target, Verdict::Undecided);
                tracing::error!(plugin = plugin.name(), "Plugin {} {text}", plugin.name());
            }
        }
    }
}

/// The environment's failures condemn nothing: it is tried again.
const fn verdict<'a>(target: &'a Target, failure: &'a Failure) -> Verdict<'a> {
    match failure.class {
        Class::Revision => Verdict::Failed(target, failure),
        Class::Environment => Verdict::Undecided,
    }
}

/// A permission that was taken away does not come back with the process before.
fn without_revoked(mut previous: Target, new: Option<&Target>) -> Target {
    if let Some(new) = new.filter(|new| new.assignment.revision == previous.assignment.revision) {
        previous.assignment.permissions.retain(|permission| new.assignment.permissions.contains(permission));
    }
    previous
}

/// Stop, Cleanup and gone, before the next version is initialised.
pub(super) async fn retire(plugin: &Plugin, mut running: Running) {
    let patience = plugin.slot().policies().stop_timeout;
    plugin.slot().set_stage(Stage::Down);
    for error in [running.stop(patience).await, running.finish(patience).await].into_iter().filter_map(Result::err) {
        plugin.slot().record.error(&error);
        tracing::error!(plugin = plugin.name(), "Plugin {}: {error}", plugin.name());
    }
}

fn results(members: &[Member], failures: &BTreeMap<usize, (String, Failure)>) -> Vec<(usize, GroupResult)> {
    let mut groups: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    for member in members {
        groups.entry(member.step.group).or_default().push(member.step.plugin.name().to_owned());
    }
    let outcome = |group: usize| match failures.get(&group) {
        None => GroupOutcome::Applied,
        Some((name, failure)) => GroupOutcome::failed(name, failure),
    };
    groups.into_iter().map(|(group, plugins)| (group, GroupResult { plugins, outcome: outcome(group) })).collect()
}

/// A trial for each group that moved to something unproven and could go back.
fn trials(manager: &Manager, members: &[Member]) -> BTreeMap<usize, Arc<Trial>> {
    let mut groups: BTreeMap<usize, Vec<&Member>> = BTreeMap::new();
    for member in members.iter().filter(|m| m.course == Course::Going) {
        groups.entry(member.step.group).or_default().push(member);
    }
    groups.retain(|_, members| {
        let unproven = members.iter().any(|m| m.step.new.as_ref().is_some_and(|t| !t.stable));
        unproven && (manager.journal.gives_up() || members.iter().any(|m| m.previous.is_some()))
    });
    groups.into_iter().map(|(group, members)| (group, manager.trials.begin(trial(manager, &members)))).collect()
}

/// The open trials of others whose end would leave a need of the members unmet.
fn needed(manager: &Manager, members: &[&Member]) -> Vec<Arc<Trial>> {
    let needs = members.iter().flat_map(|m| &m.step.new).flat_map(|t| &t.body.manifest.dependencies);
    let others = needs.filter(|d| !members.iter().any(|m| m.step.plugin.name() == d.name));
    let trial = |need: &Dependency| manager.trials.of(&*manager.plugin(&need.name)?).filter(|t| !t.may_end(need));
    others.filter_map(trial).collect()
}

fn trial(manager: &Manager, members: &[&Member]) -> Trial {
    let grace = |m: &&Member| m.step.new.as_ref().map(|t| t.assignment.policies.reload.grace_period);
    let longest = members.iter().filter_map(grace).max().unwrap_or(Duration::ZERO);
    let member = |m: &&Member| TrialMember {
        plugin: Arc::clone(&m.step.plugin),
        target: m.step.new.clone(),
        previous: m.previous.clone(),
    };
    let mut bases: Vec<Arc<Trial>> = Vec::new();
    for base in members.iter().filter_map(|m| m.base.clone()).chain(needed(manager, members)) {
        if !bases.iter().any(|known| Arc::ptr_eq(known, &base)) {
            bases.push(base);
        }
    }
    Trial {
        members: members.iter().map(member).collect(),
        until: Instant::now() + longest,
        bases,
        closed: AtomicBool::default(),
    }
}
