//! The plugin that is measured: one pre_request hook that sets a header.

use rockstar_plugin::{HookType, Plugin, PluginContext, Result, async_trait};

struct Bench;

#[async_trait]
impl Plugin for Bench {
    async fn initialize(&mut self, ctx: PluginContext) -> Result {
        ctx.register_hook(HookType::PreRequest, 100, |hook| {
            hook.context().set_header("x-bench", "1");
            async { Ok(()) }
        })
        .await?;
        Ok(())
    }
}

fn main() -> std::process::ExitCode {
    rockstar_plugin::run(Bench)
}
