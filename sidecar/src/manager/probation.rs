//! Keeps plugins that moved together, and may have to go back together, until their grace period is over. Pure.
//!
//! Invariants:
//! - A plugin is part of one probation at most: the one of its last move. Who holds its lock holds this in `Work`.
//! - A probation may begin on top of others, its bases: those that its members were part of before they moved again, and those
//!   of what its members require. Ids grow, so that a base always comes before what stands on it.
//! - A probation ends once: its grace period is over before a member fails, or a member fails and sends all back. It is
//!   removed when no plugin is part of it any more, and nothing joins it after its end.

use super::rollback::Return;
use crate::target::Target;
use rockstar_core::manifest::Dependency;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// Names one probation; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProbationId(u64);

/// One plugin that moved in a probation.
#[derive(Clone, Debug)]
pub struct Member {
    pub plugin: String,
    /// None: it left.
    pub target: Option<Target>,
    pub previous: Option<Target>,
    /// The open probation that its version before is part of.
    pub base: Option<ProbationId>,
}

#[derive(Debug)]
struct Probation {
    /// In load order.
    members: Vec<Member>,
    /// All on top of which it began, directly or not.
    bases: BTreeSet<ProbationId>,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Open,
    /// A member failed; its group goes back as soon as all are locked.
    Failed,
    /// The grace period is over.
    Closed,
}

/// Where a plugin of a probation stands now.
#[derive(Clone, Debug)]
pub struct Standing {
    pub probation: Option<ProbationId>,
    pub current: Option<Target>,
}

/// What a rollback has to fit.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// What runs of each plugin.
    pub running: BTreeMap<String, Target>,
    /// The stable version of each plugin.
    pub fallback: BTreeMap<String, Target>,
}

impl Surroundings {
    /// Gives a member its stable version, else nothing, where its version before would not fit what runs beside it then.
    fn fit(&self, returns: &mut [Return]) {
        while let Some(at) = (0..returns.len()).find(|at| !self.fits(&returns[*at], returns)) {
            let misfit = &mut returns[at];
            let stable =
                self.fallback.get(&misfit.plugin).filter(|_| misfit.previous.as_ref().is_some_and(|p| !p.stable));
            (misfit.previous, misfit.rejoins) = (stable.cloned(), None);
        }
    }

    /// Tells whether the version before accepts the versions of all that it depends on, and is accepted by all that stay.
    /// What is not there fits: it was taken away, and those that require it keep running.
    fn fits(&self, member: &Return, returns: &[Return]) -> bool {
        let Some(previous) = &member.previous else { return true };
        let returning = |plugin: &str| returns.iter().find(|other| other.plugin == plugin);
        let beside = |plugin: &str| match returning(plugin) {
            Some(other) => other.previous.as_ref(),
            None => self.running.get(plugin),
        };
        let needs = &previous.body.manifest.dependencies;
        let staying = self.running.values().filter(|target| returning(target.name()).is_none());
        let mut needed = staying.flat_map(|target| &target.body.manifest.dependencies);
        needs.iter().all(|need| beside(&need.name).is_none_or(|found| accepts(need, found)))
            && needed.all(|need| need.name != member.plugin || accepts(need, previous))
    }
}

/// Tells whether a dependency's constraint admits the version of a target.
pub(super) fn accepts(need: &Dependency, found: &Target) -> bool {
    need.constraint().is_ok_and(|constraint| constraint.matches(&found.body.manifest.version))
}

/// The probations of an instance.
#[derive(Debug, Default)]
pub struct Probations {
    last: u64,
    table: BTreeMap<ProbationId, Probation>,
}

impl Probations {
    /// Begins a probation. Members are in load order; `running` is what runs before they take their places.
    pub fn open(&mut self, members: Vec<Member>, running: &BTreeMap<String, Target>) -> ProbationId {
        let mut bases: BTreeSet<_> = members.iter().filter_map(|member| member.base).collect();
        bases.extend(self.needed(&members, running));
        let below = bases.iter().filter_map(|base| self.table.get(base)).flat_map(|base| base.bases.clone());
        let below: Vec<_> = below.collect();
        bases.extend(below);
        self.insert(members, bases)
    }

