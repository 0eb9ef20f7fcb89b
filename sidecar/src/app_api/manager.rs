//! The reference's PluginManager over gRPC: requests in, the manager's answers out.

use crate::{
    authority::{Authority, uninterrupted},
    manager::{Manager, ManagerError, PluginInfo},
    slot::{Health, State},
    standalone,
};
use indexmap::IndexMap;
use rockstar_core::{
    assignment::{ErrorThreshold, Queue, QueueStrategy, UnknownAction},
    manifest::ConfigKey,
};
use rockstar_proto::{
    app::{
        AllHealth, Dependency, DependencyGraph, Export, HookMetrics, IsLoadedResponse, LoadFromConfigRequest,
        LoadRequest, Names, PluginHealth, PluginInfo as Info, PluginList, PluginName, ReloadRequest,
        SetErrorThresholdRequest, plugin_manager_server::PluginManager,
    },
    types::{Empty, Map},
};
use serde_json::Value;
use std::{
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tonic::{Request, Response, Status, async_trait};

type Answer<T = Empty> = Result<Response<T>, Status>;

#[derive(Debug)]
pub(super) struct Service {
    manager: Arc<Manager>,
    authority: Authority,
}

impl Service {
    pub(super) const fn new(manager: Arc<Manager>, authority: Authority) -> Self {
        Self { manager, authority }
    }

    fn standalone(&self) -> Result<&Arc<standalone::Standalone>, Status> {
        match &self.authority {
            Authority::File(standalone) => Ok(standalone),
            managed @ Authority::Operator(_) => {
                Err(Status::failed_precondition(managed.managed_by().unwrap_or_default()))
            }
        }
    }
}

#[async_trait]
impl PluginManager for Service {
    async fn load(&self, request: Request<LoadRequest>) -> Answer {
        let standalone = Arc::clone(self.standalone()?);
        let entry = entry(request.into_inner())?;
        done(uninterrupted(async move { standalone.load_one(&entry).await }).await)
    }

    async fn load_from_config(&self, request: Request<LoadFromConfigRequest>) -> Answer {
        let standalone = Arc::clone(self.standalone()?);
        let path = request.into_inner().path;
        let file = standalone::read(Path::new(&path)).map_err(|e| Status::invalid_argument(e.to_string()))?;
        let loaded = uninterrupted(async move { Ok(standalone.load(file).await) }).await.map_err(status)?;
        match loaded.failed.is_empty() {
            true => Ok(Response::new(Empty {})),
            false => Err(Status::failed_precondition(format!("{path}: {loaded}"))),
        }
    }

    async fn unload(&self, request: Request<PluginName>) -> Answer {
        self.standalone()?;
        let (manager, name) = (Arc::clone(&self.manager), request.into_inner().name);
        done(uninterrupted(async move { manager.unload(&name).await }).await)
    }

    async fn initialize_all(&self, _: Request<Empty>) -> Answer {
        let manager = Arc::clone(&self.manager);
        done(uninterrupted(async move { manager.initialize_all().await }).await)
    }

    async fn start_all(&self, _: Request<Empty>) -> Answer {
        let manager = Arc::clone(&self.manager);
        done(uninterrupted(async move { manager.start_all().await }).await)
    }

    async fn stop_all(&self, _: Request<Empty>) -> Answer {
        self.standalone()?;
        let manager = Arc::clone(&self.manager);
        done(uninterrupted(async move { manager.stop_all().await }).await)
    }

    async fn reload(&self, request: Request<ReloadRequest>) -> Answer {
        let request = request.into_inner();
        let queue = request.config.map(queue).transpose()?;
        let reload = self.authority.clone().reload(Arc::clone(&self.manager), request.name, queue);
        done(uninterrupted(reload).await)
    }

    async fn set_error_threshold(&self, request: Request<SetErrorThresholdRequest>) -> Answer {
        self.standalone()?;
        let request = request.into_inner();
        let rule = threshold(&request)?;
        done(self.manager.set_error_threshold(&request.name, rule))
    }

    async fn get_plugin(&self, request: Request<PluginName>) -> Answer<Info> {
        let name = request.into_inner().name;
        let found = self.manager.get(&name).ok_or(ManagerError::NotFound(name)).map_err(status)?;
        Ok(Response::new(info(&found)))
    }

    async fn list_plugins(&self, _: Request<Empty>) -> Answer<PluginList> {
        Ok(Response::new(PluginList { plugins: self.manager.list().iter().map(info).collect() }))
    }

    async fn is_loaded(&self, request: Request<PluginName>) -> Answer<IsLoadedResponse> {
        Ok(Response::new(IsLoadedResponse { loaded: self.manager.is_loaded(&request.into_inner().name) }))
    }

    async fn resolve_dependencies(&self, _: Request<Empty>) -> Answer {
        match self.manager.resolve() {
            errors if errors.is_empty() => Ok(Response::new(Empty {})),
            errors => Err(status(ManagerError::Resolve(errors))),
        }
    }

    async fn get_dependency_graph(&self, _: Request<Empty>) -> Answer<DependencyGraph> {
        let plugins = self.manager.graph().into_iter().map(|(name, names)| (name, Names { names }));
        Ok(Response::new(DependencyGraph { plugins: plugins.collect() }))
    }

    async fn get_plugin_health(&self, request: Request<PluginName>) -> Answer<PluginHealth> {
        let name = request.into_inner().name;
        Ok(Response::new(health(&name, self.manager.health(&name))))
    }

    async fn get_all_health(&self, _: Request<Empty>) -> Answer<AllHealth> {
        let all = self.manager.list().into_iter();
        let plugins = all.map(|i| (i.name.clone(), health(&i.name, self.manager.health(&i.name))));
        Ok(Response::new(AllHealth { plugins: plugins.collect() }))
    }
}

fn done(outcome: Result<(), ManagerError>) -> Answer {
    outcome.map(|()| Response::new(Empty {})).map_err(status)
}

fn status(error: ManagerError) -> Status {
    let text = error.to_string();
    match error {
        ManagerError::NotFound(_) => Status::not_found(text),
        ManagerError::AlreadyLoaded(_) => Status::already_exists(text),
        ManagerError::Load(_) | ManagerError::Resolve(_) => Status::failed_precondition(text),
        ManagerError::Reload(_) | ManagerError::Plugins(_) => Status::aborted(text),
    }
}

fn entry(request: LoadRequest) -> Result<rockstar_core::pluginsfile::Entry, Status> {
    let mut entry = standalone::entry(&request.path);
    let config = request.config.unwrap_or_default();
    entry.enabled = config.enabled.unwrap_or(true);
    entry.config = config.config.map(|m| m.to_json()).unwrap_or_default();
    let permissions = config.permissions.iter().map(|p| p.parse()).collect::<Result<_, _>>();
    entry.permissions =
        permissions.map_err(|e: rockstar_core::permission::PermissionError| Status::invalid_argument(e.to_string()))?;
    if let Some(priority) = config.priority {
        entry.policies.priority = priority;
    }
    Ok(entry)
}

fn queue(config: rockstar_proto::app::ReloadConfig) -> Result<Queue, Status> {
    let default = Queue::default();
    let strategy = match config.queue_strategy.as_str() {
        "" | "block" => QueueStrategy::Block,
        "reject" => QueueStrategy::Reject,
        other => {
            return Err(Status::invalid_argument(format!(
                "unknown queue strategy: '{other}': it must be block or reject"
            )));
        }
    };
    let timeout = match config.queue_timeout_ms {
        0 => default.timeout,
        ms => Duration::from_millis(ms),
    };
    let max_size = if config.max_queue_size == 0 { default.max_size } else { config.max_queue_size };
    Ok(Queue { strategy, timeout, max_size })
}

/// What is left out has the values of the reference's example.
fn threshold(request: &SetErrorThresholdRequest) -> Result<ErrorThreshold, Status> {
    let example = ErrorThreshold::default();
    let action = match request.action.as_str() {
        "" => example.action,
        name => name.parse().map_err(|e: UnknownAction| Status::invalid_argument(e.to_string()))?,
    };
    let (max_errors, window) = (request.max_errors, Duration::from_millis(request.time_window_ms));
    Ok(ErrorThreshold {
        max_errors: if max_errors == 0 { example.max_errors } else { max_errors },
        time_window: if window.is_zero() { example.time_window } else { window },
        action,
        reset_on_success: request.reset_on_success.unwrap_or(example.reset_on_success),
        webhook: None,
    })
}

fn info(info: &PluginInfo) -> Info {
    let manifest = info.target.as_ref().map(|t| &t.body.manifest);
    let text = |get: fn(&rockstar_core::manifest::Manifest) -> &str| manifest.map(get).unwrap_or_default().to_owned();
    Info {
        name: info.name.clone(),
        version: manifest.map(|m| m.version.to_string()).unwrap_or_default(),
        description: text(|m| &m.description),
        author: text(|m| &m.author),
        loaded: info.state.loaded_at.is_some(),
        enabled: info.state.enabled,
        load_time_unix_ns: info.state.loaded_at.map(nanos).unwrap_or_default(),
        status: info.state.status.name().to_owned(),
        revision: info.target.as_ref().map(|t| t.assignment.revision.to_string()).unwrap_or_default(),
        dependencies: manifest.iter().flat_map(|m| &m.dependencies).map(dependency).collect(),
        config_schema: schema(&info.schema),
        exports: manifest.iter().flat_map(|m| &m.exports).map(export).collect(),
        order: u32::try_from(info.order).unwrap_or_default(),
    }
}

fn dependency(d: &rockstar_core::manifest::Dependency) -> Dependency {
    Dependency { name: d.name.clone(), version: d.version.clone(), optional: d.optional }
}

fn export(e: &rockstar_core::manifest::Export) -> Export {
    Export { name: e.name.clone(), description: e.description.clone() }
}

fn schema(keys: &IndexMap<String, ConfigKey>) -> Option<Map> {
    match serde_json::to_value(keys) {
        Ok(Value::Object(schema)) => Some((&schema).into()),
        _ => None,
    }
}

/// An unknown plugin is one that is unloaded.
fn health(name: &str, found: Option<(State, Health)>) -> PluginHealth {
    let (state, health) = found.unwrap_or_else(|| (State::default(), Health::default()));
    let (last_error, last_error_at) = health.last_error.map_or((String::new(), 0), |(e, at)| (e, nanos(at)));
    PluginHealth {
        name: name.to_owned(),
        status: state.status.name().to_owned(),
        error_count: i64::try_from(health.errors).unwrap_or(i64::MAX),
        last_error,
        last_error_at_unix_ns: last_error_at,
        hook_metrics: health.hooks.iter().map(|h| (h.hook.name().to_owned(), hook_metrics(h))).collect(),
        load_time_ns: health.load.map(|l| length(l.took)).unwrap_or_default(),
    }
}

fn hook_metrics(metrics: &crate::slot::HookMetrics) -> HookMetrics {
    HookMetrics {
        execution_count: i64::try_from(metrics.executions).unwrap_or(i64::MAX),
        total_duration_ns: length(metrics.total),
        average_duration_ns: length(metrics.average()),
        error_count: i64::try_from(metrics.errors).unwrap_or(i64::MAX),
    }
}

fn nanos(at: SystemTime) -> i64 {
    at.duration_since(UNIX_EPOCH).ok().and_then(|d| i64::try_from(d.as_nanos()).ok()).unwrap_or_default()
}

fn length(d: Duration) -> u64 {
    u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)
}
