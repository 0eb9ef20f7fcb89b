//! What is reported of each plugin and of the host.

use super::{
    Down, Failed, FailureNote, Input, OnFailure, SHOWN, State, Summary, Totals, Trial, Verdict,
    fleet::{Fleet, View},
    judge::note,
    progress::{Goal, stall_message},
};
use crate::revision::RevisionId;
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

/// The instances as a whole.
pub(super) fn totals(state: &State, fleet: &Fleet<'_>) -> Totals {
    let goal = Goal::new(state, fleet);
    let plugins = state.trials.keys().chain(state.failed.keys());
    let failing: BTreeSet<_> = plugins.flat_map(|plugin| failing(plugin, state, fleet).into_keys()).collect();
    count(fleet, failing.len(), |view| goal.is_target[view.serving], |view| goal.reached(view))
}

/// Every plugin that the spec enables or an instance still runs.
pub(super) fn summaries(state: &State, input: &Input, fleet: &Fleet<'_>, held: bool) -> BTreeMap<String, Summary> {
    let context = Context { state, input, fleet, held };
    let plugins: BTreeSet<_> = input.plugins.keys().chain(&fleet.sets.leaving).collect();
    plugins.into_iter().map(|plugin| (plugin.clone(), context.summary(plugin))).collect()
}

struct Context<'a> {
    state: &'a State,
    input: &'a Input,
    fleet: &'a Fleet<'a>,
    held: bool,
}

/// The verdict on one plugin, in words.
struct Said {
    verdict: Verdict,
    reason: Option<String>,
    message: String,
}

impl Said {
    fn new(verdict: Verdict, message: impl Into<String>) -> Self {
        Self { verdict, reason: None, message: message.into() }
    }
}

/// An instance may be away for so long before anything is said of it, in milliseconds.
const AWAY: i64 = 60_000;

