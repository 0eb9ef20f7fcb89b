//! What may be asked of the plugins over HTTP. Changes nothing.

use super::{Admin, fault, view};
use crate::{
    confine::Confiner,
    manager::ManagerError,
    metrics,
    slot::{Health, Slot, State as SlotState},
};
use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::{Map, Value, json};
use std::sync::Arc;

pub(super) async fn list(State(admin): State<Admin>) -> Json<Value> {
    let plugins = admin.manager.list().into_iter().map(|info| {
        let health = admin.manager.health(&info.name).map(|(_, health)| health);
        view::plugin(&info, health.as_ref())
    });
    Json(json!({"plugins": plugins.collect::<Vec<_>>(), "sandbox": sandbox(admin.manager.confiner())}))
}

fn sandbox(confiner: &Confiner) -> Value {
    let parts = confiner.parts();
    json!({
        "asked": confiner.asked().name(),
        "status": parts.status(),
        "notEnforced": parts.missing(),
    })
}

/// With what it needs, what needs it, and what is wrong with it.
pub(super) async fn get(State(admin): State<Admin>, Path(name): Path<String>) -> Response {
    let Some(info) = admin.manager.get(&name) else { return absent(name) };
    let health = admin.manager.health(&name).map(|(_, health)| health);
    let mut plugin = view::plugin(&info, health.as_ref());
    if let Some(fields) = plugin.as_object_mut() {
        fields.extend(surroundings(&admin, &name));
    }
    Json(plugin).into_response()
}

fn surroundings(admin: &Admin, name: &str) -> Map<String, Value> {
    let info = admin.manager.get(name).and_then(|info| info.target);
    let dependencies = info.iter().flat_map(|t| &t.body.manifest.dependencies);
    let requires = dependencies.map(|d| {
        let found = admin.manager.get(&d.name);
        let version = found.as_ref().and_then(|f| f.target.as_ref()).map(|t| t.version());
        let status = found.map(|f| f.state.status.name());
        json!({"name": d.name, "version": d.version, "optional": d.optional, "found": version, "status": status})
    });
    let graph = admin.manager.graph();
    let required_by = graph.iter().filter(|(_, needs)| needs.iter().any(|n| n == name)).map(|(n, _)| n);
    let problems = admin.manager.resolve().into_iter().map(|e| e.to_string()).filter(|e| e.contains(name));
    let fields = [
        ("requires", json!(requires.collect::<Vec<_>>())),
        ("requiredBy", json!(required_by.collect::<Vec<_>>())),
        ("problems", json!(problems.collect::<Vec<_>>())),
        ("managedBy", json!(admin.authority.managed_by())),
    ];
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// An unknown plugin is one that is unloaded.
pub(super) async fn health(State(admin): State<Admin>, Path(name): Path<String>) -> Json<Value> {
    let slot = admin.manager.registry().get(&name);
    Json(match &slot {
        Some(slot) => of(slot),
        None => view::health(&name, &SlotState::default(), &Health::default(), None),
    })
}

pub(super) async fn all_health(State(admin): State<Admin>) -> Json<Value> {
    let slots = admin.manager.registry().slots();
    let plugins: Map<_, _> = slots.iter().map(|(name, slot)| (name.clone(), of(slot))).collect();
    Json(json!({"plugins": plugins}))
}

fn of(slot: &Arc<Slot>) -> Value {
    view::health(slot.name(), &slot.state(), &slot.health(), slot.record.threshold.rule().as_ref())
}

pub(super) async fn measured(State(admin): State<Admin>, Path(name): Path<String>) -> Response {
    match admin.manager.registry().get(&name) {
        Some(slot) => Json(Value::Object(metrics::report(&slot))).into_response(),
        None => absent(name),
    }
}

/// The graph as it is, whether it can be resolved or not.
pub(super) async fn graph(State(admin): State<Admin>) -> Json<Value> {
    let problems: Vec<_> = admin.manager.resolve().iter().map(ToString::to_string).collect();
    let order: Vec<_> = admin.manager.list().into_iter().map(|info| info.name).collect();
    Json(json!({"plugins": admin.manager.graph(), "order": order, "problems": problems}))
}

fn absent(name: String) -> Response {
    fault(StatusCode::NOT_FOUND, &ManagerError::NotFound(name).to_string())
}
