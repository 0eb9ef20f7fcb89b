//! The scenarios of the design that the planner decides.

use crate::{
    invariants::converged,
    pod::Law,
    world::{World, revision},
};
use rockstar_core::rollout::{Amount, Event, OnFailure, Verdict};

fn steady(pods: usize, plugins: &[(&str, u32)]) -> World {
    let mut world = World::with(pods, plugins);
    world.until(120, |w| converged(w) && w.pods.len() == pods && w.state.stable.is_some());
    world
}

#[test]
fn first_set_reaches_all_at_once_and_becomes_stable_as_a_whole() {
    let world = steady(10, &[("a", 10), ("b", 10), ("c", 10)]);
    let promoted = world.events.iter().filter(|e| matches!(e, Event::Promoted { .. })).count();
    assert_eq!(promoted, 2, "one event a change group");
}

#[test]
fn s1_coupled_upgrade() {
    let mut world = steady(10, &[("a", 10), ("b", 10), ("c", 10)]);
    world.apply("a", 20);
    world.run(1);
    world.apply("b", 20);
    world.until(600, |w| w.is_stable("a", 20) && w.is_stable("b", 20));
    assert!(converged(&world));
}

#[test]
fn s1_coupled_upgrade_whose_dependent_fails() {
    let mut world = steady(10, &[("a", 10), ("b", 10), ("c", 10)]);
    world.laws.revisions.insert(revision("a", 20), Law::FailsToStart);
    world.apply("b", 20);
    world.apply("c", 11);
    world.apply("a", 20);
    world.until(600, |w| w.is_stable("c", 11) && converged(w));
    assert!(world.is_stable("a", 10) && world.is_stable("b", 10));
    assert_eq!(world.verdict("a"), Some(Verdict::RolledBack));
}

#[test]
fn s2_dependency_alone_moves_nothing() {
    let mut world = steady(10, &[("a", 10), ("b", 10)]);
    let moved = |w: &World| w.pods.values().map(|pod| pod.serving.clone()).collect::<Vec<_>>();
    let before = moved(&world);
    world.apply("b", 20);
    for _ in 0..120 {
        world.run(1);
        assert_eq!(moved(&world), before, "nobody moves");
    }
    assert!(world.everywhere("b", 10) && world.is_stable("b", 10));
}

#[test]
fn s3_leader_lost_in_mid_rollout() {
    let mut world = steady(20, &[("c", 10)]);
    world.apply("c", 11);
    world.until(300, |w| w.running("c", 11) >= 5);
    let now = world.now;
    world.lose_leader(now + 60_000);
    world.until(900, |w| w.is_stable("c", 11) && converged(w));
}

#[test]
fn s4_canary_crashes_while_the_operator_is_away() {
    let mut world = steady(10, &[("c", 10)]);
    world.laws.revisions.insert(revision("c", 11), Law::CrashesAfter(20_000));
    world.apply("c", 11);
    world.until(60, |w| w.running("c", 11) == 1);
    let now = world.now;
    world.lose_leader(now + 120_000);
    world.run(60);
    assert!(world.everywhere("c", 10), "the sidecar goes back alone");
    world.until(300, |w| w.verdict("c") == Some(Verdict::RolledBack));
    world.run(300);
    assert_eq!(world.failed_in.values().map(|pods| pods.len()).sum::<usize>(), 1, "tried nowhere else");
    assert!(world.events.iter().any(|e| matches!(e, Event::RolledBack { .. })));
}

#[test]
fn s5_removal_is_at_once_though_paused_and_comes_back_in_no_rollback() {
    let mut world = steady(20, &[("a", 10), ("b", 10), ("c", 10)]);
    world.policy.partition = Amount::Percent(50);
    world.apply("a", 11);
    world.until(600, |w| w.running("a", 11) == 10 && w.verdict("a") == Some(Verdict::Paused));
    world.policy.paused = true;
    world.remove("c");
    world.until(5, |w| w.running("c", 10) == 0);
    world.laws.revisions.insert(revision("a", 11), Law::CrashesAfter(0));
    world.apply("a", 10);
    world.run(300);
    assert!(world.everywhere("a", 10) && world.running("c", 10) == 0, "a rollback restores nothing taken away");
}

