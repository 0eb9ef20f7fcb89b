use super::*;
use crate::permission::Permission;
use proptest::prelude::*;
use serde_json::json;

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
  "framework": {
    "version": ">=1.0.0,<2.0.0"
  },
  "dependencies": [
    {
      "name": "cache-plugin",
      "version": ">=2.0.0",
      "optional": false
    }
  ],
  "permissions": {
    "database": true,
    "cache": true,
    "router": true
  },
  "config": {
    "jwt_secret": {
      "type": "string",
      "required": true,
      "description": "JWT signing secret"
    }
  }
}"#;

pub(crate) fn minimal() -> Manifest {
    manifest("")
}

/// The four required fields and more.
fn with(more: &str) -> String {
    format!("name: auth-plugin\nversion: 1.2.0\ndescription: d\nauthor: a\n{more}")
}

fn manifest(more: &str) -> Manifest {
    parse(&with(more), Format::Yaml).unwrap().manifest
}

fn error(text: &str) -> ManifestError {
    parse(text, Format::Yaml).unwrap_err()
}

#[test]
fn reads_the_yaml_example() {
    let Parsed { manifest, warnings } = parse(YAML, Format::Yaml).unwrap();
    assert!(warnings.is_empty());
    assert_eq!((manifest.name.as_str(), manifest.version.to_string().as_str()), ("auth-plugin", "1.2.0"));
    assert_eq!(manifest.author, "John Doe <john@example.com>");
    assert_eq!(manifest.framework.as_deref(), Some(">=1.0.0,<2.0.0"));
    let cache = Dependency { name: "cache-plugin".into(), version: ">=2.0.0".into(), optional: false };
    let logging = Dependency { name: "logging-plugin".into(), version: ">=1.0.0".into(), optional: true };
    assert_eq!(manifest.dependencies, [cache, logging]);
    let granted = [Permission::Database, Permission::Cache, Permission::Router, Permission::Config];
    assert_eq!(manifest.permissions, granted.into());
    assert_eq!(manifest.config.keys().collect::<Vec<_>>(), ["jwt_secret", "token_ttl", "refresh_enabled"]);
    assert_eq!(manifest.config["token_ttl"].kind, ConfigType::Duration);
    assert_eq!(manifest.config["token_ttl"].default, Some(json!("24h")));
    assert!(manifest.config["jwt_secret"].required);
    let hooks = manifest.hooks.iter().map(|hook| (hook.kind, hook.priority)).collect::<Vec<_>>();
    let wanted = [(HookType::Startup, 200), (HookType::PreRequest, 200), (HookType::Shutdown, 100)];
    assert_eq!(hooks, wanted.map(|(kind, priority)| (kind, Some(priority))));
    assert_eq!(manifest.events.publishes, ["user.login", "user.logout", "token.expired"]);
    assert_eq!(manifest.events.subscribes, ["user.created", "user.deleted"]);
    assert_eq!(manifest.exports[1].name, "TokenService");
    assert_eq!(manifest.exports[1].description, "Token management service");
}

#[test]
fn reads_the_json_example() {
    let manifest = parse(JSON, Format::Json).unwrap().manifest;
    assert_eq!(manifest.permissions.len(), 3);
    // JSON is YAML too, so that both readers must agree.
    assert_eq!(parse(JSON, Format::Yaml).unwrap().manifest, manifest);
    let value = serde_json::from_str(JSON).unwrap();
    assert_eq!(from_value(&value).unwrap().manifest, manifest);
}

#[test]
fn its_json_form_is_the_reference_s() {
    let manifest = parse(YAML, Format::Yaml).unwrap().manifest;
    let written = serde_json::to_string_pretty(&manifest).unwrap();
    assert_eq!(parse(&written, Format::Json).unwrap(), Parsed { manifest: manifest.clone(), warnings: vec![] });
    assert_eq!(serde_json::from_str::<Manifest>(&written).unwrap(), manifest);
    let value = serde_json::to_value(&manifest).unwrap();
    assert_eq!(value["framework"], json!({"version": ">=1.0.0,<2.0.0"}));
    assert_eq!(value["permissions"], json!({"database": true, "cache": true, "router": true, "config": true}));
}

