//! Logs each request when it comes in, and its status when it has been answered.

use rockstar_plugin::{HookContext, HookType, Logger, Plugin, PluginContext, Result, async_trait, json};

struct Logging;

#[async_trait]
impl Plugin for Logging {
    async fn initialize(&mut self, ctx: PluginContext) -> Result {
        let logger = ctx.logger();
        ctx.register_hook(HookType::PreRequest, 60, {
            let logger = logger.clone();
            move |hook| {
                received(&logger, &hook);
                async { Ok(()) }
            }
        })
        .await?;
        ctx.register_hook(HookType::PostResponse, 60, move |hook| {
            answered(&logger, &hook);
            async { Ok(()) }
        })
        .await?;
        Ok(())
    }
}

fn received(logger: &Logger, hook: &HookContext) {
    let request = hook.context();
    logger.with_fields([("method", json!(request.method())), ("path", json!(request.path()))]).info(format!(
        "{} {}",
        request.method(),
        request.path()
    ));
}

fn answered(logger: &Logger, hook: &HookContext) {
    let request = hook.context();
    let status = request.status().unwrap_or_default();
    logger.with_fields([("status", json!(status))]).info(format!(
        "{} {} -> {status}",
        request.method(),
        request.path()
    ));
}

fn main() -> std::process::ExitCode {
    rockstar_plugin::run(Logging)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rockstar_plugin::testing::{MockPluginContext, Request, Response};

    #[tokio::test]
    async fn a_request_and_its_answer_are_logged() {
        let mock = MockPluginContext::new();
        Logging.initialize(mock.context()).await.unwrap();
        mock.request_with(Request::get("/shop"), |_| Response::new(404)).await;
        let logs = mock.logs().await;
        let texts: Vec<_> = logs.iter().map(|log| log.text.as_str()).collect();
        assert_eq!(texts, ["GET /shop", "GET /shop -> 404"]);
        assert_eq!((&logs[0].fields["path"], &logs[1].fields["status"]), (&json!("/shop"), &json!(404)));
    }
}
