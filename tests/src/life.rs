//! A scripted plugin's lifecycle: `life` in its configuration says what each method does, and has each noted in the trace.

use crate::note;
use rockstar_plugin::{
    Context, Event, HookType, HostError, Level, Next, Plugin, PluginConfig, PluginContext, Result, Service, Value,
};
use rockstar_proto::{plugin::plugin_context_client::PluginContextClient, types::Empty};
use std::{env, path::Path, process, time::Duration};
use tokio::time::sleep;
use tonic::transport::Endpoint;

const OWN_KEYS: [&str; 3] = ["hooks", "life", "trace"];
const PAUSE: Duration = Duration::from_millis(5);

/// The script of one plugin's methods: `{initialize: STEPS, start: STEPS, …}`.
#[derive(Clone, Default)]
pub(crate) struct Life {
    plugin: String,
    version: String,
    script: Option<Value>,
    trace: String,
}

impl Life {
    pub(crate) fn read(config: &PluginConfig, plugin: &impl Plugin) -> Self {
        Self {
            plugin: plugin.name(),
            version: plugin.version(),
            script: config.get("life").cloned(),
            trace: config.string("trace").unwrap_or_default().to_owned(),
        }
    }

    /// Notes the method with its version, and does its steps.
    pub(crate) async fn run(&self, method: &str, ctx: &PluginContext) -> Result {
        self.begin(method, &self.version)?;
        for step in self.steps(method) {
            self.step(method, &step, ctx).await?;
        }
        Ok(())
    }

    /// Notes the new configuration.
    pub(crate) async fn change(&self, config: &PluginConfig, ctx: &PluginContext) -> Result {
        self.begin("OnConfigChange", &given(config))?;
        for step in self.steps("OnConfigChange") {
            self.step("OnConfigChange", &step, ctx).await?;
        }
        Ok(())
    }

    fn begin(&self, method: &str, text: &str) -> Result {
        if self.script.is_some() { self.note(method, text) } else { Ok(()) }
    }

    fn steps(&self, method: &str) -> Vec<String> {
        let steps = self.script.as_ref().and_then(|script| script.get(method)).and_then(Value::as_str);
        steps.unwrap_or_default().split(';').map(|step| step.trim().to_owned()).collect()
    }

    async fn step(&self, method: &str, step: &str, ctx: &PluginContext) -> Result {
        let (verb, rest) = step.split_once(' ').unwrap_or((step, ""));
        match verb {
            "fail" => return Err(rest.into()),
            "panic" => std::panic::panic_any(rest.to_owned()),
            "exit" => process::exit(rest.parse()?),
            "hang" => std::future::pending().await,
            "sleep" => sleep(Duration::from_millis(rest.parse()?)).await,
            "wait" => wait(&self.trace, rest).await,
            "note" => self.note(method, rest)?,
            "config" => self.note("config", &given(&ctx.plugin_config()))?,
            "wire" => self.note("wire", &from_host().await?)?,
            "log" => ctx.logger().info(rest),
            "log-config" => ctx.logger().info(format!("{} is given {}", self.plugin, given(&ctx.plugin_config()))),
            "hook" => ctx.register_hook(HookType::PreRequest, 100, |_| async { Ok(()) }).await?,
            "" => {}
            _ => self.use_context(verb, rest, ctx).await?,
        }
        Ok(())
    }

    async fn use_context(&self, verb: &str, rest: &str, ctx: &PluginContext) -> Result {
        match verb {
            "debug" => {
                ctx.logger().set_level(Level::Debug);
                ctx.logger().debug("debugs");
            }
            "middleware" => self.middleware(ctx).await?,
            "listen" => self.listen(rest, ctx).await?,
            "route" => self.route(rest, ctx).await?,
            "export" => self.export(rest, ctx).await?,
            "import" => {
                let (plugin, service) = rest.split_once(' ').unwrap_or((rest, ""));
                self.outcome(verb, ctx.import_service(plugin, service).await.map(drop))?;
            }
            "query" => self.outcome(verb, ctx.database().query(rest, []).await.map(drop))?,
            _ => return Err(format!("no such step: {verb}").into()),
        }
        Ok(())
    }

    /// Notes each request's path.
    async fn middleware(&self, ctx: &PluginContext) -> Result {
        let life = self.clone();
        let run = move |context: Context, next: Next| {
            let life = life.clone();
            async move {
                life.note("middleware", context.path())?;
                Ok(next.run(&context).await?)
            }
        };
        Ok(ctx.register_middleware("noting", run, 100, &[]).await?)
    }

    /// Notes each event's name.
    async fn listen(&self, event: &str, ctx: &PluginContext) -> Result {
        let life = self.clone();
        let heard = move |event: Event| {
            let life = life.clone();
            async move { life.note("heard", &event.name) }
        };
        Ok(ctx.subscribe_event(event, heard).await?)
    }

    /// Answers with plugin and version.
    async fn route(&self, path: &str, ctx: &PluginContext) -> Result {
        let said = format!("{} {}", self.plugin, self.version);
        let answer = move |context: Context| {
            context.respond(200, &[], said.clone());
            async { Ok(()) }
        };
        Ok(ctx.router().get(path, answer).await?)
    }

    /// Its method `Version` tells the version.
    async fn export(&self, service: &str, ctx: &PluginContext) -> Result {
        let version = self.version.clone();
        let method = move |_: Value| {
            let version = version.clone();
            async move { Ok(version) }
        };
        Ok(ctx.export_service(service, Service::new().method("Version", method)).await?)
    }

    /// Notes what came of a use of the context.
    fn outcome(&self, what: &str, done: Result<(), HostError>) -> Result {
        self.note(what, &done.map_or_else(|error| error.to_string(), |()| "ok".to_owned()))
    }

    fn note(&self, method: &str, text: &str) -> Result {
        note(&self.trace, &format!("{}.{method} {text}", self.plugin))
    }
}

/// The configuration but for what makes up the script.
pub(crate) fn given(config: &PluginConfig) -> String {
    let mut values = config.values().clone();
    OWN_KEYS.iter().for_each(|key| drop(values.remove(*key)));
    Value::Object(values).to_string()
}

/// What the host itself answers to this process, beside the SDK.
async fn from_host() -> Result<String> {
    let socket = env::current_dir()?.join(env::var("ROCKSTAR_HOST_SOCKET")?);
    let channel = Endpoint::from_shared(format!("unix://{}", socket.display()))?.connect().await?;
    let config = PluginContextClient::new(channel).get_plugin_config(Empty {}).await?.into_inner();
    Ok(given(&PluginConfig::new(config.values.unwrap_or_default().to_json())))
}

/// Until the file `go-NAME` is there, beside the trace.
pub(crate) async fn wait(trace: &str, name: &str) {
    let file = Path::new(trace).with_file_name(format!("go-{name}"));
    while !file.exists() {
        sleep(PAUSE).await;
    }
}
