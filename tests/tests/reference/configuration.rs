//! 8: a plugin's configuration.

use crate::{
    app::App,
    calls::alive,
    world::{Plugin, World, plugin},
};
use serde_json::{Value, json};
use std::fs;

/// Shows its configuration to each request.
fn showing(name: &'static str, schema: Value) -> Plugin {
    let hooks = json!([{"type": "pre_request", "name": "shows", "do": "config"}]);
    plugin(name, hooks).life(json!({})).manifest(json!({"config": schema}))
}

fn timeout() -> Value {
    json!({"timeout": {"type": "string", "default": "30s"}, "retries": {"type": "integer", "default": 3}})
}

fn given(plugin: Plugin, config: Value) -> Plugin {
    plugin.with(json!({"config": config}))
}

/// What the plugin's own `PluginConfig()` answers now.
async fn shown(world: &World, app: &App, plugin: &str) -> Value {
    world.forget_trace();
    app.get("/").await;
    let trace = world.trace();
    let line = trace.iter().rev().find_map(|line| line.strip_prefix(&format!("{plugin}.shows ")));
    serde_json::from_str(line.unwrap()).unwrap()
}

#[tokio::test]
async fn r8_1_1_a_plugin_sees_its_own_configuration() {
    let steps = || json!({"Start": "config; wire"});
    let with = |name, secret: &str| given(alive(name, steps()), json!({"secret": secret}));
    let world = World::started(&[with("p", "of p"), with("q", "of q")]).await;
    for name in ["p", "q"] {
        let own = json!({"secret": format!("of {name}")});
        assert_eq!(world.noted_config(name), own);
        assert_eq!(world.noted(&format!("{name}.wire ")), [own], "what comes over the wire");
        let environment = fs::read(format!("/proc/{}/environ", world.pid_of(name).unwrap())).unwrap();
        assert!(!String::from_utf8_lossy(&environment).contains("of "), "nothing comes by another way");
    }
}

#[tokio::test]
async fn r8_2_1_on_config_change_gets_the_whole_configuration() {
    let p = |config| given(alive("p", json!({})).manifest(json!({"config": timeout()})), config);
    let world = World::started(&[p(json!({"timeout": "5s"}))]).await;
    let pid = world.pid_of("p");
    world.configure(&[p(json!({"timeout": "10s"}))]);
    world.until_log("Plugin p configuration changed").await;
    assert_eq!(world.noted("p.OnConfigChange "), [json!({"timeout": "10s", "retries": 3})]);
    assert_eq!((world.pid_of("p"), world.trace().len()), (pid, 3), "no reload");
}

#[tokio::test]
async fn r8_2_2_the_file_is_read_again_when_it_changes() {
    let files = [
        (
            "live.yaml",
            "plugins:\n  plugins:\n  - name: p\n    permissions: {filesystem: true}\n    config: {timeout: VALUE}\n",
        ),
        (
            "live.json",
            r#"{"plugins": {"plugins": [{"name": "p", "permissions": {"filesystem": true}, "config": {"timeout": "VALUE"}}]}}"#,
        ),
        (
            "live.toml",
            "[[plugins.plugins]]\nname = \"p\"\npermissions = {filesystem = true}\n[plugins.plugins.config]\ntimeout = \"VALUE\"\n",
        ),
    ];
    for (file, text) in files {
        let mut world = World::new();
        world.install(&alive("p", json!({})).manifest(json!({"config": timeout()})));
        world.write(file, &text.replace("VALUE", "5s"));
        world.start_with(file);
        world.until_status("p", "running").await;
        world.write("edited", &text.replace("VALUE", "10s"));
        fs::rename(world.path().join("edited"), world.path().join(file)).unwrap();
        world.until_log("Plugin p configuration changed").await;
        assert_eq!(world.noted("p.OnConfigChange "), [json!({"timeout": "10s", "retries": 3})], "{file}");
    }
}

#[tokio::test]
async fn r8_2_3_plugin_config_gives_the_new_values() {
    let p = |config| given(showing("p", timeout()), config);
    let world = World::started(&[p(json!({}))]).await;
    let app = App::new(&world).await;
    assert_eq!(shown(&world, &app, "p").await, json!({"timeout": "30s", "retries": 3}));
    world.configure(&[p(json!({"timeout": "10s"}))]);
    world.until_log("Plugin p configuration changed").await;
    assert_eq!(shown(&world, &app, "p").await, json!({"timeout": "10s", "retries": 3}));
}

#[tokio::test]
async fn r8_2_4_an_error_keeps_the_old_configuration() {
    let text = "invalid timeout: time: invalid duration abc";
    let p = |config| {
        let p = showing("p", timeout()).life(json!({"OnConfigChange": format!("fail {text}")}));
        given(p, config)
    };
    let world = World::started(&[p(json!({}))]).await;
    let app = App::new(&world).await;
    world.configure(&[p(json!({"timeout": "abc"}))]);
    world.until_log(&format!("[ERROR] Plugin p refused its configuration: {text}")).await;
    assert_eq!((world.last_error("p").await.as_str(), world.status("p").await.as_str()), (text, "running"));
    assert_eq!(shown(&world, &app, "p").await, json!({"timeout": "30s", "retries": 3}));
}

