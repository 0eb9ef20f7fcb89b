//! Refuses requests that carry no bearer token. Its manifest's `fault` makes versions that fail on purpose, to show what
//! a rollout does with them.

use rockstar_plugin::{HookContext, HookType, Plugin, PluginConfig, PluginContext, Result, async_trait, json};
use std::time::Duration;

#[derive(Default)]
struct Auth {
    ctx: Option<PluginContext>,
    fault: Fault,
}

/// What this version does wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Fault {
    #[default]
    None,
    Initialize,
    Start,
    /// Dies this long after Start.
    Crash(Duration),
}

impl Fault {
    fn configured(config: &PluginConfig) -> Self {
        match config.string("fault") {
            Some("initialize") => Self::Initialize,
            Some("start") => Self::Start,
            Some("crash") => Self::Crash(config.duration("fault_after").unwrap_or_default()),
            _ => Self::None,
        }
    }
}

#[async_trait]
impl Plugin for Auth {
    async fn initialize(&mut self, ctx: PluginContext) -> Result {
        let config = ctx.plugin_config();
        config.required("jwt_secret")?;
        self.fault = Fault::configured(&config);
        if self.fault == Fault::Initialize {
            return Err("cannot read the key store".into());
        }
        let version = self.version();
        ctx.register_hook(HookType::PreRequest, 200, |hook| async move {
            check(&hook);
            Ok(())
        })
        .await?;
        ctx.register_hook(HookType::PreResponse, 200, move |hook| {
            hook.context().set_header("x-auth-plugin", version.clone());
            async { Ok(()) }
        })
        .await?;
        self.ctx = Some(ctx);
        Ok(())
    }

    async fn start(&mut self) -> Result {
        match self.fault {
            Fault::Start => return Err("cannot reach the identity provider".into()),
            Fault::Crash(after) => crash(after),
            Fault::None | Fault::Initialize => {}
        }
        if let Some(ctx) = &self.ctx {
            ctx.logger().info("Plugin started");
        }
        Ok(())
    }

    async fn on_config_change(&mut self, config: PluginConfig) -> Result {
        config.required("jwt_secret")?;
        if let Some(ctx) = &self.ctx {
            ctx.logger().info("Configuration updated");
        }
        Ok(())
    }
}

fn check(hook: &HookContext) {
    let request = hook.context();
    let token = request.get_header("authorization").and_then(|value| value.strip_prefix("Bearer "));
    match token.map(str::trim).filter(|token| !token.is_empty()) {
        Some(token) => request.set("user", token),
        None => request.json(401, &json!({"error": "unauthorized"})),
    }
}

fn crash(after: Duration) {
    tokio::spawn(async move {
        tokio::time::sleep(after).await;
        eprintln!("fatal: the key store is corrupt");
        std::process::exit(3);
    });
}

fn main() -> std::process::ExitCode {
    rockstar_plugin::run(Auth::default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rockstar_plugin::testing::{MockPluginContext, Request};

    fn host(fault: &str) -> MockPluginContext {
        MockPluginContext::new().with_config(json!({"jwt_secret": "s", "fault": fault}))
    }

    #[tokio::test]
    async fn only_bearers_of_a_token_pass() {
        let mock = host("none");
        Auth::default().initialize(mock.context()).await.unwrap();
        let refused = mock.request(Request::get("/").header("authorization", "Bearer ")).await;
        assert_eq!((refused.status(), refused.json()), (Some(401), json!({"error": "unauthorized"})));
        let passed = mock.request(Request::get("/").header("authorization", "Bearer ann")).await;
        assert_eq!((passed.status(), &passed.values()["user"]), (Some(200), &json!("ann")));
    }

    #[tokio::test]
    async fn faults_come_where_they_are_asked_for() {
        let (initialize, start) = (host("initialize"), host("start"));
        assert!(Auth::default().initialize(initialize.context()).await.is_err());
        let mut auth = Auth::default();
        auth.initialize(start.context()).await.unwrap();
        assert_eq!(auth.start().await.unwrap_err().to_string(), "cannot reach the identity provider");
    }
}
