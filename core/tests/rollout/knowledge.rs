//! The planner rests on what is persisted or seen anew, and never on what an operator before it knew.

use rockstar_core::{
    revision::RevisionId,
    rollout::{
        self, Amount, Down, Event, Failure, FailureClass, Input, Instance, Plan, Presence, Proof, Set, State, Trial,
        Verdict,
    },
};
use std::{collections::BTreeMap, sync::Arc};

const NOW: i64 = 1_000_000_000;

fn set(plugins: &[(&str, u32)]) -> Set {
    plugins.iter().map(|(plugin, version)| ((*plugin).to_owned(), id(plugin, *version))).collect()
}

fn id(plugin: &str, version: u32) -> RevisionId {
    RevisionId(format!("{plugin}-{version}"))
}

/// A pod that serves, connected, proven, and done with plan 5.
fn pod(number: usize, serving: &[(&str, u32)]) -> Instance {
    Instance {
        id: format!("uid-{number:03}"),
        name: format!("pod-{number:03}"),
        created: 1_000,
        transient: false,
        presence: Presence::Connected,
        expected: true,
        new: false,
        ready: true,
        down: BTreeMap::new(),
        seen_since: NOW,
        away_since: None,
        accepted: 5,
        moving: false,
        busy: [].into(),
        waiting: None,
        serving: Arc::new(set(serving)),
        proven: Arc::new(set(serving)),
        failures: Vec::new(),
        assigned: None,
    }
}

/// A pod whose stream is not there; what it serves nobody knows.
fn away(number: usize) -> Instance {
    Instance { presence: Presence::Away, away_since: Some(NOW), accepted: 0, ..pod(number, &[]) }
}

fn trial(plugin: &str, version: u32) -> Trial {
    Trial {
        revision: id(plugin, version),
        token: "t".into(),
        canary: Some("uid-000".into()),
        proof: None,
        strikes: BTreeMap::new(),
        generation: 5,
        since: Some(NOW),
        proven: 0,
        stalled: false,
    }
}

fn proven_trial(plugin: &str, version: u32) -> Trial {
    let proof = Some(Proof { at: NOW, by_ended_pod: false, youngest: 1_000 });
    Trial { canary: None, proof, proven: 1, ..trial(plugin, version) }
}

/// `a` is on its way from 1 to 2.
fn moving(trial: Trial) -> State {
    State {
        plan_generation: 5,
        stable: Some(set(&[("a", 1)])),
        target: Some(set(&[("a", 2)])),
        trials: [("a".to_owned(), trial)].into(),
        tokens: [("a".to_owned(), "t".to_owned())].into(),
        ..State::default()
    }
}

/// Everything runs `a-1`.
fn steady() -> State {
    State { target: Some(set(&[("a", 1)])), trials: BTreeMap::new(), ..moving(trial("a", 1)) }
}

fn input(instances: Vec<Instance>) -> Input {
    Input { now: NOW, plugins: [("a".to_owned(), "t".to_owned())].into(), instances, ..Input::default() }
}

fn pass(state: &State, input: &Input) -> Plan {
    let judged = rollout::judge(state, input);
    let wanted = judged.state.target.clone().unwrap_or_default();
    rollout::plan(judged, &wanted, input)
}

fn failure(id: &str, plugin: &str, version: u32, shared: bool) -> Failure {
    Failure {
        id: id.into(),
        plugin: plugin.into(),
        revision: self::id(plugin, version),
        class: FailureClass::Revision,
        reason: "UncleanEnd".into(),
        message: "killed".into(),
        at: NOW,
        plan_generation: 5,
        shared,
    }
}

