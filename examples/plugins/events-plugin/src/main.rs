//! Events: listens to `user.created`, and publishes `user.welcomed`.

use rockstar_plugin::{Event, Plugin, PluginContext, Result, async_trait, json};

struct Events;

#[async_trait]
impl Plugin for Events {
    async fn initialize(&mut self, ctx: PluginContext) -> Result {
        let context = ctx.clone();
        ctx.subscribe_event("user.created", move |event| welcome(context.clone(), event)).await?;
        Ok(())
    }
}

async fn welcome(ctx: PluginContext, event: Event) -> Result {
    let name = event.data["username"].as_str().ok_or("user.created without a username")?;
    ctx.logger().info(format!("Welcome, {name}"));
    ctx.publish_event("user.welcomed", json!({"username": name})).await?;
    Ok(())
}

fn main() -> std::process::ExitCode {
    rockstar_plugin::run(Events)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rockstar_plugin::testing::MockPluginContext;

    #[tokio::test]
    async fn a_new_user_is_welcomed() {
        let mock = MockPluginContext::new().with_manifest(include_str!("../plugin.yaml"));
        Events.initialize(mock.context()).await.unwrap();
        mock.deliver("user.created", json!({"username": "john"})).await.unwrap();
        let event = &mock.events()[0];
        assert_eq!((event.name.as_str(), &event.data), ("user.welcomed", &json!({"username": "john"})));
        let error = mock.deliver("user.created", json!({})).await.unwrap_err();
        assert_eq!(error.to_string(), "user.created without a username");
    }
}
