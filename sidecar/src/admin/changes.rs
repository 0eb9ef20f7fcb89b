//! What may be changed over HTTP: the reference's calls, as the application makes them over gRPC.

use super::{Admin, fault};
use crate::{
    authority::{Authority, uninterrupted},
    manager::ManagerError,
    standalone::{self, Standalone},
};
use axum::{
    Json,
    body::Bytes,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use rockstar_core::{
    assignment::{ErrorThreshold, Queue},
    duration,
    permission::Permission,
    pluginsfile::Entry,
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// What LoadPlugin takes.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Load {
    path: String,
    enabled: Option<bool>,
    #[serde(default)]
    config: Map<String, Value>,
    #[serde(default)]
    permissions: Vec<String>,
    priority: Option<i32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LoadFile {
    path: String,
}

/// What ReloadPluginWithConfig takes; what is left out has the reference's defaults.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Reload {
    queue_timeout: Option<String>,
    max_queue_size: Option<u32>,
    queue_strategy: Option<rockstar_core::assignment::QueueStrategy>,
}

/// What SetErrorThreshold takes; what is left out has the values of the reference's example.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Threshold {
    max_errors: Option<u32>,
    time_window: Option<String>,
    action: Option<String>,
    reset_on_success: Option<bool>,
}

pub(super) async fn load(State(admin): State<Admin>, body: Bytes) -> Response {
    let standalone = match standalone(&admin) {
        Ok(standalone) => standalone,
        Err(managed) => return fault(StatusCode::CONFLICT, &managed),
    };
    let entry = match read::<Load>(&body).and_then(entry) {
        Ok(entry) => entry,
        Err(text) => return fault(StatusCode::BAD_REQUEST, &text),
    };
    done(uninterrupted(async move { standalone.load_one(&entry).await }).await)
}

pub(super) async fn load_file(State(admin): State<Admin>, body: Bytes) -> Response {
    let standalone = match standalone(&admin) {
        Ok(standalone) => standalone,
        Err(managed) => return fault(StatusCode::CONFLICT, &managed),
    };
    let file = match read::<LoadFile>(&body)
        .and_then(|wanted| standalone::read(std::path::Path::new(&wanted.path)).map_err(|e| e.to_string()))
    {
        Ok(file) => file,
        Err(text) => return fault(StatusCode::BAD_REQUEST, &text),
    };
    match uninterrupted(async move { Ok(standalone.load(file).await) }).await {
        Ok(loaded) if loaded.failed.is_empty() => Json(json!({"running": loaded.running})).into_response(),
        Ok(loaded) => fault(StatusCode::INTERNAL_SERVER_ERROR, &loaded.to_string()),
        Err(error) => refused(&error),
    }
}

pub(super) async fn unload(State(admin): State<Admin>, Path(name): Path<String>) -> Response {
    if let Err(managed) = standalone(&admin) {
        return fault(StatusCode::CONFLICT, &managed);
    }
    done(uninterrupted(async move { admin.manager.unload(&name).await }).await)
}

pub(super) async fn reload(State(admin): State<Admin>, Path(name): Path<String>, body: Bytes) -> Response {
    let queue = match body.is_empty() {
        true => Ok(None),
        false => read::<Reload>(&body).and_then(queue).map(Some),
    };
    let queue = match queue {
        Ok(queue) => queue,
        Err(text) => return fault(StatusCode::BAD_REQUEST, &text),
    };
    match uninterrupted(admin.authority.reload(admin.manager, name.clone(), queue)).await {
        Ok(()) => Json(json!({"plugin": name, "reloaded": true})).into_response(),
        Err(error) => refused(&error),
    }
}

pub(super) async fn initialize(State(admin): State<Admin>) -> Response {
    done(uninterrupted(async move { admin.manager.initialize_all().await }).await)
}

pub(super) async fn start(State(admin): State<Admin>) -> Response {
    done(uninterrupted(async move { admin.manager.start_all().await }).await)
}

pub(super) async fn stop(State(admin): State<Admin>) -> Response {
    if let Err(managed) = standalone(&admin) {
        return fault(StatusCode::CONFLICT, &managed);
    }
    done(uninterrupted(async move { admin.manager.stop_all().await }).await)
}

pub(super) async fn set_threshold(State(admin): State<Admin>, Path(name): Path<String>, body: Bytes) -> Response {
    if let Err(managed) = standalone(&admin) {
        return fault(StatusCode::CONFLICT, &managed);
    }
    match read::<Threshold>(&body).and_then(rule) {
        Ok(rule) => done(admin.manager.set_error_threshold(&name, rule)),
        Err(text) => fault(StatusCode::BAD_REQUEST, &text),
    }
}

/// In a pod the desired state is the operator's, as the text says.
fn standalone(admin: &Admin) -> Result<Arc<Standalone>, String> {
    match &admin.authority {
        Authority::File(standalone) => Ok(Arc::clone(standalone)),
        managed @ Authority::Operator(_) => Err(managed.managed_by().unwrap_or_default()),
    }
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|error| format!("cannot understand the request: {error}"))
}

fn entry(load: Load) -> Result<Entry, String> {
    let mut entry = standalone::entry(&load.path);
    entry.enabled = load.enabled.unwrap_or(true);
    entry.config = load.config;
    let permissions = load.permissions.iter().map(|name| name.parse::<Permission>());
    entry.permissions = permissions.collect::<Result<_, _>>().map_err(|error| error.to_string())?;
    if let Some(priority) = load.priority {
        entry.policies.priority = priority;
    }
    Ok(entry)
}

fn queue(reload: Reload) -> Result<Queue, String> {
    let default = Queue::default();
    Ok(Queue {
        strategy: reload.queue_strategy.unwrap_or(default.strategy),
        timeout: length("queueTimeout", reload.queue_timeout.as_deref(), default.timeout)?,
        max_size: reload.max_queue_size.unwrap_or(default.max_size),
    })
}

fn rule(threshold: Threshold) -> Result<ErrorThreshold, String> {
    let example = ErrorThreshold::default();
    let action = threshold.action.map(|name| name.parse()).transpose();
    let max_errors = threshold.max_errors.unwrap_or(example.max_errors);
    if max_errors == 0 {
        return Err("maxErrors must be at least 1".to_owned());
    }
    Ok(ErrorThreshold {
        max_errors,
        time_window: length("timeWindow", threshold.time_window.as_deref(), example.time_window)?,
        action: action.map_err(|e: rockstar_core::assignment::UnknownAction| e.to_string())?.unwrap_or(example.action),
        reset_on_success: threshold.reset_on_success.unwrap_or(example.reset_on_success),
        webhook: None,
    })
}

fn length(field: &str, text: Option<&str>, default: std::time::Duration) -> Result<std::time::Duration, String> {
    let Some(text) = text else { return Ok(default) };
    let parsed = duration::parse(text).map_err(|error| format!("{field}: {error}"))?;
    if parsed.is_zero() { Err(format!("{field} must be above 0")) } else { Ok(parsed) }
}

fn done(outcome: Result<(), ManagerError>) -> Response {
    match outcome {
        Ok(()) => Json(json!({"ok": true})).into_response(),
        Err(error) => refused(&error),
    }
}

fn refused(error: &ManagerError) -> Response {
    let code = match error {
        ManagerError::NotFound(_) => StatusCode::NOT_FOUND,
        ManagerError::AlreadyLoaded(_) => StatusCode::CONFLICT,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    fault(code, &error.to_string())
}