#[test]
fn a1_a_new_leader_promotes_nothing_while_nobody_is_back() {
    let state = moving(proven_trial("a", 2));
    for recovering in [true, false] {
        let plan = pass(&state, &Input { recovering, ..input((0..20).map(away).collect()) });
        assert_eq!(plan.state.stable, Some(set(&[("a", 1)])));
        assert!(plan.assignments.is_empty());
    }
    let mut pods: Vec<_> = (0..19).map(|n| pod(n, &[("a", 2)])).collect();
    pods.push(away(19));
    assert_eq!(pass(&state, &input(pods.clone())).state.stable, Some(set(&[("a", 1)])), "one that serves is away");
    pods.pop();
    assert_eq!(pass(&state, &input(pods)).state.stable, Some(set(&[("a", 2)])));
}

#[test]
fn a1_an_instance_that_may_have_died_of_it_is_waited_for() {
    let mut pods: Vec<_> = (0..3).map(|n| pod(n, &[("a", 2)])).collect();
    pods.push(Instance { expected: false, ready: false, ..away(3) });
    let plan = pass(&moving(proven_trial("a", 2)), &input(pods));
    assert_eq!(plan.state.stable, Some(set(&[("a", 1)])), "not Ready any more, and what it runs nobody knows");
}

#[test]
fn nobody_moves_up_while_instances_return() {
    let state = moving(proven_trial("a", 2));
    let mut pods = vec![pod(0, &[("a", 2)]), pod(1, &[("a", 1)])];
    pods.extend((2..8).map(away));
    let told = pass(&state, &Input { recovering: true, ..input(pods.clone()) }).assignments;
    let a = |uid: &str| told[uid].target.get("a").cloned();
    assert_eq!((a("uid-000"), a("uid-001")), (Some(id("a", 2)), Some(id("a", 1))));
    let condemned = rollout::Failed {
        revision: id("a", 2),
        reason: "Crashed".into(),
        message: String::new(),
        at: NOW,
        token: "t".into(),
        failures: Vec::new(),
        rolled_back: false,
    };
    let state = State { failed: [("a".to_owned(), condemned)].into(), ..steady() };
    let plan = pass(&state, &Input { recovering: true, ..input(pods) });
    assert_eq!(plan.assignments["uid-000"].target.get("a"), Some(&id("a", 1)), "what is condemned goes back");
    assert!(!plan.events.iter().any(|e| matches!(e, Event::RolledBack { .. })), "others may run it still");
}

#[test]
fn c16_who_is_away_counts_at_the_partition() {
    let state = moving(proven_trial("a", 2));
    let mut pods: Vec<_> = (0..6).map(|n| pod(n, &[("a", 1)])).collect();
    pods.extend((6..10).map(|n| Instance { expected: false, ..away(n) }));
    let policy =
        rollout::Policy { partition: Amount::Count(6), max_unavailable: Amount::Count(10), ..Default::default() };
    let plan = pass(&state, &Input { policy, ..input(pods) });
    let up = plan.assignments.values().filter(|a| a.target.get("a") == Some(&id("a", 2))).count();
    assert_eq!(up, 0, "four may run it already");
}

#[test]
fn c16_a_trial_that_begins_where_it_costs_nothing_is_no_pause() {
    let crashed = Down { reason: "Crashed".into(), message: "1".into(), stuck: false, refuses: false };
    let down = Instance { ready: false, down: [("a".to_owned(), crashed)].into(), ..pod(0, &[("a", 1)]) };
    let policy = rollout::Policy { partition: Amount::Count(1), ..Default::default() };
    let plan = pass(&moving(trial("a", 2)), &Input { policy, ..input(vec![down, pod(1, &[("a", 1)])]) });
    assert_eq!(plan.assignments["uid-000"].target.get("a"), Some(&id("a", 2)));
    assert_eq!(plan.assignments["uid-001"].target.get("a"), Some(&id("a", 1)), "the partition keeps it");
    assert_eq!(plan.plugins["a"].verdict, Verdict::Progressing, "and its deadline goes on");
}

#[test]
fn a6_a_pod_that_ended_well_proves_what_it_served_where_pods_end() {
    let job = |n| Instance { transient: true, presence: Presence::Succeeded, ..pod(n, &[("a", 2)]) };
    let proven = |pods: Vec<Instance>| {
        pass(&moving(trial("a", 2)), &input(pods)).state.trials.get("a").is_none_or(|t| t.proof.is_some())
    };
    assert!(proven(vec![job(1)]));
    assert!(!proven(vec![job(1), pod(2, &[("a", 1)])]), "a Deployment's pods have a grace period to outlive");
}

