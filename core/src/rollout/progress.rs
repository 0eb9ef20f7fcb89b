//! Whether the rollout gets on: the last proof and the progress deadline.

use super::{Event, FailureNote, Input, SHOWN, State, fleet::Fleet, fleet::View, judge::note};

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

/// Notes proofs since the last pass, and a deadline that passed; returns the deadline ahead.
pub(super) fn note_progress(
    state: &mut State,
    input: &Input,
    fleet: &Fleet<'_>,
    held: bool,
    events: &mut Vec<Event>,
) -> Option<i64> {
    let goal = Goal::new(state, fleet);
    let reached = fleet.live().filter(|view| goal.reached(view)).count();
    let proven = u32::try_from(reached).unwrap_or(u32::MAX);
    if proven > state.proven {
        state.last_progress_at = Some(input.now);
    }
    state.proven = proven;
    if held || !under_way(state, fleet, &goal) {
        state.last_progress_at = None;
        state.stalled = false;
        return None;
    }
    let last = *state.last_progress_at.get_or_insert(input.now);
    let deadline = last.saturating_add(i64::try_from(input.policy.progress_deadline.as_millis()).unwrap_or(i64::MAX));
    note_stall(state, fleet, &goal, input.now >= deadline, events);
    (!state.stalled).then_some(deadline)
}

/// Something is on trial, or an instance that serves has to go back.
fn under_way(state: &State, fleet: &Fleet<'_>, goal: &Goal) -> bool {
    let serves = |view: &&View<'_>| view.connected() && !view.instance.new;
    let trial = !state.trials.is_empty() && fleet.live().next().is_some();
    trial || state.target.is_some() && fleet.live().filter(serves).any(|view| !goal.is_target[view.serving])
}

fn note_stall(state: &mut State, fleet: &Fleet<'_>, goal: &Goal, late: bool, events: &mut Vec<Event>) {
    if late && !state.stalled {
        events.push(Event::Stalled { message: stall_message(state, fleet, goal) });
    }
    state.stalled = late;
}

/// Names at most five instances that keep the rollout from its end, and why.
pub(super) fn stall_message(state: &State, fleet: &Fleet<'_>, goal: &Goal) -> String {
    let late: Vec<_> = fleet.live().filter(|view| !goal.reached(view)).collect();
    let named = late.iter().take(SHOWN).map(|view| format!("{} ({})", view.instance.name, reason(state, view)));
    let more = if late.len() > SHOWN { " and others" } else { "" };
    format!(
        "no instance was proven within the progress deadline; not done: {}{more}",
        named.collect::<Vec<_>>().join(", ")
    )
}

fn reason(state: &State, view: &View<'_>) -> String {
    match failure(state, view) {
        Some(failure) => format!("{}: {}", failure.reason, failure.message),
        None if !view.connected() => "not connected".to_owned(),
        None if !view.instance.ready => "not ready".to_owned(),
        None if view.settled() => "waits for its turn".to_owned(),
        None => "still moving".to_owned(),
    }
}

/// The newest failure of something that the rollout moves to.
pub(super) fn failure(state: &State, view: &View<'_>) -> Option<FailureNote> {
    let struck = state.trials.values().filter_map(|trial| trial.strikes.get(&view.instance.id)).cloned();
    let wanted = |plugin: &str, revision| state.target.as_ref().is_some_and(|t| t.get(plugin) == Some(revision));
    let told = view.instance.failures.iter().filter(|f| wanted(&f.plugin, &f.revision));
    struck.chain(told.map(|f| note(f, &view.instance.name))).max_by_key(|note| note.at)
}
