//! Cache: keeps small answers of GET requests for a while, and gives them instead of the application.

use rockstar_plugin::{HookContext, HookType, Plugin, PluginContext, Result, async_trait};
use std::time::Duration;

const DEFAULT_TTL: Duration = Duration::from_secs(30);

struct Caching;

#[async_trait]
impl Plugin for Caching {
    async fn initialize(&mut self, ctx: PluginContext) -> Result {
        let context = ctx.clone();
        ctx.register_hook(HookType::PreRequest, 60, move |hook| answer(context.clone(), hook)).await?;
        let context = ctx.clone();
        ctx.register_hook_with_body(HookType::PreResponse, 60, move |hook| keep(context.clone(), hook)).await?;
        Ok(())
    }
}

/// None where an answer is one client's own, or not only read.
fn key(hook: &HookContext) -> Option<String> {
    let request = hook.context();
    let shared = request.method() == "GET" && request.get_header("authorization").is_none();
    shared.then(|| format!("answer:{}?{}", request.normal_path(), request.query_string()))
}

async fn answer(ctx: PluginContext, hook: HookContext) -> Result {
    let Some(key) = key(&hook) else { return Ok(()) };
    if let Some(body) = ctx.cache().get::<String>(&key).await? {
        hook.context().respond(200, &[("x-cache", "hit")], body);
    }
    Ok(())
}

async fn keep(ctx: PluginContext, hook: HookContext) -> Result {
    let exchange = hook.context();
    let fresh = exchange.status() == Some(200) && exchange.get_response_header("x-cache").is_none();
    let body = exchange.response_body().and_then(|body| std::str::from_utf8(body).ok());
    if let (true, Some(key), Some(body)) = (fresh, key(&hook), body) {
        let ttl = ctx.plugin_config().duration("ttl").unwrap_or(DEFAULT_TTL);
        ctx.cache().set(&key, body, ttl).await?;
    }
    Ok(())
}

fn main() -> std::process::ExitCode {
    rockstar_plugin::run(Caching)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rockstar_plugin::testing::{MockPluginContext, Request, Response};

    #[tokio::test]
    async fn the_second_answer_comes_from_the_cache() {
        let mock = MockPluginContext::new().with_manifest(include_str!("../plugin.yaml"));
        Caching.initialize(mock.context()).await.unwrap();
        let first = mock.request_with(Request::get("/a?b=1"), |_| Response::new(200).body("fresh")).await;
        assert_eq!((first.status(), first.header("x-cache")), (Some(200), None));
        assert_eq!(mock.cache()["answer:/a?b=1"], "fresh");
        let second = mock.request_with(Request::get("/a?b=1"), |_| Response::new(500)).await;
        assert_eq!((second.status(), second.header("x-cache")), (Some(200), Some("hit")));
        assert_eq!(second.response.unwrap().get_body(), b"fresh");
    }

    #[tokio::test]
    async fn personal_answers_are_not_kept() {
        let mock = MockPluginContext::new();
        Caching.initialize(mock.context()).await.unwrap();
        mock.request(Request::get("/").header("authorization", "Bearer x")).await;
        assert!(mock.cache().is_empty());
    }
}
