//! B: practices that imply behaviour.

use crate::{
    app::App,
    http,
    practical::{self, practical},
};
use rockstar_plugin::{
    HookType, Plugin, PluginContext, Result, async_trait,
    testing::{MockPluginContext, Request},
};
use rockstar_proto::{app::PluginName, types::Empty};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::{io::AsyncReadExt, net::TcpListener, task::JoinHandle, time::timeout};

const CAP: Duration = Duration::from_secs(30);

/// The reference's plugin of the chapter on tests.
#[derive(Default)]
struct MyPlugin;

#[async_trait]
impl Plugin for MyPlugin {
    async fn initialize(&mut self, ctx: PluginContext) -> Result {
        let key = ctx.plugin_config().required("api_key")?.to_owned();
        ctx.logger().info("ready");
        ctx.register_hook(HookType::PreRequest, 200, move |hook| {
            let known = hook.context().get_header("x-api-key") == Some(&key);
            hook.context().set("known", known);
            async { Ok(()) }
        })
        .await?;
        Ok(())
    }
}

#[tokio::test]
async fn rb_3_plugins_are_unit_tested_with_a_mock_context() {
    let mock = MockPluginContext::new().with_config(json!({"api_key": "test-key"}));
    assert!(MyPlugin.initialize(mock.context()).await.is_ok());
    assert_eq!((mock.hooks()[0].name.as_str(), mock.hooks()[0].priority), ("pre_request", 200));
    let outcome = mock.pre_request(Request::get("/").header("x-api-key", "test-key")).await;
    assert_eq!(outcome.values()["known"], true);
    assert_eq!(mock.logs().await[0].text, "ready");
    mock.store("key", 7);
    assert_eq!((mock.storage()["key"].clone(), mock.events().len()), (json!(7), 0));

    let mock = MockPluginContext::new().with_config(json!({}));
    let error = MyPlugin.initialize(mock.context()).await.unwrap_err();
    assert_eq!(error.to_string(), "api_key is required");
    assert!(mock.hooks().is_empty());
}

#[tokio::test]
async fn rb_4_secrets_come_by_environment_and_are_never_shown() {
    let (key, secret) = ("key-3b1f5c", "signing-9d27aa");
    let world = practical(&json!({"jwt_secret": ""}), json!({"config": {"jwt_secret": secret}})).await;
    let app = App::new(&world).await;
    let answer = http::request(app.address, "GET", "/", &[("x-api-key", key)], "").await;
    let seen: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(seen["known"], true);
    let ours = ["API_KEY", "GOMEMLIMIT", "HOME", "PATH", "TMPDIR"];
    let strange = |name: &&str| !ours.contains(name) && !name.starts_with("ROCKSTAR_PLUGIN_");
    let variables: Vec<_> = seen["variables"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    assert!(std::env::var("CARGO_MANIFEST_DIR").is_ok(), "the sidecar has variables of its own");
    assert_eq!(variables.into_iter().filter(strange).collect::<Vec<_>>(), ["ROCKSTAR_HOST_SOCKET"]);

    world.until_log("API_KEY has 10 characters").await;
    world.reload("practical").await.unwrap();
    let mut manager = practical::manager(&world).await;
    let name = || PluginName { name: "practical".into() };
    let said = [
        format!("{:?}", manager.list_plugins(Empty {}).await.unwrap()),
        format!("{:?}", manager.get_plugin(name()).await.unwrap()),
        format!("{:?}", manager.get_plugin_health(name()).await.unwrap()),
        http::get(practical::admin(&world), "/metrics").await.body,
        world.log(),
    ];
    assert!(said[3].contains("rockstar_plugin_status"), "{}", said[3]);
    for secret in [key, secret] {
        assert_eq!(said.iter().find(|text| text.contains(secret)), None);
    }
}

/// What the plugin sent over its connection until it ended.
async fn heard(listener: &TcpListener) -> JoinHandle<String> {
    let (mut connection, _) = timeout(CAP, listener.accept()).await.expect("the plugin did not connect").unwrap();
    tokio::spawn(async move {
        let mut text = String::new();
        // A process that is killed may leave a reset behind.
        let _ = connection.read_to_string(&mut text).await;
        text
    })
}

#[tokio::test]
async fn rb_7_a_plugins_own_connections_end_with_its_stop() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = json!({"address": listener.local_addr().unwrap().to_string(), "forget": false});
    let world = practical(&config, json!({})).await;
    let first = heard(&listener).await;
    world.reload("practical").await.unwrap();
    assert_eq!(timeout(CAP, first).await.unwrap().unwrap(), "hello from v1.0.0\nbye\n", "closed in Stop");
    let second = heard(&listener).await;
    let name = PluginName { name: "practical".into() };
    practical::manager(&world).await.unload(name).await.unwrap();
    assert_eq!(timeout(CAP, second).await.unwrap().unwrap(), "hello from v1.0.0\nbye\n");

    let config = json!({"address": listener.local_addr().unwrap().to_string(), "forget": true});
    let world = practical(&config, json!({})).await;
    let forgotten = heard(&listener).await;
    let name = PluginName { name: "practical".into() };
    practical::manager(&world).await.unload(name).await.unwrap();
    assert_eq!(timeout(CAP, forgotten).await.unwrap().unwrap(), "hello from v1.0.0\n", "closed with the process");
}
