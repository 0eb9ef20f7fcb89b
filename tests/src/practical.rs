//! A plugin that does what careful authors do: takes a secret from its environment, and holds a connection from Start to
//! Stop. `address` says where to connect; `forget` leaves the connection open.

use rockstar_plugin::{HookType, Plugin, PluginContext, Result, async_trait, json};
use std::{env, process::ExitCode};
use tokio::{io::AsyncWriteExt, net::TcpStream};

#[derive(Default)]
struct Practical {
    ctx: Option<PluginContext>,
    connection: Option<TcpStream>,
}

#[async_trait]
impl Plugin for Practical {
    async fn initialize(&mut self, ctx: PluginContext) -> Result {
        let key = env::var("API_KEY").map_err(|_| "API_KEY environment variable not set")?;
        let variables: Vec<_> = env::vars().map(|(name, _)| name).collect();
        ctx.logger().info(format!("API_KEY has {} characters", key.len()));
        ctx.register_hook(HookType::PreRequest, 100, move |hook| {
            let known = hook.context().get_header("x-api-key") == Some(&key);
            hook.context().json(200, &json!({"known": known, "variables": variables}));
            async { Ok(()) }
        })
        .await?;
        self.ctx = Some(ctx);
        Ok(())
    }

    async fn start(&mut self) -> Result {
        let config = self.ctx.as_ref().ok_or("not initialised")?.plugin_config();
        if let Some(address) = config.string("address") {
            let mut connection = TcpStream::connect(address).await?;
            connection.write_all(format!("hello from v{}\n", self.version()).as_bytes()).await?;
            self.connection = Some(connection);
        }
        Ok(())
    }

    async fn stop(&mut self) -> Result {
        let config = self.ctx.as_ref().ok_or("not initialised")?.plugin_config();
        if config.boolean("forget") == Some(true) {
            return Ok(());
        }
        if let Some(mut connection) = self.connection.take() {
            connection.write_all(b"bye\n").await?;
        }
        Ok(())
    }
}

fn main() -> ExitCode {
    rockstar_plugin::run(Practical::default())
}