#[test]
fn c15_born_later_is_told_by_the_api_server_s_clock_alone() {
    let proof = Some(Proof { at: 0, by_ended_pod: true, youngest: 2_000 });
    let state = moving(Trial { proof, ..trial("a", 2) });
    let job = |created| Instance { transient: true, created, ..pod(1, &[("a", 1)]) };
    assert_eq!(pass(&state, &input(vec![job(2_000)])).state.stable, Some(set(&[("a", 1)])));
    assert_eq!(pass(&state, &input(vec![job(2_001)])).state.stable, Some(set(&[("a", 2)])));
}

#[test]
fn c1_a_clock_that_went_back_holds_nothing_up() {
    let pods = || vec![pod(0, &[("a", 1)])];
    let wanted = set(&[("a", 2)]);
    let at = |now, state: &State| {
        let input = Input { now, ..input(pods()) };
        rollout::plan(rollout::judge(state, &input), &wanted, &input).state
    };
    let settling = at(NOW + 3_600_000, &steady());
    assert!(settling.settling.is_some());
    let back = at(NOW, &settling);
    assert_eq!(at(NOW + 2_001, &back).target, Some(wanted.clone()));
}

#[test]
fn b3_an_unclean_end_without_a_culprit_condemns_nobody() {
    let both = |instance: Instance| Instance {
        failures: vec![failure("f1", "a", 2, true), failure("f2", "b", 2, true)],
        ..instance
    };
    let state = State {
        stable: Some(set(&[("a", 1), ("b", 1)])),
        target: Some(set(&[("a", 2), ("b", 2)])),
        trials: [("a".to_owned(), trial("a", 2)), ("b".to_owned(), trial("b", 2))].into(),
        ..moving(trial("a", 2))
    };
    let plugins = ["a", "b"].map(|p| (p.to_owned(), "t".to_owned())).into();
    let input = Input { plugins, ..input(vec![both(pod(0, &[("a", 1), ("b", 1)])), pod(1, &[("a", 1), ("b", 1)])]) };
    let plan = pass(&state, &input);
    assert!(plan.state.failed.is_empty());
    let tried: Vec<_> = plan.assignments.values().filter(|a| *a.target != set(&[("a", 1), ("b", 1)])).collect();
    assert_eq!(tried.len(), 1, "one instance tries on");
    let up = ["a", "b"].into_iter().filter(|p| tried[0].target.get(*p) == Some(&id(p, 2))).count();
    assert_eq!(up, 1, "one group at a time, so that the culprit shows");
    let alone = Instance { failures: vec![failure("f3", "a", 2, false)], ..pod(0, &[("a", 1), ("b", 1)]) };
    let plan = pass(&state, &Input { instances: vec![alone], ..input });
    assert_eq!(plan.state.failed.keys().collect::<Vec<_>>(), ["a"]);
}

#[test]
fn b3_a_closed_plugin_of_the_first_set_stays_as_down() {
    let failing = |n| Instance {
        new: true,
        ready: false,
        expected: false,
        failures: vec![failure("f", "a", 2, false)],
        ..pod(n, &[])
    };
    let state = State { stable: None, ..moving(Trial { canary: None, ..trial("a", 2) }) };
    let open = input((0..3).map(failing).collect());
    let closed = Input { closed: ["a".to_owned()].into(), ..open.clone() };
    let plan = pass(&state, &closed);
    assert!(plan.state.failed.is_empty() && plan.assignments.values().all(|a| a.target.contains_key("a")));
    assert_eq!(plan.plugins["a"].verdict, Verdict::Stalled);
    assert!(
        plan.plugins["a"].message.contains("failed in pod pod-000: UncleanEnd: killed"),
        "{}",
        plan.plugins["a"].message
    );
    assert!(pass(&state, &open).state.failed.contains_key("a"));
    let late = State { stalled: true, ..state };
    assert_eq!(pass(&late, &closed).state.stable, None, "no set becomes stable without it");
}

