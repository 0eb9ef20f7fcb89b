//! The rules in the definitions, evaluated here as the API server does: what they accept and what they say.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use rockstar_crds::{Plugin, PluginHost};
use serde_json::{Value, json};

fn plugin() -> Value {
    json!({
        "apiVersion": "plugins.rockstar-framework.dev/v1alpha1",
        "kind": "Plugin",
        "metadata": {"name": "auth-plugin", "namespace": "shop"},
        "spec": {
            "manifest": {
                "name": "auth-plugin",
                "version": "1.2.0",
                "description": "Authentication",
                "author": "John Doe",
                "hooks": [{"type": "pre_request", "priority": 200}],
                "config": {"token_ttl": {"type": "duration", "default": "24h"}},
                "permissions": {"database": true},
            },
            "source": {"path": "/plugins/auth"},
        },
    })
}

fn host() -> Value {
    json!({
        "apiVersion": "plugins.rockstar-framework.dev/v1alpha1",
        "kind": "PluginHost",
        "metadata": {"name": "storefront", "namespace": "shop"},
        "spec": {"framework": {"version": "1.5.0"}},
    })
}

/// The object with one field set, by JSON pointer below spec.
fn with(mut object: Value, pointer: &str, value: Value) -> Value {
    let mut at = &mut object["spec"];
    for key in pointer.split('/') {
        at = at.as_object_mut().unwrap().entry(key).or_insert_with(|| json!({}));
    }
    *at = value;
    object
}

fn plugin_errors(object: Value) -> String {
    let plugin: Plugin = serde_json::from_value(object).unwrap();
    plugin.validate_cel().map_or_else(|errors| errors.to_string(), |()| String::new())
}

fn host_errors(object: Value) -> String {
    let host: PluginHost = serde_json::from_value(object).unwrap();
    host.validate_cel().map_or_else(|errors| errors.to_string(), |()| String::new())
}

#[test]
fn good_plugins_pass() {
    assert_eq!(plugin_errors(plugin()), "");
    let cases = [
        ("source", json!({"oci": {"image": "r/a:1", "digest": format!("sha256:{}", "0a".repeat(32))}})),
        ("source", json!({"http": {"url": "https://r/a.tar.gz", "sha256": "0a".repeat(32)}})),
        ("manifest/version", json!("1.2.0-rc.1+build.5")),
        ("hookTimeout", json!("1m30.5s")),
        ("configFrom", json!([{"key": "a", "secretKeyRef": {"name": "s", "key": "k"}}])),
        ("permissions", json!({"database": true, "exec": false})),
        ("resources/memory", json!("100Mi")),
        ("resources/memory", json!(104_857_600)),
        ("errorThreshold", json!({"action": "alert", "webhook": "http://alertmanager:9093/api/v2/alerts"})),
        ("config", json!({"nested": {"kept": [1, {"deep": true}]}})),
    ];
    for (pointer, value) in cases {
        assert_eq!(plugin_errors(with(plugin(), pointer, value)), "", "{pointer}");
    }
}

#[test]
fn bad_plugins_are_told_what_to_do() {
    let cases = [
        ("manifest/name", json!(""), "missing required field: name"),
        ("manifest/name", json!("Auth Plugin"), "must be a DNS name: lower case letters"),
        ("manifest/author", json!(""), "missing required field: author"),
        ("manifest/version", json!("1.2"), "invalid version format: must be semantic version (X.Y.Z)"),
        ("manifest/version", json!("01.2.3"), "invalid version format: must be semantic version (X.Y.Z)"),
        ("manifest/permissions", json!({"custom_permission": true}), "unknown permission: custom_permission"),
        (
            "manifest/config/token_ttl/type",
            json!("number"),
            "invalid config schema: type must be one of [string, integer, float, boolean, duration, array, object]",
        ),
        ("manifest/hooks", json!([{"type": "Pre_Request"}]), "unknown hook type: 'Pre_Request'"),
        ("permissions", json!({"root": true}), "unknown permission: root"),
        ("source", json!({}), "exactly one of oci, http and path must be given"),
        ("source/http", json!({"url": "https://r/a", "sha256": "0a".repeat(32)}), "exactly one of oci, http and path"),
        ("source", json!({"http": {"url": "ftp://r/a", "sha256": "0a".repeat(32)}}), "must begin with https://"),
        ("source", json!({"oci": {"image": "r/a", "digest": "sha256:1"}}), "must be sha256: and 64 hexadecimal digits"),
        ("configFrom", json!([{"key": "a"}]), "exactly one of secretKeyRef and configMapKeyRef must be given"),
        ("hookTimeout", json!("5"), "must be a duration like 30s, 5m, 1h30m or 100ms"),
        ("reload/queue/timeout", json!("1d"), "must be a duration like 30s, 5m, 1h30m or 100ms"),
        ("resources/memory", json!("lots"), "must be an amount of memory like 100Mi"),
        ("errorThreshold/webhook", json!("alertmanager"), "must begin with https:// or http://"),
    ];
    for (pointer, value, expected) in cases {
        let errors = plugin_errors(with(plugin(), pointer, value));
        assert!(errors.contains(expected), "{pointer}: {errors}");
    }
}

