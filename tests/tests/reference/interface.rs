//! 1.2: the interface that a plugin implements.

use crate::{
    practical::{self, practical},
    world::World,
};
use rockstar_proto::{
    app::{LoadRequest, PluginName},
    types::Empty,
};
use serde_json::json;
use std::fs;

#[tokio::test]
async fn r1_2_1_a_plugin_with_all_eleven_methods_is_taken() {
    let world = practical(&json!({"greeting": "hello"}), json!({})).await;
    let mut manager = practical::manager(&world).await;
    let name = || PluginName { name: "practical".into() };
    let info = manager.get_plugin(name()).await.unwrap().into_inner();
    assert_eq!((info.name.as_str(), info.version.as_str()), ("practical", "1.0.0"));
    assert_eq!((info.description.as_str(), info.author.as_str()), ("A test", "Me <me@example.com>"));
    assert!(info.dependencies.is_empty());
    assert_eq!(info.config_schema.unwrap().to_json()["greeting"]["type"], "string");
    assert_eq!((info.loaded, info.status.as_str()), (true, "running"), "Initialize and Start were answered");
    manager.unload(name()).await.unwrap();
    assert!(!manager.is_loaded(name()).await.unwrap().into_inner().loaded, "Stop and Cleanup were answered");
    assert!(manager.list_plugins(Empty {}).await.unwrap().into_inner().plugins.iter().all(|p| !p.loaded));
}

const METHODS: [&str; 11] = [
    "Name",
    "Version",
    "Description",
    "Author",
    "Dependencies",
    "Initialize",
    "Start",
    "Stop",
    "Cleanup",
    "ConfigSchema",
    "OnConfigChange",
];

/// A plugin that does not implement that method, and says so in its handshake.
fn install_lacking(world: &World, method: &str) -> String {
    let name = format!("without-{}", method.to_ascii_lowercase());
    let manifest = json!({
        "name": name, "version": "1.0.0", "description": "A test", "author": "Me",
        "command": ["lacking-plugin", method],
    });
    let directory = world.directory_of(&name);
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("plugin.json"), manifest.to_string()).unwrap();
    fs::copy(env!("CARGO_BIN_EXE_lacking-plugin"), directory.join("lacking-plugin")).unwrap();
    name
}

#[tokio::test]
async fn r1_2_2_a_missing_method_is_named() {
    let mut world = World::new();
    let names: Vec<_> = METHODS.iter().map(|method| install_lacking(&world, method)).collect();
    world.write_file(json!([]));
    world.start();
    world.until("the sidecar to serve", || async { world.channel().await.is_ok() }).await;
    let mut manager = practical::manager(&world).await;
    for (method, name) in METHODS.iter().zip(names) {
        let request = LoadRequest { path: format!("./plugins/{name}"), config: None };
        let error = manager.load(request).await.unwrap_err();
        let text = format!("plugin does not implement required interface: missing method {method}");
        assert_eq!(error.message(), text);
        assert!(!manager.is_loaded(PluginName { name }).await.unwrap().into_inner().loaded);
    }
}