#[test]
fn a0_a_newcomer_that_cannot_be_loaded_holds_nobody_up() {
    let told = rollout::Assignment {
        target: Arc::new(set(&[("a", 1), ("ghost", 1)])),
        fallback: Arc::new(set(&[("a", 1)])),
        generation: 5,
        superseded: Vec::new(),
    };
    let waiting = Instance {
        moving: true,
        busy: ["ghost".to_owned()].into(),
        waiting: Some(NOW),
        assigned: Some(told),
        ..pod(0, &[("a", 1)])
    };
    let state = State {
        target: Some(set(&[("a", 2), ("ghost", 1)])),
        trials: [("a".to_owned(), Trial { canary: None, ..trial("a", 2) }), ("ghost".to_owned(), trial("ghost", 1))]
            .into(),
        ..moving(trial("a", 2))
    };
    let plugins = ["a", "ghost"].map(|p| (p.to_owned(), "t".to_owned())).into();
    let input = Input { plugins, ..input(vec![waiting, pod(1, &[("a", 1)]), pod(2, &[("a", 1)])]) };
    let plan = pass(&state, &input);
    let up = plan.assignments.values().filter(|told| told.target.get("a") == Some(&id("a", 2))).count();
    assert_eq!(up, 1, "the window of one is free");
}

#[test]
fn the_strikes_of_a_trial_are_bounded() {
    let failing = |n| Instance { failures: vec![failure("f", "a", 2, false)], ..pod(n, &[]) };
    let state = State { stable: None, ..moving(trial("a", 2)) };
    let closed = Input { closed: ["a".to_owned()].into(), ..input((0..500).map(failing).collect()) };
    assert_eq!(pass(&state, &closed).state.trials["a"].strikes.len(), 5);
}

#[test]
fn ready_needs_every_instance_that_should_serve() {
    let verdict = |pods: Vec<Instance>| pass(&steady(), &input(pods)).plugins["a"].verdict;
    let good = || pod(0, &[("a", 1)]);
    assert_eq!(verdict(vec![good(), pod(1, &[("a", 1)])]), Verdict::Current);
    assert_eq!(verdict(vec![good(), away(1)]), Verdict::Unsure);
    let long = |since| Instance { away_since: Some(NOW - since), ..away(1) };
    assert_eq!(verdict(vec![good(), long(60_001)]), Verdict::Away { stuck: false });
    assert_eq!(verdict(vec![good(), long(600_000)]), Verdict::Away { stuck: true });
    let lost = Instance { expected: false, ..away(1) };
    assert_eq!(verdict(vec![good(), lost.clone()]), Verdict::Current, "it does not serve");
    assert_eq!(verdict(vec![lost]), Verdict::NoInstances);
    assert_eq!(verdict(Vec::new()), Verdict::Current);
    let down = |stuck| {
        let down = Down { reason: "CrashBudgetExhausted".into(), message: "no memory".into(), stuck, refuses: false };
        Instance { down: [("a".to_owned(), down)].into(), ..pod(1, &[("a", 1)]) }
    };
    assert_eq!(verdict(vec![good(), down(true)]), Verdict::Down { stuck: true });
    assert_eq!(verdict(vec![good(), down(false)]), Verdict::Down { stuck: false });
    let summary = pass(&steady(), &input(vec![good(), down(true)])).plugins["a"].clone();
    assert_eq!(summary.reason.as_deref(), Some("CrashBudgetExhausted"));
    assert!(summary.message.starts_with("is down in pod pod-001: no memory; "), "{}", summary.message);
    assert_eq!(verdict(vec![good(), pod(1, &[])]), Verdict::Progressing);
    let new = |age| Instance { new: true, expected: false, ready: false, seen_since: NOW - age, ..pod(1, &[]) };
    assert_eq!(verdict(vec![good(), new(0)]), Verdict::Current, "a new pod on its way takes nothing away");
    assert_eq!(verdict(vec![good(), new(600_000)]), Verdict::Progressing);
}

