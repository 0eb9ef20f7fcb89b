//! Moving groups of plugins from what runs to what should: all new versions are brought up to the handshake first, then
//! calls are held and drained, the old versions stopped, the new ones initialised and started, and calls let in.
//! A group that fails goes back alone.

use super::{
    Manager, Verdict,
    apply::GroupResult,
    back::Returning,
    crash::Event,
    plugin::{Plugin, Work},
    probation::ProbationId,
    rollback::GroupFailure,
    room::{self, Room},
    serve::Entry,
    transition::{self, Fate, Move, Transition},
};
use crate::{
    bounds,
    failure::{self, Failure},
    running::{self, Running},
    slot::Stage,
    target::Target,
};
use futures::{StreamExt, stream};
use rockstar_core::{assignment::Queue, manifest::HookType};
use std::{collections::BTreeMap, sync::Arc};
use tokio::{sync::OwnedMutexGuard, time::Instant};

/// Launches at a time.
const LAUNCHES: usize = 4;

/// One plugin that moves.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) plugin: Arc<Plugin>,
    pub(super) to: Move,
}

/// What a wave holds of one plugin.
#[derive(Debug)]
struct Member {
    plugin: Arc<Plugin>,
    work: OwnedMutexGuard<Work>,
    ready: Option<Running>,
}

/// Groups on the move.
#[derive(Debug)]
pub(super) struct Wave<'a> {
    manager: &'a Manager,
    /// In load order, as the members of the transition.
    members: Vec<Member>,
    transition: Transition,
    /// Instead of the plugins' own, for this reload.
    queue: Option<Queue>,
}

impl<'a> Wave<'a> {
    /// Waits for other operations on these plugins. `steps` are in load order.
    pub(super) async fn new(manager: &'a Manager, steps: Vec<Step>, queue: Option<Queue>) -> Self {
        let mut locks = manager.lock(steps.iter().map(|s| Arc::clone(&s.plugin))).await;
        let (mut members, mut moves) = (Vec::new(), Vec::new());
        for Step { plugin, to } in steps {
            let Some((_, work)) = locks.remove(plugin.name()) else { continue };
            let base = work.probation.filter(|id| manager.probations.lock().is_open(*id));
            let current = plugin.current().map(|target| (*target).clone());
            moves.push(transition::Member::new(to, current, base));
            members.push(Member { plugin, work, ready: None });
        }
        Self { manager, members, transition: Transition::new(moves), queue }
    }

    /// One result a group, by number.
    pub(super) async fn run(mut self) -> Vec<GroupResult> {
        self.begin();
        self.make_room();
        self.prepare().await;
        self.fail_misfits();
        self.hold().await;
        self.stop().await;
        self.initialize().await;
        self.start().await;
        // What others went back to while this one started counts as well.
        self.fail_misfits();
        self.settle().await
    }

    fn fail_misfits(&mut self) {
        self.transition.fail_misfits(&self.manager.running_targets());
    }

    fn begin(&self) {
        for target in self.transition.members().iter().filter_map(|member| member.new.as_ref()) {
            if let Some(plugin) = self.manager.plugin(target.name()) {
                self.manager.expect(&plugin, target.clone());
            }
        }
        self.transition.unproven().iter().for_each(|group| self.manager.journal.begins(group));
        // They may call each other's services while they start.
        if self.members.iter().any(|m| self.manager.registry.get(m.plugin.name()).is_none()) {
            self.manager.publish();
        }
    }

    /// Who leaves makes room first. Those for whom there is none are not even started.
    fn make_room(&mut self) {
        let running = self.manager.running_targets();
        let (memory, own) = (self.manager.launcher.memory, room::own(&bounds::limits()));
        let mut room = Room::new(memory, own, running.values().map(Target::memory).sum());
        let (coming, leaving): (Vec<_>, Vec<_>) =
            self.transition.going().into_iter().partition(|i| self.transition.members()[*i].new.is_some());
        for index in leaving.into_iter().chain(coming) {
            let transition::Member { plugin, new, .. } = &self.transition.members()[index];
            let had = running.get(plugin).map_or(0, Target::memory);
            let taken = room.take(had, new.as_ref().map_or(0, Target::memory));
            if let Err(error) = taken {
                self.transition.fail(index, Failure::environment(failure::Step::Load, "NeedsPodRestart", error));
            }
        }
    }

    async fn prepare(&mut self) {
        let manager = self.manager;
        let going = self.transition.going().into_iter();
        let wanted = going.filter_map(|index| {
            let target = self.transition.members()[index].new.clone()?;
            Some((index, Arc::clone(&self.members[index].plugin), target))
        });
        let wanted: Vec<_> = wanted.collect();
        let launches = stream::iter(wanted)
            .map(|(index, plugin, target)| async move { (index, manager.load_while_named(&plugin, &target).await) });
        let mut loaded: Vec<_> = launches.buffer_unordered(LAUNCHES).collect().await;
        loaded.sort_by_key(|(index, _)| *index);
        for (index, result) in loaded {
            match result {
                Ok(running) => self.members[index].ready = Some(running),
                Err(failure) => self.transition.fail(index, failure),
            }
        }
    }

