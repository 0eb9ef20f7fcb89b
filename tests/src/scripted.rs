//! A plugin that does what its configuration says: `hooks` lists what to register and what each hook does, `trace` names
//! the file that each execution is noted in.

#![allow(clippy::panic)] // as its script says

use rockstar_plugin::{
    Context, HookContext, HookType, Plugin, PluginConfig, PluginContext, Result, Value, async_trait,
};
use std::{
    fs::OpenOptions,
    io::Write,
    process::{self, ExitCode},
    time::Duration,
};
use tokio::time::sleep;

struct Scripted;

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
}

#[async_trait]
impl Plugin for Scripted {
    async fn initialize(&mut self, ctx: PluginContext) -> Result {
        let config = ctx.plugin_config();
        for hook in config.array("hooks").unwrap_or_default() {
            let script = Script::read(hook, &config, self).ok_or_else(|| format!("cannot understand {hook}"))?;
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
        Ok(())
    }
}

impl Script {
    fn read(hook: &Value, config: &PluginConfig, plugin: &impl Plugin) -> Option<Self> {
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
            trace: config.string("trace")?.to_owned(),
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
            "" => {}
            _ => return Err(format!("no such step: {verb}").into()),
        }
        Ok(())
    }

    fn note(&self, text: &str) -> Result {
        let mut trace = OpenOptions::new().append(true).create(true).open(&self.trace)?;
        let line = format!("{}.{} {text}", self.plugin, self.name);
        // One write, so that lines of several processes do not mix.
        trace.write_all(format!("{}\n", line.trim_end()).as_bytes())?;
        Ok(())
    }
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
    rockstar_plugin::run(Scripted)
}
