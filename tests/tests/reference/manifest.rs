//! 12: the manifest.

use crate::{
    calls::{Outcome, alive},
    world::World,
};
use serde_json::{Value, json};
use std::fs;

const MINIMAL: &str = "name: p\nversion: 1.0.0\ndescription: A test\nauthor: Me\n";

/// The reference's example, with what it has in YAML only.
const YAML: &str = r#"
name: auth-plugin
version: 1.2.0
description: Authentication and authorization plugin
author: John Doe <john@example.com>
framework:
  version: ">=1.0.0,<2.0.0"
dependencies:
  - name: cache-plugin
    version: ">=2.0.0"
    optional: false
  - name: logging-plugin
    version: ">=1.0.0"
    optional: true
permissions:
  database: true
  cache: true
  router: true
  config: true
  filesystem: false
  network: false
  exec: false
config:
  jwt_secret:
    type: string
    required: true
    description: JWT signing secret
  token_ttl:
    type: duration
    default: "24h"
    description: Token time-to-live
  refresh_enabled:
    type: boolean
    default: true
    description: Enable refresh tokens
hooks:
  - type: startup
    priority: 200
  - type: pre_request
    priority: 200
  - type: shutdown
    priority: 100
events:
  publishes:
    - user.login
    - user.logout
    - token.expired
  subscribes:
    - user.created
    - user.deleted
exports:
  - name: AuthService
    description: Authentication service
  - name: TokenService
    description: Token management service
"#;

const JSON: &str = r#"{
  "name": "auth-plugin",
  "version": "1.2.0",
  "description": "Authentication and authorization plugin",
  "author": "John Doe <john@example.com>",
  "framework": {"version": ">=1.0.0,<2.0.0"},
  "dependencies": [
    {"name": "cache-plugin", "version": ">=2.0.0", "optional": false},
    {"name": "logging-plugin", "version": ">=1.0.0", "optional": true}
  ],
  "permissions": {
    "database": true, "cache": true, "router": true, "config": true, "filesystem": false, "network": false, "exec": false
  },
  "config": {
    "jwt_secret": {"type": "string", "required": true, "description": "JWT signing secret"},
    "token_ttl": {"type": "duration", "default": "24h", "description": "Token time-to-live"},
    "refresh_enabled": {"type": "boolean", "default": true, "description": "Enable refresh tokens"}
  },
  "hooks": [
    {"type": "startup", "priority": 200}, {"type": "pre_request", "priority": 200}, {"type": "shutdown", "priority": 100}
  ],
  "events": {
    "publishes": ["user.login", "user.logout", "token.expired"], "subscribes": ["user.created", "user.deleted"]
  },
  "exports": [
    {"name": "AuthService", "description": "Authentication service"},
    {"name": "TokenService", "description": "Token management service"}
  ]
}"#;

/// A world with a plugin's program, its manifest to come.
async fn bare(name: &'static str) -> World {
    let world = World::idle().await;
    world.install(&alive(name, json!({})));
    fs::remove_file(world.directory_of(name).join("plugin.json")).unwrap();
    world
}

async fn load(world: &World, name: &str) -> Outcome {
    world.load_path(&format!("./plugins/{name}"), &json!({"config": {"jwt_secret": "s"}})).await
}

/// What comes of loading plugin `p` with this manifest.
async fn loaded(yaml: &str) -> Outcome {
    let world = bare("p").await;
    world.write("plugins/p/plugin.yaml", yaml);
    load(&world, "p").await
}

fn refused(text: &str) -> Outcome {
    Err(format!("failed to parse manifest: {text}"))
}

/// The reference's plugin loaded from one of the two forms; what the admin's list says of it.
async fn reference(file: &str, text: &str) -> (World, Value) {
    let world = bare("auth-plugin").await;
    world.load(&alive("cache-plugin", json!({})).version("2.1.0")).await.unwrap();
    world.write(&format!("plugins/auth-plugin/{file}"), text);
    assert_eq!(load(&world, "auth-plugin").await, Ok(()));
    let listed = world.listed("auth-plugin").await;
    (world, listed)
}

#[tokio::test]
async fn r12_1_1_a_plugin_has_a_manifest_in_yaml_or_json() {
    let world = bare("p").await;
    let error = load(&world, "p").await;
    assert_eq!(error, Err("no manifest: the plugin has neither plugin.yaml nor plugin.json".to_owned()));
    let json = json!({"name": "p", "version": "2.0.0", "description": "A test", "author": "Me"});
    world.write("plugins/p/plugin.json", &json.to_string());
    assert_eq!((load(&world, "p").await, world.version("p").await), (Ok(()), "2.0.0".to_owned()));
    world.unload("p").await.unwrap();
    world.write("plugins/p/plugin.yaml", MINIMAL);
    assert_eq!((load(&world, "p").await, world.version("p").await), (Ok(()), "1.0.0".to_owned()));
    world.until_log("[WARN] Plugin p: both plugin.yaml and plugin.json exist: plugin.yaml is used").await;
}