#[test]
fn a_changed_spec_is_current_once_everybody_has_acknowledged_it() {
    let changed = || Input { plugins: [("a".to_owned(), "t2".to_owned())].into(), ..input(vec![pod(0, &[("a", 1)])]) };
    let plan = pass(&steady(), &changed());
    assert_eq!(plan.plugins["a"].verdict, Verdict::Progressing);
    let told = &plan.assignments["uid-000"];
    assert!(told.generation > 5, "it is told anew");
    let heard = Instance { accepted: told.generation, assigned: Some(told.clone()), ..pod(0, &[("a", 1)]) };
    let busy = Instance { busy: ["a".to_owned()].into(), ..heard.clone() };
    let verdict = |instance| pass(&plan.state, &Input { instances: vec![instance], ..changed() }).plugins["a"].verdict;
    assert_eq!(verdict(busy), Verdict::Progressing);
    assert_eq!(verdict(heard), Verdict::Current);
}

#[test]
fn b14_retry_reaches_an_instance_that_lacks_what_is_stable() {
    let lacking = Instance { accepted: 5, ..pod(0, &[]) };
    let first = pass(&steady(), &input(vec![lacking.clone()]));
    let told = first.assignments["uid-000"].clone();
    let heard = Instance { accepted: told.generation, assigned: Some(told.clone()), ..lacking };
    let retried = Input { plugins: [("a".to_owned(), "t/again".to_owned())].into(), ..input(vec![heard]) };
    assert!(pass(&first.state, &retried).assignments["uid-000"].generation > told.generation);
}

#[test]
fn c8_only_more_proven_instances_than_ever_are_progress() {
    let mut state = moving(proven_trial("a", 2));
    let pods = |up: usize| {
        let serves = |n| pod(n, if n < up { &[("a", 2)] } else { &[("a", 1)] });
        (0..4).map(serves).collect::<Vec<_>>()
    };
    let mut step = |now, up| {
        state = pass(&state, &Input { now, ..input(pods(up)) }).state;
        state.trials["a"].stalled
    };
    assert!(!step(NOW, 2));
    assert!(!step(NOW + 300_000, 1));
    assert!(!step(NOW + 500_000, 2), "one that comes back is no progress");
    assert!(step(NOW + 600_000, 2));
    assert!(!step(NOW + 600_001, 3));
}

#[test]
fn c9_a_retry_while_the_operator_recovers_counts_for_what_failed_before_it() {
    let state = moving(trial("a", 2));
    let asked = |recovering, failures: Vec<Failure>| Input {
        recovering,
        plugins: [("a".to_owned(), "t2".to_owned())].into(),
        ..input(vec![Instance { failures, ..pod(0, &[("a", 1)]) }])
    };
    let seen = pass(&state, &asked(true, Vec::new()));
    assert_eq!(seen.state.trials["a"].token, "t", "it is taken up at the end of the recovery");
    let told = pass(&seen.state, &asked(true, vec![failure("f", "a", 2, false)]));
    assert_eq!(told.state.failed["a"].token, "t", "the failure of the attempt before");
    let ended = pass(&told.state, &asked(false, vec![failure("f", "a", 2, false)]));
    assert!(ended.state.failed.is_empty() && ended.state.attempts["a"] > 5, "{:?}", ended.state);
}

#[test]
fn what_comes_from_another_host_gets_the_stable_set_first() {
    let state =
        State { trials: [("a".to_owned(), Trial { canary: None, ..trial("a", 2) })].into(), ..moving(trial("a", 2)) };
    let foreign = Instance { accepted: 0, ready: false, ..pod(0, &[]) };
    let plan = pass(&state, &input(vec![foreign.clone()]));
    assert_eq!(*plan.assignments["uid-000"].target, set(&[("a", 1)]));
    let policy = rollout::Policy { max_unavailable: Amount::Count(2), ..Default::default() };
    let plan = pass(&state, &Input { policy, ..input(vec![foreign, pod(1, &[("a", 1)])]) });
    assert_eq!(*plan.assignments["uid-001"].target, set(&[("a", 2)]), "who serves here tries what is new");
}

