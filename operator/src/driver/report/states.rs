//! The objects of every state that users can meet, composed by the driver's own steps, as `tests/health/states` has them:
//! what GitOps tools make of them is tested there. `just health-states` writes them anew.

use super::{Lacking, Report, compose, orphan, recovering, remember, unusable};
use crate::{
    driver::{
        fixtures::{self, attached, merge, pass, plugin, pod},
        memory::Memory,
        observe::Observed,
        plan,
    },
    world::{Pod, PodPhase, Unreadable, ValueRef},
};
use k8s_openapi::jiff::Timestamp;
use kube::CustomResourceExt;
use rockstar_crds::{Plugin, plugin::KeyRef};
use rockstar_proto::control::{FailureRecord, GroupState, PluginState, failure_record::Class, group_state::Outcome};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use std::{collections::BTreeMap, env, fs, path::PathBuf, sync::Arc};

/// Milliseconds between two passes.
const STEP: i64 = 3_000;
const MINUTE: i64 = 60_000;
/// Longer than the default progress deadline.
const PAST_DEADLINE: i64 = 11 * MINUTE;

/// A host with its pods, over several passes; what a pass reports is in the objects of the next one.
struct Fixture {
    observed: Observed,
    memory: Memory,
    /// Plugins that this version cannot decode, as they are stored.
    undecoded: Vec<Arc<Plugin>>,
    /// The Plugins' host does not exist.
    host_missing: bool,
}

impl Fixture {
    /// Three pods that run these plugins.
    fn running(plugins: impl IntoIterator<Item = Value>) -> Self {
        let mut fixture = Self::new(plugins, 3);
        fixture.settle();
        fixture
    }

    fn new(plugins: impl IntoIterator<Item = Value>, pods: usize) -> Self {
        let mut observed = fixtures::observed(plugins);
        observed.view.pods = (1..=pods).map(|n| Pod { started: true, ..pod(&format!("web-{n}")) }).collect();
        observed.attached = observed.view.pods.iter().map(|pod| attached(&pod.name, 0, &[])).collect();
        let mut fixture = Self { observed, memory: Memory::default(), undecoded: Vec::new(), host_missing: false };
        fixture.change_host(json!({"metadata": {"generation": 1}}));
        fixture
    }

    /// One pass, whose report is taken for written.
    fn reconcile(&mut self) {
        self.observed.now += STEP;
        let pass = pass(&self.observed, &mut self.memory);
        self.memory.assigned.extend(pass.decision.plan.assignments.clone());
        let report = compose(&self.observed, &pass.settings, &pass.catalog, &pass.decision, &self.memory);
        let report = match self.memory.recovery.is_under_way() {
            true => recovering(&self.observed, &pass.catalog, report),
            false => report,
        };
        self.memory.recovery = self.memory.recovery.stored();
        remember(&mut self.memory, &report, &self.observed);
        self.write(report);
    }

    fn write(&mut self, report: Report) {
        let now = self.observed.now;
        for object in self.observed.view.plugins.iter_mut().chain(&mut self.undecoded) {
            let name = object.metadata.name.clone().unwrap();
            let Some(status) = report.plugins.get(&name) else { continue };
            Arc::make_mut(object).status = Some(status.clone());
            self.memory.reported.plugins.insert(name, (status.clone(), now));
        }
        for object in &mut self.observed.view.unreadable {
            object.status = report.plugins.get(&object.name).cloned();
        }
        Arc::make_mut(self.observed.view.host.as_mut().unwrap()).status = Some(report.host.clone());
        self.memory.reported.host = Some((report.host, now));
    }

    /// The connected instance runs what it was told; is it proven?
    fn obey(&mut self, name: &str, proven: bool) {
        let Some(assignment) = self.memory.assigned.get(name) else { return };
        let running: Vec<_> = assignment.target.iter().map(|(p, r)| (p.as_str(), r.0.as_str())).collect();
        let mut instance = attached(name, u64::try_from(assignment.generation).unwrap(), &running);
        let report = Arc::make_mut(&mut instance.report);
        for state in &mut report.plugins {
            let before = self.observed.attached.iter().find(|a| a.pod == name).unwrap();
            let same = |old: &&PluginState| old.plugin == state.plugin && old.revision == state.revision;
            state.proven = proven || before.report.plugins.iter().find(same).is_some_and(|old| old.proven);
        }
        let place = self.observed.attached.iter_mut().find(|a| a.pod == name).unwrap();
        *place = instance;
        self.pod(name).ready = true;
    }