#[test]
fn left_out_is_empty() {
    let manifest = minimal();
    assert!(manifest.permissions.is_empty() && manifest.dependencies.is_empty() && manifest.config.is_empty());
    assert_eq!(manifest.framework, None);
    assert!(!super::tests::manifest("dependencies: [{name: b, version: '*'}]").dependencies[0].optional);
}

#[test]
fn a_description_may_have_many_lines() {
    let text = "First line.\nSecond line.\n\nFeatures:\n- one\n- two\n";
    let block = text.lines().map(|line| format!("  {line}\n")).collect::<String>();
    let yaml = format!("name: a\nversion: 1.0.0\ndescription: |\n{block}author: x\n");
    assert_eq!(parse(&yaml, Format::Yaml).unwrap().manifest.description, text);
}

#[test]
fn required_fields() {
    for field in ["name", "version", "description", "author"] {
        for replacement in ["", "FIELD: ''\n", "FIELD: '  '\n", "FIELD:\n", "FIELD: null\n"] {
            let lines = with("").lines().map(str::to_owned).collect::<Vec<_>>();
            let others = lines.iter().filter(|line| !line.starts_with(field)).map(|line| format!("{line}\n"));
            let text = format!("{}{}", others.collect::<String>(), replacement.replace("FIELD", field));
            assert_eq!(error(&text).to_string(), format!("missing required field: {field}"), "{text}");
        }
    }
    let on_load = load("version: 1.2.0\ndescription: d\nauthor: a\n", Format::Yaml).unwrap_err();
    assert_eq!(on_load.to_string(), "failed to parse manifest: missing required field: name");
}

#[test]
fn invalid_versions() {
    let text = "invalid version format: must be semantic version (X.Y.Z)";
    for version in ["1.2", "v1.2.0", "abc", "01.2.3", "1", "1.2.3.4", "'1.2'", "1.2.x", "-1.0.0", "1.2.0-"] {
        let error = error(&format!("name: a\nversion: {version}\ndescription: d\nauthor: a\n"));
        assert_eq!(error.to_string(), text, "{version}");
        assert_eq!((error.field.as_str(), error.place.map(|place| place.line)), ("version", Some(2)));
    }
    for version in ["1.2.0-rc.1", "1.2.0+build.5", "0.0.0"] {
        let yaml = format!("name: a\nversion: {version}\ndescription: d\nauthor: a\n");
        assert_eq!(parse(&yaml, Format::Yaml).unwrap().manifest.version.to_string(), version);
    }
}