impl Context<'_> {
    fn summary(&self, plugin: &str) -> Summary {
        let updated = self.state.target.as_ref().and_then(|target| target.get(plugin)).cloned();
        let stable = self.state.stable.as_ref().and_then(|stable| stable.get(plugin)).cloned();
        let failing = failing(plugin, self.state, self.fleet);
        let counts = self.counts(plugin, self.failed(plugin, &failing));
        let Said { verdict, reason, message } = self.verdict(plugin, updated.as_ref());
        let failures = self.shown(plugin, failing);
        Summary { verdict, reason, message, serving: stable.or_else(|| updated.clone()), updated, counts, failures }
    }

    /// The instances in which the plugin fails or is down.
    fn failed(&self, plugin: &str, failing: &BTreeMap<&str, FailureNote>) -> usize {
        let down = self.fleet.live().filter(|view| view.instance.down.contains_key(plugin));
        let ids: BTreeSet<&str> = down.map(|view| view.instance.id.as_str()).chain(failing.keys().copied()).collect();
        ids.len()
    }

    /// Against the revision that the spec asks for.
    fn counts(&self, plugin: &str, failed: usize) -> Totals {
        let updated = self.input.asked.get(plugin);
        if self.fleet.sets.leaving.contains(plugin) {
            let rid = |view: &View<'_>| !view.instance.serving.contains_key(plugin);
            return count(self.fleet, failed, rid, rid);
        }
        let marked = self.fleet.sets.that(|set| updated.is_some() && set.get(plugin) == updated);
        let on_trial = self.state.trials.contains_key(plugin);
        let proven = |view: &View<'_>| marked[view.serving] && (!on_trial || marked[view.proven]);
        count(self.fleet, failed, |view| marked[view.serving], proven)
    }

    fn verdict(&self, plugin: &str, updated: Option<&RevisionId>) -> Said {
        match (self.state.failed.get(plugin), self.state.trials.get(plugin)) {
            _ if !self.input.plugins.contains_key(plugin) => Said::new(Verdict::Removing, "is being taken away"),
            (Some(failed), None) => self.condemned(plugin, failed),
            (_, Some(trial)) => self.on_trial(plugin, trial),
            (None, None) if self.is_settling(plugin) => self.moving(plugin),
            (None, None) => match updated {
                None if self.is_anywhere(plugin) => self.moving(plugin),
                None => Said::new(Verdict::Absent, "nothing of it is to run"),
                Some(revision) => self.stable(plugin, revision),
            },
        }
    }

    /// An instance that should serve runs something of it.
    fn is_anywhere(&self, plugin: &str) -> bool {
        self.fleet.live().any(|view| view.connected() && view.instance.serving.contains_key(plugin))
    }

    /// A stable revision is current where it is up in every instance that should serve.
    fn stable(&self, plugin: &str, revision: &RevisionId) -> Said {
        let serving: Vec<_> = self.fleet.live().filter(|view| view.should_serve()).collect();
        let connected = || serving.iter().filter(|view| view.connected());
        let runs = |view: &View<'_>| {
            view.instance.serving.get(plugin) == Some(revision) && self.has_acknowledged(plugin, view)
        };
        // A plugin that was down when its instance went away stays down until the instance says otherwise.
        let served = self.fleet.live().filter(|view| !view.instance.new);
        if let Some((view, down)) = worst(served.filter_map(|v| Some((v, v.instance.down.get(plugin)?)))) {
            return self.down(view, down);
        }
        if let Some(view) = serving.iter().find(|view| self.is_missed(view)) {
            return self.away(view);
        }
        if connected().any(|view| !runs(view)) {
            return self.moving(plugin);
        }
        let late = |view: &&View<'_>| view.instance.new && !runs(view) && self.is_overdue(view.instance.seen_since);
        if let Some(view) = self.fleet.live().find(late) {
            let message = format!("pod {} does not run it yet", view.instance.name);
            return Said::new(Verdict::Progressing, message);
        }
        if serving.is_empty() && self.fleet.live().any(|view| !view.instance.new) {
            return Said::new(Verdict::NoInstances, "no instance is there that serves");
        }
        if self.fleet.live().next().is_none() {
            return Said::new(Verdict::Current, "no instance is there; it runs in those that come");
        }
        if serving.iter().any(|view| !view.connected()) {
            return Said::new(Verdict::Unsure, "an instance that serves is not connected at the moment");
        }
        Said::new(Verdict::Current, "runs in every instance")
    }

    /// It has taken the newest that the plugin's spec asks for, and is done with it.
    fn has_acknowledged(&self, plugin: &str, view: &View<'_>) -> bool {
        // An instance that has accepted no plan of this host runs by another host's.
        let since = self.state.attempts.get(plugin).copied().unwrap_or_default().max(1);
        view.instance.accepted >= since && !view.instance.busy.contains(plugin)
    }

    fn down(&self, view: &View<'_>, down: &Down) -> Said {
        let what = if down.refuses { "refuses what it is told" } else { "is down" };
        let how = match down {
            Down { refuses: true, .. } => "; it runs on with what it had; correct the value, or reload it",
            Down { stuck: true, .. } => "; reload it, or apply a version that works",
            _ => "; it starts again by itself",
        };
        let message = format!("{what} in pod {}: {}{how}", view.instance.name, down.message);
        Said { verdict: Verdict::Down { stuck: down.stuck }, reason: Some(down.reason.clone()), message }
    }

    fn away(&self, view: &View<'_>) -> Said {
        let stuck = view.instance.away_since.is_some_and(|since| self.is_overdue(since));
        let message = format!(
            "pod {} serves, but its sidecar is not connected to the operator, so that nobody knows what it runs; look at \
             the log of its sidecar",
            view.instance.name
        );
        Said::new(Verdict::Away { stuck }, message)
    }

    fn is_missed(&self, view: &View<'_>) -> bool {
        !view.connected() && view.instance.away_since.is_none_or(|since| self.input.now - since > AWAY)
    }

    fn is_overdue(&self, since: i64) -> bool {
        let limit = i64::try_from(self.input.policy.progress_deadline.as_millis()).unwrap_or(i64::MAX);
        self.input.now >= since.saturating_add(limit)
    }

    fn is_settling(&self, plugin: &str) -> bool {
        let target = self.state.target.as_ref().and_then(|target| target.get(plugin));
        self.state.settling.as_ref().is_some_and(|settling| settling.target.get(plugin) != target)
    }

    fn condemned(&self, plugin: &str, failed: &Failed) -> Said {
        let stable = self.state.stable.as_ref().and_then(|stable| stable.get(plugin));
        let serving = stable.map_or_else(|| "nothing of it runs".to_owned(), |revision| format!("{revision} serves"));
        let why = format!("{} failed: {}: {}", failed.revision, failed.reason, failed.message);
        if self.input.policy.on_failure == OnFailure::Halt && !failed.rolled_back {
            return Said::new(Verdict::Halted, format!("{why}; halted, instances that run it keep it"));
        }
        Said::new(Verdict::RolledBack, format!("{why}; {serving}"))
    }

    fn on_trial(&self, plugin: &str, trial: &Trial) -> Said {
        let stable = self.state.stable.as_ref().and_then(|stable| stable.get(plugin));
        let from = stable.map_or_else(String::new, |revision| format!(" from {revision}"));
        let to = &trial.revision;
        if let Some(failure) = self.failed_first(plugin, trial) {
            let text = format!(
                "{to} failed in pod {}: {}: {}; there is no version to go back to, and its failurePolicy is Closed: the pods \
                 that lack it are not ready",
                failure.pod, failure.reason, failure.message
            );
            return Said { reason: Some(failure.reason.clone()), ..Said::new(Verdict::Stalled, text) };
        }
        match () {
            () if trial.stalled => Said::new(Verdict::Stalled, stall_message(self.state, self.fleet, Some(plugin))),
            () if self.held && self.input.policy.paused => {
                Said::new(Verdict::Paused, format!("the way{from} to {to} is paused"))
            }
            () if self.held => Said::new(Verdict::Paused, format!("the way{from} to {to} waits at the partition")),
            () if trial.proof.is_none() => {
                Said::new(Verdict::Progressing, format!("a first instance moves{from} to {to}"))
            }
            () => Said::new(Verdict::Progressing, format!("instances move{from} to {to}")),
        }
    }

    /// The failure of a Closed plugin of the first set, which stays as it is until somebody acts.
    fn failed_first<'t>(&self, plugin: &str, trial: &'t Trial) -> Option<&'t FailureNote> {
        let waits = self.state.stable.is_none() && self.input.closed.contains(plugin);
        trial.strikes.values().min_by_key(|note| (Reverse(note.at), &note.pod)).filter(|_| waits)
    }

    fn moving(&self, plugin: &str) -> Said {
        let overdue = self.state.trials.is_empty() && self.state.stalled;
        match overdue {
            true => Said::new(Verdict::Stalled, stall_message(self.state, self.fleet, Some(plugin))),
            false => Said::new(Verdict::Progressing, "instances move to the target"),
        }
    }

    fn shown(&self, plugin: &str, failing: BTreeMap<&str, FailureNote>) -> Vec<FailureNote> {
        let condemning = self.state.failed.get(plugin).map(notes);
        condemning.unwrap_or_else(|| failing.into_values().take(SHOWN).collect())
    }
}

/// The failures that condemned a revision; a stored note without a text says the same as the whole.
fn notes(failed: &Failed) -> Vec<FailureNote> {
    let whole = |note: &FailureNote| match note.message.is_empty() {
        true => FailureNote { message: failed.message.clone(), ..note.clone() },
        false => note.clone(),
    };
    failed.failures.iter().map(whole).collect()
}

/// Picks the instance that needs somebody most, the first pod by name.
fn worst<'a>(down: impl Iterator<Item = (&'a View<'a>, &'a Down)>) -> Option<(&'a View<'a>, &'a Down)> {
    down.min_by_key(|(view, down)| (!down.stuck, &view.instance.name))
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