#[test]
fn s7_scale_up_with_an_unproven_bad_revision() {
    let mut world = steady(1, &[("c", 10)]);
    world.laws.revisions.insert(revision("c", 11), Law::CrashesAfter(29_000));
    world.apply("c", 11);
    world.scale(0);
    world.scale(500);
    world.until(120, |w| w.verdict("c") == Some(Verdict::RolledBack));
    world.run(60);
    assert!(world.everywhere("c", 10));
    assert_eq!(world.failed_in.values().map(|pods| pods.len()).max(), Some(1));
}

#[test]
fn s7_jobs_promote_what_they_end_with() {
    let mut world = steady(1, &[("c", 10)]);
    world.apply("c", 11);
    world.scale(0);
    for job in 0..200 {
        world.spawn(Some(5_000));
        if job % 5 == 0 {
            world.run(1);
        }
    }
    world.until(60, |w| w.is_stable("c", 11));
}

#[test]
fn jobs_without_end_promote_too() {
    let mut world = steady(1, &[("c", 10)]);
    world.scale(0);
    (0..20).for_each(|_| world.spawn(Some(5_000)));
    world.run(1);
    world.apply("c", 11);
    for _ in 0..60 {
        (0..4).for_each(|_| world.spawn(Some(5_000)));
        world.run(1);
    }
    assert!(world.is_stable("c", 11));
}

#[test]
fn s8_fix_reaches_pods_that_are_down_because_of_what_it_replaces() {
    let mut world = steady(50, &[("c", 10)]);
    world.laws.down.insert(revision("c", 10));
    world.run(5);
    world.apply("c", 11);
    world.until(45, |w| w.running("c", 11) == 1);
    world.until(60, |w| w.everywhere("c", 11));
    world.until(60, |w| w.is_stable("c", 11));
}

#[test]
fn s9_a_node_without_registry_stalls_the_rest_and_completes_by_itself() {
    let mut world = steady(100, &[("c", 10)]);
    world.laws.cut_off.insert(3);
    world.apply("c", 11);
    world.until(1_800, |w| w.state.stalled);
    assert_eq!(world.running("c", 11), 95);
    let stalled = world.events.iter().find_map(|e| match e {
        Event::Stalled { message } => Some(message.clone()),
        _ => None,
    });
    assert_eq!(stalled.unwrap_or_default().matches("RegistryAway").count(), 5);
    world.laws.cut_off.clear();
    world.until(600, |w| w.is_stable("c", 11) && converged(w));
    assert!(world.state.failed.is_empty());
}

#[test]
fn s9_one_slot_is_not_kept_by_a_node_without_registry() {
    let mut world = steady(40, &[("c", 10)]);
    world.policy.max_unavailable = Amount::Count(1);
    world.laws.cut_off.insert(1);
    world.apply("c", 11);
    world.until(3_000, |w| w.running("c", 11) == 38);
    world.laws.cut_off.clear();
    world.until(600, |w| w.is_stable("c", 11));
}

#[test]
fn s10_killed_sidecars_on_trial() {
    let mut world = steady(20, &[("c", 10)]);
    world.apply("c", 11);
    world.until(120, |w| w.running("c", 11) >= 6);
    let on_trial = trying(&world);
    world.kill(&on_trial[0]);
    world.run(10);
    assert!(world.state.failed.is_empty(), "one is not enough after the first proof");
    let drained = trying(&world)[0].clone();
    world.delete(&drained);
    world.run(5);
    assert!(world.state.failed.is_empty(), "a drained pod is no failure");
    let on_trial = trying(&world);
    world.kill(&on_trial[0]);
    world.until(30, |w| w.state.failed.contains_key("c"));
    world.until(300, |w| w.everywhere("c", 10) && converged(w));
}