    /// Passes until everybody runs what is to run.
    fn settle(&mut self) {
        for _ in 0..12 {
            self.reconcile();
            let names: Vec<_> = self.observed.attached.iter().map(|a| a.pod.clone()).collect();
            names.iter().for_each(|name| self.obey(name, true));
        }
        self.reconcile();
    }

    /// Passes with nothing new from the instances.
    fn wait(&mut self, time: i64) {
        self.observed.now += time;
        self.reconcile();
        self.reconcile();
    }

    /// Passes until the change has settled and the first instance is told.
    fn begin(&mut self) {
        (0..4).for_each(|_| self.reconcile());
    }

    /// As `kubectl edit` would: the object's next generation, which the operator has not seen yet.
    fn change(&mut self, name: &str, extra: Value) {
        let object = self.observed.view.plugins.iter_mut().find(|p| p.metadata.name.as_deref() == Some(name)).unwrap();
        *object = Arc::new(next(object.as_ref(), extra));
    }

    fn change_host(&mut self, extra: Value) {
        let host = self.observed.view.host.as_ref().unwrap();
        self.observed.view.host = Some(Arc::new(next(host.as_ref(), extra)));
    }

    fn apply(&mut self, plugin: Value) {
        self.observed.view.plugins.push(Arc::new(serde_json::from_value(plugin).unwrap()));
    }

    fn disconnect(&mut self, name: &str) {
        self.observed.attached.retain(|instance| instance.pod != name);
    }

    /// Another operator begins with what is stored, before any sidecar is back.
    fn take_over(&mut self) {
        self.memory =
            Memory { state: self.memory.state.clone(), known: self.memory.known.clone(), ..Memory::default() };
        self.observed.attached.clear();
    }

    /// The one instance that was told another revision of the plugin than it runs.
    fn told(&self, plugin: &str) -> String {
        let lacks = |name: &str| {
            let target = self.memory.assigned.get(name)?.target.get(plugin)?;
            let instance = self.observed.attached.iter().find(|a| a.pod == name)?;
            let runs = instance.report.plugins.iter().any(|s| s.plugin == plugin && s.revision == target.0);
            (!runs).then(|| name.to_owned())
        };
        self.observed.view.pods.iter().find_map(|pod| lacks(&pod.name)).unwrap()
    }

    /// What an instance says of a plugin.
    fn state(&mut self, pod: &str, plugin: &str, set: impl FnOnce(&mut PluginState)) {
        let instance = self.observed.attached.iter_mut().find(|a| a.pod == pod).unwrap();
        let report = Arc::make_mut(&mut instance.report);
        set(report.plugins.iter_mut().find(|state| state.plugin == plugin).unwrap());
        report.ready = report.plugins.iter().all(|state| state.status == "running");
        let ready = report.ready;
        self.pod(pod).ready = ready;
    }

    fn pod(&mut self, name: &str) -> &mut Pod {
        self.observed.view.pods.iter_mut().find(|pod| pod.name == name).unwrap()
    }

    /// The instance has accepted what it was told, and runs what it ran.
    fn accept(&mut self, name: &str, plugin: &str, outcome: Outcome, failure: &str) {
        let generation = self.memory.assigned[name].generation;
        let instance = self.observed.attached.iter_mut().find(|a| a.pod == name).unwrap();
        let report = Arc::make_mut(&mut instance.report);
        report.plan_generation = u64::try_from(generation).unwrap();
        report.host_uid = "host".into();
        report.groups =
            vec![GroupState { plugins: vec![plugin.into()], outcome: outcome.into(), failure: failure.into() }];
    }