    /// Dependents first, so that what they still call is there.
    async fn hold(&mut self) {
        for index in self.transition.going().into_iter().rev() {
            let slot = self.members[index].plugin.slot();
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
        for index in self.transition.going().into_iter().rev() {
            let member = &mut self.members[index];
            let Some(running) = member.work.running.take() else { continue };
            member.work.watcher = None;
            self.transition.note_stopped(index);
            match self.transition.members()[index].new {
                Some(_) => retire(&member.plugin, running).await,
                None => drop(self.manager.dismantle(&member.plugin, running).await),
            }
        }
    }

    async fn initialize(&mut self) {
        for index in self.transition.going() {
            let member = &mut self.members[index];
            let Some(ready) = member.ready.as_mut().filter(|_| self.transition.is_going(index)) else { continue };
            if let Err(failure) = self.manager.initialize(&member.plugin, ready).await {
                self.transition.fail(index, failure);
            }
        }
    }

    async fn start(&mut self) {
        let going = self.transition.going().into_iter().map(|index| &self.members[index]);
        let fresh: Vec<_> = going
            .filter_map(|m| Some((Arc::clone(m.plugin.slot()), Arc::clone(m.ready.as_ref()?.instance()))))
            .collect();
        running::lifecycle_hooks(HookType::Startup, &fresh).await;
        for index in self.transition.going() {
            let member = &mut self.members[index];
            let Some(ready) = member.ready.as_mut().filter(|_| self.transition.is_going(index)) else { continue };
            if let Err(failure) = self.manager.start(&member.plugin, ready).await {
                self.transition.fail(index, failure);
            }
        }
    }

    /// Lets in those that go, removes those that do not, brings back groups that failed.
    async fn settle(self) -> Vec<GroupResult> {
        let Self { manager, members, transition, queue } = self;
        let results = transition.results();
        let (probations, ends) = manager.open_probations(&transition);
        let mut entries = Vec::new();
        let mut back: BTreeMap<usize, Vec<Returning>> = BTreeMap::new();
        for (mut member, to) in members.into_iter().zip(transition.members().iter().cloned()) {
            member.work.leave_probation();
            member.work.probation = probations.get(&to.group).copied();
            match to.fate {
                Fate::Going => {
                    manager.end_probation_by_command(&to);
                    entries.extend(manager.arrive(member, to.new));
                }
                Fate::Excluded => manager.drop_out(member, to.new, transition.failure(to.group)).await,
                Fate::RolledBack => back.entry(to.group).or_default().push(member.returning(to)),
            }
        }
        manager.enter(entries).await;
        for (group, members) in back {
            if let Some(failed) = transition.failure(group) {
                manager.go_back(members, failed, queue.as_ref()).await;
            }
        }
        for end in ends {
            manager.events.send(end).await.ok();
        }
        results
    }
}

impl Member {
    fn returning(self, to: transition::Member) -> Returning {
        let Self { plugin, work, ready } = self;
        let way = to.into_return(work.running.is_some());
        Returning { plugin, work, way, failed: ready }
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

    /// Closes the books on a version that was on probation when something proven, or nothing, was to take its place.
    fn end_probation_by_command(&self, to: &transition::Member) {
        let left = to.left_probation().and_then(|id| self.probations.lock().target(id, &to.plugin));
        if let Some(left) = left {
            self.journal.ends(&[left], Verdict::Undecided);
        }
    }

    /// Says by group which probation its members are part of, and which events end them.
    fn open_probations(&self, transition: &Transition) -> (BTreeMap<usize, ProbationId>, Vec<Event>) {
        let (running, gives_up) = (self.running_targets(), self.journal.gives_up());
        let mut probations = self.probations.lock();
        let (mut ids, mut ends) = (BTreeMap::new(), Vec::new());
        for (group, new) in transition.probations(gives_up) {
            let (id, until) = (probations.open(new.members, &running), Instant::now() + new.grace);
            ids.insert(group, id);
            ends.push(Event::GraceOver { id, until });
        }
        (ids, ends)
    }

    fn arrive(&self, member: Member, new: Option<Target>) -> Option<Entry> {
        let Member { plugin, work, ready, .. } = member;
        let Some(target) = new else {
            self.forget(&plugin);
            return None;
        };
        let on_trial = work.probation.is_some() && !target.stable;
        plugin.slot().record.threshold.rearm();
        Some(Entry { plugin, work, running: ready, target, on_trial })
    }

    async fn drop_out(&self, member: Member, new: Option<Target>, failed: Option<&GroupFailure>) {
        let Member { plugin, mut work, ready } = member;
        work.leave_probation();
        if let Some(mut ready) = ready {
            let patience = plugin.slot().policies().stop_timeout;
            ready.stop(patience).await.ok();
            ready.finish(patience).await.ok();
        }
        let Some(failed) = failed else { return };
        let targets: Vec<Target> = new.into_iter().collect();
        let excluded = failed.exclude_dependent(plugin.name());
        self.set_aside(&plugin, excluded.reason, &excluded.message);
        self.journal.ends(&targets, failed.verdict(&targets));
        let (name, failure) = (plugin.name(), &failed.failure);
        match failed.culprit(&targets) {
            Some(own) => tracing::error!(
                plugin = name,
                reason = failure.reason,
                "Failed to load plugin: {name} v{}: {failure}",
                own.version()
            ),
            None => tracing::error!(plugin = name, "Plugin {name} {}", excluded.message),
        }
    }
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