/// Pods that run 11 of `c` and have not proven it.
fn trying(world: &World) -> Vec<String> {
    let on_trial = world.pods.values().filter(|pod| pod.runs_unproven("c", &revision("c", 11), world.now));
    on_trial.map(|pod| pod.id.clone()).collect()
}

#[test]
fn s11_back_and_forth_tries_once_more() {
    let mut world = steady(10, &[("c", 10)]);
    world.laws.revisions.insert(revision("c", 11), Law::FailsToStart);
    world.apply("c", 11);
    world.until(60, |w| w.state.failed.contains_key("c"));
    world.run(120);
    world.apply("c", 10);
    world.until(60, |w| w.verdict("c") == Some(Verdict::Current));
    world.apply("c", 11);
    world.until(60, |w| w.state.failed.contains_key("c"));
    world.run(120);
    assert!(world.failed_in.values().all(|pods| pods.len() == 1) && world.failed_in.len() == 2);
}

#[test]
fn a_retry_after_the_cause_is_gone_completes() {
    let mut world = steady(10, &[("c", 10)]);
    world.laws.revisions.insert(revision("c", 11), Law::FailsToStart);
    world.apply("c", 11);
    world.until(60, |w| w.state.failed.contains_key("c"));
    world.laws.revisions.clear();
    world.retry("c");
    world.until(600, |w| w.is_stable("c", 11) && converged(w));
}

#[test]
fn a_failure_below_the_threshold_stays_back_until_a_retry() {
    let mut world = steady(10, &[("c", 10)]);
    world.laws.local.insert(("pod-0007".to_owned(), revision("c", 11)), Law::FailsToStart);
    world.apply("c", 11);
    world.until(1_800, |w| w.state.stalled);
    assert_eq!(world.running("c", 11), 9);
    assert_eq!(world.verdict("c"), Some(Verdict::Stalled));
    world.laws.local.clear();
    world.retry("c");
    world.until(600, |w| w.is_stable("c", 11) && converged(w));
}

#[test]
fn the_next_revision_does_not_wait_for_a_failed_one() {
    let mut world = steady(10, &[("c", 10)]);
    world.laws.revisions.insert(revision("c", 11), Law::CrashesAfter(5_000));
    world.apply("c", 11);
    world.until(60, |w| w.running("c", 11) == 1);
    world.apply("c", 12);
    world.until(600, |w| w.is_stable("c", 12) && converged(w));
}

#[test]
fn halt_keeps_those_that_run_it() {
    let mut world = steady(20, &[("c", 10)]);
    world.policy.on_failure = OnFailure::Halt;
    world.apply("c", 11);
    world.until(120, |w| w.running("c", 11) >= 6);
    world.laws.revisions.insert(revision("c", 11), Law::FailsToStart);
    world.until(120, |w| w.state.failed.contains_key("c"));
    let kept = world.running("c", 11);
    world.run(300);
    assert!(kept > 0 && world.running("c", 11) == kept);
    assert_eq!(world.verdict("c"), Some(Verdict::Halted));
    world.policy.on_failure = OnFailure::RollBack;
    world.until(300, |w| w.everywhere("c", 10) && converged(w));
}

#[test]
fn a_stuck_canary_of_one_group_does_not_hold_another() {
    let mut world = steady(20, &[("a", 10), ("b", 10), ("c", 10)]);
    world.policy.partition = Amount::Count(0);
    world.laws.local.insert(("pod-0001".to_owned(), revision("c", 11)), Law::CrashesAfter(29_000));
    world.apply("c", 11);
    world.until(60, |w| w.running("c", 11) == 1);
    world.apply("a", 11);
    world.until(600, |w| w.is_stable("a", 11));
}

#[test]
fn a_new_plugin_moves_by_the_window_too() {
    let mut world = steady(10, &[("c", 10)]);
    world.laws.revisions.insert(revision("d", 10), Law::FailsToStart);
    world.apply("d", 10);
    world.run(300);
    assert_eq!(world.failed_in.values().map(|pods| pods.len()).sum::<usize>(), 1);
    assert_eq!(world.verdict("d"), Some(Verdict::RolledBack));
}
