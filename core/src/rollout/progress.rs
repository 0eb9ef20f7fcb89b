//! Whether the rollout gets on: the last proof of each revision on trial, and the progress deadline.

use super::{Event, FailureNote, Input, SHOWN, State, Trial, fleet::Fleet, fleet::View, judge::note};

/// Which instances are where the rollout wants them.
#[derive(Debug)]
pub(super) struct Goal {
    /// By set: it is the target.
    pub is_target: Vec<bool>,
    /// By set: it holds all that is on trial.
    pub has_trials: Vec<bool>,
}

impl Goal {
    pub(super) fn new(state: &State, fleet: &Fleet<'_>) -> Self {
        Self {
            is_target: fleet.sets.that(|set| state.target.as_ref() == Some(set)),
            has_trials: fleet.sets.that(|set| state.trials.iter().all(|(p, t)| set.get(p) == Some(&t.revision))),
        }
    }

    pub(super) fn reached(&self, view: &View<'_>) -> bool {
        self.is_target[view.serving] && self.has_trials[view.proven]
    }
}

/// Notes proofs since the last pass, and deadlines that passed; returns the next deadline. Only more proven instances than
/// ever before are progress: an instance that comes back is not.
pub(super) fn note_progress(
    state: &mut State,
    input: &Input,
    fleet: &Fleet<'_>,
    held: bool,
    events: &mut Vec<Event>,
) -> Option<i64> {
    if input.recovering {
        return None;
    }
    if input.resumed {
        restart(state);
    }
    let pods = u32::try_from(fleet.live().count()).unwrap_or(u32::MAX);
    let clock = Clock { now: input.now, limit: deadline(input), runs: !held && pods > 0, pods };
    let mut late = Vec::new();
    let mut deadlines = Vec::new();
    for (plugin, trial) in &mut state.trials {
        let marked = fleet.sets.that(|set| set.get(plugin) == Some(&trial.revision));
        let reached = fleet.live().filter(|view| marked[view.serving] && marked[view.proven]).count();
        late.extend(clock.note_trial(trial, reached).then(|| plugin.clone()));
        deadlines.extend(clock.deadline(trial.since, trial.stalled));
    }
    let returning = state.trials.is_empty() && !held && someone_must_move(state, fleet);
    let overdue = note_return(state, fleet, &clock, returning);
    deadlines.extend(clock.deadline(state.last_progress_at, overdue));
    note_stall(state, fleet, &late, overdue, events);
    deadlines.into_iter().min()
}

/// How the deadline is counted.
struct Clock {
    now: i64,
    limit: i64,
    runs: bool,
    /// How many there are.
    pods: u32,
}

impl Clock {
    /// Returns whether the trial stalled just now.
    fn note_trial(&self, trial: &mut Trial, reached: usize) -> bool {
        let reached = u32::try_from(reached).unwrap_or(u32::MAX);
        trial.proven = trial.proven.min(self.pods);
        if !self.runs {
            trial.since = None;
            trial.stalled = false;
            return false;
        }
        if reached > trial.proven {
            trial.proven = reached;
            trial.since = Some(self.now);
        }
        let since = *trial.since.get_or_insert(self.now);
        let stalled = self.now >= since.saturating_add(self.limit);
        let news = stalled && !trial.stalled;
        trial.stalled = stalled;
        news
    }

    fn deadline(&self, since: Option<i64>, passed: bool) -> Option<i64> {
        since.filter(|_| !passed).map(|since| since.saturating_add(self.limit))
    }
}

fn deadline(input: &Input) -> i64 {
    i64::try_from(input.policy.progress_deadline.as_millis()).unwrap_or(i64::MAX)
}

/// Counts anew from now on what is not late yet.
fn restart(state: &mut State) {
    state.trials.values_mut().filter(|trial| !trial.stalled).for_each(|trial| trial.since = None);
    if !state.stalled {
        state.last_progress_at = None;
    }
}

