//! Which targets are on trial, which failed here, which failures the operator has yet to hear of, and what must outlive a
//! restart of the sidecar: that it served, and the crashes of its plugins. Pure; kept on disk by `memory`.

use crate::{failure::Class, failure::Failure, manager::budget::Crashes, target::Target};
use rockstar_core::text::{MAX_FAILURE, bounded};
use rockstar_proto::control::{FailureRecord, failure_record};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Failures that nobody hears of are not kept without end.
const MAX_FAILURES: usize = 256;

/// What a sidecar knows of its past.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ledger {
    /// By plugin.
    trials: BTreeMap<String, OnTrial>,
    /// By plugin: not tried again here until a later plan wants it once more.
    condemned: BTreeMap<String, Condemned>,
    failures: Vec<Entry>,
    count: u64,
    /// The instance was ready at least once since its pod began.
    served: bool,
    /// By plugin: crashes that its budget counts.
    crashes: BTreeMap<String, Crashes>,
}

/// A revision, and which demand to reload it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    revision: String,
    reload_at: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct OnTrial {
    attempt: Attempt,
    /// Those that moved together have the same.
    group: u64,
    /// Of the snapshot in which the trial began.
    plan_generation: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Condemned {
    attempt: Attempt,
    plan_generation: u64,
    /// Why, for those who ask what keeps it from running.
    reason: String,
    message: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    id: String,
    plugin: String,
    revision: String,
    environment: bool,
    reason: String,
    message: String,
    at_unix_ms: i64,
    plan_generation: u64,
    #[serde(default)]
    shared: bool,
}

/// When something happened: on the clock, and in which of the operator's plans.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    pub unix_ms: i64,
    /// Of the snapshot that is being applied.
    pub plan_generation: u64,
}

impl Attempt {
    fn of(target: &Target) -> Self {
        let assignment = &target.assignment;
        Self { revision: assignment.revision.0.clone(), reload_at: assignment.reload_at.clone() }
    }
}

impl Ledger {
    /// Notes that a group is about to be tried. Members of an open trial that move again stay in its group.
    pub fn begins(&mut self, targets: &[Target], moment: Moment) {
        let open = targets.iter().find_map(|t| self.trials.get(t.name())).map(|trial| trial.group);
        let group = open.unwrap_or_else(|| self.trials.values().map(|t| t.group + 1).max().unwrap_or_default());
        for target in targets {
            let attempt = Attempt::of(target);
            let trial = OnTrial { attempt, group, plan_generation: moment.plan_generation };
            self.trials.insert(target.name().to_owned(), trial);
        }
    }

    /// Notes that a target is on trial again with those that it moved with: in their group and of their plan, if the trial of
    /// one of them is known.
    pub fn rejoins(&mut self, target: &Target, partners: &[String], moment: Moment) {
        let Some(partner) = partners.iter().find_map(|name| self.trials.get(name)) else {
            return self.begins(std::slice::from_ref(target), moment);
        };
        let OnTrial { group, plan_generation, .. } = *partner;
        let trial = OnTrial { attempt: Attempt::of(target), group, plan_generation };
        self.trials.insert(target.name().to_owned(), trial);
    }

    pub fn ends(&mut self, targets: &[Target]) {
        for target in targets {
            self.trials.remove(target.name());
        }
    }

    /// Ends a trial that failed: those that moved together with what failed are condemned with it.
    pub fn ends_failed(&mut self, targets: &[Target], culprit: &Target, failure: &Failure, moment: Moment) {
        let began = targets.iter().find_map(|t| self.trials.get(t.name())).map(|trial| trial.plan_generation);
        let moment = Moment { plan_generation: began.unwrap_or(moment.plan_generation), ..moment };
        self.ends(targets);
        self.condemn(targets, culprit.name(), failure, moment);
        self.failed(culprit, failure, moment);
    }

