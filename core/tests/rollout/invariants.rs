//! What must hold at every step, checked on what pods truly do rather than on what they report.

use crate::{
    pod::Pod,
    world::{World, fits},
};
use rockstar_core::rollout::{Plan, Presence, State};
use std::cell::Cell;

thread_local! {
    /// The widest window since what is in flight last fitted: a fleet that shrinks does not call instances back.
    static WIDEST: Cell<usize> = const { Cell::new(0) };
}

/// The longest way of a report and of the answer to it.
const ROUND_TRIP: i64 = 12_000;

pub(crate) fn check(world: &World) {
    constraints_hold(world);
    canary_is_alone(world);
    window_holds(world);
}

fn live(world: &World) -> impl Iterator<Item = &Pod> {
    world.pods.values().filter(|pod| !pod.ended(world.now))
}

fn constraints_hold(world: &World) {
    for pod in live(world) {
        assert!(
            fits(&pod.serving),
            "{} serves {:?}, told {:?} or {:?}",
            pod.name,
            pod.serving,
            pod.target,
            pod.fallback
        );
    }
}

/// Nothing that nobody proved runs in two pods, once there is a stable set.
fn canary_is_alone(world: &World) {
    if world.state.stable.is_none() {
        return;
    }
    for (plugin, trial) in world.state.trials.iter().filter(|(_, trial)| trial.proof.is_none()) {
        let pods: Vec<_> = live(world).filter(|pod| pod.runs_unproven(plugin, &trial.revision, world.now)).collect();
        let names: Vec<_> = pods.iter().map(|pod| &pod.name).collect();
        assert!(
            pods.len() <= 1,
            "{} runs unproven in {names:?}, canary {:?}\n{}",
            trial.revision,
            trial.canary,
            describe(world)
        );
    }
}

fn window_holds(world: &World) {
    let window = world.policy.max_unavailable.of(live(world).count()).max(1);
    let in_flight: Vec<_> = live(world).filter(|pod| in_flight(world, pod)).map(|pod| &pod.name).collect();
    let fits = in_flight.len() <= window || world.state.stable.is_none() || !world.laws.down.is_empty();
    WIDEST.set(if fits { window } else { WIDEST.get().max(window) });
    assert!(fits || in_flight.len() <= WIDEST.get(), "{in_flight:?} in flight, window {window}\n{}", describe(world));
}

/// Moves, or runs something on trial that it has not proven. A pod that served nobody when it was told to go back counts
/// only for such a thing, though it may have become ready before it heard.
fn in_flight(world: &World, pod: &Pod) -> bool {
    let trials = || world.state.trials.iter();
    let unproven = trials().any(|(plugin, trial)| pod.runs_unproven(plugin, &trial.revision, world.now));
    unproven || pod.moving() && pod.ready_since.is_some_and(|ready| world.now - ready > ROUND_TRIP)
}

/// Planning again with the same input decides the same and raises nothing.
pub(crate) fn idempotent(world: &World, plan: &Plan) {
    let input = world.with_assigned(&world.input(), plan);
    let again = world.decide(&input);
    assert_eq!(again.state, plan.state);
    assert_eq!(again.assignments, plan.assignments);
    assert!(again.events.is_empty(), "{:?}", again.events);
}

/// What becomes stable was proven by somebody.
pub(crate) fn promotion(world: &World, next: &State) {
    let before = world.state.stable.clone().unwrap_or_default();
    for (plugin, revision) in next.stable.iter().flatten() {
        let new = before.get(plugin) != Some(revision);
        assert!(!new || world.proven.contains(revision), "{revision} became stable without a proof");
    }
}

/// Everything that can be done is done: the target is stable, and every pod runs it.
pub(crate) fn converged(world: &World) -> bool {
    let state = &world.state;
    let settled = state.settling.is_none() && state.trials.is_empty() && state.stable == state.target;
    let target = state.target.clone().unwrap_or_default();
    let connected = world.input().instances.iter().all(|i| i.presence != Presence::Away);
    settled && connected && live(world).all(|pod| pod.serving == target && !pod.moving())
}

/// For the one who looks for the reason.
fn describe(world: &World) -> String {
    let pod = |pod: &Pod| {
        let Pod { name, serving, target, accepted, ready_since, .. } = pod;
        format!(
            "{name}: serves {serving:?}, accepted {accepted}: {target:?}, moving {}, ready since {ready_since:?}",
            pod.moving()
        )
    };
    let pods: Vec<_> = live(world).map(pod).collect();
    let pods = pods.join("\n").replace("RevisionId", "");
    format!("at {}: {:?}\n{pods}", world.now, world.state).replace("RevisionId", "")
}