    /// The instance that was told so fails, and is as before.
    fn fail(&mut self, plugin: &str, class: Class, reason: &str, message: &str) {
        let name = self.told(plugin);
        let told = self.memory.assigned[&name].clone();
        let generation = u64::try_from(told.generation).unwrap();
        let record = FailureRecord {
            id: format!("{name}-{reason}"),
            plugin: plugin.into(),
            revision: told.target[plugin].0.clone(),
            class: class.into(),
            reason: reason.into(),
            message: message.into(),
            at_unix_ms: self.observed.now,
            plan_generation: generation,
            ..FailureRecord::default()
        };
        let outcome = if class == Class::Revision { Outcome::RolledBack } else { Outcome::Waiting };
        self.accept(&name, plugin, outcome, &record.id);
        let instance = self.observed.attached.iter_mut().find(|a| a.pod == name).unwrap();
        instance.failures = Arc::new([(record.id.clone(), record)].into());
    }

    /// The objects as documents, Plugins first.
    fn documents(&self) -> String {
        let plugins = self.observed.view.plugins.iter().chain(&self.undecoded).map(|p| document(p.as_ref()));
        let host = (!self.host_missing).then(|| document(self.observed.view.host.as_ref().unwrap().as_ref()));
        plugins.chain(host).collect::<Vec<_>>().join("---\n")
    }
}

/// As the API server hands it out: with the default status where nobody has written one yet.
fn document<K: Serialize + CustomResourceExt>(object: &K) -> String {
    let mut value = serde_json::to_value(object).unwrap();
    let definition = serde_json::to_value(K::crd()).unwrap();
    let default = definition.pointer("/spec/versions/0/schema/openAPIV3Schema/properties/status/default");
    if value.get("status").is_none_or(Value::is_null) {
        value["status"] = default.cloned().unwrap_or_default();
    }
    serde_yaml::to_string(&value).unwrap()
}

fn next<K: Serialize + DeserializeOwned>(object: &K, extra: Value) -> K {
    let mut value = serde_json::to_value(object).unwrap();
    let generation = value["metadata"]["generation"].as_i64().unwrap_or_default();
    merge(&mut value, json!({"metadata": {"generation": generation + 1}}));
    merge(&mut value, extra);
    serde_json::from_value(value).unwrap()
}

fn version(version: &str) -> Value {
    json!({"spec": {"manifest": {"version": version}}})
}

fn auth() -> Value {
    plugin("auth", "1.0.0", json!({}))
}

fn states() -> BTreeMap<&'static str, Fixture> {
    let all = [moving(), waiting(), failing(), spec(), serving(), pods(), host()];
    all.into_iter().flatten().collect()
}

