//! Tells clients and proxies how long they may keep an answer: sets `cache-control` where the application did not.

use rockstar_plugin::{HookContext, HookType, Plugin, PluginContext, Result, async_trait};
use std::time::Duration;

const DEFAULT_AGE: Duration = Duration::from_secs(60);

struct Cache;

#[async_trait]
impl Plugin for Cache {
    async fn initialize(&mut self, ctx: PluginContext) -> Result {
        let context = ctx.clone();
        ctx.register_hook(HookType::PreResponse, 100, move |hook| {
            let age = context.plugin_config().duration("max_age").unwrap_or(DEFAULT_AGE);
            may_keep(&hook, age);
            async { Ok(()) }
        })
        .await?;
        Ok(())
    }

    /// Each answer reads the configuration anew, so there is nothing to do.
    async fn on_config_change(&mut self, _: rockstar_plugin::PluginConfig) -> Result {
        Ok(())
    }
}

fn may_keep(hook: &HookContext, age: Duration) {
    let exchange = hook.context();
    let ok = exchange.status().is_some_and(|status| (200..300).contains(&status));
    if ok && exchange.method() == "GET" && exchange.get_response_header("cache-control").is_none() {
        exchange.set_header("cache-control", format!("private, max-age={}", age.as_secs()));
    }
}

fn main() -> std::process::ExitCode {
    rockstar_plugin::run(Cache)
}
