//! A plugin for tests of events and services: `listen` names the events it notes at the socket `trace`, and what it does with
//! each; its service `Control` publishes, imports and calls on demand. What `relays` names is asked for its users, once the
//! trace has the line `go`.

#![allow(clippy::panic)] // on demand

#[path = "../trace.rs"]
mod trace;

use rockstar_plugin::{
    Context, Error, Event, HookType, ImportedService, Level, Plugin, PluginContext, Result, Service, Value,
    async_trait, json,
};
use std::{
    collections::HashMap,
    process::{self, ExitCode},
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::time::sleep;

const LOOK: Duration = Duration::from_millis(10);

#[derive(Default)]
struct Messenger(Option<Shared>);

#[derive(Clone)]
struct Shared {
    name: String,
    version: String,
    trace: String,
    ctx: PluginContext,
    handles: Arc<Mutex<HashMap<String, ImportedService>>>,
}

#[async_trait]
impl Plugin for Messenger {
    async fn initialize(&mut self, ctx: PluginContext) -> Result {
        let config = ctx.plugin_config();
        if config.boolean("debug").unwrap_or_default() {
            ctx.logger().set_level(Level::Debug);
            ctx.logger().debug(format!("{} debugs", self.name()));
        }
        let trace = config.string("trace").unwrap_or_default().to_owned();
        let shared = Shared { name: self.name(), version: self.version(), trace, ctx, handles: Arc::default() };
        for (event, verb) in config.object("listen").into_iter().flatten() {
            shared.listen(event, verb.as_str().unwrap_or_default()).await?;
        }
        shared.ctx.export_service("Control", shared.control()).await?;
        if config.boolean("users").unwrap_or_default() {
            shared.ctx.export_service("UserService", shared.users()).await?;
        }
        if let Some(plugin) = config.string("relays") {
            shared.ctx.export_service("UserService", shared.relay(plugin.to_owned())).await?;
        }
        if let Some(plugin) = config.string("asks") {
            shared.ask(plugin.to_owned()).await?;
        }
        self.0 = Some(shared);
        Ok(())
    }

    async fn start(&mut self) -> Result {
        let Some(shared) = &self.0 else { return Ok(()) };
        let config = shared.ctx.plugin_config();
        sleep(config.duration("slow_start").unwrap_or_default()).await;
        if let Some(plugin) = config.string("greets") {
            let user: Value = shared.ctx.import_service(plugin, "UserService").await?.call("GetUser", 123).await?;
            shared.note(&format!("greets {}", user["name"]))?;
        }
        Ok(())
    }
}

impl Shared {
    async fn listen(&self, event: &str, verb: &str) -> Result {
        let (shared, verb) = (self.clone(), verb.to_owned());
        let handler = move |event| {
            let (shared, verb) = (shared.clone(), verb.clone());
            async move { shared.heard(event, &verb).await }
        };
        Ok(self.ctx.subscribe_event(event, handler).await?)
    }

    async fn heard(&self, event: Event, verb: &str) -> Result {
        let Event { name, data, source, .. } = event;
        self.note(&format!("{name} {data} from {source}"))?;
        match verb {
            "version" => self.note(&format!("{name} in {}", self.version)),
            "fail" => Err("cannot take it".into()),
            "panic" => panic!("on demand"),
            "exit" => process::exit(9),
            "hang" => std::future::pending().await,
            "fail once" if self.first(&name)? => Err("not yet".into()),
            "ask" => self.note(&format!("{name} in {}", self.user_version(&source).await?)),
            _ => Ok(()),
        }
    }

    /// Whether this event was heard for the first time, by any process.
    fn first(&self, event: &str) -> Result<bool> {
        let trace = trace::write(&self.trace, "")?;
        Ok(trace.lines().filter(|line| line.starts_with(&format!("{} {event} ", self.name))).count() == 1)
    }

    /// What the test has it do.
    fn control(&self) -> Service {
        let (publisher, importer, caller, lister, exporter) =
            (self.clone(), self.clone(), self.clone(), self.clone(), self.clone());
        Service::new()
            .method("Publish", move |(event, data): (String, Value)| {
                let ctx = publisher.ctx.clone();
                async move { Ok(ctx.publish_event(&event, data).await?) }
            })
            .method("Import", move |(plugin, service): (String, String)| {
                let shared = importer.clone();
                async move { shared.import(&plugin, &service).await }
            })
            .method("Call", move |(plugin, method, arguments): (String, String, Value)| {
                let shared = caller.clone();
                async move { shared.call(&plugin, &method, arguments).await }
            })
            .method("List", move |(): ()| {
                let ctx = lister.ctx.clone();
                async move {
                    let offered = ctx.services().await?.into_iter();
                    Ok(offered.map(|s| json!([s.plugin, s.service, s.description])).collect::<Vec<_>>())
                }
            })
            .method("Export", move |name: String| {
                let ctx = exporter.ctx.clone();
                async move { Ok(ctx.export_service(&name, Service::new()).await?) }
            })
    }

    fn users(&self) -> Service {
        let version = self.version.clone();
        Service::new()
            .method("GetUser", move |id: i64| {
                let version = version.clone();
                async move {
                    match id {
                        123 => Ok(json!({"id": id, "name": "john", "version": version})),
                        _ => Err(Error::from(format!("no such user: {id}"))),
                    }
                }
            })
            .method("CreateUser", |user: Value| async move { Ok(json!({"created": user})) })
    }

    fn relay(&self, plugin: String) -> Service {
        let shared = self.clone();
        Service::new().method("GetUser", move |id: i64| {
            let (shared, plugin) = (shared.clone(), plugin.clone());
            async move {
                shared.note("relays")?;
                shared.told("go").await?;
                shared.import(&plugin, "UserService").await?;
                shared.call(&plugin, "GetUser", json!(id)).await
            }
        })
    }

    /// Waits until the trace has that line.
    async fn told(&self, word: &str) -> Result {
        while !trace::write(&self.trace, "")?.lines().any(|line| line == word) {
            sleep(LOOK).await;
        }
        Ok(())
    }

    async fn import(&self, plugin: &str, service: &str) -> Result {
        let handle = self.ctx.import_service(plugin, service).await?;
        self.handles.lock().map_err(|e| e.to_string())?.insert(plugin.to_owned(), handle);
        Ok(())
    }

    /// By the handle that was imported, however long ago.
    async fn call(&self, plugin: &str, method: &str, arguments: Value) -> Result<Value> {
        let handle = self.handles.lock().map_err(|e| e.to_string())?.get(plugin).cloned();
        Ok(handle.ok_or("not imported")?.call(method, arguments).await?)
    }

    /// Each request asks that plugin's service, and shows the answer.
    async fn ask(&self, plugin: String) -> Result {
        let shared = self.clone();
        let hook = move |hook: rockstar_plugin::HookContext| {
            let (shared, plugin) = (shared.clone(), plugin.clone());
            async move { shared.asked(&plugin, hook.context()).await }
        };
        Ok(self.ctx.register_hook(HookType::PreRequest, 100, hook).await?)
    }

    async fn asked(&self, plugin: &str, context: &Context) -> Result {
        context.respond(200, &[], self.user_version(plugin).await?);
        Ok(())
    }

    async fn user_version(&self, plugin: &str) -> Result<String> {
        if self.handles.lock().map_err(|e| e.to_string())?.is_empty() {
            self.import(plugin, "UserService").await?;
        }
        let user = self.call(plugin, "GetUser", json!(123)).await?;
        Ok(user["version"].as_str().unwrap_or_default().to_owned())
    }

    fn note(&self, text: &str) -> Result {
        trace::write(&self.trace, &format!("{} {text}", self.name))?;
        Ok(())
    }
}

fn main() -> ExitCode {
    rockstar_plugin::run(Messenger::default())
}
