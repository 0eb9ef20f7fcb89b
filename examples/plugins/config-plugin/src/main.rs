//! Configuration: its own, which may change while it runs, and the framework's.

use rockstar_plugin::{HookType, Plugin, PluginConfig, PluginContext, Result, async_trait};

struct Configured;

#[async_trait]
impl Plugin for Configured {
    async fn initialize(&mut self, ctx: PluginContext) -> Result {
        check(&ctx.plugin_config())?;
        let site = ctx.config().get_string("site.name").await?;
        let context = ctx.clone();
        ctx.register_hook(HookType::PreResponse, 100, move |hook| {
            // Read at each call, so that a change is in force at once.
            if let Some(header) = context.plugin_config().string("header") {
                hook.context().set_header(header, site.clone());
            }
            async { Ok(()) }
        })
        .await?;
        Ok(())
    }

    /// An error keeps the old configuration.
    async fn on_config_change(&mut self, config: PluginConfig) -> Result {
        check(&config)
    }
}

fn check(config: &PluginConfig) -> Result {
    config.required("header")?;
    config.duration("timeout").ok_or("invalid timeout: not a duration")?;
    Ok(())
}

fn main() -> std::process::ExitCode {
    rockstar_plugin::run(Configured)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rockstar_plugin::{
        json,
        testing::{MockPluginContext, Request},
    };

    #[tokio::test]
    async fn a_changed_configuration_is_in_force_at_once() {
        let mock = MockPluginContext::new()
            .with_manifest(include_str!("../plugin.yaml"))
            .with_framework_config(json!({"site": {"name": "shop"}}));
        Configured.initialize(mock.context()).await.unwrap();
        assert_eq!(mock.request(Request::get("/")).await.header("x-served-by"), Some("shop"));
        mock.change_config(&mut Configured, json!({"header": "x-site"})).await.unwrap();
        assert_eq!(mock.request(Request::get("/")).await.header("x-site"), Some("shop"));
        let error = mock.change_config(&mut Configured, json!({"timeout": "soon"})).await.unwrap_err();
        assert_eq!(error.to_string(), "invalid timeout: not a duration");
        assert_eq!(mock.request(Request::get("/")).await.header("x-site"), Some("shop"));
    }

    #[tokio::test]
    async fn a_key_that_the_framework_lacks_is_named() {
        let mock = MockPluginContext::new().with_manifest(include_str!("../plugin.yaml"));
        let error = Configured.initialize(mock.context()).await.unwrap_err();
        assert_eq!(error.to_string(), "configuration key not found: 'site.name'");
    }
}
