//! 1.2: the interface that a plugin implements.

use crate::practical::{self, practical};
use rockstar_proto::{app::PluginName, types::Empty};
use serde_json::json;

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
