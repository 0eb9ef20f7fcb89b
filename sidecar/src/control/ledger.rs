//! Which targets are on trial, which failed here, and which failures the operator has yet to hear of. Pure; kept on disk
//! by `memory`.

use crate::{failure::Class, failure::Failure, target::Target};
use rockstar_proto::control::{FailureRecord, failure_record};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Failures that nobody hears of are not kept without end.
const MAX_FAILURES: usize = 256;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Ledger {
    /// By plugin.
    trials: BTreeMap<String, Attempt>,
    /// By plugin: not tried again here until a later plan wants it once more.
    condemned: BTreeMap<String, Condemned>,
    failures: Vec<Entry>,
    count: u64,
}

/// A revision, and which demand to reload it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Attempt {
    revision: String,
    reload_at: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Condemned {
    attempt: Attempt,
    plan_generation: u64,
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
}

/// When something happened: on the clock, and in the operator's plans.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) unix_ms: i64,
    pub(super) plan_generation: u64,
}

impl Attempt {
    fn of(target: &Target) -> Self {
        let assignment = &target.assignment;
        Self { revision: assignment.revision.0.clone(), reload_at: assignment.reload_at.clone() }
    }
}

impl Ledger {
    pub(super) fn begins(&mut self, targets: &[Target]) {
        self.trials.extend(targets.iter().map(|t| (t.name().to_owned(), Attempt::of(t))));
    }

    pub(super) fn ends(&mut self, targets: &[Target]) {
        for target in targets {
            self.trials.remove(target.name());
        }
    }

    /// Those that moved together with what failed are condemned with it.
    pub(super) fn condemn(&mut self, targets: &[Target], moment: Moment) {
        for target in targets {
            self.condemn_one(target.name().to_owned(), Attempt::of(target), moment);
        }
    }

    fn condemn_one(&mut self, plugin: String, attempt: Attempt, moment: Moment) {
        self.condemned.insert(plugin, Condemned { attempt, plan_generation: moment.plan_generation });
    }

    pub(super) fn is_condemned(&self, target: &Target) -> bool {
        self.condemned.get(target.name()).is_some_and(|c| c.attempt == Attempt::of(target))
    }

    /// A later plan that wants the same again knows of the failure, or will learn of it soon: it is tried once more.
    pub(super) fn forgive(&mut self, plan_generation: u64) {
        self.condemned.retain(|_, condemned| plan_generation <= condemned.plan_generation);
    }

    /// The process before this one died with trials open: none of them is tried again.
    pub(super) fn died_on_trial(&mut self, moment: Moment) {
        let failure = "the sidecar ended uncleanly while this revision was on trial";
        for (plugin, attempt) in std::mem::take(&mut self.trials) {
            self.add(&plugin, &attempt.revision, Class::Revision, "UncleanEndOnTrial", failure, moment);
            self.condemn_one(plugin, attempt, moment);
        }
    }

    /// The process ends in order: no trial is to blame.
    pub(super) fn close(&mut self) {
        self.trials.clear();
    }

    pub(super) fn failed(&mut self, target: &Target, failure: &Failure, moment: Moment) {
        let revision = &target.assignment.revision.0;
        self.add(target.name(), revision, failure.class, failure.reason, &failure.message, moment);
    }

    /// The same failure again, unheard, is one.
    fn add(&mut self, plugin: &str, revision: &str, class: Class, reason: &str, message: &str, moment: Moment) {
        let known = |e: &Entry| e.plugin == plugin && e.revision == revision && e.reason == reason;
        if self.failures.iter().any(known) {
            return;
        }
        if self.failures.len() >= MAX_FAILURES {
            self.failures.remove(0);
        }
        self.count += 1;
        self.failures.push(Entry {
            id: format!("{}-{}", moment.unix_ms, self.count),
            plugin: plugin.to_owned(),
            revision: revision.to_owned(),
            environment: class == Class::Environment,
            reason: reason.to_owned(),
            message: message.to_owned(),
            at_unix_ms: moment.unix_ms,
            plan_generation: moment.plan_generation,
        });
    }

    pub(super) fn heard(&mut self, ids: &[String]) {
        self.failures.retain(|entry| !ids.contains(&entry.id));
    }

    /// An environment failure is over when its revision runs.
    pub(super) fn runs(&mut self, plugin: &str, revision: &str) {
        self.failures.retain(|e| !(e.environment && e.plugin == plugin && e.revision == revision));
    }

    pub(super) fn records(&self) -> Vec<FailureRecord> {
        self.failures.iter().map(Entry::record).collect()
    }

    /// The id of the newest failure of these plugins.
    pub(super) fn failure_of(&self, plugins: &[String]) -> Option<&str> {
        self.failures.iter().rev().find(|e| plugins.contains(&e.plugin)).map(|e| e.id.as_str())
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
            shared: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::desired::tests::target;
    use super::*;
    use crate::failure::Step;

    const NOW: Moment = Moment { unix_ms: 1000, plan_generation: 7 };

    #[test]
    fn an_unclean_end_on_trial_condemns_and_is_told() {
        let mut ledger = Ledger::default();
        ledger.begins(&[target("auth", "auth-2"), target("cache", "cache-2")]);
        ledger.ends(&[target("cache", "cache-2")]);
        ledger.died_on_trial(NOW);
        assert!(ledger.is_condemned(&target("auth", "auth-2")));
        assert!(!ledger.is_condemned(&target("cache", "cache-2")));
        let records = ledger.records();
        assert_eq!((records.len(), records[0].plugin.as_str(), records[0].plan_generation), (1, "auth", 7));
        ledger.died_on_trial(NOW);
        assert_eq!(ledger.records().len(), 1);
    }

    #[test]
    fn a_later_plan_may_try_again() {
        let mut ledger = Ledger::default();
        ledger.condemn(&[target("auth", "auth-2")], NOW);
        ledger.forgive(7);
        assert!(ledger.is_condemned(&target("auth", "auth-2")));
        assert!(!ledger.is_condemned(&target("auth", "auth-1")));
        ledger.forgive(8);
        assert!(!ledger.is_condemned(&target("auth", "auth-2")));
    }

    #[test]
    fn a_failure_is_repeated_until_heard() {
        let mut ledger = Ledger::default();
        let failure = Failure::revision(Step::Initialize, "InitializeFailed", "no key");
        ledger.failed(&target("auth", "auth-2"), &failure, NOW);
        ledger.failed(&target("auth", "auth-2"), &failure, NOW);
        let id = ledger.records()[0].id.clone();
        assert_eq!(ledger.failure_of(&["auth".to_owned()]), Some(id.as_str()));
        ledger.heard(&[id]);
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
