//! Decides which plugins move together, and what becomes of them when one of them fails. Pure.
//!
//! Invariants:
//! - A group goes back as a whole, or only plugins without a version before drop out of it.
//! - A group has one failure, its first. What is lost with it fails no more.
//! - A member that goes back returns to what ran when its transition began, with the probation that this was part of.

use super::{
    apply::{Desired, GroupOutcome, GroupResult},
    probation::{self, ProbationId, accepts},
    rollback::{GroupFailure, Return},
    serve::OVERTAKEN,
};
use crate::{
    failure::{Failure, Step},
    target::{self, Target},
};
use rockstar_core::resolve::{self, Set};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// What an instance has to do to run a desired set.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Targets of plugins that stay: only what may change while they run is adjusted.
    pub staying: Vec<Target>,
    /// Transitions one after another, each in load order.
    pub transitions: Vec<Vec<Move>>,
}

/// One plugin that is to move.
#[derive(Clone, Debug)]
pub struct Move {
    pub plugin: String,
    /// None: it leaves.
    pub new: Option<Target>,
    /// What to go back to, where nothing runs yet.
    pub fallback: Option<Target>,
    pub group: usize,
}

/// Plans the way from what runs to a desired set. Before the first set ran (`ready`), all groups move at once.
#[must_use]
pub fn plan(running: &BTreeMap<String, Target>, desired: &Desired, ready: bool) -> Plan {
    let (old, new) = (target::set(running.values()), target::set(&desired.targets));
    let revision = |set: &Set, target: &Target| set.get(target.name()).map(|member| member.revision.clone());
    let stays = |target: &&Target| revision(&old, target).is_some() && revision(&old, target) == revision(&new, target);
    let staying = desired.targets.iter().filter(stays).cloned().collect();
    let groups = moving_groups(desired, &old, &new);
    let transitions = if ready { groups } else { all_at_once(groups, &new) };
    Plan { staying, transitions }
}

fn moving_groups(desired: &Desired, old: &Set, new: &Set) -> Vec<Vec<Move>> {
    let by_name: BTreeMap<_, _> = desired.targets.iter().map(|target| (target.name(), target)).collect();
    let fallback = target::set(desired.fallback.values());
    let mut groups = resolve::change_groups_before(old, new, &fallback);
    groups.retain(|group| !group.plugins.iter().any(|plugin| desired.is_held_back(plugin)));
    let moves = |(number, group): (usize, resolve::ChangeGroup)| {
        let to = |plugin: String| Move {
            new: by_name.get(plugin.as_str()).map(|target| (*target).clone()),
            fallback: desired.fallback.get(&plugin).cloned(),
            group: number,
            plugin,
        };
        group.plugins.into_iter().map(to).collect()
    };
    groups.into_iter().enumerate().map(moves).collect()
}

fn all_at_once(groups: Vec<Vec<Move>>, new: &Set) -> Vec<Vec<Move>> {
    let order: BTreeMap<_, _> =
        resolve::load_order(new).into_iter().enumerate().map(|(at, plugin)| (plugin, at)).collect();
    let mut all: Vec<Move> = groups.into_iter().flatten().collect();
    all.sort_by_key(|step| order.get(&step.plugin).copied());
    if all.is_empty() { vec![] } else { vec![all] }
}

/// What becomes of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It moves on.
    Going,
    /// It failed, or requires what failed, with nothing to go back to; the others of its group go on without it.
    Excluded,
    /// Its group goes back.
    RolledBack,
}

/// One plugin in a transition.
#[derive(Clone, Debug)]
pub struct Member {
    pub plugin: String,
    pub group: usize,
    /// None: it leaves.
    pub new: Option<Target>,
    pub previous: Option<Target>,
    pub fate: Fate,
    /// The open probation that it is part of until it has moved.
    base: Option<ProbationId>,
    /// What ran before has been stopped.
    stopped: bool,
}