#[tokio::test]
async fn r8_2_5_a_file_that_cannot_be_parsed_changes_nothing() {
    let world = World::started(&[alive("p", json!({}))]).await;
    let pid = world.pid_of("p");
    world.write("broken", "{\"plugins\":\n  {\"plugins\": [}}");
    fs::rename(world.path().join("broken"), world.path().join("plugins.json")).unwrap();
    world.until_log("[ERROR] Configuration not changed: plugins.json: line 2").await;
    assert_eq!(world.noted("p.OnConfigChange "), Vec::<Value>::new());
    assert_eq!((world.pid_of("p"), world.status("p").await.as_str()), (pid, "running"));
}

#[tokio::test]
async fn r8_2_6_who_has_no_change_gets_no_call() {
    let with = |name, value: &str| given(alive(name, json!({})), json!({"key": value}));
    let world = World::started(&[with("p", "a"), with("q", "a")]).await;
    // The same once more, then another for q.
    world.configure(&[with("p", "a"), with("q", "a")]);
    world.configure(&[with("p", "a"), with("q", "b")]);
    world.until_log("Plugin q configuration changed").await;
    assert_eq!(world.noted("q.OnConfigChange "), [json!({"key": "b"})]);
    assert_eq!(world.noted("p.OnConfigChange "), Vec::<Value>::new());
}

#[tokio::test]
async fn r8_5_1_the_schema_can_be_read_back() {
    let key = json!({"type": "string", "required": true, "description": "API key for external service"});
    let own = json!({"timeout": {"type": "duration", "default": "30s", "description": "Request timeout"}});
    let reported = json!({"config": {"api_key": {"type": "integer"}, "timeout": own["timeout"]}}).to_string();
    let p = alive("p", json!({})).manifest(json!({"config": {"api_key": key}, "command": ["p", "--says", reported]}));
    let world = World::idle().await;
    world.running(&given(p, json!({"api_key": "k"}))).await;
    let schema = world.get_plugin("p").await.unwrap().config_schema.unwrap().to_json();
    assert_eq!(schema["api_key"], key, "the manifest's rules");
    assert_eq!(schema["timeout"], own["timeout"], "ConfigSchema adds");
}

#[tokio::test]
async fn r8_5_2_defaults_are_applied() {
    let schema = json!({
        "timeout": {"type": "duration", "default": "30s"}, "max_retries": {"type": "integer", "default": 3},
        "token_ttl": {"type": "duration", "default": "24h"}, "refresh_enabled": {"type": "boolean", "default": true},
    });
    let p = || alive("p", json!({"Initialize": "config"})).manifest(json!({"config": schema}));
    let world = World::idle().await;
    world.running(&p()).await;
    let defaults = json!({"timeout": "30s", "max_retries": 3, "token_ttl": "24h", "refresh_enabled": true});
    assert_eq!(world.noted_config("p"), defaults);
    world.unload("p").await.unwrap();
    let values = json!({"timeout": "5s", "max_retries": 0, "token_ttl": "1h", "refresh_enabled": false});
    world.running(&given(p(), values.clone())).await;
    assert_eq!(world.noted_config("p"), values);
}

#[tokio::test]
async fn r8_5_3_a_required_key_without_value() {
    let schema = json!({"config": {"jwt_secret": {"type": "string", "required": true}}});
    let world = World::idle().await;
    let error = world.load(&alive("p", json!({})).manifest(schema)).await;
    let text = "Configuration key missing and no default value provided: jwt_secret";
    assert_eq!(error, Err(text.to_owned()));
    assert_eq!((world.trace(), world.directories()), (vec![], 0), "before Initialize");
}

#[tokio::test]
async fn r8_5_4_types_are_checked() {
    let cases = [
        ("string", json!("text"), json!(1), "integer"),
        ("integer", json!(3), json!("3"), "string"),
        ("float", json!(1.5), json!(true), "boolean"),
        ("boolean", json!(false), json!("yes"), "string"),
        ("duration", json!("1h30m"), json!(30), "integer"),
        ("array", json!([1, "two"]), json!({"a": 1}), "object"),
        ("object", json!({"a": 1}), json!([1]), "array"),
    ];
    let world = World::idle().await;
    for (kind, right, wrong, found) in cases {
        let p = || alive("p", json!({})).manifest(json!({"config": {"key": {"type": kind}}}));
        assert_eq!(world.load(&given(p(), json!({"key": right}))).await, Ok(()), "{kind}");
        world.unload("p").await.unwrap();
        let error = world.load(&given(p(), json!({"key": wrong}))).await;
        let text = format!("invalid configuration value: 'key' must be of type {kind}, found {found}");
        assert_eq!(error, Err(text));
        let error = world.load(&p().manifest(json!({"config": {"key": {"default": wrong}}}))).await;
        let text = format!("invalid config schema: default of 'key' must be of type {kind}, found {found}");
        assert_eq!(error, Err(format!("failed to parse manifest: {text}")));
    }
}

#[tokio::test]
async fn r8_5_5_durations_are_go_s() {
    let world = World::idle().await;
    let with = |text: &str| {
        given(alive("p", json!({})).manifest(json!({"config": {"key": {"type": "duration"}}})), json!({"key": text}))
    };
    for right in ["24h", "30s", "5m", "1h30m", "100ms"] {
        assert_eq!(world.load(&with(right)).await, Ok(()), "{right}");
        world.unload("p").await.unwrap();
    }
    for wrong in ["30", "1d", "abc"] {
        let error = world.load(&with(wrong)).await.unwrap_err();
        assert!(error.starts_with("invalid configuration value: 'key' must be of type duration, found "), "{error}");
    }
}
