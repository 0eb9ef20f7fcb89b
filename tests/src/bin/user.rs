//! A plugin that uses all of its context: each of the fifteen ways in Initialize, noted with its outcome in the log; and
//! registers what `registers` names, so that a test sees whose registrations are active.

use rockstar_plugin::{
    Context, Event, HookContext, HookType, ImportedService, Next, Plugin, PluginContext, Result, Service, Value,
    async_trait, json,
};
use std::{
    process::ExitCode,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering::SeqCst},
    },
    time::Duration,
};

/// As the reference names them.
const USES: [&str; 15] = [
    "Router",
    "Logger",
    "Metrics",
    "Database",
    "Cache",
    "Config",
    "PluginConfig",
    "PluginStorage",
    "RegisterHook",
    "PublishEvent",
    "SubscribeEvent",
    "ExportService",
    "ImportService",
    "RegisterMiddleware",
    "UnregisterMiddleware",
];

#[derive(Default)]
struct User(Option<Shared>);

#[derive(Clone)]
struct Shared {
    name: String,
    version: String,
    ctx: PluginContext,
    count: Arc<AtomicI64>,
    handle: Arc<Mutex<Option<ImportedService>>>,
}

#[async_trait]
impl Plugin for User {
    async fn initialize(&mut self, ctx: PluginContext) -> Result {
        let config = ctx.plugin_config();
        let (name, version) = (self.name(), self.version());
        let shared = Shared { name, version, ctx, count: Arc::default(), handle: Arc::default() };
        if config.boolean("uses").unwrap_or_default() {
            for what in USES {
                let outcome = shared.use_it(what).await.map_or_else(|error| error.to_string(), |()| "ok".to_owned());
                shared.note(&format!("{what}: {outcome}"))?;
            }
        }
        for (kind, name) in config.object("registers").into_iter().flatten() {
            shared.register(kind, name.as_str().unwrap_or_default()).await?;
        }
        shared.count_requests().await?;
        shared.note(&format!("Initialize {}", shared.version))?;
        self.0 = Some(shared);
        Ok(())
    }

    async fn start(&mut self) -> Result {
        let Some(shared) = &self.0 else { return Ok(()) };
        if let Some(of) = shared.ctx.plugin_config().string("imports") {
            *shared.handle.lock().map_err(|_| "poisoned")? = Some(shared.ctx.import_service(of, "Versions").await?);
        }
        Ok(())
    }
}

impl Shared {
    async fn use_it(&self, what: &str) -> Result {
        let ctx = &self.ctx;
        match what {
            "Router" => {
                ctx.router().get("/user/status", |c| async move { respond(&c, &json!({"status": "ok"})) }).await?
            }
            "Logger" => ctx.logger().info(format!("{} uses its logger", self.name)),
            "Metrics" => ctx.metrics().increment_counter("user.uses"),
            "Database" => drop(ctx.database().query("SELECT 1", []).await?),
            "Cache" => ctx.cache().set("key", 1, Duration::from_secs(60)).await?,
            "Config" => drop(ctx.config().get_string("database.host").await?),
            "PluginConfig" => drop(ctx.plugin_config().boolean("uses").ok_or("no configuration")?),
            "PluginStorage" => ctx.plugin_storage().set("key", 1).await?,
            "RegisterHook" => ctx.register_hook(HookType::PostRequest, 100, |_| async { Ok(()) }).await?,
            "PublishEvent" => ctx.publish_event("user.used", json!({})).await?,
            "SubscribeEvent" => ctx.subscribe_event("user.other", |_| async { Ok(()) }).await?,
            "ExportService" => ctx.export_service("Used", Service::new()).await?,
            "ImportService" => drop(ctx.import_service("helper", "Versions").await?),
            "RegisterMiddleware" => {
                ctx.register_middleware("used", |c, next| async move { Ok(next.run(&c).await?) }, 100, &[]).await?;
            }
            _ => ctx.unregister_middleware("used").await?,
        }
        Ok(())
    }

    async fn register(&self, kind: &str, name: &str) -> Result {
        let (own, ctx) = (self.clone(), &self.ctx);
        let said = format!("{name} {}", self.version);
        match kind {
            "route" => {
                ctx.router()
                    .get(name, move |c| {
                        let said = said.clone();
                        async move { respond(&c, &json!(said)) }
                    })
                    .await?;
            }
            "middleware" => {
                let run = move |c: Context, next: Next| {
                    let (own, said) = (own.clone(), said.clone());
                    async move {
                        own.note(&format!("middleware {said}"))?;
                        Ok(next.run(c).await?)
                    }
                };
                ctx.register_middleware(name, run, 100, &[]).await?;
            }
            "event" => {
                let heard = move |_: Event| {
                    let (own, said) = (own.clone(), said.clone());
                    async move { own.note(&format!("event {said}")) }
                };
                ctx.subscribe_event(name, heard).await?;
            }
            "service" => {
                let version = self.version.clone();
                let method = move |_: Value| {
                    let version = version.clone();
                    async move { Ok(version) }
                };
                ctx.export_service(name, Service::new().method("Version", method)).await?;
            }
            _ => {
                let hook = move |_: HookContext| {
                    let (own, said) = (own.clone(), said.clone());
                    async move { own.note(&format!("hook {said}")) }
                };
                let kind = if name == "pre_response" { HookType::PreResponse } else { HookType::PostRequest };
                ctx.register_hook(kind, 100, hook).await?;
            }
        }
        Ok(())
    }

    /// `/NAME/count` counts in memory and in the storage, `/NAME/ask` asks the imported service for its version,
    /// `/NAME/deny` uses the cache, `/NAME/publish/EVENT` publishes.
    async fn count_requests(&self) -> Result {
        let own = self.clone();
        let answer = move |hook: HookContext| {
            let own = own.clone();
            async move { own.answer(&hook).await }
        };
        Ok(self.ctx.register_hook(HookType::PreRequest, 100, answer).await?)
    }

    async fn answer(&self, hook: &HookContext) -> Result {
        let request = hook.context();
        let Some(wanted) = request.path().strip_prefix(&format!("/{}/", self.name)) else { return Ok(()) };
        let said = match wanted {
            "count" => self.count().await?,
            "ask" => self.ask().await.unwrap_or_else(|error| json!(error.to_string())),
            "deny" => json!(self.use_it("Cache").await.map_or_else(|error| error.to_string(), |()| "ok".to_owned())),
            other => json!(self.ctx.publish_event(other.trim_start_matches("publish/"), json!({})).await.is_ok()),
        };
        respond(request, &said)
    }

    async fn count(&self) -> Result<Value> {
        let storage = self.ctx.plugin_storage();
        let stored = storage.get::<i64>("count").await.unwrap_or_default() + 1;
        storage.set("count", stored).await?;
        Ok(json!([self.count.fetch_add(1, SeqCst) + 1, stored]))
    }

    async fn ask(&self) -> Result<Value> {
        let handle = self.handle.lock().map_err(|_| "poisoned")?.clone().ok_or("nothing is imported")?;
        Ok(handle.call("Version", json!({})).await?)
    }

    /// Notes go to the log, which needs no permission.
    fn note(&self, text: &str) -> Result {
        self.ctx.logger().info(format!("note: {} {text}", self.name));
        Ok(())
    }
}

fn respond(context: &Context, said: &Value) -> Result {
    context.json(200, said);
    Ok(())
}

fn main() -> ExitCode {
    rockstar_plugin::run(User::default())
}