#[test]
fn what_never_came_to_run_gives_no_right_to_try_something_else() {
    let told = |target: Set| {
        Some(rollout::Assignment {
            target: Arc::new(target),
            fallback: Arc::new(set(&[("a", 1)])),
            generation: 5,
            superseded: vec![],
        })
    };
    let waits = Instance {
        assigned: told(set(&[("a", 1), ("b", 1)])),
        waiting: Some(NOW),
        moving: true,
        busy: ["b".to_owned()].into(),
        ..pod(0, &[("a", 1)])
    };
    let policy = rollout::Policy { partition: Amount::Count(1), ..Default::default() };
    let mut trial = trial("a", 2);
    trial.canary = None;
    let plan = pass(&moving(trial), &Input { policy, ..input(vec![waits]) });
    assert_eq!(*plan.assignments["uid-000"].target, set(&[("a", 1)]), "the partition keeps a as it is");
}

#[test]
fn what_is_being_left_gives_no_right_to_try_something_else() {
    let left = pod(0, &[("a", 1), ("c", 1)]);
    let policy = rollout::Policy { partition: Amount::Count(1), ..Default::default() };
    let plan = pass(&moving(proven_trial("a", 2)), &Input { policy, ..input(vec![left]) });
    assert_eq!(*plan.assignments["uid-000"].target, set(&[("a", 1)]), "it lets c go, and the partition keeps a");
}

#[test]
fn a_canary_that_runs_what_it_tries_keeps_its_turn_at_what_it_waits_for() {
    let of = |plugin| Trial { canary: Some("uid-000".into()), ..trial(plugin, 2) };
    let state = State {
        target: Some(set(&[("a", 1), ("b", 2), ("c", 2)])),
        trials: [("b".to_owned(), of("b")), ("c".to_owned(), of("c"))].into(),
        ..moving(trial("a", 1))
    };
    let target = Arc::new(set(&[("a", 1), ("b", 2), ("c", 2)]));
    let fallback = Arc::new(set(&[("a", 1)]));
    let canary = Instance {
        serving: Arc::new(set(&[("a", 1), ("b", 2)])),
        assigned: Some(rollout::Assignment { target, fallback, generation: 5, superseded: vec![] }),
        waiting: Some(NOW),
        moving: true,
        busy: ["c".to_owned()].into(),
        ..pod(0, &[("a", 1)])
    };
    let plugins: BTreeMap<_, _> = ["a", "b", "c"].map(|plugin| (plugin.to_owned(), "t".to_owned())).into();
    // Both plugins are one group: nobody else can try c while b is tried.
    let requires: BTreeMap<_, _> = [(id("c", 2), vec!["b".to_owned()])].into();
    let plan = pass(&state, &Input { plugins, requires, ..input(vec![canary, pod(1, &[("a", 1)])]) });
    assert_eq!(plan.assignments["uid-000"].target.get("c"), Some(&id("c", 2)), "its turn would help nobody");
    assert_eq!(plan.assignments["uid-001"].target.get("c"), None);
}

/// `b` 1 is stable, and `a` 1 is new.
fn newcomer(target_b: u32, trials: Vec<(&str, Trial)>) -> State {
    State {
        plan_generation: 9,
        stable: Some(set(&[("b", 1)])),
        target: Some(set(&[("a", 1), ("b", target_b)])),
        trials: trials.into_iter().map(|(plugin, trial)| (plugin.to_owned(), trial)).collect(),
        ..State::default()
    }
}

fn told(target: &[(&str, u32)], generation: i64) -> Option<rollout::Assignment> {
    let fallback = Arc::new(set(&[("b", 1)]));
    Some(rollout::Assignment { target: Arc::new(set(target)), fallback, generation, superseded: vec![] })
}