#[tokio::test]
async fn r12_1_2_both_forms_mean_the_same() {
    let (in_yaml, yaml) = reference("plugin.yaml", YAML).await;
    let (in_json, json) = reference("plugin.json", JSON).await;
    assert_eq!((&yaml["manifest"], &yaml["revision"]), (&json["manifest"], &json["revision"]));
    let infos = [in_yaml.get_plugin("auth-plugin").await.unwrap(), in_json.get_plugin("auth-plugin").await.unwrap()];
    assert_eq!(infos[0].config_schema, infos[1].config_schema);
}

#[tokio::test]
async fn r12_2_1_name_version_description_author() {
    let (world, _) = reference("plugin.yaml", YAML).await;
    let info = world.get_plugin("auth-plugin").await.unwrap();
    let read = (info.name.as_str(), info.version.as_str(), info.description.as_str(), info.author.as_str());
    let expected = ("auth-plugin", "1.2.0", "Authentication and authorization plugin", "John Doe <john@example.com>");
    assert_eq!(read, expected);
}

#[tokio::test]
async fn r12_2_2_a_description_may_have_several_lines() {
    let text = "Provides JWT-based authentication and authorization.\nSupports OAuth2, API keys, and session tokens.\n\n\
                Features:\n- JWT token generation and validation\n- Refresh token support\n";
    let world = bare("p").await;
    let block: String = text.lines().map(|line| format!("  {line}\n")).collect();
    world.write("plugins/p/plugin.yaml", &format!("name: p\nversion: 1.0.0\ndescription: |\n{block}author: Me\n"));
    assert_eq!(load(&world, "p").await, Ok(()));
    assert_eq!(world.get_plugin("p").await.unwrap().description, text);
    assert_eq!(world.listed("p").await["description"], text);
}

#[tokio::test]
async fn r12_3_1_framework_and_dependencies() {
    let (world, listed) = reference("plugin.yaml", YAML).await;
    assert_eq!(listed["manifest"]["framework"], json!({"version": ">=1.0.0,<2.0.0"}));
    let dependencies = world.get_plugin("auth-plugin").await.unwrap().dependencies;
    let read: Vec<_> = dependencies.iter().map(|d| (d.name.as_str(), d.version.as_str(), d.optional)).collect();
    assert_eq!(read, [("cache-plugin", ">=2.0.0", false), ("logging-plugin", ">=1.0.0", true)]);
    assert_eq!(world.dependency_graph().await["auth-plugin"], json!(["cache-plugin"]));
    let error = loaded(&format!("{MINIMAL}dependencies:\n- {{name: absent, version: '*'}}\n")).await;
    assert_eq!(error, Err("missing dependency: plugin 'p' requires 'absent' version '*'".to_owned()), "not optional");
}

#[tokio::test]
async fn r12_3_2_permissions_are_declared() {
    let (_, listed) = reference("plugin.yaml", YAML).await;
    let declared = json!({"database": true, "cache": true, "router": true, "config": true});
    assert_eq!(listed["manifest"]["permissions"], declared, "what is false or left out is not there");
    let all = "permissions: {database: true, cache: true, router: true, config: true, filesystem: true, network: true, exec: true}\n";
    assert_eq!(loaded(&format!("{MINIMAL}{all}")).await, Ok(()));
}

#[tokio::test]
async fn r12_4_1_the_configuration_s_schema() {
    let (world, _) = reference("plugin.yaml", YAML).await;
    let schema = world.get_plugin("auth-plugin").await.unwrap().config_schema.unwrap().to_json();
    let expected = json!({
        "jwt_secret": {"type": "string", "required": true, "description": "JWT signing secret"},
        "token_ttl": {"type": "duration", "default": "24h", "description": "Token time-to-live"},
        "refresh_enabled": {"type": "boolean", "default": true, "description": "Enable refresh tokens"},
    });
    assert_eq!(Value::Object(schema), expected);
}

#[tokio::test]
async fn r12_4_2_hooks() {
    let (_, listed) = reference("plugin.yaml", YAML).await;
    let expected = json!([
        {"type": "startup", "priority": 200}, {"type": "pre_request", "priority": 200}, {"type": "shutdown", "priority": 100},
    ]);
    assert_eq!(listed["manifest"]["hooks"], expected);
    let error = loaded(&format!("{MINIMAL}hooks:\n- type: before_lunch\n")).await;
    assert_eq!(error, refused("unknown hook type: 'before_lunch'"));
}