#[test]
fn faults_and_where_they_are() {
    let config_type =
        "invalid config schema: type must be one of [string, integer, float, boolean, duration, array, object]";
    let table = [
        (
            "dependencies: [{name: b, version: '>=abc'}]",
            "invalid dependency version constraint: >=abc",
            "dependencies[0].version",
        ),
        (
            "dependencies: [{name: b, version: '=>1.0'}]",
            "invalid dependency version constraint: =>1.0",
            "dependencies[0].version",
        ),
        (
            "dependencies: [{name: b, version: '1.0.0 ||'}]",
            "invalid dependency version constraint: 1.0.0 ||",
            "dependencies[0].version",
        ),
        (
            "dependencies: [{name: b, version: ''}]",
            "invalid dependency version constraint: ",
            "dependencies[0].version",
        ),
        ("dependencies: [{name: b}]", "missing required field: dependencies[0].version", "dependencies[0].version"),
        ("dependencies: [{version: '*'}]", "missing required field: dependencies[0].name", "dependencies[0].name"),
        ("framework: {version: '>=abc'}", "invalid framework version constraint: >=abc", "framework.version"),
        (
            "permissions: {custom_permission: true}",
            "unknown permission: custom_permission",
            "permissions.custom_permission",
        ),
        ("config: {timeout: {type: number}}", config_type, "config.timeout.type"),
        ("config: {timeout: {type: 5}}", config_type, "config.timeout.type"),
        ("config: {timeout: {required: true}}", config_type, "config.timeout"),
        (
            "config: {ttl: {type: duration, default: 30}}",
            "invalid config schema: default of 'ttl' must be of type duration, found integer",
            "config.ttl.default",
        ),
        ("hooks: [{type: pre_requests}]", "unknown hook type: 'pre_requests'", "hooks[0].type"),
        ("hooks: [{priority: 5}]", "missing required field: hooks[0].type", "hooks[0].type"),
        ("exports: [{description: d}]", "missing required field: exports[0].name", "exports[0].name"),
    ];
    for (more, text, field) in table {
        let error = error(&with(more));
        assert_eq!(error.to_string(), text, "{more}");
        assert_eq!((error.field.as_str(), error.place.map(|place| place.line)), (field, Some(5)), "{more}");
    }
}

#[test]
fn wrong_types_name_place_field_and_type() {
    let table = [
        (
            "permissions: {database: 'yes'}",
            "line 5, column 25: field 'permissions.database' must be true or false, found 'yes'",
        ),
        ("permissions: [database]", "line 5, column 14: field 'permissions' must be an object, found an array"),
        ("dependencies: {name: b}", "line 5, column 15: field 'dependencies' must be an array, found an object"),
        (
            "dependencies: [{name: b, version: 2.0}]",
            "line 5, column 35: field 'dependencies[0].version' must be a string, found a float",
        ),
        ("framework: '>=1.0.0'", "line 5, column 12: field 'framework' must be an object, found '>=1.0.0'"),
        (
            "hooks: [{type: error, priority: high}]",
            "line 5, column 33: field 'hooks[0].priority' must be a 32-bit integer, found 'high'",
        ),
        (
            "hooks: [{type: error, priority: 2147483648}]",
            "line 5, column 33: field 'hooks[0].priority' must be a 32-bit integer, found 2147483648",
        ),
        (
            "events: {publishes: [1]}",
            "line 5, column 22: field 'events.publishes[0]' must be a string, found an integer",
        ),
    ];
    for (more, text) in table {
        assert_eq!(error(&with(more)).to_string(), text, "{more}");
    }
    assert_eq!(error("[]").to_string(), "line 1, column 1: field '(top level)' must be an object, found an array");
    let from_json = parse("{\"name\": 5,\n\"version\": \"1.0.0\"}", Format::Json).unwrap_err();
    assert_eq!(from_json.to_string(), "line 1, column 10: field 'name' must be a string, found an integer");
    let from_value = from_value(&json!({"name": 5})).unwrap_err();
    assert_eq!(from_value.to_string(), "field 'name' must be a string, found an integer");
}

#[test]
fn names() {
    for name in ["a", "auth-plugin", "Auth_2.x", &"n".repeat(253)] {
        let yaml = with("").replace("auth-plugin", &format!("'{name}'"));
        assert_eq!(parse(&yaml, Format::Yaml).unwrap().manifest.name, name);
    }
    for name in ["../etc", "a/b", "-a", "a-", "a b", "é", &"n".repeat(254)] {
        let error = error(&with("").replace("auth-plugin", &format!("'{name}'")));
        assert!(error.to_string().starts_with(&format!("invalid plugin name: '{name}' must be")), "{error}");
    }
}

