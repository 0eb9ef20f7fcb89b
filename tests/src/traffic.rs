//! A plugin that takes part in requests as its configuration says: `traffic` lists hooks, middleware and routes with the
//! steps that each does, `trace` names the socket where they note. With `unary` each call is a gRPC call of its own.

#![allow(clippy::panic)] // as its script says

mod trace;
mod traffic_steps;

use rockstar_plugin::{Context, HookType, Next, Plugin, PluginContext, Result, Value, async_trait};
use rockstar_proto::plugin::{Registration, plugin_context_client::PluginContextClient, registration::Kind};
use std::{env, process::ExitCode};
use tonic::transport::Endpoint;
use traffic_steps::Steps;

#[derive(Default)]
struct Traffic {
    ctx: Option<PluginContext>,
    steps: Option<Steps>,
}

/// One entry of `traffic`: `{kind, name, type, priority, routes, method, path, body, do, try}`.
struct Entry<'a>(&'a Value);

impl Entry<'_> {
    fn text(&self, key: &str) -> &str {
        self.0.get(key).and_then(Value::as_str).unwrap_or_default()
    }

    fn is(&self, key: &str) -> bool {
        self.0.get(key).and_then(Value::as_bool).unwrap_or_default()
    }

    fn priority(&self) -> i32 {
        self.0.get("priority").and_then(Value::as_i64).and_then(|p| p.try_into().ok()).unwrap_or(100)
    }

    fn routes(&self) -> Vec<&str> {
        let routes = self.0.get("routes").and_then(Value::as_array);
        routes.into_iter().flatten().filter_map(Value::as_str).collect()
    }

    /// What it is called in the trace.
    fn name(&self) -> String {
        let names = [self.text("name"), self.text("type"), self.text("path")];
        names.into_iter().find(|name| !name.is_empty()).unwrap_or_default().to_owned()
    }
}

#[async_trait]
impl Plugin for Traffic {
    fn multiplexed(&self) -> bool {
        !env::args().any(|argument| argument == "--unary")
    }

    async fn initialize(&mut self, ctx: PluginContext) -> Result {
        let config = ctx.plugin_config();
        let steps = Steps::new(self, &ctx)?;
        self.steps = Some(steps.clone());
        self.ctx = Some(ctx.clone());
        for entry in config.array("traffic").unwrap_or_default() {
            let entry = Entry(entry);
            match register(&ctx, &entry, steps.named(&entry.name(), entry.text("do"))).await {
                Err(error) if entry.is("try") => steps.note(&entry.name(), &error.to_string())?,
                registered => registered?,
            }
        }
        Ok(())
    }

    async fn start(&mut self) -> Result {
        self.live("Start")
    }

    async fn stop(&mut self) -> Result {
        self.live("Stop")
    }
}

impl Traffic {
    fn live(&self, method: &str) -> Result {
        let (Some(ctx), Some(steps)) = (&self.ctx, &self.steps) else { return Ok(()) };
        if ctx.plugin_config().boolean("lives").unwrap_or_default() { steps.note(method, "") } else { Ok(()) }
    }
}

async fn register(ctx: &PluginContext, entry: &Entry<'_>, steps: Steps) -> Result {
    match entry.text("kind") {
        "hook" => hook(ctx, entry, steps).await,
        "middleware" => middleware(ctx, entry, steps).await,
        "route" => {
            let run = move |ctx: Context| {
                let steps = steps.clone();
                async move { steps.run(&ctx, None).await }
            };
            Ok(ctx.router().route(entry.text("method"), entry.text("path"), run).await?)
        }
        "raw" => raw(entry).await,
        other => Err(format!("no such kind: {other}").into()),
    }
}

async fn hook(ctx: &PluginContext, entry: &Entry<'_>, steps: Steps) -> Result {
    let kind = kind_of(entry.text("type")).ok_or("no such hook")?;
    let run = move |hook: rockstar_plugin::HookContext| {
        let steps = steps.clone();
        async move {
            if let Some(failure) = hook.failure() {
                steps.note(hook.hook_type().as_str(), &format!("{}: {}", failure.stage, failure.text))?;
            }
            steps.run(hook.context(), None).await
        }
    };
    Ok(ctx.register_hook(kind, entry.priority(), run).await?)
}

async fn middleware(ctx: &PluginContext, entry: &Entry<'_>, steps: Steps) -> Result {
    let (name, priority, routes) = (entry.text("name"), entry.priority(), entry.routes());
    if entry.is("request_only") {
        let run = move |ctx: Context| {
            let steps = steps.clone();
            async move { steps.run(&ctx, None).await }
        };
        return Ok(ctx.register_request_middleware(name, run, priority, &routes).await?);
    }
    let run = move |ctx: Context, next: Next| {
        let steps = steps.clone();
        async move { steps.run(&ctx, Some(next)).await }
    };
    match entry.is("body") {
        true => ctx.register_middleware_with_body(name, run, priority, &routes).await?,
        false => ctx.register_middleware(name, run, priority, &routes).await?,
    }
    Ok(())
}

/// Registers a hook of any type, beside the SDK.
async fn raw(entry: &Entry<'_>) -> Result {
    let socket = env::current_dir()?.join(env::var("ROCKSTAR_HOST_SOCKET")?);
    let channel = Endpoint::from_shared(format!("unix://{}", socket.display()))?.connect().await?;
    let registration = Registration {
        kind: Kind::Hook.into(),
        name: entry.text("type").into(),
        handler: "raw".into(),
        ..Registration::default()
    };
    match PluginContextClient::new(channel).register(registration).await?.into_inner().failure {
        Some(failure) => Err(failure.text.into()),
        None => Ok(()),
    }
}

fn kind_of(name: &str) -> Option<HookType> {
    use HookType::{Error, PostRequest, PostResponse, PreRequest, PreResponse, Shutdown, Startup};
    [Startup, Shutdown, PreRequest, PostRequest, PreResponse, PostResponse, Error]
        .into_iter()
        .find(|kind| kind.as_str() == name)
}

fn main() -> ExitCode {
    rockstar_plugin::run(Traffic::default())
}
