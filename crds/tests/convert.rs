//! What resources become, and what their errors say.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use rockstar_core::{
    assignment::{FailurePolicy, Policies, QueueStrategy, ThresholdAction},
    backends::EventOverflow,
    permission::{Permission, Permissions},
    revision::Source,
    rollout::{self, Amount, Policy},
};
use rockstar_crds::{PluginHostSpec, PluginSpec, host::Sandbox};
use serde_json::{Value, json};
use std::time::Duration;

const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn base() -> Value {
    json!({
        "manifest": {
            "name": "auth-plugin",
            "version": "1.2.0",
            "description": "Authentication",
            "author": "John Doe <john@example.com>",
            "permissions": {"database": true, "cache": true},
            "config": {"jwt_secret": {"type": "string", "required": true}},
        },
        "source": {"oci": {"image": "registry.example/plugins/auth:1.2.0", "digest": DIGEST}},
    })
}

/// The base with some fields put in, by JSON pointer without the leading slash.
fn plugin(fields: &[(&str, Value)]) -> PluginSpec {
    let mut spec = base();
    for (pointer, value) in fields {
        put(&mut spec, pointer, value.clone());
    }
    serde_json::from_value(spec).unwrap()
}

fn put(spec: &mut Value, pointer: &str, value: Value) {
    let mut at = spec;
    for key in pointer.split('/') {
        at = at.as_object_mut().unwrap().entry(key).or_insert_with(|| json!({}));
    }
    *at = value;
}

fn host(spec: Value) -> PluginHostSpec {
    let mut whole = json!({"framework": {"version": "1.5.0"}});
    whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    serde_json::from_value(whole).unwrap()
}

#[test]
fn what_is_left_out_has_the_defaults() {
    let spec = plugin(&[]);
    assert_eq!((spec.host.as_str(), spec.enabled, spec.priority), ("default", true, 100));
    assert_eq!(spec.policies(&host(json!({}))), Ok(Policies::default()));
    let body = spec.body().unwrap();
    assert_eq!(body.resources.memory, 100 << 20);
    assert_eq!(body.permissions, Permissions::new());
    let image = "registry.example/plugins/auth:1.2.0".into();
    assert_eq!(body.source, Source::Oci { image, digest: DIGEST.into() });
}

#[test]
fn all_policies_are_read() {
    let spec = plugin(&[
        ("priority", json!(200)),
        ("failurePolicy", json!("Open")),
        ("hookTimeout", json!("1s")),
        ("stopTimeout", json!("20s")),
        ("reload", json!({"gracePeriod": "1m", "drainTimeout": "2s"})),
        ("reload/queue", json!({"strategy": "reject", "timeout": "1m30s", "maxSize": 2})),
        ("errorThreshold", json!({"maxErrors": 7, "timeWindow": "1h", "action": "alert", "resetOnSuccess": false})),
    ]);
    let policies = spec.policies(&host(json!({}))).unwrap();
    assert_eq!((policies.priority, policies.failure_policy), (200, FailurePolicy::Open));
    assert_eq!((policies.hook_timeout.as_secs(), policies.stop_timeout.as_secs()), (1, 20));
    assert_eq!((policies.reload.grace_period.as_secs(), policies.reload.drain_timeout.as_secs()), (60, 2));
    let queue = policies.reload.queue;
    assert_eq!((queue.strategy, queue.timeout.as_secs(), queue.max_size), (QueueStrategy::Reject, 90, 2));
    let threshold = policies.error_threshold.unwrap();
    assert_eq!((threshold.max_errors, threshold.time_window.as_secs()), (7, 3600));
    assert_eq!((threshold.action, threshold.reset_on_success), (ThresholdAction::Alert, false));
}

#[test]
fn the_hosts_error_threshold_is_a_default() {
    let host = host(json!({"errorThreshold": {"maxErrors": 5}}));
    let of = |spec: PluginSpec| spec.policies(&host).unwrap().error_threshold.map(|threshold| threshold.max_errors);
    assert_eq!(of(plugin(&[])), Some(5));
    assert_eq!(of(plugin(&[("errorThreshold", json!({}))])), Some(100));
    assert_eq!(of(plugin(&[("errorThreshold", json!({"enabled": false}))])), None);
}

#[test]
fn alerts_are_posted_where_the_host_says_unless_the_plugin_says_otherwise() {
    let alert = |webhook: &str| json!({"action": "alert", "webhook": webhook});
    let host = host(json!({"errorThreshold": alert("http://host/alerts")}));
    let of = |own: &[(&str, Value)]| plugin(own).policies(&host).unwrap().error_threshold.unwrap().webhook;
    assert_eq!(of(&[]).as_deref(), Some("http://host/alerts"));
    assert_eq!(of(&[("errorThreshold", json!({"maxErrors": 7}))]).as_deref(), Some("http://host/alerts"));
    assert_eq!(of(&[("errorThreshold", alert("https://own/alerts"))]).as_deref(), Some("https://own/alerts"));
}

#[test]
fn what_is_dropped_of_events_has_a_default() {
    let overflow = |events: Value| host(json!({"backends": {"events": events}})).event_overflow();
    assert_eq!(host(json!({})).event_overflow(), EventOverflow::DropNewest);
    assert_eq!(overflow(json!({"overflow": "DropNewest"})), EventOverflow::DropNewest);
    assert_eq!(overflow(json!({"overflow": "DropOldest"})), EventOverflow::DropOldest);
}