/// It has been told `a` too, which cannot be loaded there.
fn waits_for_a(number: usize, b: u32, generation: i64) -> Instance {
    Instance {
        assigned: told(&[("a", 1), ("b", b)], generation),
        accepted: generation,
        waiting: Some(NOW),
        moving: true,
        busy: ["a".to_owned()].into(),
        ..pod(number, &[("b", b)])
    }
}

fn of_a_and_b(instances: Vec<Instance>) -> Input {
    let plugins: BTreeMap<_, _> = ["a", "b"].map(|plugin| (plugin.to_owned(), "t".to_owned())).into();
    Input { plugins, ..input(instances) }
}

#[test]
fn going_back_does_not_wait_for_a_newcomer_of_its_group() {
    let state = newcomer(1, vec![("a", trial("a", 1))]);
    let left = Instance { assigned: told(&[("b", 3)], 5), ..pod(1, &[("b", 3)]) };
    let requires: BTreeMap<_, _> = [(id("a", 1), vec!["b".to_owned()])].into();
    let plan = pass(&state, &Input { requires, ..of_a_and_b(vec![waits_for_a(0, 1, 9), left]) });
    assert_eq!(*plan.assignments["uid-001"].target, set(&[("b", 1)]));
}

#[test]
fn those_whose_environment_failed_take_turns() {
    let state = newcomer(1, vec![("a", Trial { canary: None, ..trial("a", 1) })]);
    let failure = Failure { class: FailureClass::Environment, ..failure("f", "a", 1, false) };
    let hindered = |number, generation| Instance {
        failures: vec![failure.clone()],
        assigned: told(&[("b", 1)], generation),
        accepted: 9,
        ..pod(number, &[("b", 1)])
    };
    let plan = pass(&state, &of_a_and_b(vec![hindered(0, 9), hindered(1, 7), hindered(2, 8)]));
    let tries = |id: &str| plan.assignments[id].target.contains_key("a");
    assert_eq!(["uid-000", "uid-001", "uid-002"].map(tries), [false, true, false], "it was told last longest ago");
}

#[test]
fn nobody_lets_go_for_one_that_could_not_move_then() {
    let state = newcomer(2, vec![("a", trial("a", 1)), ("b", proven_trial("b", 2))]);
    let unproven = Instance { proven: Arc::new(set(&[("b", 1)])), ..waits_for_a(0, 2, 9) };
    let fresh = || Instance { assigned: told(&[("b", 1)], 5), ..pod(1, &[("b", 1)]) };
    let told_a = |canary: Instance, fresh| {
        let plan = pass(&state, &of_a_and_b(vec![canary, fresh]));
        plan.assignments["uid-000"].target.contains_key("a")
    };
    assert!(told_a(unproven, fresh()), "the window of one is taken by b");
    let proven = Instance { proven: Arc::new(set(&[("b", 2)])), ..waits_for_a(0, 2, 9) };
    assert!(!told_a(proven, fresh()), "there is room, and who never failed comes first");
}

#[test]
fn what_is_down_costs_the_window_nothing_but_what_it_has_on_trial_besides() {
    let state = State {
        plan_generation: 5,
        stable: Some(set(&[("a", 1), ("d", 1)])),
        target: Some(set(&[("a", 3), ("d", 2)])),
        trials: [("a", trial("a", 3)), ("d", proven_trial("d", 2))].map(|(p, t)| (p.to_owned(), t)).into(),
        ..State::default()
    };
    let down = Down { reason: "Crashed".into(), message: "no memory".into(), stuck: false, refuses: false };
    let down = |proven: &[(&str, u32)]| Instance {
        ready: false,
        down: [("a".to_owned(), down.clone())].into(),
        proven: Arc::new(set(proven)),
        ..pod(0, &[("a", 2), ("d", 2)])
    };
    let plugins: BTreeMap<_, _> = ["a", "d"].map(|plugin| (plugin.to_owned(), "t".to_owned())).into();
    let begins_d = |down| {
        let input = Input { plugins: plugins.clone(), ..input(vec![down, pod(1, &[("a", 1), ("d", 1)])]) };
        pass(&state, &input).assignments["uid-001"].target.get("d") == Some(&id("d", 2))
    };
    assert!(!begins_d(down(&[])), "d is on trial there");
    assert!(begins_d(down(&[("d", 2)])));
}

