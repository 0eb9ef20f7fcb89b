//! The rollout planner: moves the instances of one host from the stable set to the target set, a few at a time.
//! Pure: what is persisted and what is observed go in, what to persist and whom to tell what come out; `now` is an argument.
//!
//! One pass of the operator is `judge` → resolve (with the judged stable set and failed revisions) → `plan` → persist
//! `Plan::state` → publish `Plan::assignments`. Nothing may be published whose state was not persisted.

mod assign;
mod fleet;
mod groups;
mod input;
mod judge;
mod moves;
mod output;
mod progress;
mod state;
mod summary;
mod target;

pub use input::{Amount, Down, Failure, FailureClass, Input, Instance, OnFailure, Policy, Presence};
pub use output::{Assignment, Change, Event, FailureNote, Judged, Plan, Summary, Totals, Verdict};
pub use state::{Failed, MAX_STATE, Proof, Settling, State, Trial};

use crate::revision::RevisionId;
use fleet::Fleet;
use std::collections::BTreeMap;

/// The revision of each plugin.
pub type Set = BTreeMap<String, RevisionId>;

/// How many failures or instances are named.
const SHOWN: usize = 5;

/// Hears the reports: takes away what the spec no longer has, forgets failures whose spec changed, notes proofs and
/// failures, condemns and promotes.
#[must_use]
pub fn judge(state: &State, input: &Input) -> Judged {
    let fleet = Fleet::new(input);
    let (before, mut state, mut events) = (state, state.clone(), Vec::new());
    state.not_after(input.now);
    judge::take_away(&mut state, input);
    judge::forget(&mut state, input);
    judge::prove(&mut state, &fleet, input, &mut events);
    judge::strike(&mut state, input, &fleet);
    judge::condemn(&mut state, input, &fleet, &mut events);
    if !input.recovering {
        judge::note_return(&mut state, &fleet, &mut events);
        judge::promote(&mut state, input, &fleet, &mut events);
    }
    let changed = state.stable != before.stable || state.target != before.target;
    Judged { state, events, changed }
}

/// Decides what each instance is told, to move to the `wanted` set, which was resolved from `judged`.
#[must_use]
pub fn plan(judged: Judged, wanted: &Set, input: &Input) -> Plan {
    let fleet = Fleet::new(input);
    let Judged { mut state, mut events, changed } = judged;
    let adopted = target::adopt(&mut state, wanted, input, &mut events);
    if adopted {
        judge::prove(&mut state, &fleet, input, &mut events);
    }
    let raised = raise(&mut state, input, adopted || changed);
    let moves = moves::decide(&mut state, input, &fleet);
    let assignments = assign::assign(&mut state, &fleet, moves.told, raised);
    let deadline = progress::note_progress(&mut state, input, &fleet, moves.held, &mut events);
    let settled = state.settling.as_ref().map(Settling::due);
    state.fit();
    Plan {
        next_deadline: [deadline, settled, moves.turn_ends].into_iter().flatten().min(),
        events,
        plugins: summary::summaries(&state, input, &fleet, moves.held),
        totals: summary::totals(&state, &fleet),
        assignments,
        state,
    }
}

/// Other sets and new attempts are told from what was before by the plan generation; so is a state that was lost.
fn raise(state: &mut State, input: &Input, changed: bool) -> bool {
    let newest = input.instances.iter().map(|instance| instance.accepted).max().unwrap_or_default();
    state.plan_generation = state.plan_generation.max(newest);
    let raised = changed || state.attempts.values().any(|since| *since > state.plan_generation);
    if raised {
        state.plan_generation += 1;
    }
    raised
}
