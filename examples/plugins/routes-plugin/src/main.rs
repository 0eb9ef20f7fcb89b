//! Routes: paths of the application that the plugin answers itself, with path and query parameters.

use rockstar_plugin::{Context, Plugin, PluginContext, Result, async_trait, json};

struct Routes;

#[async_trait]
impl Plugin for Routes {
    async fn initialize(&mut self, ctx: PluginContext) -> Result {
        let router = ctx.router();
        router.get("/api/greetings/status", |c| async move { reply(&c, 200, &json!({"status": "ok"})) }).await?;
        router.get("/api/greetings/:name", |c| async move { greet(&c) }).await?;
        Ok(())
    }
}

fn greet(c: &Context) -> Result {
    let name = c.param("name").unwrap_or_default();
    match c.query().get("language").map(String::as_str) {
        None | Some("en") => reply(c, 200, &json!({"greeting": format!("Hello, {name}")})),
        Some("de") => reply(c, 200, &json!({"greeting": format!("Hallo, {name}")})),
        Some(other) => reply(c, 400, &json!({"error": format!("unknown language {other}")})),
    }
}

fn reply(c: &Context, status: u16, body: &rockstar_plugin::Value) -> Result {
    c.json(status, body);
    Ok(())
}

fn main() -> std::process::ExitCode {
    rockstar_plugin::run(Routes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rockstar_plugin::testing::{MockPluginContext, Request};

    #[tokio::test]
    async fn greetings_come_in_two_languages() {
        let mock = MockPluginContext::new().with_manifest(include_str!("../plugin.yaml"));
        Routes.initialize(mock.context()).await.unwrap();
        assert_eq!(mock.routes()[1].name, "GET /api/greetings/:name");
        let cases = [
            ("/api/greetings/status", 200, json!({"status": "ok"})),
            ("/api/greetings/ann", 200, json!({"greeting": "Hello, ann"})),
            ("/api/greetings/ann?language=de", 200, json!({"greeting": "Hallo, ann"})),
            ("/api/greetings/ann?language=xx", 400, json!({"error": "unknown language xx"})),
        ];
        for (path, status, body) in cases {
            let outcome = mock.request(Request::get(path)).await;
            assert_eq!((outcome.status(), outcome.json()), (Some(status), body));
        }
    }

    #[tokio::test]
    async fn routes_need_their_permission() {
        let mock = MockPluginContext::new().with_permissions(["cache"]);
        let error = Routes.initialize(mock.context()).await.unwrap_err();
        assert!(error.to_string().contains("attempted router access without permission"), "{error}");
    }
}