    /// Begins a probation of a member whose own ended while it was down.
    pub fn open_alone(&mut self, member: Member) -> ProbationId {
        self.insert(vec![Member { base: None, ..member }], BTreeSet::new())
    }

    /// Begins a probation of those versions of a group that come back after the one that they left was over: they were not
    /// there to outlive it. They would go back to what is `stable`; without that they stay, as nothing else may run. Says how
    /// long it lasts from the moment when they serve.
    pub fn renew<'a>(
        &mut self,
        group: impl IntoIterator<Item = &'a mut Return>,
        stable: &BTreeMap<String, Target>,
    ) -> Option<(ProbationId, Duration)> {
        let renewed = |way: &'a mut Return| Some((self.renewed(way, stable)?, &mut way.rejoins));
        let (members, rejoins): (Vec<_>, Vec<_>) = group.into_iter().filter_map(renewed).unzip();
        let targets = members.iter().filter_map(|member| member.target.as_ref());
        let grace = targets.map(|target| target.assignment.policies.reload.grace_period).max()?;
        let id = self.insert(members, BTreeSet::new());
        rejoins.into_iter().for_each(|rejoins| *rejoins = Some(id));
        Some((id, grace))
    }

    fn renewed(&self, way: &Return, stable: &BTreeMap<String, Target>) -> Option<Member> {
        way.rejoins.filter(|id| !way.kept && !self.is_open(*id))?;
        let target = way.previous.clone().filter(|previous| !previous.stable)?;
        let previous = Some(stable.get(&way.plugin)?.clone());
        Some(Member { plugin: way.plugin.clone(), target: Some(target), previous, base: None })
    }

    fn insert(&mut self, members: Vec<Member>, bases: BTreeSet<ProbationId>) -> ProbationId {
        self.last += 1;
        let id = ProbationId(self.last);
        self.table.insert(id, Probation { members, bases, stage: Stage::Open });
        id
    }

    /// Finds the open probations of others whose failure would leave a need of the members unmet.
    fn needed(&self, members: &[Member], running: &BTreeMap<String, Target>) -> Vec<ProbationId> {
        let targets = members.iter().filter_map(|member| member.target.as_ref());
        let needs = targets.flat_map(|target| &target.body.manifest.dependencies);
        let others = needs.filter(|need| !members.iter().any(|member| member.plugin == need.name));
        let held_by = |need: &Dependency| {
            let (id, provider) = self.newest_of(running.get(&need.name)?)?;
            let is_met_without = provider.previous.as_ref().map_or(need.optional, |previous| accepts(need, previous));
            (!is_met_without).then_some(id)
        };
        others.filter_map(held_by).collect()
    }

    /// Finds the open probation that a plugin is part of with what runs of it.
    fn newest_of(&self, running: &Target) -> Option<(ProbationId, &Member)> {
        let open = self.table.iter().rev().filter(|(_, probation)| probation.stage != Stage::Closed);
        let mut members = open.flat_map(|(id, probation)| probation.members.iter().map(|member| (*id, member)));
        members.find(|(_, member)| {
            let target = member.target.as_ref().filter(|_| member.plugin == running.name());
            target.is_some_and(|target| target.assignment.revision == running.assignment.revision)
        })
    }

    #[must_use]
    pub fn is_open(&self, id: ProbationId) -> bool {
        self.table.get(&id).is_some_and(|probation| probation.stage != Stage::Closed)
    }

    /// Names the plugins that moved together.
    #[must_use]
    pub fn plugins(&self, id: ProbationId) -> Vec<String> {
        self.members(&BTreeSet::from([id])).map(|member| member.plugin.clone()).collect()
    }

    /// The version of a plugin that is on probation.
    #[must_use]
    pub fn target(&self, id: ProbationId, plugin: &str) -> Option<Target> {
        self.member(id, plugin)?.target.clone()
    }

    /// The member of a probation that is over, but not removed yet.
    #[must_use]
    pub fn ended(&self, id: ProbationId, plugin: &str) -> Option<Member> {
        self.member(id, plugin).filter(|_| !self.is_open(id)).cloned()
    }

    /// Notes that a member failed, of which `current` ran. True: its group goes back. What fails after the grace period, or
    /// became stable since its probation began, is started again: nothing else may take its place. So is a plugin without a
    /// version before, unless it is given up (`gives_up`).
    pub fn fail(&mut self, id: ProbationId, plugin: &str, current: Option<&Target>, gives_up: bool) -> bool {
        let is_stable = current.is_some_and(|current| current.stable);
        let has_previous = self.member(id, plugin).is_some_and(|member| member.previous.is_some());
        let goes_back = self.is_open(id) && !is_stable && (gives_up || has_previous);
        if let Some(probation) = self.table.get_mut(&id).filter(|_| goes_back) {
            probation.stage = Stage::Failed;
        }
        goes_back
    }

    fn member(&self, id: ProbationId, plugin: &str) -> Option<&Member> {
        self.table.get(&id)?.members.iter().find(|member| member.plugin == plugin)
    }

    /// Ends a probation whose grace period is over, unless it failed, and lists who moved in it. It is to be removed once none
    /// of them is part of it any more.
    pub fn close(&mut self, id: ProbationId) -> Option<Vec<Member>> {
        let probation = self.table.get_mut(&id).filter(|probation| probation.stage == Stage::Open)?;
        probation.stage = Stage::Closed;
        Some(probation.members.clone())
    }

    pub fn remove(&mut self, id: ProbationId) {
        self.table.remove(&id);
    }

    /// Names the plugins that a rollback of the probation concerns.
    #[must_use]
    pub fn concerned(&self, id: ProbationId) -> BTreeSet<String> {
        self.members(&self.family(id)).map(|member| member.plugin.clone()).collect()
    }

    /// Ends a probation in which a member failed, with those that began on top of it. Says what each plugin returns to, by
    /// where it stands now. Members that moved on without a probation stay, and what does not fit them does not come back.
    pub fn roll_back(
        &mut self,
        id: ProbationId,
        standing: &BTreeMap<String, Standing>,
        rest: &Surroundings,
    ) -> Vec<Return> {
        let family = self.family(id);
        let mut seen = BTreeSet::new();
        // Whoever moved twice goes back to what it had before the first move.
        let first = self.members(&family).filter(|member| seen.insert(member.plugin.as_str()));
        let returns = first.filter_map(|member| self.returns(member, &family, standing.get(&member.plugin)?));
        let mut returns: Vec<Return> = returns.collect();
        for id in family {
            self.table.remove(&id);
        }
        rest.fit(&mut returns);
        returns
    }

    fn returns(&self, first: &Member, family: &BTreeSet<ProbationId>, standing: &Standing) -> Option<Return> {
        let probation = standing.probation.filter(|probation| family.contains(probation))?;
        let last = self.member(probation, &first.plugin);
        let (mut target, mut previous) = (last.and_then(|member| member.target.clone()), first.previous.clone());
        // It became stable since its probation began: nothing else may take its place.
        if let Some(current) = standing.current.as_ref().filter(|current| current.stable) {
            target = Some(current.clone());
            previous = previous.or_else(|| target.clone());
        }
        Some(Return { plugin: first.plugin.clone(), target, previous, kept: false, rejoins: first.base })
    }

    fn members(&self, family: &BTreeSet<ProbationId>) -> impl Iterator<Item = &Member> {
        family.iter().filter_map(|id| self.table.get(id)).flat_map(|probation| &probation.members)
    }

    /// Collects the probation and the open ones on top of it.
    fn family(&self, id: ProbationId) -> BTreeSet<ProbationId> {
        let is_in = |(other, probation): &(&ProbationId, &Probation)| {
            **other == id || (probation.stage != Stage::Closed && probation.bases.contains(&id))
        };
        self.table.iter().filter(is_in).map(|(id, _)| *id).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{requiring, requiring_version, revision, stable, target};
    use super::*;

    /// An instance with its probations, as its manager holds it.
    #[derive(Default)]
    struct Instance {
        probations: Probations,
        standing: BTreeMap<String, Standing>,
        fallback: BTreeMap<String, Target>,
    }

    impl Instance {
        /// Moves plugins, given as "a-1" to "a-2", together. Nothing runs before "".
        fn moves(&mut self, moves: &[(&str, &str)]) -> ProbationId {
            let member = |(previous, new): &(&str, &str)| {
                let new = target(new);
                let base = self.standing.get(new.name()).and_then(|standing| standing.probation);
                let previous = (!previous.is_empty()).then(|| target(previous));
                Member { plugin: new.name().to_owned(), target: Some(new), previous, base }
            };
            let members: Vec<_> = moves.iter().map(member).collect();
            let id = self.probations.open(members.clone(), &self.running());
            for Member { plugin, target, .. } in members {
                self.standing.insert(plugin, Standing { probation: Some(id), current: target });
            }
            id
        }

        fn running(&self) -> BTreeMap<String, Target> {
            let current = |(plugin, standing): (&String, &Standing)| Some((plugin.clone(), standing.current.clone()?));
            self.standing.iter().filter_map(current).collect()
        }

        /// Puts a proven version in the place of what runs.
        fn becomes(&mut self, target: Target) {
            let plugin = target.name().to_owned();
            self.standing.insert(plugin, Standing { probation: None, current: Some(target) });
        }

        fn ends(&mut self, id: ProbationId) {
            self.probations.close(id);
            let ended = |standing: &&mut Standing| standing.probation == Some(id);
            self.standing.values_mut().filter(ended).for_each(|standing| standing.probation = None);
            self.probations.remove(id);
        }

        /// Says "a-2 a-1" where a-2 goes back to a-1, and what it rejoins.
        fn rolls_back(&mut self, id: ProbationId) -> Vec<(String, Option<ProbationId>)> {
            let surroundings = Surroundings { running: self.running(), fallback: self.fallback.clone() };
            let returns = self.probations.roll_back(id, &self.standing, &surroundings);
            let told = |way: Return| {
                let from_to = format!("{} {}", revision(way.target.as_ref()), revision(way.previous.as_ref()));
                (from_to, way.rejoins.filter(|id| self.probations.is_open(*id)))
            };
            returns.into_iter().map(told).collect()
        }
    }

    fn alone(told: &[&str]) -> Vec<(String, Option<ProbationId>)> {
        told.iter().map(|told| ((*told).to_owned(), None)).collect()
    }

    #[test]
    fn those_that_moved_together_go_back_together() {
        let mut instance = Instance::default();
        let id = instance.moves(&[("b-1", "b-2"), ("", "a-2")]);
        let other = instance.moves(&[("c-1", "c-2")]);
        assert!(!instance.probations.fail(id, "a", None, false), "it is started again");
        assert!(!instance.probations.fail(id, "b", Some(&stable("b-2")), true), "nothing else may take its place");
        assert!(instance.probations.fail(id, "b", None, false));
        assert!(instance.probations.fail(id, "a", None, true));
        assert_eq!(instance.rolls_back(id), alone(&["b-2 b-1", "a-2 "]));
        assert!(!instance.probations.is_open(id) && instance.probations.is_open(other));
        assert_eq!(instance.rolls_back(id), [], "it goes back once");
    }

    #[test]
    fn a_member_that_moves_again_and_fails_rejoins_its_partner() {
        let mut instance = Instance::default();
        let base = instance.moves(&[("a-1", "a-2"), ("b-1", "b-2")]);
        let top = instance.moves(&[("b-2", "b-3")]);
        assert_eq!(instance.rolls_back(top), [("b-3 b-2".to_owned(), Some(base))]);
        instance.standing.get_mut("b").unwrap().probation = Some(base);
        instance.standing.get_mut("b").unwrap().current = Some(target("b-2"));
        assert_eq!(instance.rolls_back(base), alone(&["a-2 a-1", "b-2 b-1"]));
    }

    #[test]
    fn a_partner_that_fails_takes_along_what_began_on_top() {
        let mut instance = Instance::default();
        let base = instance.moves(&[("m-1", "m-2"), ("n-1", "n-2")]);
        instance.moves(&[("m-2", "m-3"), ("c-1", "c-2")]);
        // Its members come before the others by name, and it stands on the one before all the same.
        let top = instance.moves(&[("c-2", "c-3"), ("a-1", "a-2")]);
        assert_eq!(instance.rolls_back(base), alone(&["m-3 m-1", "n-2 n-1", "c-3 c-1", "a-2 a-1"]));
        assert!(!instance.probations.is_open(top));
    }

    #[test]
    fn a_rollback_concerns_all_that_stands_on_it() {
        let mut instance = Instance::default();
        let base = instance.moves(&[("m-1", "m-2"), ("n-1", "n-2")]);
        let top = instance.moves(&[("m-2", "m-3"), ("c-1", "c-2")]);
        instance.moves(&[("x-1", "x-2")]);
        assert!(instance.probations.concerned(base).into_iter().eq(["c", "m", "n"]));
        assert!(instance.probations.concerned(top).into_iter().eq(["c", "m"]));
    }

    #[test]
    fn what_requires_a_version_on_probation_stands_on_it_unless_the_one_before_will_do() {
        for (previous, back) in [("p-1", vec!["p-2 p-1"]), ("", vec!["p-2 ", "a-2 a-1"])] {
            let mut instance = Instance::default();
            let base = instance.moves(&[(previous, "p-2")]);
            let needing = Member {
                plugin: "a".to_owned(),
                target: Some(requiring("a-2", &["p"])),
                previous: Some(target("a-1")),
                base: None,
            };
            let current = needing.target.clone();
            let top = instance.probations.open(vec![needing], &instance.running());
            instance.standing.insert("a".to_owned(), Standing { probation: Some(top), current });
            assert_eq!(instance.rolls_back(base), alone(&back));
        }
    }

    #[test]
    fn a_member_that_was_down_at_the_end_is_on_probation_by_itself() {
        let mut instance = Instance::default();
        let both = instance.moves(&[("a-1", "a-2"), ("b-1", "b-2")]);
        assert!(instance.probations.ended(both, "b").is_none());
        instance.probations.close(both);
        let unproven = instance.probations.ended(both, "b").unwrap();
        instance.ends(both);
        let own = instance.probations.open_alone(unproven);
        instance.standing.get_mut("b").unwrap().probation = Some(own);
        assert_eq!(instance.rolls_back(own), alone(&["b-2 b-1"]));
    }

    #[test]
    fn what_failed_on_top_rejoins_each_its_own_probation() {
        let mut instance = Instance::default();
        let both = instance.moves(&[("x-1", "x-2"), ("y-1", "y-2")]);
        let one = instance.moves(&[("x-2", "x-3")]);
        let top = instance.moves(&[("y-2", "y-3"), ("x-3", "x-4")]);
        let back = instance.rolls_back(top);
        assert_eq!(back, [("y-3 y-2".to_owned(), Some(both)), ("x-4 x-3".to_owned(), Some(one))]);
    }

    #[test]
    fn a_member_that_became_stable_goes_back_and_is_not_blamed_for_another_version() {
        let mut instance = Instance::default();
        let id = instance.moves(&[("a-1", "a-2"), ("", "b-2")]);
        for plugin in ["a", "b"] {
            instance.standing.get_mut(plugin).unwrap().current = Some(stable(&format!("{plugin}-2")));
        }
        let returns = instance.probations.roll_back(id, &instance.standing, &Surroundings::default());
        assert!(returns.iter().all(|way| way.target.as_ref().is_some_and(|target| target.stable)));
        let previous: Vec<_> = returns.iter().map(|way| revision(way.previous.as_ref())).collect();
        assert_eq!(previous, ["a-1", "b-2"], "nothing else may take the place of b");
    }

    #[test]
    fn a_member_that_moved_on_for_good_stays() {
        let mut instance = Instance::default();
        let id = instance.moves(&[("a-1", "a-2"), ("b-1", "b-2")]);
        instance.becomes(stable("b-3"));
        assert_eq!(instance.rolls_back(id), alone(&["a-2 a-1"]));
    }

    #[test]
    fn what_does_not_fit_what_moved_on_does_not_come_back() {
        for (stable_a, back) in [(None, "a-3 "), (Some("a-1"), "a-3 a-1")] {
            let mut instance = Instance::default();
            instance.moves(&[("b-1", "b-2")]);
            let a_2 = || requiring_version("a-2", "b", "=2.0.0");
            instance.standing.insert("a".into(), Standing { probation: None, current: Some(a_2()) });
            let member = Member { plugin: "a".into(), target: Some(target("a-3")), previous: Some(a_2()), base: None };
            let id = instance.probations.open(vec![member], &instance.running());
            instance.standing.insert("a".into(), Standing { probation: Some(id), current: Some(target("a-3")) });
            instance.becomes(stable("b-1"));
            instance.fallback.extend(stable_a.map(|revision| ("a".to_owned(), stable(revision))));
            assert_eq!(instance.rolls_back(id), alone(&[back]));
        }
    }

    #[test]
    fn what_moved_on_must_accept_what_comes_back() {
        let mut instance = Instance::default();
        let id = instance.moves(&[("c-1", "c-3"), ("d-1", "d-3")]);
        instance.becomes(Target { stable: true, ..requiring_version("d-2", "c", ">=2.0.0") });
        assert_eq!(instance.rolls_back(id), alone(&["c-3 "]));
        let mut instance = Instance { fallback: [("c".to_owned(), stable("c-2"))].into(), ..Instance::default() };
        let id = instance.moves(&[("c-1", "c-3"), ("d-1", "d-3")]);
        instance.becomes(Target { stable: true, ..requiring_version("d-2", "c", ">=2.0.0") });
        assert_eq!(instance.rolls_back(id), alone(&["c-3 c-2"]));
    }

    #[test]
    fn a_probation_ends_once() {
        let mut instance = Instance::default();
        let failed = instance.moves(&[("a-1", "a-2"), ("b-1", "b-2")]);
        assert!(instance.probations.fail(failed, "a", None, true));
        assert!(instance.probations.close(failed).is_none(), "the way back waits for locks");
        assert_eq!(instance.rolls_back(failed), alone(&["a-2 a-1", "b-2 b-1"]));
        let over = instance.moves(&[("a-1", "a-3"), ("b-1", "b-3")]);
        assert!(instance.probations.close(over).is_some_and(|members| members.len() == 2));
        assert!(!instance.probations.fail(over, "b", None, true), "one of them may be proven already");
    }

    #[test]
    fn nothing_rejoins_a_probation_that_is_over() {
        let mut instance = Instance::default();
        let base = instance.moves(&[("a-1", "a-2"), ("b-1", "b-2")]);
        let top = instance.moves(&[("b-2", "b-3")]);
        instance.ends(base);
        assert_eq!(instance.rolls_back(top), alone(&["b-3 b-2"]));
    }

    #[test]
    fn what_comes_back_after_its_probation_was_over_is_on_a_new_one_together() {
        let mut instance = Instance::default();
        let base = instance.moves(&[("", "a-2"), ("b-1", "b-2"), ("c-1", "c-2")]);
        let top = instance.moves(&[("a-2", "a-3"), ("b-2", "b-3"), ("c-2", "c-3")]);
        instance.ends(base);
        let standing = instance.standing.clone();
        let mut back = instance.probations.roll_back(top, &standing, &Surroundings::default());
        let stable = BTreeMap::from(["b-1", "c-1"].map(|revision| (revision[..1].to_owned(), stable(revision))));
        let (id, _) = instance.probations.renew(&mut back, &stable).unwrap();
        for way in back {
            let probation = way.rejoins.filter(|id| instance.probations.is_open(*id));
            assert_eq!(probation, (way.plugin != "a").then_some(id), "{}", way.plugin);
            instance.standing.insert(way.plugin, Standing { probation, current: way.previous });
        }
        assert_eq!(instance.rolls_back(id), alone(&["b-2 b-1", "c-2 c-1"]));
    }

    #[test]
    fn what_stands_on_an_end_in_between_still_goes_back_with_the_first() {
        let mut instance = Instance::default();
        let base = instance.moves(&[("a-1", "a-2"), ("b-1", "b-2")]);
        let middle = instance.moves(&[("b-2", "b-3")]);
        instance.moves(&[("b-3", "b-4")]);
        instance.ends(middle);
        assert_eq!(instance.rolls_back(base), alone(&["a-2 a-1", "b-4 b-1"]));
    }
}
