//! Metrics: counts answers and failures, which the sidecar exposes as `rockstar_metricsplugin_…{plugin="metrics-plugin"}`.

use rockstar_plugin::{HookType, Plugin, PluginContext, Result, async_trait};

struct Measuring;

#[async_trait]
impl Plugin for Measuring {
    async fn initialize(&mut self, ctx: PluginContext) -> Result {
        let metrics = ctx.metrics();
        ctx.register_hook(HookType::PostResponse, 100, move |hook| {
            let exchange = hook.context();
            metrics.increment_counter("metricsplugin.requests.total");
            if exchange.status().is_some_and(|status| status >= 500) {
                metrics.increment_counter("metricsplugin.failures.total");
            }
            if let Some(length) = exchange.get_response_header("content-length").and_then(|text| text.parse().ok()) {
                metrics.record_gauge("metricsplugin.last.length", length);
            }
            async { Ok(()) }
        })
        .await?;
        Ok(())
    }
}

fn main() -> std::process::ExitCode {
    rockstar_plugin::run(Measuring)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rockstar_plugin::testing::{MockPluginContext, Request, Response};

    #[tokio::test]
    async fn answers_are_measured() {
        let mock = MockPluginContext::new();
        Measuring.initialize(mock.context()).await.unwrap();
        for status in [200, 503] {
            let response = Response::new(status).header("content-length", "12");
            mock.hook(HookType::PostResponse, Request::get("/"), response).await;
        }
        let metrics = mock.metrics().await;
        assert_eq!(metrics["metricsplugin.requests.total"], 2.0);
        assert_eq!((metrics["metricsplugin.failures.total"], metrics["metricsplugin.last.length"]), (1.0, 12.0));
    }
}