    /// What is stable is never condemned.
    fn condemn(&mut self, targets: &[Target], culprit: &str, failure: &Failure, moment: Moment) {
        let message = bounded(&failure.message, MAX_FAILURE);
        for target in targets.iter().filter(|target| !target.stable) {
            let reason = if target.name() == culprit { failure.reason } else { "MovedWithFailed" };
            let condemned = Condemned {
                attempt: Attempt::of(target),
                plan_generation: moment.plan_generation,
                reason: reason.to_owned(),
                message: message.clone(),
            };
            self.condemned.insert(target.name().to_owned(), condemned);
        }
    }

    /// Tells whether the target failed here and is not to be tried again.
    #[must_use]
    pub fn is_condemned(&self, target: &Target) -> bool {
        self.verdict(target).is_some()
    }

    /// The reason and message for which a target is not tried again.
    #[must_use]
    pub fn verdict(&self, target: &Target) -> Option<(&str, &str)> {
        let found = self.condemned.get(target.name()).filter(|c| !target.stable && c.attempt == Attempt::of(target));
        found.map(|c| (c.reason.as_str(), c.message.as_str()))
    }

    /// A later plan that wants the same again knows of the failure, or will learn of it soon: it is tried once more.
    pub fn forgive(&mut self, plan_generation: u64) {
        self.condemned.retain(|_, condemned| plan_generation <= condemned.plan_generation);
    }

    /// Forgets what failed or is on trial under another host's plans: their generations say nothing about this one's.
    pub fn forgive_all(&mut self) {
        self.condemned.clear();
        self.failures.clear();
        self.trials.clear();
    }

    /// Closes the trials that the process before this one left open. None of them is tried again, unless the host has no
    /// stable set: then the set is started once more.
    pub fn died_on_trial(&mut self, first_set: bool, moment: Moment) {
        let failure = "the sidecar ended uncleanly while this revision was on trial";
        let reason = "UncleanEndOnTrial";
        let trials = std::mem::take(&mut self.trials);
        let groups: BTreeSet<u64> = trials.values().map(|trial| trial.group).collect();
        for (plugin, OnTrial { attempt, plan_generation, .. }) in trials {
            let moment = Moment { plan_generation, ..moment };
            let revision = attempt.revision.clone();
            let entry = self.entry(&plugin, &revision, Class::Revision, (reason, failure), moment);
            self.add(Entry { shared: groups.len() > 1, ..entry });
            if !first_set {
                let (reason, message) = (reason.to_owned(), failure.to_owned());
                self.condemned.insert(plugin, Condemned { attempt, plan_generation, reason, message });
            }
        }
    }

    /// The process ends in order: no trial is to blame.
    pub fn close(&mut self) {
        self.trials.clear();
    }

    pub fn failed(&mut self, target: &Target, failure: &Failure, moment: Moment) {
        let revision = &target.assignment.revision.0;
        let entry = self.entry(target.name(), revision, failure.class, (failure.reason, &failure.message), moment);
        self.add(entry);
    }

    /// Notes that something could not be read here: nobody's fault, until the operator says something else.
    pub fn unread(&mut self, plugin: &str, revision: &str, why: (&str, &str), moment: Moment) {
        let entry = self.entry(plugin, revision, Class::Environment, why, moment);
        self.add(entry);
    }

    fn entry(
        &self,
        plugin: &str,
        revision: &str,
        class: Class,
        (reason, message): (&str, &str),
        moment: Moment,
    ) -> Entry {
        Entry {
            id: format!("{}-{}", moment.unix_ms, self.count + 1),
            plugin: plugin.to_owned(),
            revision: revision.to_owned(),
            environment: class == Class::Environment,
            reason: reason.to_owned(),
            message: bounded(message, MAX_FAILURE),
            at_unix_ms: moment.unix_ms,
            plan_generation: moment.plan_generation,
            shared: false,
        }
    }

    /// The same failure of the same attempt, unheard, is one.
    fn add(&mut self, new: Entry) {
        let is_same = |e: &Entry| {
            let again = new.environment || e.plan_generation == new.plan_generation;
            again && e.plugin == new.plugin && e.revision == new.revision && e.reason == new.reason
        };
        if self.failures.iter().any(is_same) {
            return;
        }
        if self.failures.len() >= MAX_FAILURES {
            self.failures.remove(0);
        }
        self.count += 1;
        self.failures.push(new);
    }