#[tokio::test]
async fn r12_4_3_events() {
    let (_, listed) = reference("plugin.yaml", YAML).await;
    let expected = json!({
        "publishes": ["user.login", "user.logout", "token.expired"], "subscribes": ["user.created", "user.deleted"],
    });
    assert_eq!(listed["manifest"]["events"], expected);
    assert!(loaded(&format!("{MINIMAL}events: {{publishes: [1]}}\n")).await.is_err());
}

#[tokio::test]
async fn r12_4_4_exports() {
    let (world, _) = reference("plugin.yaml", YAML).await;
    let exports = world.get_plugin("auth-plugin").await.unwrap().exports;
    let read: Vec<_> = exports.iter().map(|e| (e.name.as_str(), e.description.as_str())).collect();
    assert_eq!(read, [("AuthService", "Authentication service"), ("TokenService", "Token management service")]);
}

#[tokio::test]
async fn r12_5_1_required_fields() {
    for field in ["name", "version", "description", "author"] {
        let is_other = |line: &&str| !line.starts_with(field);
        let without: String = MINIMAL.lines().filter(is_other).map(|line| format!("{line}\n")).collect();
        let text = refused(&format!("missing required field: {field}"));
        assert_eq!(loaded(&without).await, text);
        assert_eq!(loaded(&format!("{without}{field}: ''\n")).await, text);
    }
}

#[tokio::test]
async fn r12_5_2_on_load_the_text_begins_so() {
    let error = loaded("version: 1.0.0\ndescription: A test\nauthor: Me\n").await;
    assert_eq!(error, Err("failed to parse manifest: missing required field: name".to_owned()));
}

#[tokio::test]
async fn r12_5_3_the_version_is_semantic() {
    let text = refused("invalid version format: must be semantic version (X.Y.Z)");
    for version in ["1.2", "v1.2.0", "abc", "01.2.3", "1.2.3.4", "'1.2'"] {
        assert_eq!(loaded(&MINIMAL.replace("1.0.0", version)).await, text, "{version}");
    }
    for version in ["1.2.0-rc.1", "1.2.0+build.5", "1.2.0-rc.1+build.5"] {
        assert_eq!(loaded(&MINIMAL.replace("1.0.0", version)).await, Ok(()), "{version}");
    }
}

#[tokio::test]
async fn r12_5_4_constraints_are_checked() {
    for constraint in [">=abc", "=>1.0", "1.0.0 ||", ""] {
        let error = loaded(&format!("{MINIMAL}dependencies:\n- {{name: a, version: '{constraint}'}}\n")).await;
        assert_eq!(error, refused(&format!("invalid dependency version constraint: {constraint}")));
    }
}

#[tokio::test]
async fn r12_5_5_unknown_permission() {
    let error = loaded(&format!("{MINIMAL}permissions: {{custom_permission: true}}\n")).await;
    assert_eq!(error, refused("unknown permission: custom_permission"));
}

#[tokio::test]
async fn r12_5_6_invalid_config_schema() {
    let error = loaded(&format!("{MINIMAL}config: {{port: {{type: number}}}}\n")).await;
    let text = "invalid config schema: type must be one of [string, integer, float, boolean, duration, array, object]";
    assert_eq!(error, refused(text));
}

#[tokio::test]
async fn r12_5_7_syntax_errors_tell_where() {
    let error = loaded("name: p\nversion: [1\n").await.unwrap_err();
    assert!(error.starts_with("failed to parse manifest: line "), "{error}");
    assert!(error.contains(" column "), "{error}");
    let world = bare("p").await;
    world.write("plugins/p/plugin.json", "{\n  \"name\": \"p\",\n  \"version\" 1\n}");
    let error = load(&world, "p").await.unwrap_err();
    assert!(error.starts_with("failed to parse manifest: line 3"), "{error}");
    assert!(error.contains(" column "), "{error}");
}

#[tokio::test]
async fn r12_5_8_typos_are_pointed_out() {
    let error = loaded(&MINIMAL.replace("description:", "descripton:")).await;
    let hint = "unknown field 'descripton', did you mean 'description'?";
    assert_eq!(error, refused(&format!("missing required field: description: {hint}")));
    let world = bare("p").await;
    world.write("plugins/p/plugin.yaml", &format!("{MINIMAL}permisions: {{}}\n"));
    assert_eq!(load(&world, "p").await, Ok(()), "never a refusal");
    world.until_log("unknown field 'permisions', did you mean 'permissions'?").await;
}