impl Member {
    /// Begins to move a plugin of which `current` runs, as part of the open probation `base`.
    #[must_use]
    pub fn new(step: Move, current: Option<Target>, base: Option<ProbationId>) -> Self {
        let Move { plugin, new, fallback, group } = step;
        // A version on probation is what its partners in it fit; with them it may still go back further.
        let previous = current.or(fallback).map(|previous| without_revoked(previous, new.as_ref()));
        Self { plugin, group, new, previous, fate: Fate::Going, base, stopped: false }
    }

    /// Says what it returns to. Its process before `serves` on if it was never stopped.
    #[must_use]
    pub fn into_return(self, serves: bool) -> Return {
        Return {
            plugin: self.plugin,
            target: self.new,
            previous: self.previous,
            kept: serves && !self.stopped,
            rejoins: self.base,
        }
    }

    /// The probation that the plugin leaves for something proven, or nothing, before it is over.
    #[must_use]
    pub fn left_probation(&self) -> Option<ProbationId> {
        self.base.filter(|_| self.new.as_ref().is_none_or(|new| new.stable))
    }

    fn is_unproven(&self) -> bool {
        self.new.as_ref().is_some_and(|target| !target.stable)
    }

    fn requires(&self, plugins: &[&str]) -> bool {
        let dependencies = self.new.iter().flat_map(|target| &target.body.manifest.dependencies);
        dependencies.filter(|need| !need.optional).any(|need| plugins.contains(&need.name.as_str()))
    }
}

/// A permission that was taken away does not come back with the process before.
fn without_revoked(mut previous: Target, new: Option<&Target>) -> Target {
    if let Some(new) = new.filter(|new| new.assignment.revision == previous.assignment.revision) {
        previous.assignment.permissions.retain(|permission| new.assignment.permissions.contains(permission));
    }
    previous
}

/// A probation that a group begins, and how long it lasts.
#[derive(Clone, Debug)]
pub struct NewProbation {
    pub members: Vec<probation::Member>,
    pub grace: Duration,
}

/// Groups on the move.
#[derive(Debug, Default)]
pub struct Transition {
    members: Vec<Member>,
    /// By group.
    failures: BTreeMap<usize, GroupFailure>,
}

impl Transition {
    /// Members are in load order.
    #[must_use]
    pub const fn new(members: Vec<Member>) -> Self {
        Self { members, failures: BTreeMap::new() }
    }

    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Positions of the members that move on.
    #[must_use]
    pub fn going(&self) -> Vec<usize> {
        (0..self.members.len()).filter(|index| self.is_going(*index)).collect()
    }

    #[must_use]
    pub fn is_going(&self, index: usize) -> bool {
        self.members[index].fate == Fate::Going
    }

    /// Lists what each group moves to that is not proven yet.
    #[must_use]
    pub fn unproven(&self) -> Vec<Vec<Target>> {
        let mut groups: BTreeMap<usize, Vec<Target>> = BTreeMap::new();
        for member in self.members.iter().filter(|member| member.is_unproven()) {
            groups.entry(member.group).or_default().extend(member.new.clone());
        }
        groups.into_values().collect()
    }

    /// Notes that a member cannot be kept any more: it has to start again if it goes back.
    pub fn note_stopped(&mut self, index: usize) {
        self.members[index].stopped = true;
    }

    /// Takes a member that failed out of its group, together with those that require it, if none of them has anything to
    /// go back to; else sends the whole group back.
    pub fn fail(&mut self, index: usize, failure: Failure) {
        let Member { group, fate: Fate::Going, .. } = self.members[index] else { return };
        let lost = self.with_dependents(index);
        let alone = lost.iter().all(|at| self.members[*at].previous.is_none());
        let plugin = self.members[index].plugin.clone();
        for (at, member) in self.members.iter_mut().enumerate().filter(|(_, member)| member.group == group) {
            if !alone {
                member.fate = Fate::RolledBack;
            } else if lost.contains(&at) {
                member.fate = Fate::Excluded;
            }
        }
        self.failures.entry(group).or_insert(GroupFailure { plugin, failure });
    }

