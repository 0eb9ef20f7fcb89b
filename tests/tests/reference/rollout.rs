//! B: practices of rolling out. Several instances are led by the operator's planner on a clock of the test: five minutes
//! of watching are asserted without waiting for them.

use crate::{
    app::App,
    calls::{alive, requires},
    postgres::Postgres,
    tables::{column, rows},
    world::{World, plugin},
};
use rockstar_core::{
    revision::RevisionId,
    rollout::{self, Amount, Failure, FailureClass, Input, Instance, Policy, Presence, Set, State},
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, path::Path, sync::Arc};

const WATCHED: i64 = 300_000;
const TICK: i64 = 10_000;

/// Instances that do what they are told at once.
struct Fleet {
    now: i64,
    state: State,
    instances: Vec<Instance>,
    /// By instance: since when it runs what it runs.
    since: BTreeMap<String, i64>,
    /// A version that fails wherever it is tried.
    bad: Option<RevisionId>,
}

fn revision(version: u32) -> RevisionId {
    RevisionId(format!("p-{version}"))
}

fn only(version: u32) -> Set {
    [("p".to_owned(), revision(version))].into()
}

fn instance(number: usize) -> Instance {
    Instance {
        id: format!("server{number}"),
        name: format!("server{number}"),
        created: 0,
        transient: false,
        presence: Presence::Connected,
        expected: true,
        new: false,
        ready: true,
        down: [].into(),
        seen_since: 0,
        away_since: None,
        accepted: 0,
        moving: false,
        busy: [].into(),
        waiting: None,
        serving: Arc::default(),
        proven: Arc::default(),
        failures: Vec::new(),
        assigned: None,
    }
}

impl Fleet {
    /// Three that have long run version 1.
    fn new() -> Self {
        let instances = (1..=3).map(instance).collect();
        let mut fleet = Self { now: 0, state: State::default(), instances, since: BTreeMap::new(), bad: None };
        while fleet.state.stable != Some(only(1)) {
            fleet.pass(1);
        }
        fleet
    }

    /// One look of the operator, for which the spec wants this version; then a while goes by.
    fn pass(&mut self, version: u32) {
        self.prove();
        let input = Input {
            now: self.now,
            policy: Policy { max_unavailable: Amount::Count(1), ..Policy::default() },
            plugins: [("p".to_owned(), version.to_string())].into(),
            requires: [1, 2].map(|v| (revision(v), Vec::new())).into(),
            instances: self.instances.clone(),
            ..Input::default()
        };
        let judged = rollout::judge(&self.state, &input);
        let failed = judged.state.failed.contains_key("p");
        let wanted = if failed { only(1) } else { only(version) };
        let plan = rollout::plan(judged, &wanted, &input);
        let (now, bad) = (self.now, self.bad.clone());
        for instance in &mut self.instances {
            let Some(told) = plan.assignments.get(&instance.id) else { continue };
            instance.accepted = plan.state.plan_generation;
            instance.assigned = Some(told.clone());
            match told.target.get("p").filter(|revision| Some(*revision) == bad.as_ref()) {
                Some(revision) if instance.failures.is_empty() => instance.failures.push(failure(revision, now)),
                Some(_) => {}
                None if instance.serving != told.target => {
                    instance.serving = Arc::clone(&told.target);
                    self.since.insert(instance.id.clone(), now);
                }
                None => {}
            }
        }
        self.state = plan.state;
        self.now += TICK;
    }

    fn prove(&mut self) {
        for instance in &mut self.instances {
            let watched = self.since.get(&instance.id).is_some_and(|since| self.now - since >= WATCHED);
            instance.proven = if watched { Arc::clone(&instance.serving) } else { Arc::default() };
        }
    }

    fn on(&self, version: u32) -> usize {
        self.instances.iter().filter(|i| *i.serving == only(version)).count()
    }
}

fn failure(revision: &RevisionId, at: i64) -> Failure {
    Failure {
        id: "failure".to_owned(),
        plugin: "p".to_owned(),
        revision: revision.clone(),
        class: FailureClass::Revision,
        reason: "InitializeFailed".to_owned(),
        message: "plugin initialization failed: no".to_owned(),
        at,
        plan_generation: i64::MAX,
        shared: false,
    }
}

