//! The steps of one hook, middleware or route.

use crate::trace;
use rockstar_plugin::{Context, Next, Plugin, PluginContext, Result, Value, json};
use std::{path::PathBuf, process, time::Duration};
use tokio::time::sleep;

const PAUSE: Duration = Duration::from_millis(5);

/// Steps, separated by `;`, with all that they need.
#[derive(Clone)]
pub(crate) struct Steps {
    ctx: PluginContext,
    plugin: String,
    version: String,
    trace: PathBuf,
    name: String,
    steps: Vec<String>,
}

impl Steps {
    pub(crate) fn new(plugin: &impl Plugin, ctx: &PluginContext) -> Result<Self> {
        Ok(Self {
            ctx: ctx.clone(),
            plugin: plugin.name(),
            version: plugin.version(),
            trace: ctx.plugin_config().string("trace").ok_or("no trace")?.into(),
            name: String::new(),
            steps: Vec::new(),
        })
    }

    pub(crate) fn named(&self, name: &str, steps: &str) -> Self {
        let steps = steps.split(';').map(|step| step.trim().to_owned()).collect();
        Self { name: name.to_owned(), steps, ..self.clone() }
    }

    pub(crate) async fn run(&self, ctx: &Context, mut next: Option<Next>) -> Result {
        for step in &self.steps {
            let (verb, rest) = step.split_once(' ').unwrap_or((step, ""));
            match verb {
                "next" => next.take().ok_or("next was called twice")?.run(ctx).await?,
                "needs" if !ctx.query().contains_key(rest) => {
                    ctx.json(400, &json!({"error": format!("{rest} required")}));
                    return Ok(());
                }
                "needs" => {}
                verb => self.step(verb, &self.filled(rest, ctx), ctx).await?,
            }
        }
        Ok(())
    }

    async fn step(&self, verb: &str, rest: &str, ctx: &Context) -> Result {
        let (first, second) = rest.split_once(' ').unwrap_or((rest, ""));
        match verb {
            "note" => self.note(&self.name, rest)?,
            "fail" => return Err(rest.into()),
            "panic" => std::panic::panic_any(rest.to_owned()),
            "exit" => process::exit(9),
            "sleep" => sleep(Duration::from_millis(rest.parse()?)).await,
            "wait" => self.wait(rest).await,
            "background" => self.later(rest),
            "answer" => ctx.respond(first.parse()?, &[], second.to_owned()),
            "json" => ctx.json(first.parse()?, &serde_json::from_str::<Value>(second)?),
            "count" => ctx.metrics().increment_counter(rest),
            "set" => ctx.set(first, second),
            "header" => ctx.set_header(first, second.to_owned()),
            "status" => ctx.set_status(rest.parse()?),
            "path" => ctx.set_path(rest),
            "body" => ctx.set_body(rest.to_owned()),
            "unregister" => match self.ctx.unregister_middleware(rest).await {
                Ok(()) => self.note(&self.name, "unregistered")?,
                Err(error) => self.note(&self.name, &error.to_string())?,
            },
            "drop" => {
                let trace = Dropped(self.clone());
                std::future::pending::<()>().await;
                drop(trace);
            }
            "" => {}
            _ => return Err(format!("no such step: {verb}").into()),
        }
        Ok(())
    }

    /// With what the exchange says in place of `$status`, `$path`, …
    fn filled(&self, text: &str, ctx: &Context) -> String {
        let text_of = |body: Option<&[u8]>| body.map_or("none".into(), |b| String::from_utf8_lossy(b).into_owned());
        let words = text.split(' ').map(|word| match word.split_once(':').unwrap_or((word, "")) {
            ("$status", _) => ctx.status().map_or_else(|| "none".to_owned(), |s| s.to_string()),
            ("$path", _) => ctx.path().to_owned(),
            ("$method", _) => ctx.method().to_owned(),
            ("$version", _) => self.version.clone(),
            ("$body", _) => text_of(ctx.body().map(AsRef::as_ref)),
            ("$response", _) => text_of(ctx.response_body().map(AsRef::as_ref)),
            ("$header", name) => ctx.get_header(name).unwrap_or("none").to_owned(),
            ("$query", name) => ctx.query().get(name).cloned().unwrap_or_else(|| "none".into()),
            ("$param", name) => ctx.param(name).unwrap_or("none").to_owned(),
            ("$value", key) => {
                format!("{} by {}", ctx.get(key).unwrap_or_default(), ctx.set_by(key).unwrap_or("nobody"))
            }
            _ => word.to_owned(),
        });
        words.collect::<Vec<_>>().join(" ")
    }

    /// Until the file `go-NAME` is there, beside the trace.
    async fn wait(&self, name: &str) {
        let file = self.trace.with_file_name(format!("go-{name}"));
        while !file.exists() {
            sleep(PAUSE).await;
        }
    }

    /// Goes on after the handler has returned.
    fn later(&self, name: &str) {
        let (steps, name) = (self.clone(), name.to_owned());
        tokio::spawn(async move {
            steps.wait(&name).await;
            // Nobody is left to hear of it.
            steps.note(&steps.name, &name).ok();
        });
    }

    pub(crate) fn note(&self, name: &str, text: &str) -> Result {
        trace::write(&self.trace, &format!("{}.{name} {text}", self.plugin))?;
        Ok(())
    }
}

struct Dropped(Steps);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.note(&self.0.name, "dropped").ok();
    }
}
