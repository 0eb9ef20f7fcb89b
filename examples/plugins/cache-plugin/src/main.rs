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

#[cfg(test)]
mod tests {
    use super::*;
    use rockstar_plugin::{
        json,
        testing::{MockPluginContext, Request, Response},
    };

    #[tokio::test]
    async fn answers_that_say_nothing_may_be_kept() {
        let mock = MockPluginContext::new().with_config(json!({"max_age": "10s"}));
        Cache.initialize(mock.context()).await.unwrap();
        let answered = mock.request(Request::get("/")).await;
        assert_eq!(answered.header("cache-control"), Some("private, max-age=10"));
        let own = Response::new(200).header("cache-control", "no-store");
        assert_eq!(mock.request_with(Request::get("/"), |_| own).await.header("cache-control"), Some("no-store"));
        let missing = mock.request_with(Request::get("/"), |_| Response::new(404)).await;
        assert_eq!(missing.header("cache-control"), None);
    }
}