/// Returns whether instances that have to go back are late.
fn note_return(state: &mut State, fleet: &Fleet<'_>, clock: &Clock, returning: bool) -> bool {
    if !returning {
        state.last_progress_at = None;
        return false;
    }
    let goal = Goal::new(state, fleet);
    let reached = u32::try_from(fleet.live().filter(|view| goal.reached(view)).count()).unwrap_or(u32::MAX);
    if reached > state.proven {
        state.proven = reached;
        state.last_progress_at = Some(clock.now);
    }
    let since = *state.last_progress_at.get_or_insert(clock.now);
    clock.now >= since.saturating_add(clock.limit)
}

/// An instance that serves has another set than the target.
fn someone_must_move(state: &State, fleet: &Fleet<'_>) -> bool {
    let goal = Goal::new(state, fleet);
    let serves = |view: &&View<'_>| view.connected() && !view.instance.new;
    state.target.is_some() && fleet.live().filter(serves).any(|view| !goal.is_target[view.serving])
}

fn note_stall(state: &mut State, fleet: &Fleet<'_>, late: &[String], overdue: bool, events: &mut Vec<Event>) {
    let newly_overdue = overdue && !state.stalled;
    if !late.is_empty() || newly_overdue {
        let message = stall_message(state, fleet, late.first().map(String::as_str));
        events.push(Event::Stalled { message });
    }
    state.stalled = overdue || state.trials.values().any(|trial| trial.stalled);
}

/// Names at most five instances that keep a plugin, or the whole, from its end, and why.
pub(super) fn stall_message(state: &State, fleet: &Fleet<'_>, plugin: Option<&str>) -> String {
    let goal = Goal::new(state, fleet);
    let trial = plugin.and_then(|plugin| Some((plugin, state.trials.get(plugin)?)));
    let has = |view: &View<'_>| match trial {
        Some((plugin, trial)) => {
            let proven = fleet.sets.get(view.proven).get(plugin) == Some(&trial.revision);
            proven && view.instance.serving.get(plugin) == Some(&trial.revision)
        }
        None => goal.reached(view),
    };
    let mut late: Vec<_> = fleet.live().filter(|view| !has(view)).collect();
    if late.is_empty() {
        late = fleet.live().filter(|view| !goal.reached(view)).collect();
    }
    let named = late.iter().take(SHOWN).map(|view| format!("{} ({})", view.instance.name, reason(state, view, plugin)));
    let more = if late.len() > SHOWN { " and others" } else { "" };
    format!(
        "no instance was proven within the progress deadline; not done: {}{more}",
        named.collect::<Vec<_>>().join(", ")
    )
}

fn reason(state: &State, view: &View<'_>, plugin: Option<&str>) -> String {
    match failure(state, view, plugin) {
        Some(failure) => format!("{}: {}", failure.reason, failure.message),
        None if !view.connected() => "not connected".to_owned(),
        None if !view.instance.ready => "not ready".to_owned(),
        None if view.settled() => "waits for its turn".to_owned(),
        None => "still moving".to_owned(),
    }
}

/// The newest failure of something that the rollout moves to, of `plugin` where it has one.
fn failure(state: &State, view: &View<'_>, plugin: Option<&str>) -> Option<FailureNote> {
    let struck =
        state.trials.iter().filter_map(|(p, trial)| Some((p.as_str(), trial.strikes.get(&view.instance.id)?.clone())));
    let wanted = |plugin: &str, revision| state.target.as_ref().is_some_and(|t| t.get(plugin) == Some(revision));
    let told = view.instance.failures.iter().filter(|f| wanted(&f.plugin, &f.revision));
    let told = told.map(|f| (f.plugin.as_str(), note(f, &view.instance.name)));
    struck.chain(told).max_by_key(|(of, note)| (plugin == Some(*of), note.at)).map(|(_, note)| note)
}
