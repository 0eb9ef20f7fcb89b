//! A host at one moment, for tests of the pure steps.

use super::{
    catalog::{self, Catalog},
    memory::Memory,
    observe::Observed,
    plan::{self, Decision, Settings},
};
use crate::{
    control::Attached,
    world::{Pod, PodPhase, Values, View},
};
use k8s_openapi::jiff::Timestamp;
use rockstar_crds::{Plugin, PluginHost};
use rockstar_proto::control::{PluginState, Report};
use serde_json::{Value, json};
use std::sync::Arc;

pub(super) fn plugin(name: &str, version: &str, extra: Value) -> Value {
    let mut object = json!({
        "apiVersion": "plugins.rockstar-framework.dev/v1alpha1",
        "kind": "Plugin",
        "metadata": {"name": name, "namespace": "shop", "uid": name, "generation": 1},
        "spec": {
            "host": "storefront",
            "manifest": {
                "name": name, "version": version, "description": "d", "author": "a",
                "permissions": {"cache": true, "network": true},
                "config": {"level": {"type": "string", "default": "info"}},
            },
            "source": {"path": "/p"},
        },
    });
    merge(&mut object, extra);
    object
}

pub(super) fn merge(into: &mut Value, extra: Value) {
    match (into, extra) {
        (Value::Object(into), Value::Object(extra)) => {
            extra.into_iter().for_each(|(key, value)| merge(into.entry(key).or_insert(Value::Null), value));
        }
        (into, extra) => *into = extra,
    }
}

pub(super) fn needs(name: &str) -> Value {
    json!({"spec": {"manifest": {"dependencies": [{"name": name, "version": ">=1.0.0"}]}}})
}

pub(super) fn host(extra: Value) -> PluginHost {
    let mut object = json!({
        "apiVersion": "plugins.rockstar-framework.dev/v1alpha1",
        "kind": "PluginHost",
        "metadata": {"name": "storefront", "namespace": "shop", "uid": "host"},
        "spec": {"framework": {"version": "1.5.0"}},
    });
    merge(&mut object, extra);
    serde_json::from_value(object).unwrap()
}

pub(super) fn pod(name: &str) -> Pod {
    Pod {
        name: name.into(),
        uid: name.into(),
        phase: PodPhase::Running,
        terminating: false,
        injected: true,
        created: Timestamp::UNIX_EPOCH,
        ready: false,
        transient: false,
        started: false,
        termination: None,
    }
}

pub(super) fn observed(plugins: impl IntoIterator<Item = Value>) -> Observed {
    let plugins = plugins.into_iter().map(|p| Arc::new(serde_json::from_value::<Plugin>(p).unwrap())).collect();
    let host = Some(Arc::new(host(json!({}))));
    let view = View {
        host,
        host_error: None,
        plugins,
        pods: vec![pod("web-1")],
        revisions: Vec::new(),
        unreadable: Vec::new(),
    };
    Observed { view, attached: Vec::new(), values: Values::new(), now: 1_000_000 }
}

/// An attached instance that accepted a plan and runs these plugins.
pub(super) fn attached(name: &str, generation: u64, running: &[(&str, &str)]) -> Attached {
    let state = |(plugin, revision): &(&str, &str)| PluginState {
        plugin: plugin.to_string(),
        revision: revision.to_string(),
        status: "running".into(),
        proven: true,
        ..PluginState::default()
    };
    let report = Report {
        host_uid: "host".into(),
        plan_generation: generation,
        plugins: running.iter().map(state).collect(),
        ready: true,
        ..Report::default()
    };
    Attached {
        pod: name.into(),
        uid: name.into(),
        sidecar_version: String::new(),
        capabilities: Vec::new(),
        report: Arc::new(report),
        failures: Arc::default(),
        told: None,
    }
}

/// The pure steps of one pass.
pub(super) struct Pass {
    pub(super) settings: Settings,
    pub(super) catalog: Catalog,
    pub(super) decision: Decision,
}

/// Decides, and takes the decision for stored.
pub(super) fn pass(observed: &Observed, memory: &mut Memory) -> Pass {
    memory.hear(observed);
    let settings = plan::settings(&observed.view.host.as_ref().unwrap().spec).unwrap();
    let catalog = catalog::catalog(&observed.view, &observed.values, &memory.unstored);
    let candidates = catalog.entries.values().filter_map(|e| e.candidate.as_ref().ok().or(e.unconfigured.as_ref()));
    memory.known.extend(candidates.map(|c| (c.revision.id.clone(), Arc::clone(&c.revision))));
    let decision = plan::decide(observed, &settings, &catalog, memory);
    memory.state = decision.plan.state.clone();
    memory.recovery = memory.recovery.stored();
    Pass { settings, catalog, decision }
}

/// Passes until the changes have settled, the pod runs what it is told, and that is stable.
pub(super) fn settled(observed: &mut Observed, memory: &mut Memory) -> Pass {
    let mut last = pass(observed, memory);
    for _ in 0..6 {
        observed.now += 3_000;
        if let Some(assignment) = last.decision.plan.assignments.get("web-1") {
            let running: Vec<_> = assignment.target.iter().map(|(p, r)| (p.as_str(), r.0.as_str())).collect();
            observed.attached = vec![attached("web-1", u64::try_from(assignment.generation).unwrap(), &running)];
        } else {
            observed.attached = vec![attached("web-1", 0, &[])];
        }
        memory.assigned.extend(last.decision.plan.assignments.clone());
        last = pass(observed, memory);
    }
    last
}