    pub fn heard(&mut self, ids: &[String]) {
        self.failures.retain(|entry| !ids.contains(&entry.id));
    }

    /// An environment failure is over when its revision runs.
    pub fn runs(&mut self, plugin: &str, revision: &str) {
        self.failures.retain(|e| !(e.environment && e.plugin == plugin && e.revision == revision));
    }

    #[must_use]
    pub fn records(&self) -> Vec<FailureRecord> {
        self.failures.iter().map(Entry::record).collect()
    }

    /// The id of the newest failure of these plugins.
    #[must_use]
    pub fn failure_of(&self, plugins: &[String]) -> Option<&str> {
        self.failures.iter().rev().find(|e| plugins.contains(&e.plugin)).map(|e| e.id.as_str())
    }

    /// The instance was ready.
    pub fn serves(&mut self) {
        self.served = true;
    }

    #[must_use]
    pub const fn served(&self) -> bool {
        self.served
    }

    /// Plugins on trial.
    pub fn trials(&self) -> impl Iterator<Item = &str> {
        self.trials.keys().map(String::as_str)
    }

    #[must_use]
    pub fn crashes(&self, plugin: &str) -> Crashes {
        self.crashes.get(plugin).cloned().unwrap_or_default()
    }

    pub fn keep_crashes(&mut self, plugin: &str, crashes: Crashes) {
        match crashes == Crashes::default() {
            true => self.crashes.remove(plugin),
            false => self.crashes.insert(plugin.to_owned(), crashes),
        };
    }
}

