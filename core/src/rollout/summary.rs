//! What is reported of each plugin and of the host.

use super::{
    Failed, FailureNote, Input, OnFailure, SHOWN, State, Summary, Totals, Trial, Verdict,
    fleet::{Fleet, View},
    judge::note,
    progress::{Goal, stall_message},
};
use crate::revision::RevisionId;
use std::collections::{BTreeMap, BTreeSet};

/// The instances as a whole.
pub(super) fn totals(state: &State, fleet: &Fleet<'_>) -> Totals {
    let goal = Goal::new(state, fleet);
    let plugins = state.trials.keys().chain(state.failed.keys());
    let failing: BTreeSet<_> = plugins.flat_map(|plugin| failing(plugin, state, fleet).into_keys()).collect();
    count(fleet, failing.len(), |view| goal.is_target[view.serving], |view| goal.reached(view))
}

/// Every plugin that the spec enables or an instance still runs.
pub(super) fn summaries(state: &State, input: &Input, fleet: &Fleet<'_>, held: bool) -> BTreeMap<String, Summary> {
    let stall = state.stalled.then(|| stall_message(state, fleet, &Goal::new(state, fleet)));
    let context = Context { state, input, fleet, held, stall };
    let plugins: BTreeSet<_> = input.plugins.keys().chain(&fleet.sets.leaving).collect();
    plugins.into_iter().map(|plugin| (plugin.clone(), context.summary(plugin))).collect()
}

struct Context<'a> {
    state: &'a State,
    input: &'a Input,
    fleet: &'a Fleet<'a>,
    held: bool,
    stall: Option<String>,
}

impl Context<'_> {
    fn summary(&self, plugin: &str) -> Summary {
        let updated = self.state.target.as_ref().and_then(|target| target.get(plugin)).cloned();
        let stable = self.state.stable.as_ref().and_then(|stable| stable.get(plugin)).cloned();
        let failing = failing(plugin, self.state, self.fleet);
        let counts = self.counts(plugin, updated.as_ref(), failing.len());
        let (verdict, message) = self.verdict(plugin, &counts);
        let failures = self.shown(plugin, failing);
        Summary { verdict, message, serving: stable.or_else(|| updated.clone()), updated, counts, failures }
    }

    fn counts(&self, plugin: &str, updated: Option<&RevisionId>, failed: usize) -> Totals {
        if self.fleet.sets.leaving.contains(plugin) {
            let rid = |view: &View<'_>| !view.instance.serving.contains_key(plugin);
            return count(self.fleet, failed, rid, rid);
        }
        let marked = self.fleet.sets.that(|set| set.get(plugin) == updated);
        let on_trial = self.state.trials.contains_key(plugin);
        let proven = |view: &View<'_>| marked[view.serving] && (!on_trial || marked[view.proven]);
        count(self.fleet, failed, |view| marked[view.serving], proven)
    }

    fn verdict(&self, plugin: &str, counts: &Totals) -> (Verdict, String) {
        let moving = counts.updated < counts.connected || self.is_settling(plugin);
        match (self.state.failed.get(plugin), self.state.trials.get(plugin)) {
            _ if !self.input.plugins.contains_key(plugin) => (Verdict::Removing, "is being taken away".to_owned()),
            (Some(failed), None) => self.condemned(plugin, failed),
            (_, Some(trial)) => self.on_trial(plugin, trial),
            (None, None) if !self.wanted(plugin) && !moving => (Verdict::Absent, "nothing of it is to run".to_owned()),
            (None, None) if moving => self.moving(),
            (None, None) => (Verdict::Current, "runs in every instance".to_owned()),
        }
    }

    fn wanted(&self, plugin: &str) -> bool {
        self.state.target.as_ref().is_some_and(|target| target.contains_key(plugin))
    }

    fn is_settling(&self, plugin: &str) -> bool {
        let target = self.state.target.as_ref().and_then(|target| target.get(plugin));
        self.state.settling.as_ref().is_some_and(|settling| settling.target.get(plugin) != target)
    }

    fn condemned(&self, plugin: &str, failed: &Failed) -> (Verdict, String) {
        let stable = self.state.stable.as_ref().and_then(|stable| stable.get(plugin));
        let serving = stable.map_or_else(|| "nothing of it runs".to_owned(), |revision| format!("{revision} serves"));
        let why = format!("{} failed: {}: {}", failed.revision, failed.reason, failed.message);
        if self.input.policy.on_failure == OnFailure::Halt && !failed.rolled_back {
            return (Verdict::Halted, format!("{why}; halted, instances that run it keep it"));
        }
        (Verdict::RolledBack, format!("{why}; {serving}"))
    }

    fn on_trial(&self, plugin: &str, trial: &Trial) -> (Verdict, String) {
        let stable = self.state.stable.as_ref().and_then(|stable| stable.get(plugin));
        let from = stable.map_or_else(String::new, |revision| format!(" from {revision}"));
        let to = &trial.revision;
        match &self.stall {
            Some(stall) => (Verdict::Stalled, stall.clone()),
            None if self.held && self.input.policy.paused => {
                (Verdict::Paused, format!("the way{from} to {to} is paused"))
            }
            None if self.held => (Verdict::Paused, format!("the way{from} to {to} waits at the partition")),
            None if trial.proof.is_none() => (Verdict::Progressing, format!("a first instance moves{from} to {to}")),
            None => (Verdict::Progressing, format!("instances move{from} to {to}")),
        }
    }

    fn moving(&self) -> (Verdict, String) {
        match &self.stall {
            Some(stall) => (Verdict::Stalled, stall.clone()),
            None => (Verdict::Progressing, "instances move to the target".to_owned()),
        }
    }

    fn shown(&self, plugin: &str, failing: BTreeMap<&str, FailureNote>) -> Vec<FailureNote> {
        let condemning = self.state.failed.get(plugin).map(|failed| failed.failures.clone());
        condemning.unwrap_or_else(|| failing.into_values().take(SHOWN).collect())
    }
}

/// The instances that failed with what is on trial or was condemned, each with a failure.
fn failing<'a>(plugin: &str, state: &'a State, fleet: &'a Fleet<'_>) -> BTreeMap<&'a str, FailureNote> {
    let trial = state.trials.get(plugin);
    let struck = trial.into_iter().flat_map(|trial| &trial.strikes).map(|(id, note)| (id.as_str(), note.clone()));
    let condemned = state.failed.get(plugin).map(|failed| &failed.revision);
    let tried = trial.map(|trial| &trial.revision);
    let concerns = |revision| Some(revision) == tried || Some(revision) == condemned;
    let mut failing: BTreeMap<_, _> = struck.collect();
    for view in fleet.live() {
        let newest =
            view.instance.failures.iter().filter(|f| f.plugin == plugin && concerns(&f.revision)).max_by_key(|f| f.at);
        if let Some(failure) = newest {
            failing.entry(&view.instance.id).or_insert_with(|| note(failure, &view.instance.name));
        }
    }
    failing
}

fn count(
    fleet: &Fleet<'_>,
    failed: usize,
    updated: impl Fn(&View<'_>) -> bool,
    proven: impl Fn(&View<'_>) -> bool,
) -> Totals {
    let number =
        |holds: &dyn Fn(&&View<'_>) -> bool| u32::try_from(fleet.live().filter(holds).count()).unwrap_or(u32::MAX);
    Totals {
        desired: number(&|_| true),
        connected: number(&|view| view.connected()),
        updated: number(&|view| updated(view)),
        ready: number(&|view| proven(view) && view.connected() && view.instance.ready),
        failed: u32::try_from(failed).unwrap_or(u32::MAX),
    }
}
