//! Turns what instances are told into assignments, and raises the plan generation if any of them changed.

use super::{
    Assignment, Set, State,
    fleet::{Fleet, View},
};
use std::{collections::BTreeMap, sync::Arc};

/// `raised` tells that this pass has raised the generation already.
pub(super) fn assign(
    state: &mut State,
    fleet: &Fleet<'_>,
    told: Vec<Option<Arc<Set>>>,
    raised: bool,
) -> BTreeMap<String, Assignment> {
    let fallback = Arc::new(state.stable.clone().unwrap_or_default());
    let next = if raised { state.plan_generation } else { state.plan_generation + 1 };
    let mut changed = false;
    let mut assignments = BTreeMap::new();
    for (view, target) in fleet.views.iter().zip(told) {
        let Some(target) = target else { continue };
        let assignment = assignment(view, target, &fallback, state, next);
        changed |= assignment.generation == next;
        assignments.insert(view.instance.id.clone(), assignment);
    }
    if changed {
        state.plan_generation = next;
    }
    assignments
}

fn assignment(view: &View<'_>, target: Arc<Set>, fallback: &Arc<Set>, state: &State, next: i64) -> Assignment {
    let Some(before) = &view.instance.assigned else {
        let generation = if contradicts(view, &target, state) { next } else { state.plan_generation };
        return Assignment { target, fallback: Arc::clone(fallback), generation, superseded: Vec::new() };
    };
    let mut superseded = superseded(view, before);
    superseded.retain(|set| !same(set, &target));
    let told_so = same(&before.target, &target) && same(&before.fallback, fallback);
    if told_so && !tried_again(before, state) {
        return Assignment { superseded, ..before.clone() };
    }
    Assignment { target, fallback: Arc::clone(fallback), generation: next, superseded }
}

fn same(a: &Arc<Set>, b: &Arc<Set>) -> bool {
    Arc::ptr_eq(a, b) || a == b
}

/// After the operator restarted: what the sidecar accepted under the current generation may say something else.
fn contradicts(view: &View<'_>, target: &Arc<Set>, state: &State) -> bool {
    let instance = view.instance;
    instance.accepted > 0
        && instance.accepted >= state.plan_generation
        && (instance.moving || !same(&instance.serving, target))
}

/// A revision that failed before gets another chance, although the instance is told nothing else.
fn tried_again(before: &Assignment, state: &State) -> bool {
    state.attempts.iter().any(|(plugin, since)| before.generation < *since && before.target.contains_key(plugin))
}

/// The targets that the instance may be moving to while it has not heard of a newer one.
fn superseded(view: &View<'_>, before: &Assignment) -> Vec<Arc<Set>> {
    if view.settled() {
        return Vec::new();
    }
    let heard = view.instance.accepted >= before.generation;
    let mut sets = if heard { Vec::new() } else { before.superseded.clone() };
    if !sets.contains(&before.target) {
        sets.push(Arc::clone(&before.target));
    }
    sets
}
