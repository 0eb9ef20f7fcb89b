//! A plugin for rollouts: requests see which version serves, and its configuration says what goes wrong and when.
//!
//! `fault`: `initialize` and `start` fail there, `crash` ends the process `after` Start, `outage` ends it (and fails
//! Initialize) while the framework's configuration says `outage: "true"`. `start_takes` delays Start. `refuses` refuses the
//! configuration. `guards` refuses requests without a token. `provides` exports its version, `asks` names a plugin whose
//! version is asked for: `/NAME/ask` answers with the header `x-served: OWN+OTHER`.

use rockstar_plugin::{
    Context, HookContext, HookType, ImportedService, Plugin, PluginConfig, PluginContext, Result, Service, Value,
    async_trait, json,
};
use std::{
    process::{ExitCode, exit},
    sync::{Arc, OnceLock},
    time::Duration,
};
use tokio::time::sleep;

const OUTAGE_INTERVAL: Duration = Duration::from_millis(300);

#[derive(Default)]
struct Versioned(Option<Shared>);

#[derive(Clone)]
struct Shared {
    name: String,
    version: String,
    ctx: PluginContext,
    asked: Arc<OnceLock<ImportedService>>,
}

#[async_trait]
impl Plugin for Versioned {
    async fn initialize(&mut self, ctx: PluginContext) -> Result {
        let shared = Shared { name: self.name(), version: self.version(), ctx, asked: Arc::default() };
        shared.note("initializes");
        let config = shared.ctx.plugin_config();
        check(&config)?;
        match config.string("fault") {
            Some("initialize") => return Err("cannot read the key store".into()),
            Some("outage") if shared.is_outage().await => return Err("its dependency is away".into()),
            _ => {}
        }
        if config.boolean("provides") == Some(true) {
            let version = shared.version.clone();
            let method = move |_: Value| {
                let version = version.clone();
                async move { Ok(version) }
            };
            shared.ctx.export_service("Versions", Service::new().method("Version", method)).await?;
        }
        let hook = shared.clone();
        let answer = move |exchange: HookContext| {
            let shared = hook.clone();
            async move { shared.answer(exchange.context()).await }
        };
        shared.ctx.register_hook(HookType::PreRequest, 100, answer).await?;
        self.0 = Some(shared);
        Ok(())
    }

    async fn start(&mut self) -> Result {
        let shared = self.0.clone().ok_or("not initialised")?;
        let config = shared.ctx.plugin_config();
        if let Some(pause) = config.duration("start_takes") {
            sleep(pause).await;
        }
        if let Some(plugin) = config.string("asks") {
            let service = shared.ctx.import_service(plugin, "Versions").await?;
            shared.asked.set(service).map_err(|_| "started twice")?;
        }
        let after = config.duration("after").unwrap_or_default();
        match config.string("fault") {
            Some("start") => return Err("cannot reach the identity provider".into()),
            Some("crash") => drop(tokio::spawn(async move {
                sleep(after).await;
                eprintln!("fatal: the key store is corrupt");
                exit(3);
            })),
            Some("outage") => drop(tokio::spawn(shared.clone().end_in_outage())),
            _ => {}
        }
        shared.note("started");
        Ok(())
    }

    async fn on_config_change(&mut self, config: PluginConfig) -> Result {
        check(&config)?;
        let shared = self.0.as_ref().ok_or("not initialised")?;
        shared.note("has another configuration");
        Ok(())
    }
}

fn check(config: &PluginConfig) -> Result {
    if config.boolean("refuses") == Some(true) { Err("the configuration is refused".into()) } else { Ok(()) }
}

impl Shared {
    /// A line `NAME VERSION TEXT` in the sidecar's log.
    fn note(&self, text: &str) {
        self.ctx.logger().info(format!("{} {} {text}", self.name, self.version));
    }

    async fn answer(&self, request: &Context) -> Result {
        if self.ctx.plugin_config().boolean("guards") == Some(true) && request.get_header("authorization").is_none() {
            request.json(401, &json!({"error": "unauthorized"}));
            return Ok(());
        }
        let wanted = request.path().strip_prefix(&format!("/{}/", self.name)).and_then(|rest| rest.split('/').next());
        match wanted {
            Some("version") => request.respond(200, &[], self.version.clone()),
            Some("ask") => {
                let asked = self.asked.get().ok_or("nobody is asked")?;
                let other: String = asked.call("Version", json!({})).await?;
                request.respond(200, &[("x-served", &format!("{}+{other}", self.version))], "");
            }
            _ => {}
        }
        Ok(())
    }

    async fn is_outage(&self) -> bool {
        self.ctx.config().get_string("outage").await.is_ok_and(|value| value == "true")
    }

    async fn end_in_outage(self) {
        while !self.is_outage().await {
            sleep(OUTAGE_INTERVAL).await;
        }
        eprintln!("fatal: the dependency is away");
        exit(4);
    }
}

fn main() -> ExitCode {
    rockstar_plugin::run(Versioned::default())
}