#[test]
fn permissions_that_are_false_are_not_granted() {
    let spec = plugin(&[("permissions", json!({"database": true, "cache": false}))]);
    assert_eq!(spec.granted().unwrap(), Permissions::from([Permission::Database]));
}

#[test]
fn each_error_names_its_field() {
    let name = ("manifest/name", json!(""), "spec.manifest.name: missing required field: name");
    let cases = [
        name,
        (
            "manifest/version",
            json!("1.2"),
            "spec.manifest.version: invalid version format: must be semantic version (X.Y.Z)",
        ),
        ("permissions", json!({"custom_permission": true}), "spec.permissions: unknown permission: custom_permission"),
        ("source", json!({}), "spec.source: exactly one of oci, http and path must be given"),
        ("source/path", json!("/plugins"), "spec.source: exactly one of oci, http and path must be given"),
        ("source/oci/digest", json!("sha512:1"), "spec.source.oci.digest: must begin with sha256:"),
        (
            "source/oci/digest",
            json!("sha256:1"),
            "spec.source.oci.digest: must have 64 hexadecimal digits in lower case",
        ),
        ("env", json!({"A=B": ""}), "spec.env: 'A=B' is no name of an environment variable"),
        (
            "env",
            json!({"ROCKSTAR_SOCKET": ""}),
            "spec.env: 'ROCKSTAR_SOCKET' is reserved: names with ROCKSTAR_ are the sidecar's",
        ),
        ("resources/memory", json!("lots"), "spec.resources.memory: must be an amount of memory like 100Mi"),
    ];
    for (pointer, value, expected) in cases {
        assert_eq!(plugin(&[(pointer, value)]).body().unwrap_err().to_string(), expected);
    }
    let cases = [
        ("hookTimeout", json!("5"), "spec.hookTimeout: invalid duration '5': write it like 100ms, 30s, 5m or 1h30m"),
        ("hookTimeout", json!("0s"), "spec.hookTimeout: must be longer than 0"),
        (
            "reload/queue/timeout",
            json!("1d"),
            "spec.reload.queue.timeout: invalid duration '1d': write it like 100ms, 30s, 5m or 1h30m",
        ),
        ("errorThreshold/maxErrors", json!(0), "spec.errorThreshold.maxErrors: must be at least 1"),
        ("errorThreshold/webhook", json!("x"), "spec.errorThreshold.webhook: must begin with https:// or http://"),
    ];
    for (pointer, value, expected) in cases {
        let error = plugin(&[(pointer, value)]).policies(&host(json!({}))).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn a_host_is_read() {
    let rollout = json!({
        "maxUnavailable": 3, "partition": "50%", "paused": true, "failureThreshold": 4,
        "progressDeadline": "1m", "onFailure": "Halt",
    });
    let host = host(json!({"permissionCeiling": ["cache"], "sandbox": "BestEffort", "rollout": rollout}));
    assert_eq!(host.framework_version().unwrap(), semver::Version::new(1, 5, 0));
    assert_eq!(host.ceiling().unwrap(), Permissions::from([Permission::Cache]));
    assert_eq!(host.sandbox(), Sandbox::BestEffort);
    let expected = Policy {
        max_unavailable: Amount::Count(3),
        partition: Amount::Percent(50),
        paused: true,
        failure_threshold: 4,
        progress_deadline: Duration::from_secs(60),
        on_failure: rollout::OnFailure::Halt,
    };
    assert_eq!(host.rollout_policy(), Ok(expected));
}

#[test]
fn a_host_has_defaults_and_limits() {
    let plain = host(json!({}));
    assert_eq!(plain.rollout_policy(), Ok(Policy::default()));
    assert_eq!(plain.ceiling().unwrap().len(), 7);
    assert_eq!(host(json!({"permissionCeiling": []})).ceiling().unwrap().len(), 0);
    for bad in [json!(-1), json!("101%"), json!("5 pods")] {
        let error = host(json!({"rollout": {"partition": bad}})).rollout_policy().unwrap_err();
        assert_eq!(
            error.to_string(),
            "spec.rollout.partition: must be a number that is not negative, or a percentage like 25%"
        );
    }
}

#[test]
fn limits_are_the_fields_of_the_table() {
    use rockstar_core::limits::{Limit, Limits};
    let given: serde_json::Map<_, _> = Limit::ALL
        .into_iter()
        .map(|limit| (limit.name().to_owned(), json!(limit.format(limit.default_value()))))
        .map(|(name, value)| {
            (name, value.as_str().and_then(|v| v.parse().ok()).map_or(value.clone(), |n: u32| json!(n)))
        })
        .collect();
    let spec = host(json!({"limits": given}));
    let written = serde_json::to_value(&spec.limits).unwrap();
    assert_eq!(written.as_object().unwrap().len(), Limit::ALL.len(), "each limit has a field: {written}");
    assert_eq!(spec.limits(), Ok(Limits::default()));
    assert_eq!(host(json!({})).limits(), Ok(Limits::default()));
    let limits = host(json!({"limits": {"storage": "1Mi", "threads": 20}})).limits().unwrap();
    assert_eq!((limits.get(Limit::Storage), limits.get(Limit::Threads)), (1 << 20, 20));
    let refused = |given: Value| host(json!({"limits": given})).limits().unwrap_err().to_string();
    let text = "spec: limits.storage is '0'; expected an amount of bytes from 64Ki to 64Gi";
    assert_eq!(refused(json!({"storage": "0"})), text);
    let text = "spec: limits.treads is unknown (did you mean threads?); there are registrations, ";
    assert!(refused(json!({"treads": 10})).starts_with(text));
}