#[test]
fn what_all_were_told_before_anything_was_stable_is_tried_by_one_from_then_on() {
    let state = newcomer(1, vec![("a", Trial { canary: None, ..trial("a", 1) })]);
    let loads_a = |number| {
        let assigned =
            told(&[("a", 1), ("b", 1)], 5).map(|told| rollout::Assignment { fallback: Arc::default(), ..told });
        Instance { waiting: None, assigned, ..waits_for_a(number, 1, 5) }
    };
    let plan = pass(&state, &of_a_and_b(vec![loads_a(0), loads_a(1), loads_a(2)]));
    let tries = |id: &str| plan.assignments[id].target.contains_key("a");
    assert_eq!(["uid-000", "uid-001", "uid-002"].map(tries), [true, false, false]);
}

#[test]
fn a_canary_that_waits_does_not_keep_for_itself_what_the_partition_leaves_to_one() {
    let state = newcomer(1, vec![("a", trial("a", 1))]);
    let fresh = |number| Instance { assigned: told(&[("b", 1)], 5), ..pod(number, &[("b", 1)]) };
    let policy = rollout::Policy { partition: Amount::Count(2), ..Default::default() };
    let plan = pass(&state, &Input { policy, ..of_a_and_b(vec![waits_for_a(0, 1, 9), fresh(1), fresh(2)]) });
    assert!(!plan.assignments["uid-000"].target.contains_key("a"), "who never failed comes first");
    assert!(plan.assignments.values().all(|told| !told.target.contains_key("a")), "it has not let go yet");
}

#[test]
fn who_waits_to_go_back_takes_no_claim_from_one_that_could_let_go() {
    let stable = [("b", 1), ("c", 1)];
    let state = State {
        plan_generation: 9,
        stable: Some(set(&stable)),
        target: Some(set(&[("b", 2), ("c", 1)])),
        trials: [("b".to_owned(), proven_trial("b", 2))].into(),
        ..State::default()
    };
    let waits = |number, since, busy: &str, serving: &[(&str, u32)]| Instance {
        assigned: told(&[("b", 2), ("c", 1)], 8),
        accepted: 8,
        waiting: Some(NOW - since),
        moving: true,
        busy: [busy.to_owned()].into(),
        ..pod(number, serving)
    };
    let fresh = Instance { assigned: told(&stable, 5), ..pod(2, &stable) };
    let instances = vec![waits(0, 60_000, "c", &[("b", 2), ("c", 2)]), waits(1, 40_000, "b", &stable), fresh];
    let plugins: BTreeMap<_, _> = ["b", "c"].map(|plugin| (plugin.to_owned(), "t".to_owned())).into();
    let policy = rollout::Policy { max_unavailable: Amount::Count(2), ..Default::default() };
    let plan = pass(&state, &Input { plugins, policy, ..input(instances) });
    assert_eq!(*plan.assignments["uid-001"].target, set(&stable), "it lets go");
    assert_eq!(*plan.assignments["uid-000"].target, set(&[("b", 2), ("c", 1)]));
}

#[test]
fn going_back_gives_no_right_to_try_something_beside_the_window() {
    let state = newcomer(1, vec![("a", Trial { canary: None, ..trial("a", 1) })]);
    let left = Instance { assigned: told(&[("b", 3)], 5), ..pod(0, &[("b", 3)]) };
    let unready = Instance { ready: false, assigned: told(&[("b", 1)], 5), ..pod(1, &[("b", 1)]) };
    let plan = pass(&state, &of_a_and_b(vec![left, unready]));
    assert_eq!(*plan.assignments["uid-000"].target, set(&[("b", 1)]), "the window of one is taken");
}
