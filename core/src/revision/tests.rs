use super::*;
use crate::{
    manifest::{self, Format},
    permission::Permission,
};

/// As an operator of an earlier version may have stored it: never change these texts, only add to them.
const STORED_SMALL: &str = r#"{
    "manifest": {"name": "logging-plugin", "version": "1.0.0", "description": "d", "author": "a"},
    "source": {"path": {"path": "/plugins/logging-plugin"}}
}"#;
const STORED_FULL: &str = r#"{
    "manifest": {
        "name": "auth-plugin", "version": "1.2.0", "description": "Authentication", "author": "John Doe <john@example.com>",
        "framework": {"version": ">=1.0.0,<2.0.0"},
        "dependencies": [{"name": "cache-plugin", "version": ">=2.0.0"}, {"name": "logging-plugin", "version": ">=1.0.0", "optional": true}],
        "permissions": {"database": true, "cache": true},
        "config": {"jwt_secret": {"type": "string", "required": true}, "token_ttl": {"type": "duration", "default": "24h"}},
        "hooks": [{"type": "pre_request", "priority": 200}],
        "events": {"publishes": ["user.login"]},
        "exports": [{"name": "AuthService", "description": "s"}],
        "command": ["./auth", "--serve"]
    },
    "source": {"oci": {"image": "registry.example/plugins/auth", "digest": "sha256:00"}},
    "permissions": ["database"],
    "env": {"B": "2", "A": "1"},
    "resources": {"memory": 209715200}
}"#;

fn body(text: &str) -> Body {
    serde_json::from_str(text).unwrap()
}

fn small() -> Body {
    body(STORED_SMALL)
}

#[test]
fn golden_identities() {
    assert_eq!(id("logging-plugin", &small()).0, "logging-plugin-14bc5e869a");
    assert_eq!(id("auth-plugin", &body(STORED_FULL)).0, "auth-plugin-e334634318");
    let text = r#"{"manifest":{"author":"a","description":"d","name":"logging-plugin","version":"1.0.0"},"source":{"path":{"path":"/plugins/logging-plugin"}}}"#;
    assert_eq!(canonical(&small()), text);
}

#[test]
fn fields_at_their_defaults_do_not_count() {
    let spelled_out = r#"{
        "source": {"path": {"path": "/plugins/logging-plugin"}},
        "manifest": {
            "author": "a", "description": "d", "version": "1.0.0", "name": "logging-plugin", "framework": null,
            "dependencies": [], "permissions": {"exec": false}, "config": {}, "hooks": [], "events": {"publishes": []},
            "exports": [], "command": []
        },
        "permissions": [], "env": {}, "resources": {"memory": 104857600},
        "added_by_a_newer_operator": true
    }"#;
    assert_eq!(id("logging-plugin", &body(spelled_out)), id("logging-plugin", &small()));
}

#[test]
fn the_order_of_a_schema_s_keys_does_not_count() {
    let yaml = |keys: &str| format!("{{name: a, version: 1.0.0, description: d, author: a, config: {{{keys}}}}}");
    let of = |keys| {
        let manifest = manifest::parse(&yaml(keys), Format::Yaml).unwrap().manifest;
        id("a", &Body { manifest, ..small() })
    };
    assert_eq!(of("x: {type: string}, y: {type: array}"), of("y: {type: array}, x: {type: string}"));
}

#[test]
fn everything_else_counts() {
    let full = body(STORED_FULL);
    let mut changed = vec![full.clone(); 6];
    changed[0].manifest.description.push('!');
    changed[1].source = Source::Path { path: "/x".into() };
    changed[2].permissions.insert(Permission::Cache);
    changed[3].env.insert("C".into(), String::new());
    changed[4].resources.memory += 1;
    changed[5].manifest.command.pop();
    let mut ids = changed.iter().map(|body| id("auth-plugin", body).0).collect::<Vec<_>>();
    ids.push(id("auth-plugin", &full).0);
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 7);
}

#[test]
fn a_stored_body_is_read_back_whole() {
    let full = body(STORED_FULL);
    assert_eq!(serde_json::from_str::<Body>(&serde_json::to_string(&full).unwrap()).unwrap(), full);
}

#[test]
fn fits_into_a_resource_s_name() {
    let name = "n".repeat(253);
    let id = id(&name, &small()).0;
    assert_eq!(id.len(), 253);
    assert!(id.starts_with("nnn"));
}
