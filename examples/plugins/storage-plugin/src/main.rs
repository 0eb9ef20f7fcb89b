//! Storage: remembers over restarts and reloads how often it was started. No other plugin sees it.

use rockstar_plugin::{HostError, Plugin, PluginContext, Result, async_trait};

#[derive(Default)]
struct Storage {
    ctx: Option<PluginContext>,
}

#[async_trait]
impl Plugin for Storage {
    async fn initialize(&mut self, ctx: PluginContext) -> Result {
        self.ctx = Some(ctx);
        Ok(())
    }

    async fn start(&mut self) -> Result {
        let ctx = self.ctx.as_ref().ok_or("not initialised")?;
        let storage = ctx.storage();
        let starts: u64 = match storage.get("starts").await {
            Err(HostError::NotFound(_)) => 0,
            found => found?,
        };
        storage.set("starts", starts + 1).await?;
        ctx.logger().info(format!("Started for the {}. time", starts + 1));
        Ok(())
    }
}

fn main() -> std::process::ExitCode {
    rockstar_plugin::run(Storage::default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rockstar_plugin::testing::MockPluginContext;

    #[tokio::test]
    async fn starts_are_counted_over_restarts() {
        let mock = MockPluginContext::new();
        for starts in 1..=2 {
            let mut plugin = Storage::default();
            plugin.initialize(mock.context()).await.unwrap();
            plugin.start().await.unwrap();
            assert_eq!(mock.storage()["starts"], starts);
        }
        assert_eq!(mock.logs().await[1].text, "Started for the 2. time");
    }
}
