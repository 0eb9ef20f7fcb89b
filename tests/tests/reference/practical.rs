//! A world with the practical plugin of `src/practical.rs`.

use crate::world::{World, plugin};
use rockstar_proto::app::plugin_manager_client::PluginManagerClient;
use serde_json::{Value, json};
use std::{fs, net::SocketAddr};
use tonic::transport::Channel;

/// The plugin running, with these defaults of its configuration and more in its entry. Its API_KEY is key-3b1f5c.
pub(crate) async fn practical(config: &Value, entry: Value) -> World {
    let mut world = World::new();
    install(&world, config);
    let granted = json!({"env": {"API_KEY": "key-3b1f5c"}, "permissions": {"network": true}});
    world.configure(&[plugin("practical", json!([])).with(granted).with(entry)]);
    world.start();
    world.until_status("practical", "running").await;
    world
}

pub(crate) fn install(world: &World, config: &Value) {
    let kind = |value: &Value| if value.is_boolean() { "boolean" } else { "string" };
    let rule = |value: &Value| json!({"type": kind(value), "default": value});
    let schema: serde_json::Map<_, _> =
        config.as_object().unwrap().iter().map(|(key, value)| (key.clone(), rule(value))).collect();
    let manifest = json!({
        "name": "practical", "version": "1.0.0", "description": "A test", "author": "Me <me@example.com>",
        "permissions": {"network": true, "filesystem": true}, "config": schema,
    });
    let directory = world.directory_of("practical");
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("plugin.json"), manifest.to_string()).unwrap();
    fs::copy(env!("CARGO_BIN_EXE_practical-plugin"), directory.join("practical")).unwrap();
}

pub(crate) async fn manager(world: &World) -> PluginManagerClient<Channel> {
    PluginManagerClient::new(world.channel().await.unwrap())
}

/// Where metrics and admin calls are served.
pub(crate) fn admin(world: &World) -> SocketAddr {
    let log = world.log();
    let rest = log.split("admin on http://").nth(1).expect("the log names the address");
    rest.lines().next().unwrap().trim().parse().unwrap()
}