type States = Vec<(&'static str, Fixture)>;

/// Version 1.0.0 runs, 1.1.0 is applied, one instance is told.
fn upgrading(host: Value) -> Fixture {
    let mut fixture = Fixture::running([auth()]);
    fixture.change_host(host);
    fixture.change("auth", version("1.1.0"));
    fixture.begin();
    fixture
}

fn rollout(settings: Value) -> Value {
    json!({"spec": {"rollout": settings}})
}

/// On its way to what the spec asks for.
fn moving() -> States {
    let created = Fixture::new([auth()], 3);
    let mut first_set = Fixture::new([auth()], 3);
    first_set.begin();
    let mut edited = Fixture::running([auth()]);
    edited.change("auth", version("1.1.0"));
    edited.change_host(rollout(json!({"maxUnavailable": 1})));
    let mut canary = upgrading(json!({}));
    let first = canary.told("auth");
    canary.obey(&first, false);
    canary.reconcile();
    let mut config_edited = Fixture::running([auth()]);
    config_edited.change("auth", json!({"spec": {"config": {"level": "debug"}}}));
    config_edited.begin();
    let mut config_taken = Fixture::running([auth()]);
    config_taken.change("auth", json!({"spec": {"config": {"level": "debug"}}}));
    config_taken.settle();
    let mut unloading = Fixture::running([auth()]);
    unloading.change("auth", json!({"spec": {"enabled": false}}));
    unloading.begin();
    let mut deleted = Fixture::running([auth(), plugin("cache", "1.0.0", json!({}))]);
    deleted.observed.view.plugins.retain(|object| object.metadata.name.as_deref() == Some("auth"));
    deleted.begin();
    let mut stopping = Fixture::running([auth(), plugin("cache", "1.0.0", json!({}))]);
    stopping.observed.view.plugins.retain(|object| object.metadata.name.as_deref() == Some("auth"));
    stopping.begin();
    ["web-1", "web-2", "web-3"].iter().for_each(|pod| stopping.accept(pod, "cache", Outcome::Moving, ""));
    stopping.reconcile();
    let ready = Fixture::running([auth()]);
    vec![
        ("created", created),
        ("first-set", first_set),
        ("edited", edited),
        ("canary", canary),
        ("config-edited", config_edited),
        ("config-taken", config_taken),
        ("unloading", unloading),
        ("another-deleted", deleted),
        ("another-deleted-and-stopping", stopping),
        ("ready", ready),
    ]
}

/// Held by somebody's own setting.
fn waiting() -> States {
    let mut disabled = Fixture::running([auth()]);
    disabled.change("auth", json!({"spec": {"enabled": false}}));
    disabled.settle();
    let mut host_disabled = Fixture::running([auth()]);
    host_disabled.change_host(json!({"spec": {"enabled": false}}));
    host_disabled.settle();
    let paused = upgrading(rollout(json!({"paused": true})));
    let mut partition = upgrading(rollout(json!({"partition": 2})));
    partition.settle();
    vec![("disabled", disabled), ("host-disabled", host_disabled), ("paused", paused), ("partition", partition)]
}

/// A revision that cannot be had, or does not work.
fn failing() -> States {
    let fails = |mut fixture: Fixture| {
        fixture.fail("auth", Class::Revision, "InitializeFailed", "cannot connect to db:5432");
        fixture.settle();
        fixture
    };
    let mut halted = upgrading(rollout(json!({"onFailure": "Halt", "failureThreshold": 1})));
    let first = halted.told("auth");
    halted.obey(&first, true);
    halted.begin();
    let mut registry = upgrading(json!({}));
    registry.fail("auth", Class::Environment, "RegistryUnavailable", "connection refused");
    registry.reconcile();
    let mut stalled = upgrading(json!({}));
    stalled.fail("auth", Class::Environment, "RegistryUnavailable", "connection refused");
    stalled.wait(PAST_DEADLINE);
    let mut newcomer = Fixture::running([auth()]);
    newcomer.apply(plugin("cache", "1.0.0", json!({})));
    newcomer.begin();
    newcomer.fail("cache", Class::Revision, "InitializeFailed", "no such table");
    newcomer.settle();
    let mut newcomer_stalled = Fixture::running([auth()]);
    newcomer_stalled.apply(plugin("cache", "1.0.0", json!({})));
    newcomer_stalled.begin();
    newcomer_stalled.fail("cache", Class::Environment, "RegistryUnavailable", "connection refused");
    newcomer_stalled.wait(PAST_DEADLINE);
    ["web-1", "web-2", "web-3"].iter().for_each(|pod| newcomer_stalled.accept(pod, "cache", Outcome::Waiting, ""));
    newcomer_stalled.reconcile();
    let mut first_set_stalled = Fixture::new([auth()], 3);
    first_set_stalled.begin();
    first_set_stalled.fail("auth", Class::Environment, "RegistryUnavailable", "connection refused");
    first_set_stalled.wait(PAST_DEADLINE);
    let mut beside = Fixture::running([auth(), plugin("cache", "1.0.0", json!({}))]);
    beside.change("auth", version("1.1.0"));
    beside.begin();
    beside.fail("auth", Class::Revision, "InitializeFailed", "cannot connect to db:5432");
    beside.settle();
    beside.change("cache", version("1.1.0"));
    beside.begin();
    let mut first_set = Fixture::new([auth()], 3);
    first_set.begin();
    first_set.fail("auth", Class::Revision, "InitializeFailed", "cannot connect to db:5432");
    first_set.reconcile();
    first_set.reconcile();
    vec![
        ("registry-away", registry),
        ("stalled-by-environment", stalled),
        ("rolled-back", fails(upgrading(json!({})))),
        ("halted", fails(halted)),
        ("newcomer-failed", newcomer),
        ("rolled-back-while-another-moves", beside),
        ("newcomer-stalled-by-environment", newcomer_stalled),
        ("first-set-stalled-by-environment", first_set_stalled),
        ("first-set-failed", first_set),
    ]
}

/// A spec that asks for what cannot be.
fn spec() -> States {
    let cache = |version: &str| plugin("cache", version, json!({}));
    let needs = |version: &str| {
        let needs = json!([{"name": "cache", "version": version}]);
        json!({"spec": {"manifest": {"version": "1.1.0", "dependencies": needs}}})
    };
    let later = |mut fixture: Fixture| {
        fixture.wait(MINUTE);
        fixture
    };
    let secret_missing = || {
        let secret = KeyRef { name: "auth".into(), key: "level".into() };
        let mut fixture = Fixture::running([auth()]);
        fixture.change("auth", json!({"spec": {"configFrom": [{"key": "level", "secretKeyRef": &secret}]}}));
        fixture.observed.values.insert(ValueRef::Secret(secret), Err("Secret shop/auth not found".into()));
        fixture.begin();
        fixture
    };
    let refused = |extra: Value| {
        let mut fixture = Fixture::running([auth()]);
        fixture.change("auth", extra);
        fixture.begin();
        fixture
    };
    let mut held_back = Fixture::running([auth(), cache("1.0.0")]);
    held_back.change("auth", needs(">=2.0.0"));
    held_back.settle();
    let held_back = later(held_back);
    let mut holds_back = Fixture::new([auth(), cache("1.0.0")], 3);
    holds_back.change("auth", needs("<2.0.0"));
    holds_back.settle();
    holds_back.change("cache", version("2.0.0"));
    holds_back.settle();
    let holds_back = later(holds_back);
    let mut ceiling = Fixture::running([plugin("auth", "1.0.0", json!({"spec": {"permissions": {"network": true}}}))]);
    ceiling.change_host(json!({"spec": {"permissionCeiling": ["cache"]}}));
    ceiling.reconcile();
    let mut duplicate = Fixture::running([auth()]);
    let named = json!({"metadata": {"name": "auth-again", "creationTimestamp": "2026-01-01T00:00:00Z"}});
    duplicate.apply(plugin("auth", "1.0.0", named));
    duplicate.begin();
    vec![
        ("refused-manifest", refused(version("one"))),
        ("refused-config", refused(json!({"spec": {"config": {"level": 7}}}))),
        ("secret-missing-at-first", secret_missing()),
        ("secret-missing", later(secret_missing())),
        ("missing-dependency-at-first", refused(needs(">=1.0.0"))),
        ("missing-dependency", later(refused(needs(">=1.0.0")))),
        ("held-back", held_back),
        ("holds-another-back", holds_back),
        ("above-ceiling", ceiling),
        ("duplicate", duplicate),
    ]
}

/// What ran everywhere, and does not any more.
fn serving() -> States {
    let down = |pods: &[&str], set: &dyn Fn(&mut PluginState)| {
        let mut fixture = Fixture::running([auth()]);
        pods.iter().for_each(|pod| fixture.state(pod, "auth", set));
        fixture.reconcile();
        fixture
    };
    let crashed = |state: &mut PluginState| {
        state.status = "error".into();
        state.last_error = "plugin process ended unexpectedly: exit code 1".into();
        state.restarts = 1;
    };
    let exhausted = |state: &mut PluginState| {
        crashed(state);
        state.reason = "CrashBudgetExhausted".into();
        state.restarts = 5;
    };
    let disabled = |state: &mut PluginState| {
        state.status = "error".into();
        state.last_error = "handler failed: no route to db".into();
        state.reason = "DisabledByErrorThreshold".into();
        (state.disabled_by_threshold, state.threshold_exceeded) = (true, "100/100 errors in 5m".into());
    };
    let secret_refused = |state: &mut PluginState| {
        state.reason = "SecretRefused".into();
        state.last_error = "password: too short".into();
    };
    let alerting = |state: &mut PluginState| state.threshold_exceeded = "100/100 errors in 5m".into();
    let all = ["web-1", "web-2", "web-3"];
    vec![
        ("down-in-one-pod", down(&["web-2"], &crashed)),
        ("crash-budget-exhausted-in-one-pod", down(&["web-2"], &exhausted)),
        ("crash-budget-exhausted-everywhere", down(&all, &exhausted)),
        ("threshold-disabled", down(&["web-2"], &disabled)),
        ("threshold-alerting", down(&["web-2"], &alerting)),
        ("down-in-most-pods", down(&["web-1", "web-2"], &crashed)),
        ("secret-refused", down(&["web-2"], &secret_refused)),
        ("config-change-refused", config_refused()),
    ]
}

/// OnConfigChange refuses values that fit the schema.
fn config_refused() -> Fixture {
    let mut fixture = Fixture::running([auth()]);
    fixture.change("auth", json!({"spec": {"config": {"level": "loud"}}}));
    fixture.begin();
    let state = |state: &mut PluginState| {
        state.reason = "ConfigChangeRefused".into();
        state.last_error = "level: no such level: loud".into();
    };
    fixture.state("web-1", "auth", state);
    let instance = &mut fixture.observed.attached[0];
    let record = FailureRecord {
        id: "refused".into(),
        plugin: "auth".into(),
        revision: instance.report.plugins[0].revision.clone(),
        class: Class::Revision.into(),
        reason: "ConfigChangeRefused".into(),
        message: "level: no such level: loud".into(),
        at_unix_ms: fixture.observed.now,
        plan_generation: instance.report.plan_generation,
        ..FailureRecord::default()
    };
    instance.failures = Arc::new([(record.id.clone(), record)].into());
    fixture.reconcile();
    fixture
}

/// Pods that are not there, or that nobody hears of.
fn pods() -> States {
    let away = |time: i64| {
        let mut fixture = Fixture::running([auth()]);
        fixture.disconnect("web-2");
        fixture.reconcile();
        fixture.wait(time);
        fixture
    };
    let mut all_away = Fixture::running([auth()]);
    ["web-1", "web-2", "web-3"].iter().for_each(|pod| all_away.disconnect(pod));
    all_away.reconcile();
    all_away.wait(PAST_DEADLINE);
    let mut taken_over = Fixture::running([auth()]);
    taken_over.take_over();
    taken_over.reconcile();
    let mut edited = Fixture::running([auth()]);
    edited.take_over();
    edited.change("auth", version("1.1.0"));
    edited.reconcile();
    let mut never = Fixture::new([auth()], 0);
    never.settle();
    let mut scaled_to_zero = Fixture::running([auth()]);
    scaled_to_zero.observed.view.pods.clear();
    scaled_to_zero.observed.attached.clear();
    scaled_to_zero.reconcile();
    let scaled_up = |time: i64| {
        let mut fixture = Fixture::running([auth()]);
        let created = Timestamp::from_millisecond(fixture.observed.now).unwrap();
        fixture.observed.view.pods.push(Pod { phase: PodPhase::Pending, created, ..pod("web-4") });
        fixture.reconcile();
        fixture.wait(time);
        fixture
    };
    let mut scaled_down = Fixture::running([auth()]);
    scaled_down.observed.view.pods[2].terminating = true;
    scaled_down.disconnect("web-3");
    scaled_down.reconcile();
    scaled_down.wait(2 * MINUTE);
    vec![
        ("away-briefly", away(40_000)),
        ("away", away(2 * MINUTE)),
        ("away-past-deadline", away(PAST_DEADLINE)),
        ("all-away", all_away),
        ("taken-over", taken_over),
        ("taken-over-and-edited", edited),
        ("no-pods-yet", never),
        ("scaled-to-zero", scaled_to_zero),
        ("scaling-up", scaled_up(MINUTE)),
        ("scaling-up-past-deadline", scaled_up(PAST_DEADLINE)),
        ("scaling-down", scaled_down),
    ]
}

/// The host itself is not there, or cannot be used.
fn host() -> States {
    let missing = |time: i64| {
        let (mut fixture, mut lacking) = (Fixture::running([auth()]), Lacking::default());
        fixture.host_missing = true;
        for now in [fixture.observed.now, fixture.observed.now + time] {
            let object = fixture.observed.view.plugins.first_mut().unwrap();
            let status = orphan(object, "auth", &lacking, now);
            lacking.note(&[("auth".to_owned(), status.clone())].into(), now);
            Arc::make_mut(object).status = Some(status);
        }
        fixture
    };
    let unusable_host = |change: &dyn Fn(&mut Fixture)| {
        let mut fixture = Fixture::running([auth()]);
        fixture.change_host(json!({"spec": {"framework": {"version": "1"}}}));
        change(&mut fixture);
        let object = fixture.observed.view.host.clone().unwrap();
        let error = plan::settings(&object.spec).unwrap_err();
        let report = unusable(&object, &error, &fixture.observed.view.plugins, fixture.observed.now);
        fixture.write(report);
        fixture
    };
    let wrong_policy = |change: &dyn Fn(&mut Fixture)| {
        let mut fixture = Fixture::running([auth()]);
        fixture.change_host(rollout(json!({"progressDeadline": "0s"})));
        change(&mut fixture);
        fixture.begin();
        fixture
    };
    let mut backend = Fixture::running([auth()]);
    let secret = json!({"urlFrom": {"secretKeyRef": {"name": "db", "key": "url"}}});
    backend.change_host(json!({"spec": {"backends": {"database": secret}}}));
    backend.reconcile();
    let mut unreadable = Fixture::running([auth(), plugin("cache", "1.0.0", json!({}))]);
    let is_cache = |object: &mut Arc<Plugin>| object.metadata.name.as_deref() == Some("cache");
    let cache = unreadable.observed.view.plugins.extract_if(.., is_cache);
    unreadable.undecoded = cache.map(|object| Arc::new(next(object.as_ref(), json!({})))).collect();
    let status = unreadable.undecoded[0].status.clone();
    unreadable.observed.view.unreadable = vec![Unreadable {
        uid: "cache".into(),
        generation: Some(2),
        name: "cache".into(),
        plugin: Some("cache".into()),
        host: Some("storefront".into()),
        status,
        error: "unknown variant `Ajar`".into(),
    }];
    unreadable.begin();
    let mut empty = Fixture::new([], 3);
    empty.settle();
    vec![
        ("host-missing-at-first", missing(0)),
        ("host-missing", missing(MINUTE)),
        ("host-unusable", unusable_host(&|_| {})),
        ("host-with-a-wrong-policy", wrong_policy(&|_| {})),
        ("host-with-a-wrong-policy-and-edited", wrong_policy(&|fixture| fixture.change("auth", version("1.1.0")))),
        ("host-unusable-and-edited", unusable_host(&|fixture| fixture.change("auth", version("1.1.0")))),
        ("backend-missing", backend),
        ("unreadable-plugin", unreadable),
        ("no-plugins", empty),
    ]
}

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/health/states")
}

/// Set: the files are written instead of compared.
const UPDATE: &str = "UPDATE_HEALTH_STATES";

#[test]
fn the_checked_in_states_are_what_the_driver_composes() {
    let composed: BTreeMap<String, String> =
        states().iter().map(|(name, fixture)| (format!("{name}.yaml"), fixture.documents())).collect();
    let entries = fs::read_dir(directory()).unwrap().map(|entry| entry.unwrap().path());
    let files = entries.filter(|path| path.extension().is_some_and(|e| e == "yaml"));
    let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
    let kept: BTreeMap<String, String> = files.map(|p| (name(&p), fs::read_to_string(p).unwrap())).collect();
    if env::var_os(UPDATE).is_some() {
        let gone = kept.keys().filter(|name| !composed.contains_key(*name));
        gone.for_each(|name| fs::remove_file(directory().join(name)).unwrap());
        composed.iter().for_each(|(name, text)| fs::write(directory().join(name), text).unwrap());
        return;
    }
    let all = composed.keys().chain(kept.keys());
    let mut differing: Vec<_> = all.filter(|name| composed.get(*name) != kept.get(*name)).collect();
    differing.dedup();
    assert!(differing.is_empty(), "other objects than in tests/health/states (`just health-states`): {differing:?}");
}