#[test]
fn rb_1_one_instance_is_watched_then_the_next() {
    let mut fleet = Fleet::new();
    while fleet.state.stable != Some(only(2)) {
        fleet.pass(2);
        let unwatched =
            fleet.instances.iter().filter(|i| *i.serving == only(2) && fleet.now - fleet.since[&i.id] <= WATCHED);
        assert!(unwatched.count() <= 1);
        assert!(fleet.now < 100 * WATCHED, "it never ends: {:?}", fleet.state);
    }
    let mut moved: Vec<_> = fleet.since.values().copied().collect();
    moved.sort_unstable();
    let pauses: Vec<_> = moved.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(pauses.len() == 2 && pauses.iter().all(|pause| *pause >= WATCHED), "{pauses:?}");
    // A version that fails in the first one goes nowhere else.
    let mut fleet = Fleet::new();
    fleet.bad = Some(revision(2));
    (0..100).for_each(|_| fleet.pass(2));
    let tried = fleet.instances.iter().filter(|i| !i.failures.is_empty()).count();
    assert_eq!((tried, fleet.on(1), fleet.state.stable), (1, 3, Some(only(1))));
}

/// One of several servers: the plugin's files and the engines are those of all, sidecar and trace its own.
async fn server(files: &Path, engines: &Value) -> World {
    let mut world = World::new();
    let config = json!({"trace": world.path().join("trace")});
    let entry = json!({
        "name": "p", "path": files, "config": config, "permissions": {"filesystem": true}, "failure_policy": "open",
    });
    let file = json!({"framework": {"version": "1.5.0"}, "backends": engines, "plugins": {"plugins": [entry]}});
    world.write("plugins.json", &file.to_string());
    world.start();
    world.until_status("p", "running").await;
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn rb_2_a_reload_leaves_other_instances_alone() {
    let (postgres, disk) = (Postgres::start(), World::new());
    let engines = json!({"database": {"url": postgres.url()}});
    let p = plugin("p", json!([{"type": "pre_request", "do": "fail no"}])).life(json!({}));
    disk.install(&p);
    let files = disk.directory_of("p");
    let (first, second) = (server(&files, &engines).await, server(&files, &engines).await);
    let (pid, trace) = (second.pid_of("p"), second.trace());
    disk.install(&p.version("1.1.0"));
    assert_eq!(first.post("/admin/plugins/p/reload").await.status, 200);
    assert_eq!(first.trace().len(), 6);
    // What the new version does is seen in the tables of both.
    assert_eq!(App::new(&first).await.get("/").await.status, 200);
    let common = "SELECT count(*), sum(error_count) FROM rockstar_plugins WHERE name = 'p'";
    rows(&first, &postgres, common, |rows| column(rows, 0) == ["2"] && column(rows, 1) == ["1"]).await;
    assert_eq!((second.pid_of("p"), second.trace()), (pid, trace));
    assert_eq!((first.version("p").await.as_str(), second.version("p").await.as_str()), ("1.1.0", "1.0.0"));
    let health = second.health("p").await.unwrap();
    assert_eq!((health.status.as_str(), health.error_count), ("running", 0));
}

#[tokio::test]
async fn rb_8_versions_are_ordered_as_semantic_versions() {
    let versions = ["1.0.9", "1.0.10", "1.1.0", "2.0.0"];
    let world = World::idle().await;
    for (place, version) in versions.into_iter().enumerate() {
        world.load(&alive("p", json!({})).version(version)).await.unwrap();
        for (other_place, other) in versions.into_iter().enumerate() {
            let needs = requires(&[("p", &format!(">={other}"))]);
            let fits = world.load(&alive("q", json!({})).manifest(needs)).await.is_ok();
            assert_eq!(fits, place >= other_place, "{version} against {other}");
            if fits {
                world.unload("q").await.unwrap();
            }
        }
        world.unload("p").await.unwrap();
    }
    world.running(&alive("p", json!({})).version("1.0.10")).await;
    world.install(&alive("p", json!({})).version("1.0.9"));
    assert_eq!((world.reload_plugin("p").await, world.version("p").await), (Ok(()), "1.0.9".to_owned()));
}
