//! Which target is in force: changes settle first, what takes back does not wait.

use super::{Event, Input, Set, Settling, State, Trial, judge::changes};

/// Quiet time after the last change, and the longest wait since the first one, in milliseconds.
const SETTLE: i64 = 2_000;
const SETTLE_AT_MOST: i64 = 10_000;

impl Settling {
    pub(super) fn due(&self) -> i64 {
        (self.last + SETTLE).min(self.first + SETTLE_AT_MOST)
    }
}

/// Makes `wanted` the target if it is time; returns whether the target changed.
pub(super) fn adopt(state: &mut State, wanted: &Set, input: &Input, events: &mut Vec<Event>) -> bool {
    if state.target.as_ref() == Some(wanted) {
        state.settling = None;
        return false;
    }
    let settling = settling(state.settling.take(), wanted, input.now);
    if !takes_back(state, wanted) && (input.recovering || input.now < settling.due()) {
        state.settling = Some(settling);
        return false;
    }
    state.target = Some(wanted.clone());
    begin_trials(state, input, events);
    state.last_progress_at = None;
    state.proven = 0;
    true
}

fn settling(before: Option<Settling>, wanted: &Set, now: i64) -> Settling {
    match before {
        Some(same) if same.target == *wanted => same,
        Some(other) => Settling { target: wanted.clone(), first: other.first, last: now },
        None => Settling { target: wanted.clone(), first: now, last: now },
    }
}

/// The target in force has something condemned, or all that differs returns to what is stable.
fn takes_back(state: &State, wanted: &Set) -> bool {
    let Some(target) = &state.target else { return false };
    let condemned = state.failed.iter().any(|(plugin, failed)| target.get(plugin) == Some(&failed.revision));
    let stable = state.stable.as_ref();
    let mut differing = target.keys().chain(wanted.keys()).filter(|p| target.get(*p) != wanted.get(*p));
    condemned || differing.all(|p| wanted.get(p) == stable.and_then(|s| s.get(p)))
}

/// Every plugin whose target is not stable is on trial; a trial of the same revision goes on.
fn begin_trials(state: &mut State, input: &Input, events: &mut Vec<Event>) {
    let target = state.target.clone().unwrap_or_default();
    let stable = state.stable.clone().unwrap_or_default();
    let mut before = std::mem::take(&mut state.trials);
    let mut begun = Vec::new();
    for (plugin, revision) in target.iter().filter(|(plugin, revision)| stable.get(*plugin) != Some(revision)) {
        let going_on = before.remove(plugin).filter(|trial| trial.revision == *revision);
        if going_on.is_none() {
            begun.push(plugin.clone());
        }
        let new = || Trial {
            revision: revision.clone(),
            token: input.plugins.get(plugin).cloned().unwrap_or_default(),
            canary: None,
            proof: None,
            strikes: Default::default(),
            generation: state.plan_generation + 1,
            since: None,
            proven: 0,
            stalled: false,
        };
        state.trials.insert(plugin.clone(), going_on.unwrap_or_else(new));
    }
    if !begun.is_empty() {
        events.push(Event::RolloutStarted { plugins: changes(&begun, &stable, &target) });
    }
}
