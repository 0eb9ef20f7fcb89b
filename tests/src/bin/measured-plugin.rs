//! A plugin for what is measured, logged and counted: it does what the request's path says, in a pre_request hook.
//!
//! `/log`, `/debug`, `/count`, `/fail`, `/fail/N`, `/sleep/MS`, `/metrics/PLUGIN`, `/die`; all else
//! passes, and all of it where the configuration says `quiet`.

use rockstar_plugin::{HookContext, HookType, Level, Plugin, PluginContext, Result, async_trait, json};
use std::{process::ExitCode, time::Duration};
use tokio::time::sleep;

struct Measured;

#[async_trait]
impl Plugin for Measured {
    async fn initialize(&mut self, ctx: PluginContext) -> Result {
        let config = ctx.plugin_config();
        sleep(Duration::from_millis(config.integer("initialize_ms").unwrap_or_default().unsigned_abs())).await;
        if let Some(text) = config.string("fail_initialize") {
            return Err(text.into());
        }
        let (sample, quiet) = (ctx.clone(), config.boolean("quiet").unwrap_or_default());
        ctx.register_hook(HookType::PreRequest, 100, move |hook| {
            let ctx = sample.clone();
            async move { if quiet { Ok(()) } else { act(&ctx, &hook).await } }
        })
        .await?;
        Ok(())
    }
}

async fn act(ctx: &PluginContext, hook: &HookContext) -> Result {
    let path = hook.context().path();
    let (first, rest) = path.trim_start_matches('/').split_once('/').unwrap_or((path.trim_start_matches('/'), ""));
    match first {
        "log" => log(ctx),
        "debug" if ctx.plugin_config().boolean("ignore_level") == Some(true) => {}
        "debug" => ctx.logger().set_level(Level::Debug),
        "count" => count(ctx),
        "fail" => return Err(format!("failed {rest}").into()),
        "sleep" => sleep(Duration::from_millis(rest.parse()?)).await,
        "die" => std::process::exit(7),
        "metrics" => match ctx.metrics().get_plugin_metrics(rest).await {
            Ok(metrics) => hook.context().respond(200, &[], metrics.to_string()),
            Err(error) => hook.context().respond(404, &[], error.to_string()),
        },
        _ => {}
    }
    Ok(())
}

fn log(ctx: &PluginContext) {
    let logger = ctx.logger();
    logger.debug("a debug record");
    logger.info("an info record");
    logger.warn("a warn record");
    logger.error("an error record");
    logger.with_fields([("user_id", json!(123)), ("action", json!("login"))]).info("with fields");
}

fn count(ctx: &PluginContext) {
    let metrics = ctx.metrics();
    metrics.increment_counter("myplugin.requests.total");
    metrics.record_gauge("myplugin.queue.size", 17.0);
    metrics.record_histogram("myplugin.request.duration", 0.25);
    metrics.increment_counter("plugin.error.count");
}

fn main() -> ExitCode {
    rockstar_plugin::run(Measured)
}
