//! Middleware: a function around the handler. One guards some routes, another measures all.

use rockstar_plugin::{Context, Next, Plugin, PluginContext, Result, async_trait, json};
use std::time::Instant;

struct Middleware;

#[async_trait]
impl Plugin for Middleware {
    async fn initialize(&mut self, ctx: PluginContext) -> Result {
        ctx.plugin_config().required("admin_token")?;
        ctx.register_middleware("timing", timing, 300, &[]).await?;
        let context = ctx.clone();
        ctx.register_middleware("guard", move |c, next| guard(context.clone(), c, next), 200, &["/admin/*"]).await?;
        Ok(())
    }
}

async fn timing(c: Context, next: Next) -> Result {
    let begun = Instant::now();
    next.run(&c).await?;
    c.set_header("server-timing", format!("handler;dur={}", begun.elapsed().as_millis()));
    Ok(())
}

/// Without a call of `next` the request goes no further.
async fn guard(ctx: PluginContext, c: Context, next: Next) -> Result {
    let config = ctx.plugin_config();
    let token = c.get_header("authorization").and_then(|value| value.strip_prefix("Bearer "));
    if token != config.string("admin_token") {
        c.json(403, &json!({"error": "administrators only"}));
        return Ok(());
    }
    c.set("role", "admin");
    next.run(&c).await?;
    Ok(())
}

fn main() -> std::process::ExitCode {
    rockstar_plugin::run(Middleware)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rockstar_plugin::testing::{MockPluginContext, Request, Response};

    #[tokio::test]
    async fn the_guard_stands_before_admin_alone() {
        let mock = MockPluginContext::new().with_config(json!({"admin_token": "secret"}));
        Middleware.initialize(mock.context()).await.unwrap();
        let refused = mock.request(Request::get("/admin/users")).await;
        assert_eq!((refused.status(), refused.json()), (Some(403), json!({"error": "administrators only"})));
        let request = Request::get("/admin/users").header("authorization", "Bearer secret");
        let passed = mock.request_with(request, |_| Response::new(201)).await;
        assert_eq!((passed.status(), passed.values()["role"].as_str()), (Some(201), Some("admin")));
        let other = mock.request(Request::get("/shop")).await;
        assert_eq!(other.status(), Some(200));
        assert!(other.header("server-timing").unwrap().starts_with("handler;dur="));
    }

    #[tokio::test]
    async fn without_a_token_it_does_not_start() {
        let error = Middleware.initialize(MockPluginContext::new().context()).await.unwrap_err();
        assert_eq!(error.to_string(), "admin_token is required");
    }
}
