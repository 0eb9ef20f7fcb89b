//! Whatever happens, in whatever order: the invariants hold at every step, and in the end everything is where it belongs.

use crate::{
    invariants::converged,
    pod::Law,
    world::{World, revision},
};
use proptest::{prelude::*, test_runner::RngSeed};
use rockstar_core::rollout::{Amount, OnFailure};

const PLUGINS: [&str; 4] = ["a", "b", "c", "d"];

#[derive(Clone, Debug)]
enum Action {
    Run(i64),
    Apply(usize, u32),
    Remove(usize),
    Retry(usize),
    Scale(usize),
    Jobs(usize),
    Delete(usize),
    Kill(usize),
    Cut(usize, i64),
    LoseLeader(i64),
    CutOff(usize),
    Heal,
    Pause(bool),
    Partition(u32),
    Window(Amount),
    OnFailure(OnFailure),
}

fn actions(pods: usize, length: usize) -> impl Strategy<Value = Vec<Action>> {
    let action = prop_oneof![
        10 => (1..60i64).prop_map(Action::Run),
        6 => (0..4usize, version()).prop_map(|(plugin, version)| Action::Apply(plugin, version)),
        1 => (2..4usize).prop_map(Action::Remove),
        1 => (0..4usize).prop_map(Action::Retry),
        2 => (0..=pods).prop_map(Action::Scale),
        1 => (1..6usize).prop_map(Action::Jobs),
        1 => (0..pods).prop_map(Action::Delete),
        2 => (0..pods).prop_map(Action::Kill),
        2 => (0..pods, 1..90i64).prop_map(|(pod, seconds)| Action::Cut(pod, seconds)),
        2 => (1..90i64).prop_map(Action::LoseLeader),
        1 => (0..20usize).prop_map(Action::CutOff),
        1 => Just(Action::Heal),
        1 => any::<bool>().prop_map(Action::Pause),
        1 => (0..100u32).prop_map(Action::Partition),
        1 => prop_oneof![(1..5u32).prop_map(Amount::Count), (1..60u32).prop_map(Amount::Percent)].prop_map(Action::Window),
        1 => prop_oneof![Just(OnFailure::RollBack), Just(OnFailure::Halt)].prop_map(Action::OnFailure),
    ];
    prop::collection::vec(action, 1..length)
}

/// Major 1 or 2; the minor version says how it behaves, see `laws`.
fn version() -> impl Strategy<Value = u32> {
    (1..3u32, 0..6u32).prop_map(|(major, minor)| major * 10 + minor)
}

fn laws(world: &mut World) {
    let minor = [
        (2, Law::FailsToStart),
        (3, Law::CrashesAfter(5_000)),
        (4, Law::CrashesAfter(29_000)),
        (5, Law::CrashesAfter(31_000)),
    ];
    for plugin in PLUGINS {
        for major in [10, 20] {
            let laws = minor.iter().map(|(minor, law)| (revision(plugin, major + minor), *law));
            world.laws.revisions.extend(laws);
        }
    }
}

fn act(world: &mut World, action: &Action) {
    let pod = |number: usize| world.pods.keys().nth(number).cloned();
    match *action {
        Action::Run(seconds) => world.run(seconds),
        Action::Apply(plugin, version) => world.apply(PLUGINS[plugin], version),
        Action::Remove(plugin) => world.remove(PLUGINS[plugin]),
        Action::Retry(plugin) if world.spec.contains_key(PLUGINS[plugin]) => world.retry(PLUGINS[plugin]),
        Action::Retry(_) => {}
        Action::Scale(pods) => world.scale(pods),
        Action::Jobs(jobs) => (0..jobs).for_each(|_| world.spawn(Some(5_000))),
        Action::Delete(number) => pod(number).iter().for_each(|id| world.delete(id)),
        Action::Kill(number) => pod(number).iter().for_each(|id| world.kill(id)),
        Action::Cut(number, seconds) => {
            let until = world.now + seconds * 1_000;
            pod(number).iter().for_each(|id| world.cut(id, until));
        }
        Action::LoseLeader(seconds) => world.lose_leader(world.now + seconds * 1_000),
        Action::CutOff(node) => drop(world.laws.cut_off.insert(node)),
        Action::Heal => world.laws.cut_off.clear(),
        Action::Pause(paused) => world.policy.paused = paused,
        Action::Partition(percent) => world.policy.partition = Amount::Percent(percent),
        Action::Window(window) => world.policy.max_unavailable = window,
        Action::OnFailure(on_failure) => world.policy.on_failure = on_failure,
    }
}

/// Nothing hinders any more, and everything gets another chance.
fn calm(world: &mut World) {
    world.laws.cut_off.clear();
    world.policy.paused = false;
    world.policy.partition = Amount::Count(0);
    world.policy.on_failure = OnFailure::RollBack;
    let plugins: Vec<_> = world.spec.keys().cloned().collect();
    plugins.iter().for_each(|plugin| world.retry(plugin));
    (0..2).for_each(|_| world.spawn(None));
    world.run(15);
    world.until(5_400, converged);
}

fn play(seed: u64, delay: i64, pods: usize, actions: &[Action]) {
    let mut world = World::new(seed);
    laws(&mut world);
    ["a", "b", "c"].iter().for_each(|plugin| world.apply(plugin, 10));
    world.scale(pods.min(3));
    world.until(300, |w| converged(w) && w.state.stable.is_some());
    world.delay = delay;
    world.scale(pods);
    actions.iter().for_each(|action| act(&mut world, action));
    calm(&mut world);
}

/// The same cases every time; `PROPTEST_CASES=1000` explores others.
fn config(cases: u32) -> ProptestConfig {
    let explore = std::env::var_os("PROPTEST_CASES").is_some();
    let default = ProptestConfig { max_shrink_iters: 200, failure_persistence: None, ..ProptestConfig::default() };
    if explore { default } else { ProptestConfig { cases, rng_seed: RngSeed::Fixed(3), ..default } }
}

proptest! {
    #![proptest_config(config(32))]

    #[test]
    fn a_small_fleet_survives_everything(seed: u64, delay in 0..4_000i64, pods in 1..16usize, actions in actions(16, 40)) {
        play(seed, delay, pods, &actions);
    }
}

proptest! {
    #![proptest_config(config(1))]

    #[test]
    fn a_large_fleet_survives_everything(seed: u64, delay in 0..4_000i64, actions in actions(1_000, 12)) {
        play(seed, delay, 1_000, &actions);
    }
}