impl Entry {
    fn record(&self) -> FailureRecord {
        let class = if self.environment { failure_record::Class::Environment } else { failure_record::Class::Revision };
        FailureRecord {
            id: self.id.clone(),
            plugin: self.plugin.clone(),
            revision: self.revision.clone(),
            class: class.into(),
            reason: self.reason.clone(),
            message: self.message.clone(),
            at_unix_ms: self.at_unix_ms,
            plan_generation: self.plan_generation,
            shared: self.shared,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::desired::tests::target;
    use super::*;
    use crate::failure::Step;

    const NOW: Moment = Moment { unix_ms: 1000, plan_generation: 7 };

    fn failure() -> Failure {
        Failure::revision(Step::Initialize, "InitializeFailed", "no key")
    }

    #[test]
    fn an_unclean_end_on_trial_condemns_and_is_told() {
        let mut ledger = Ledger::default();
        ledger.begins(&[target("auth", "auth-2"), target("cache", "cache-2")], NOW);
        ledger.ends(&[target("cache", "cache-2")]);
        ledger.died_on_trial(false, Moment { plan_generation: 9, ..NOW });
        assert!(ledger.is_condemned(&target("auth", "auth-2")));
        assert!(!ledger.is_condemned(&target("cache", "cache-2")));
        let records = ledger.records();
        assert_eq!((records.len(), records[0].plugin.as_str(), records[0].plan_generation), (1, "auth", 7));
        assert!(!records[0].shared);
        ledger.died_on_trial(false, NOW);
        assert_eq!(ledger.records().len(), 1);
    }

    #[test]
    fn an_unclean_end_with_several_groups_on_trial_is_shared() {
        let mut ledger = Ledger::default();
        ledger.begins(&[target("a", "a-2"), target("b", "b-2")], NOW);
        ledger.begins(&[target("b", "b-3")], NOW);
        let mut one = ledger.clone();
        one.died_on_trial(false, NOW);
        assert!(one.records().iter().all(|record| !record.shared), "a and b are of one group");
        ledger.begins(&[target("c", "c-2")], NOW);
        ledger.died_on_trial(false, NOW);
        assert!(ledger.records().iter().all(|record| record.shared));
    }

    #[test]
    fn a_member_that_comes_back_to_its_trial_is_in_its_group_and_plan() {
        let mut ledger = Ledger::default();
        ledger.begins(&[target("a", "a-2"), target("b", "b-2")], NOW);
        let (refused, later) = (target("b", "b-3"), Moment { plan_generation: 8, ..NOW });
        ledger.begins(std::slice::from_ref(&refused), later);
        ledger.ends_failed(std::slice::from_ref(&refused), &refused, &failure(), later);
        ledger.heard(&ledger.records().into_iter().map(|record| record.id).collect::<Vec<_>>());
        ledger.rejoins(&target("b", "b-2"), &["a".to_owned(), "b".to_owned()], later);
        ledger.died_on_trial(false, later);
        let told: Vec<_> = ledger.records().into_iter().map(|r| (r.revision, r.plan_generation, r.shared)).collect();
        assert_eq!(told, [("a-2".to_owned(), 7, false), ("b-2".to_owned(), 7, false)]);
    }

    #[test]
    fn an_unclean_end_in_the_first_set_condemns_nothing() {
        let mut ledger = Ledger::default();
        ledger.begins(&[target("a", "a-1")], NOW);
        ledger.died_on_trial(true, NOW);
        assert!(!ledger.is_condemned(&target("a", "a-1")));
        assert_eq!(ledger.records().len(), 1);
    }

    #[test]
    fn what_is_stable_is_never_condemned() {
        let mut ledger = Ledger::default();
        let stable = Target { stable: true, ..target("a", "a-2") };
        let group = [stable.clone(), target("b", "b-2")];
        ledger.begins(&group, NOW);
        ledger.ends_failed(&group, &stable, &failure(), NOW);
        assert!(ledger.is_condemned(&group[1]) && !ledger.is_condemned(&target("a", "a-2")));
        ledger.ends_failed(&[target("a", "a-2")], &target("a", "a-2"), &failure(), NOW);
        assert!(ledger.is_condemned(&target("a", "a-2")) && !ledger.is_condemned(&stable), "it became stable since");
    }

    #[test]
    fn a_later_plan_may_try_again() {
        let mut ledger = Ledger::default();
        let auth = target("auth", "auth-2");
        ledger.begins(std::slice::from_ref(&auth), NOW);
        let later = Moment { plan_generation: 8, ..NOW };
        ledger.ends_failed(std::slice::from_ref(&auth), &auth, &failure(), later);
        assert_eq!(ledger.records()[0].plan_generation, 7, "of the plan in which the trial began");
        ledger.forgive(7);
        assert!(ledger.is_condemned(&auth));
        assert!(!ledger.is_condemned(&target("auth", "auth-1")));
        ledger.forgive(8);
        assert!(!ledger.is_condemned(&auth));
    }

    #[test]
    fn a_failure_is_repeated_until_heard_and_its_text_is_bounded() {
        let mut ledger = Ledger::default();
        let failure = Failure::revision(Step::Initialize, "InitializeFailed", "\u{7}".repeat(4096));
        ledger.failed(&target("auth", "auth-2"), &failure, NOW);
        ledger.failed(&target("auth", "auth-2"), &failure, NOW);
        let [record] = &ledger.records()[..] else { panic!("one failure") };
        assert!(record.message.len() <= MAX_FAILURE && record.message.starts_with("\\u{7}"));
        assert_eq!(ledger.failure_of(&["auth".to_owned()]), Some(record.id.as_str()));
        ledger.failed(&target("auth", "auth-2"), &failure, Moment { plan_generation: 8, ..NOW });
        assert_eq!(ledger.records().len(), 2, "another attempt");
        ledger.heard(&ledger.records().into_iter().map(|record| record.id).collect::<Vec<_>>());
        assert!(ledger.records().is_empty());
    }

    #[test]
    fn an_environment_failure_ends_when_its_revision_runs() {
        let mut ledger = Ledger::default();
        let failure = Failure::environment(Step::Load, "RegistryUnavailable", "away");
        ledger.failed(&target("auth", "auth-2"), &failure, NOW);
        ledger.runs("auth", "auth-1");
        assert_eq!(ledger.records().len(), 1);
        ledger.runs("auth", "auth-2");
        assert!(ledger.records().is_empty());
    }
}