#[test]
fn syntax_errors_name_line_and_column() {
    let table = [
        ("name: a\nversion: [1\n", Format::Yaml),
        ("name: 'a\n", Format::Yaml),
        ("name: a\n  version: b\n", Format::Yaml),
        ("name: a\nname: b\n", Format::Yaml),
        ("{\"name\": \"a\",\n\"version\" \"1\"}", Format::Json),
        ("{\"name\": \"a\", \"name\": \"b\"}", Format::Json),
        ("{\"name\": ", Format::Json),
        ("", Format::Json),
    ];
    for (text, format) in table {
        let error = load(text, format).unwrap_err();
        let shown = error.to_string();
        assert!(matches!(*error.0.fault, ManifestFault::Document(_)), "{shown}");
        assert!(shown.starts_with("failed to parse manifest: line "), "{text}: {shown}");
        assert!(shown.contains(", column "), "{text}: {shown}");
    }
    let yaml = load("name: a\nversion: [1\n", Format::Yaml).unwrap_err();
    assert_eq!(yaml.to_string(), "failed to parse manifest: line 2, column 10: unclosed bracket '['");
    for (text, format) in [("name: a\nname: b\n", Format::Yaml), ("{\"name\": \"a\",\n\"name\": \"b\"}", Format::Json)]
    {
        let twice = load(text, format).unwrap_err().to_string();
        assert!(twice.starts_with("failed to parse manifest: line 2, column "), "{twice}");
        assert!(twice.ends_with(": field 'name' is given twice"), "{twice}");
    }
    let json = load("{\"name\": \"a\",\n\"version\" \"1\"}", Format::Json).unwrap_err();
    assert_eq!(json.to_string(), "failed to parse manifest: line 2, column 11: expected `:`");
}

#[test]
fn typos_are_pointed_out() {
    let missing = error("name: a\nversion: 1.0.0\ndescripton: d\nauthor: a\n");
    let text = "missing required field: description: unknown field 'descripton', did you mean 'description'?";
    assert_eq!(missing.to_string(), text);
    let parsed = parse(
        &with("permission: {cache: true}\nx-team: blue\ndependencies: [{name: b, version: '*', optonal: true}]\n"),
        Format::Yaml,
    )
    .unwrap();
    let warnings = [
        "line 5, column 13: unknown field 'permission', did you mean 'permissions'?",
        "line 6, column 9: unknown field 'x-team'",
        "line 7, column 49: unknown field 'dependencies[0].optonal', did you mean 'optional'?",
    ];
    assert_eq!(parsed.warnings, warnings);
}

#[test]
fn a_schema_may_come_alone() {
    let schema = config_schema(&json!({"timeout": {"type": "duration", "default": "30s"}})).unwrap();
    assert_eq!(schema["timeout"].default, Some(json!("30s")));
    assert!(config_schema(&json!({"timeout": {"type": "number"}})).is_err());
}

#[test]
fn hook_types() {
    for kind in HookType::ALL {
        assert_eq!(kind.name().parse(), Ok(kind));
        assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
    }
    for name in ["Pre_Request", "foo", ""] {
        assert_eq!(name.parse::<HookType>().unwrap_err().to_string(), format!("unknown hook type: '{name}'"));
    }
}

#[test]
fn deep_and_hostile_texts_are_refused() {
    assert!(parse(&"[".repeat(100_000), Format::Json).is_err());
    assert!(parse(&format!("{}{}", "[".repeat(100_000), "]".repeat(100_000)), Format::Json).is_err());
    assert!(parse(&format!("{}{}", "[".repeat(100_000), "]".repeat(100_000)), Format::Yaml).is_err());
    assert!(parse(&format!("a = {}{}", "[".repeat(100_000), "]".repeat(100_000)), Format::Toml).is_err());
    let level = |n: u8| format!("a{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 10].join(","));
    let bomb = format!("a0: &a0 [x]\n{}", (1..10).map(level).collect::<String>());
    assert!(parse(&bomb, Format::Yaml).is_err());
}

proptest! {
    #[test]
    fn never_panics(text in "[ -~\n]{0,80}") {
        for format in [Format::Yaml, Format::Json, Format::Toml] {
            let _ = parse(&text, format);
        }
    }
}