#[test]
fn identity_does_not_change() {
    let old: Plugin = serde_json::from_value(plugin()).unwrap();
    for pointer in ["host", "manifest/name"] {
        let new: Plugin = serde_json::from_value(with(plugin(), pointer, json!("another"))).unwrap();
        let errors = new.validate_cel_update(&old).unwrap_err().to_string();
        assert!(errors.contains("cannot change: it is"), "{pointer}: {errors}");
    }
}

#[test]
fn hosts_are_checked() {
    assert_eq!(host_errors(host()), "");
    let good = [
        ("rollout/maxUnavailable", json!("25%")),
        ("rollout/partition", json!(3)),
        ("permissionCeiling", json!(["cache"])),
        ("backends/events", json!({"overflow": "DropOldest"})),
        ("backends/events", json!({"urlFrom": {"secretKeyRef": {"name": "s", "key": "k"}}})),
        ("errorThreshold/webhook", json!("https://alertmanager/api/v2/alerts")),
        ("limits", json!({"storage": "64Ki", "data": "1Ti", "tmp": 1_048_576, "threads": 8, "transaction": "10m"})),
    ];
    for (pointer, value) in good {
        assert_eq!(host_errors(with(host(), pointer, value)), "", "{pointer}");
    }
    let bad = [
        ("framework/version", json!("1.5"), "invalid version format: must be semantic version (X.Y.Z)"),
        (
            "rollout/maxUnavailable",
            json!("a quarter"),
            "must be a number that is not negative, or a percentage like 25%",
        ),
        ("rollout/partition", json!(-1), "must be a number that is not negative, or a percentage like 25%"),
        ("permissionCeiling", json!(["root"]), "unknown permission: root"),
        ("backends/events", json!({}), "urlFrom or overflow must be given"),
        ("errorThreshold/webhook", json!("ftp://alertmanager"), "must begin with https:// or http://"),
        ("limits/storage", json!("65535"), "must be an amount of bytes from 64Ki to 64Gi"),
        ("limits/storage", json!("65Gi"), "must be an amount of bytes from 64Ki to 64Gi"),
        ("limits/storage", json!("much"), "must be an amount of bytes from 64Ki to 64Gi"),
        ("limits/tmp", json!(-1), "must be an amount of bytes from 1Mi to 1024Gi"),
        ("limits/transaction", json!("999ms"), "must be a duration from 1s to 10m"),
        ("limits/transaction", json!("11m"), "must be a duration from 1s to 10m"),
        ("limits/transaction", json!("1d"), "must be a duration like 30s, 5m, 1h30m or 100ms"),
        ("sidecar/resources/limits", json!({"memory": "lots"}), "must be a quantity like 100m or 64Mi"),
    ];
    for (pointer, value, expected) in bad {
        let errors = host_errors(with(host(), pointer, value));
        assert!(errors.contains(expected), "{pointer}: {errors}");
    }
    let mut long = host();
    long["metadata"]["name"] = json!("h".repeat(64));
    assert!(host_errors(long).contains("at most 63 characters"));
}