    /// Fails members that do not accept the version of what would run beside them: it went back after it was planned.
    pub fn fail_misfits(&mut self, running: &BTreeMap<String, Target>) {
        while let Some((at, text)) = (0..self.members.len()).find_map(|at| Some((at, self.misfit(at, running)?))) {
            self.fail(at, Failure::environment(Step::Load, OVERTAKEN, text));
        }
    }

    fn misfit(&self, index: usize, running: &BTreeMap<String, Target>) -> Option<String> {
        let new = self.members[index].new.as_ref().filter(|_| self.is_going(index))?;
        let mut needs = new.body.manifest.dependencies.iter();
        needs.find_map(|need| {
            let found = self.beside(&need.name, running).filter(|found| !accepts(need, found))?;
            Some(format!("it does not accept '{}' v{}, which went back meanwhile", need.name, found.version()))
        })
    }

    /// What will run of a plugin by what is known.
    fn beside<'a>(&'a self, plugin: &str, running: &'a BTreeMap<String, Target>) -> Option<&'a Target> {
        match self.members.iter().find(|member| member.plugin == plugin) {
            Some(member) if member.fate == Fate::Going => member.new.as_ref(),
            Some(member) if member.fate == Fate::RolledBack => member.previous.as_ref(),
            Some(_) => None,
            None => running.get(plugin),
        }
    }

    /// Collects the member and those of its group that require it, directly or not.
    fn with_dependents(&self, index: usize) -> BTreeSet<usize> {
        let group = self.members[index].group;
        let mut lost = BTreeSet::from([index]);
        loop {
            let plugins: Vec<_> = lost.iter().map(|at| self.members[*at].plugin.as_str()).collect();
            let own =
                self.members.iter().enumerate().filter(|(at, member)| member.group == group && !lost.contains(at));
            let more: Vec<_> = own.filter(|(_, member)| member.requires(&plugins)).map(|(at, _)| at).collect();
            if more.is_empty() {
                return lost;
            }
            lost.extend(more);
        }
    }

    /// The first failure of a group.
    #[must_use]
    pub fn failure(&self, group: usize) -> Option<&GroupFailure> {
        self.failures.get(&group)
    }

    /// Gives one result a group, by number.
    #[must_use]
    pub fn results(&self) -> Vec<GroupResult> {
        let mut groups: BTreeMap<usize, Vec<String>> = BTreeMap::new();
        for member in &self.members {
            groups.entry(member.group).or_default().push(member.plugin.clone());
        }
        let outcome = |group| self.failure(group).map_or(GroupOutcome::Applied, GroupFailure::outcome);
        groups.into_iter().map(|(group, plugins)| GroupResult { plugins, outcome: outcome(group) }).collect()
    }

    /// Begins a probation for each group that moved to something unproven and can go back. Where a plugin without a version
    /// before is given up (`gives_up`) rather than started again, each group can.
    #[must_use]
    pub fn probations(&self, gives_up: bool) -> BTreeMap<usize, NewProbation> {
        let mut groups: BTreeMap<usize, Vec<&Member>> = BTreeMap::new();
        for member in self.members.iter().filter(|member| member.fate == Fate::Going) {
            groups.entry(member.group).or_default().push(member);
        }
        groups.retain(|_, members| {
            let can_go_back = gives_up || members.iter().any(|member| member.previous.is_some());
            can_go_back && members.iter().any(|member| member.is_unproven())
        });
        groups.into_iter().map(|(group, members)| (group, NewProbation::of(&members))).collect()
    }
}

