//! A plugin that does what its configuration says: `hooks` lists what to register and what each hook does, `life` what its
//! lifecycle does, `trace` names the socket where each execution is noted. Of its arguments `--says JSON` is metadata to
//! report in place of the manifest's, `--wait FILE` a file to wait for before it serves; `--in-order` has it begin with
//! each call in the order in which calls reach it.

#![allow(clippy::panic)] // as its script says

mod life;
mod trace;

use life::Life;
use rockstar_plugin::{
    Context, Dependency, HookContext, HookType, Plugin, PluginConfig, PluginContext, Result, Value, async_trait,
};
use std::{
    path::Path,
    process::{self, ExitCode},
    thread,
    time::Duration,
};
use tokio::time::sleep;

/// Reports what its manifest declares, unless it was told otherwise.
struct Declared;

#[derive(Default)]
struct Scripted {
    says: Value,
    life: Life,
    ctx: Option<PluginContext>,
}

/// One hook as configured: `{type, priority, name, do, body}`.
#[derive(Clone)]
struct Script {
    plugin: String,
    version: String,
    kind: HookType,
    priority: i32,
    name: String,
    body: bool,
    steps: Vec<String>,
    trace: String,
    ctx: PluginContext,
}

#[async_trait]
impl Plugin for Declared {
    async fn initialize(&mut self, _: PluginContext) -> Result {
        Ok(())
    }
}

#[async_trait]
impl Plugin for Scripted {
    fn name(&self) -> String {
        self.says("name").unwrap_or_else(|| Declared.name())
    }

    fn version(&self) -> String {
        self.says("version").unwrap_or_else(|| Declared.version())
    }

    fn description(&self) -> String {
        self.says("description").unwrap_or_else(|| Declared.description())
    }

    fn author(&self) -> String {
        self.says("author").unwrap_or_else(|| Declared.author())
    }

    fn dependencies(&self) -> Vec<Dependency> {
        let Some(list) = self.says.get("dependencies").and_then(Value::as_array) else {
            return Declared.dependencies();
        };
        list.iter().map(dependency).collect()
    }

    fn config_schema(&self) -> serde_json::Map<String, Value> {
        self.says.get("config").and_then(Value::as_object).cloned().unwrap_or_else(|| Declared.config_schema())
    }

    async fn initialize(&mut self, ctx: PluginContext) -> Result {
        let config = ctx.plugin_config();
        self.life = Life::read(&config, self);
        self.ctx = Some(ctx.clone());
        for hook in config.array("hooks").unwrap_or_default() {
            let script = Script::read(hook, &ctx, self).ok_or_else(|| format!("cannot understand {hook}"))?;
            let (kind, priority, body) = (script.kind, script.priority, script.body);
            let run = move |hook| {
                let script = script.clone();
                async move { script.run(&hook).await }
            };
            match body {
                true => ctx.register_hook_with_body(kind, priority, run).await?,
                false => ctx.register_hook(kind, priority, run).await?,
            }
        }
        self.live("Initialize").await
    }

    async fn start(&mut self) -> Result {
        self.live("Start").await
    }

    async fn stop(&mut self) -> Result {
        self.live("Stop").await
    }

    async fn cleanup(&mut self) -> Result {
        self.live("Cleanup").await
    }

    async fn on_config_change(&mut self, config: PluginConfig) -> Result {
        self.life = Life::read(&config, self);
        let Some(ctx) = &self.ctx else { return Ok(()) };
        self.life.change(&config, ctx).await
    }
}

impl Scripted {
    fn says(&self, field: &str) -> Option<String> {
        self.says.get(field).and_then(Value::as_str).map(str::to_owned)
    }

    async fn live(&self, method: &str) -> Result {
        match &self.ctx {
            Some(ctx) => self.life.run(method, ctx).await,
            None => Ok(()),
        }
    }
}

fn dependency(value: &Value) -> Dependency {
    let text = |field: &str| value.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    let optional = value.get("optional").and_then(Value::as_bool).unwrap_or_default();
    Dependency { name: text("name"), version: text("version"), optional }
}