impl NewProbation {
    fn of(group: &[&Member]) -> Self {
        let targets = group.iter().filter_map(|member| member.new.as_ref());
        let grace = targets.map(|target| target.assignment.policies.reload.grace_period).max();
        let member = |member: &&Member| probation::Member {
            plugin: member.plugin.clone(),
            target: member.new.clone(),
            previous: member.previous.clone(),
            base: member.base,
        };
        Self { members: group.iter().map(member).collect(), grace: grace.unwrap_or_default() }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{requiring, requiring_version, revision, stable, target};
    use super::*;
    use crate::failure::Class;
    use rockstar_core::permission::Permission;

    /// A member of the first group that moves to `new`; `current` is empty where nothing runs.
    fn member(new: Target, current: &str) -> Member {
        let plugin = new.name().to_owned();
        let step = Move { plugin, new: Some(new), fallback: None, group: 0 };
        Member::new(step, (!current.is_empty()).then(|| target(current)), None)
    }

    fn failure() -> Failure {
        Failure::revision(Step::Initialize, "InitializeFailed", "no key")
    }

    fn fates(transition: &Transition) -> Vec<Fate> {
        transition.members().iter().map(|member| member.fate).collect()
    }

    #[test]
    fn a_newcomer_drops_out_with_those_that_require_it() {
        let group = [target("a-1"), requiring("b-1", &["a"]), requiring("c-1", &["b"]), target("d-1")];
        let mut transition = Transition::new(group.into_iter().map(|new| member(new, "")).collect());
        transition.fail(0, failure());
        assert_eq!(fates(&transition), [Fate::Excluded, Fate::Excluded, Fate::Excluded, Fate::Going]);
        assert_eq!(transition.going(), [3]);
        assert_eq!(transition.probations(true)[&0].members.len(), 1, "the rest goes on by itself");
        assert!(transition.probations(false).is_empty(), "it has nothing to go back to");
    }

    #[test]
    fn a_group_goes_back_where_one_that_is_lost_has_something_before() {
        for (before, fate) in [("", Fate::Excluded), ("b-1", Fate::RolledBack)] {
            let group = vec![member(target("a-1"), ""), member(requiring("b-2", &["a"]), before)];
            let mut transition = Transition::new(group);
            transition.fail(0, failure());
            assert_eq!(fates(&transition), [fate; 2]);
        }
    }

    #[test]
    fn other_groups_are_not_concerned_and_the_first_failure_counts() {
        let other = Member { group: 1, ..member(requiring("c-2", &["a"]), "c-1") };
        let mut transition = Transition::new(vec![member(target("a-2"), "a-1"), member(target("b-2"), "b-1"), other]);
        transition.fail(1, Failure::environment(Step::Load, "RegistryUnavailable", "away"));
        transition.fail(0, failure());
        assert_eq!(fates(&transition), [Fate::RolledBack, Fate::RolledBack, Fate::Going]);
        assert_eq!(
            transition.failure(0).map(|failed| (failed.plugin.as_str(), failed.failure.class)),
            Some(("b", Class::Environment))
        );
        let outcomes = transition.results().into_iter().map(|result| (result.plugins.len(), result.outcome));
        let waiting =
            GroupOutcome::Waiting("b".into(), Failure::environment(Step::Load, "RegistryUnavailable", "away"));
        assert_eq!(outcomes.collect::<Vec<_>>(), [(2, waiting), (1, GroupOutcome::Applied)]);
    }

    #[test]
    fn what_does_not_fit_what_went_back_meanwhile_fails_by_nobody_s_fault() {
        let d = || requiring_version("d-2", "c", "=2.0.0");
        let running = |c: &str| BTreeMap::from([("c".to_owned(), target(c))]);
        for (found, fate) in [("c-2", Fate::Going), ("c-1", Fate::RolledBack)] {
            let mut transition = Transition::new(vec![member(d(), "d-1")]);
            transition.fail_misfits(&running(found));
            assert_eq!(fates(&transition), [fate]);
        }
        let mut lone = Transition::new(vec![member(d(), "")]);
        lone.fail_misfits(&BTreeMap::new());
        assert_eq!(fates(&lone), [Fate::Going], "what was taken away is no misfit");
        // Another group of the same transition goes back, and this one with it.
        let other = Member { group: 1, ..member(target("c-2"), "c-1") };
        let mut both = Transition::new(vec![other, member(d(), "d-1")]);
        both.fail(0, failure());
        both.fail_misfits(&running("c-1"));
        assert_eq!(fates(&both), [Fate::RolledBack; 2]);
        assert_eq!(both.failure(0).map(|failed| failed.failure.class), Some(Class::Environment));
    }

    #[test]
    fn a_probation_lasts_for_the_longest_grace_period_of_its_group() {
        let mut slow = target("a-2");
        slow.assignment.policies.reload.grace_period = Duration::from_secs(300);
        let transition = Transition::new(vec![member(slow, "a-1"), member(stable("b-2"), "b-1")]);
        let probation = &transition.probations(true)[&0];
        assert_eq!((probation.members.len(), probation.grace), (2, Duration::from_secs(300)));
        assert_eq!(transition.unproven().iter().map(Vec::len).collect::<Vec<_>>(), [1]);
        let proven = Transition::new(vec![member(stable("b-2"), "b-1")]);
        assert!(proven.probations(true).is_empty() && proven.unproven().is_empty());
    }

    #[test]
    fn a_member_is_kept_until_it_is_stopped() {
        let mut transition = Transition::new(vec![member(target("a-2"), "a-1"), member(target("b-2"), "b-1")]);
        transition.note_stopped(1);
        transition.fail(0, failure());
        let returns = transition.members().iter().cloned().map(|member| member.into_return(true));
        let kept: Vec<_> = returns.map(|way| (way.kept, revision(way.previous.as_ref()))).collect();
        assert_eq!(kept, [(true, "a-1".to_owned()), (false, "b-1".to_owned())]);
    }

    #[test]
    fn a_permission_that_was_taken_away_does_not_come_back() {
        let with = |revision: &str, permission| {
            let mut target = target(revision);
            target.assignment.permissions.insert(permission);
            target
        };
        let step = |new: Target| Move { plugin: "a".into(), new: Some(new), fallback: None, group: 0 };
        let before = |new| Member::new(step(new), Some(with("a-1", Permission::Network)), None).previous.unwrap();
        assert!(before(target("a-1")).assignment.permissions.is_empty());
        assert_eq!(before(target("a-2")).assignment.permissions.len(), 1, "another revision has its own");
    }

    #[test]
    fn groups_move_one_after_another_once_the_first_set_ran() {
        let running = BTreeMap::from([("s".to_owned(), target("s-1")), ("x".to_owned(), target("x-1"))]);
        let held = target("h-1");
        let desired = Desired {
            targets: vec![target("s-1"), requiring("a-1", &["z"]), target("z-1"), target("b-1"), held.clone()],
            fallback: BTreeMap::from([("b".to_owned(), stable("b-0"))]),
            held_back: BTreeMap::from([("h".to_owned(), (held, Default::default()))]),
            ..Desired::default()
        };
        let groups = |ready| {
            let transitions = plan(&running, &desired, ready).transitions.into_iter();
            let of_one =
                |moves: Vec<Move>| moves.into_iter().map(|step| format!("{}{}", step.plugin, step.group)).collect();
            transitions.map(of_one).collect::<Vec<Vec<String>>>()
        };
        assert_eq!(groups(true), [vec!["b0"], vec!["x1"], vec!["z2", "a2"]]);
        assert_eq!(groups(false), [["x1", "b0", "z2", "a2"]]);
        let staying = plan(&running, &desired, true).staying;
        assert_eq!(staying.iter().map(Target::name).collect::<Vec<_>>(), ["s"]);
        let first = &plan(&running, &desired, true).transitions[0][0];
        assert_eq!(revision(first.fallback.as_ref()), "b-0");
    }

    #[test]
    fn another_permission_of_the_kernel_moves_a_plugin() {
        let mut more = target("a-1");
        more.assignment.permissions.insert(Permission::Network);
        let desired = Desired { targets: vec![more], ..Desired::default() };
        let plan = plan(&BTreeMap::from([("a".to_owned(), target("a-1"))]), &desired, true);
        assert_eq!((plan.staying.len(), plan.transitions.len()), (0, 1));
    }
}