impl Script {
    fn read(hook: &Value, ctx: &PluginContext, plugin: &impl Plugin) -> Option<Self> {
        let text = |key: &str| hook.get(key).and_then(Value::as_str);
        let kind = text("type")?;
        Some(Self {
            plugin: plugin.name(),
            version: plugin.version(),
            kind: kind_of(kind)?,
            priority: hook.get("priority").and_then(Value::as_i64).unwrap_or(100).try_into().ok()?,
            name: text("name").unwrap_or(kind).to_owned(),
            body: hook.get("body").and_then(Value::as_bool).unwrap_or_default(),
            steps: text("do").unwrap_or_default().split(';').map(|s| s.trim().to_owned()).collect(),
            trace: ctx.plugin_config().string("trace")?.to_owned(),
            ctx: ctx.clone(),
        })
    }

    async fn run(&self, hook: &HookContext) -> Result {
        self.note(&seen(hook))?;
        for step in &self.steps {
            let (verb, rest) = step.split_once(' ').unwrap_or((step, ""));
            self.step(verb, rest, hook.context()).await?;
        }
        Ok(())
    }

    async fn step(&self, verb: &str, rest: &str, context: &Context) -> Result {
        let (first, second) = rest.split_once(' ').unwrap_or((rest, ""));
        match verb {
            "fail" => return Err(rest.into()),
            "panic" => std::panic::panic_any(rest.to_owned()),
            "exit" => process::exit(9),
            "sleep" => sleep(Duration::from_millis(rest.parse()?)).await,
            "answer" => context.respond(first.parse()?, &[], second.to_owned()),
            "set" => context.set(first, second),
            "header" => context.set_header(first, second.replace("$version", &self.version)),
            "status" => context.set_status(rest.parse()?),
            "path" => context.set_path(rest),
            "body" => context.set_body(rest.to_owned()),
            "show" => self.note(&format!("{first}={:?} by {:?}", context.get(first), context.set_by(first)))?,
            "note" => self.note(rest)?,
            "wait" => life::wait(&self.trace, rest).await,
            "config" => self.note(&life::given(&self.ctx.plugin_config()))?,
            "background" => self.later(rest),
            "publish" => self.ctx.publish_event(rest, Value::Null).await?,
            "" => {}
            _ => return Err(format!("no such step: {verb}").into()),
        }
        Ok(())
    }

    /// Goes on after the hook has returned, once it is let.
    fn later(&self, text: &str) {
        let (script, text) = (self.clone(), text.to_owned());
        tokio::spawn(async move {
            life::wait(&script.trace, "background").await;
            script.ctx.logger().info(text.clone());
            // Nobody is left to hear of it.
            script.note(&text).ok();
        });
    }

    fn note(&self, text: &str) -> Result {
        note(&self.trace, &format!("{}.{} {text}", self.plugin, self.name))
    }
}

fn note(trace: &str, line: &str) -> Result {
    trace::write(trace, line)?;
    Ok(())
}

fn kind_of(name: &str) -> Option<HookType> {
    use HookType::{Error, PostRequest, PostResponse, PreRequest, PreResponse, Shutdown, Startup};
    [Startup, Shutdown, PreRequest, PostRequest, PreResponse, PostResponse, Error]
        .into_iter()
        .find(|kind| kind.as_str() == name)
}

/// What the hook is told of the exchange, in a few words.
fn seen(hook: &HookContext) -> String {
    let context = hook.context();
    let bytes = if hook.hook_type() == HookType::PreRequest { context.body() } else { context.response_body() };
    let body = bytes.map(|b| format!(" [{}]", String::from_utf8_lossy(b))).unwrap_or_default();
    match (hook.failure(), context.status()) {
        (Some(failure), _) => format!("{}: {}", failure.stage, failure.text),
        (None, Some(status)) => format!("{status}{body}"),
        (None, None) => format!("{}{body}", context.path()),
    }
}

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().collect();
    let value = |flag: &str| arguments.iter().position(|a| a == flag).and_then(|at| arguments.get(at + 1));
    while value("--wait").is_some_and(|file| !Path::new(file).exists()) {
        thread::sleep(Duration::from_millis(5));
    }
    let says = value("--says").and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default();
    let scripted = Scripted { says, ..Scripted::default() };
    match arguments.iter().any(|a| a == "--in-order") {
        true => run_in_order(scripted),
        false => rockstar_plugin::run(scripted),
    }
}

/// On one thread, which takes up its tasks in their order.
fn run_in_order(scripted: Scripted) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let served = runtime.map(|runtime| runtime.block_on(rockstar_plugin::serve(scripted)));
    match served {
        Ok(Ok(())) => ExitCode::SUCCESS,
        otherwise => {
            eprintln!("{otherwise:?}");
            ExitCode::FAILURE
        }
    }
}
